//! The messages that wait for a worker. They are never out of order, and they cannot grow without bound: of the pod only the
//! latest state is kept, and of too many events only which containers they were about.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::runtime::ContainerEvent;

/// How many events wait one by one. Of those that come after them only the container's id is kept: it is looked at.
const EVENTS: usize = 256;

/// Everything that waits for a worker, in the order in which it is handled: the pod, then that the pod is gone, then events,
/// then the containers to look at.
#[derive(Debug, Default)]
pub struct Messages {
    /// The latest state of the pod, if it has changed.
    pub pod: Option<Arc<Pod>>,
    /// Whether the pod is gone from the API.
    pub gone: bool,
    /// What happened to the pod's containers, oldest first.
    pub events: Vec<ContainerEvent>,
    /// Events may have been missed: look at everything, at these containers too.
    pub look: Option<BTreeSet<String>>,
}

/// The manager's end.
pub struct Sender {
    messages: Arc<Mutex<Messages>>,
    changed: watch::Sender<()>,
}

/// The worker's end.
pub struct Inbox {
    messages: Arc<Mutex<Messages>>,
    changed: watch::Receiver<()>,
}

/// An empty inbox and the way into it.
pub fn inbox() -> (Sender, Inbox) {
    let messages = Arc::new(Mutex::new(Messages::default()));
    let (sender, receiver) = watch::channel(());
    (Sender { messages: messages.clone(), changed: sender }, Inbox { messages, changed: receiver })
}

impl Sender {
    /// The pod has changed.
    pub fn pod(&self, pod: Arc<Pod>) {
        self.put(|messages| messages.pod = Some(pod));
    }

    /// The pod is gone from the API.
    pub fn gone(&self) {
        self.put(|messages| messages.gone = true);
    }

    /// Something happened to one of its containers.
    pub fn event(&self, event: ContainerEvent) {
        self.put(|messages| {
            if messages.events.len() < EVENTS {
                messages.events.push(event);
            } else {
                messages.look.get_or_insert_default().insert(event.id);
            }
        });
    }

    /// Events may have been missed; these containers were seen.
    pub fn look(&self, ids: impl IntoIterator<Item = String>) {
        self.put(|messages| messages.look.get_or_insert_default().extend(ids));
    }

    fn put(&self, change: impl FnOnce(&mut Messages)) {
        change(&mut self.messages.lock());
        self.changed.send_replace(());
    }
}

impl Inbox {
    /// Waits until there are messages and takes all of them. `None`: none will come any more.
    pub async fn next(&mut self) -> Option<Messages> {
        self.changed.changed().await.ok()?;
        Some(std::mem::take(&mut *self.messages.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::EventKind;

    fn pod(version: usize) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.resource_version = Some(version.to_string());
        Arc::new(pod)
    }

    fn event(n: usize) -> ContainerEvent {
        ContainerEvent { id: n.to_string(), uid: "u".into(), kind: EventKind::Started }
    }

    #[tokio::test]
    async fn however_much_comes_the_latest_pod_is_heard_and_no_container_is_forgotten() {
        let (sender, mut inbox) = inbox();
        let many = 2 * EVENTS;
        for n in 0..many {
            sender.pod(pod(n));
            sender.event(event(n));
        }
        sender.gone();
        let messages = inbox.next().await.unwrap();
        let latest = messages.pod.unwrap().metadata.resource_version.clone();
        assert_eq!((latest, messages.gone), (Some((many - 1).to_string()), true));
        assert_eq!(messages.events.len(), EVENTS);
        let look = messages.look.unwrap();
        assert!((EVENTS..many).all(|n| look.contains(&n.to_string())), "{look:?}");
        drop(sender);
        assert!(inbox.next().await.is_none());
    }
}

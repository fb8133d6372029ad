//! What a worker has yet to hear. Nothing in it is ever out of order, and it cannot grow without bound: of the pod only
//! the latest state is kept, and of too many events only which containers they were about.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::runtime::ContainerEvent;

/// How many events wait one by one. Of those that come after them only the container's id is kept: it is looked at.
const EVENTS: usize = 256;

/// Everything that a worker has not heard yet, in the order in which it is to take it: the pod, then that the pod is
/// gone, then events, then the containers to look at.
#[derive(Debug, Default)]
pub struct Heard {
    /// The latest state of the pod, if it has changed.
    pub pod: Option<Arc<Pod>>,
    /// Whether the API has forgotten the pod.
    pub gone: bool,
    /// What happened to the pod's containers, oldest first.
    pub events: Vec<ContainerEvent>,
    /// Events may have been missed: look at everything, at these containers too.
    pub look: Option<BTreeSet<String>>,
}

/// The manager's end.
pub struct Sender {
    heard: Arc<Mutex<Heard>>,
    bell: watch::Sender<()>,
}

/// The worker's end.
pub struct Inbox {
    heard: Arc<Mutex<Heard>>,
    bell: watch::Receiver<()>,
}

/// An empty inbox and the way into it.
pub fn inbox() -> (Sender, Inbox) {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let (ring, bell) = watch::channel(());
    (Sender { heard: heard.clone(), bell: ring }, Inbox { heard, bell })
}

impl Sender {
    /// The pod has changed.
    pub fn pod(&self, pod: Arc<Pod>) {
        self.put(|heard| heard.pod = Some(pod));
    }

    /// The API has forgotten the pod.
    pub fn gone(&self) {
        self.put(|heard| heard.gone = true);
    }

    /// Something happened to one of its containers.
    pub fn event(&self, event: ContainerEvent) {
        self.put(|heard| {
            if heard.events.len() < EVENTS {
                heard.events.push(event);
            } else {
                heard.look.get_or_insert_default().insert(event.id);
            }
        });
    }

    /// Events may have been missed; these containers were seen.
    pub fn look(&self, ids: impl IntoIterator<Item = String>) {
        self.put(|heard| heard.look.get_or_insert_default().extend(ids));
    }

    fn put(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock());
        self.bell.send_replace(());
    }
}

impl Inbox {
    /// Waits until there is something to hear and takes all of it. `None`: nothing will come any more.
    pub async fn next(&mut self) -> Option<Heard> {
        self.bell.changed().await.ok()?;
        Some(std::mem::take(&mut *self.heard.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Happened;

    fn pod(version: usize) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.resource_version = Some(version.to_string());
        Arc::new(pod)
    }

    fn event(n: usize) -> ContainerEvent {
        ContainerEvent { id: n.to_string(), uid: "u".into(), what: Happened::Started }
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
        let heard = inbox.next().await.unwrap();
        let latest = heard.pod.unwrap().metadata.resource_version.clone();
        assert_eq!((latest, heard.gone), (Some((many - 1).to_string()), true));
        assert_eq!(heard.events.len(), EVENTS);
        let look = heard.look.unwrap();
        assert!((EVENTS..many).all(|n| look.contains(&n.to_string())), "{look:?}");
        drop(sender);
        assert!(inbox.next().await.is_none());
    }
}

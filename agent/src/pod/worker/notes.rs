//! What the worker knows of its containers: looked up when the runtime says that something happened.

use super::{Busy, Worker};
use crate::labels::{ADDRESS, Identity, SANDBOX};
use crate::pod::{Record, Sandbox, words};
use crate::runtime::Container;

impl Worker {
    pub(super) fn knows(&self, id: &str) -> bool {
        let sandbox = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == id);
        sandbox || self.containers.values().flatten().any(|record| record.id == id)
    }

    pub(super) fn is_starting(&self) -> bool {
        self.busy.values().any(|busy| *busy == Busy::Starting)
    }

    /// Looks at a container of the pod and notes what it is.
    pub(super) async fn look(&mut self, id: &str, removed: bool) {
        let found = if removed { Ok(None) } else { self.ctx.runtime().inspect(id).await };
        match found {
            Ok(Some(container)) => self.take(container).await,
            Ok(None) => self.forget(id),
            Err(error) => tracing::warn!(container = id, %error, "cannot look at a container"),
        }
    }

    fn forget(&mut self, id: &str) {
        if self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == id) {
            self.sandbox = None;
            self.release_address();
        }
        for (name, all) in &self.containers {
            if all.iter().any(|record| record.id == id) {
                self.stop_is_over(name, id);
            }
        }
        for all in self.containers.values_mut() {
            all.retain(|record| record.id != id);
        }
        self.containers.retain(|_, all| !all.is_empty());
        self.granted.remove(id);
        self.lose(id);
    }

    pub(super) fn release_address(&mut self) {
        // Kept by a pod that goes on: it keeps its address for life.
        if let (Some(address), Some(uid), true) = (self.address, &self.pod.metadata.uid, self.ending) {
            self.ctx.addresses.free(address, uid);
        }
    }

    fn take_sandbox(&mut self, identity: &Identity, container: Container) {
        let address = container.labels.get(ADDRESS).and_then(|text| text.parse().ok());
        self.address = address.or(self.address);
        let running = container.state.is_running();
        let older = self.sandbox.as_ref().is_some_and(|known| known.created > container.created);
        if !older {
            let created = container.created;
            self.sandbox = Some(Sandbox { id: container.id, attempt: identity.attempt, created, running });
        }
    }

    /// Notes a container as it is.
    pub(super) async fn take(&mut self, container: Container) {
        let Some(identity) = Identity::read(&container.labels) else { return };
        if Some(&identity.uid) != self.pod.metadata.uid.as_ref() {
            return;
        }
        if identity.container == SANDBOX {
            return self.take_sandbox(&identity, container);
        }
        let name = identity.container;
        let newest = self.containers.get(&name).and_then(|all| all.last());
        let unknown = newest.is_none_or(|newest| newest.attempt < identity.attempt);
        // One that is being started is not shown before its hook is through.
        if unknown && self.busy.get(&name) == Some(&Busy::Starting) {
            return;
        }
        let known = self.containers.get(&name).into_iter().flatten().find(|record| record.id == container.id);
        let was_over = known.filter(|record| record.state.is_exited());
        let message = match (container.state.is_exited(), was_over) {
            (true, Some(record)) => record.message.clone(),
            (true, None) => {
                words::last_words(&self.ctx, &self.pod, &name, identity.attempt, &container).await
            }
            (false, _) => String::new(),
        };
        if container.state.is_exited() {
            self.lose(&container.id);
        }
        if container.state.is_running() {
            self.adopt_health(&name, &container.id);
        }
        let id = container.id.clone();
        let record = Record {
            id: container.id,
            attempt: identity.attempt,
            backoff: identity.backoff,
            created: container.created,
            image_id: container.image_id,
            state: container.state,
            message,
            limits: container.limits,
            stop_signal: container.stop_signal,
        };
        let over = record.state.is_exited();
        let all = self.containers.entry(name.clone()).or_default();
        match all.iter_mut().find(|known| known.id == record.id) {
            Some(known) => *known = record,
            None => {
                all.push(record);
                all.sort_by_key(|record| (record.attempt, record.created));
            }
        }
        if over {
            self.stop_is_over(&name, &id);
        }
    }
}

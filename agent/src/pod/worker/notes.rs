//! What the worker knows of its containers: looked up when the runtime says that something happened.

use jiff::Timestamp;

use super::state::Worker;
use crate::labels::{ADDRESS, IMAGE, Identity, SANDBOX};
use crate::pod::step::KEPT;
use crate::pod::{Busy, Record, Sandbox, memory, termination_message};
use crate::runtime::{Container, State};

impl Worker {
    pub(super) fn knows(&self, id: &str) -> bool {
        let sandbox = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == id);
        sandbox || self.containers.values().flatten().any(|record| record.id == id && !record.gone)
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

    /// The engine does not have a container any more: what ran is remembered.
    fn forget(&mut self, id: &str) {
        if self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == id) {
            self.sandbox = None;
            self.release_address();
        }
        let (end, now) = (self.ends.remove(id), self.ctx.clock.now());
        let named = self.containers.iter_mut().find_map(|(name, all)| {
            let record = all.iter_mut().find(|record| record.id == id && !record.gone)?;
            memory::vanished(record, end, now);
            Some(name.clone())
        });
        if let Some(name) = named {
            self.stop_is_over(&name, id);
            self.keep_few(&name);
        }
        self.signalled.remove(id);
        self.removals.remove(id);
        // Events that are emitted once for each container: no more are emitted for one that is gone.
        self.emitted.remove(id);
        self.forget_probes(id);
    }

    /// Of attempts that are gone, only the latest are remembered.
    fn keep_few(&mut self, name: &str) {
        let Some(all) = self.containers.get_mut(name) else { return };
        while all.len() > KEPT && all[0].gone {
            all.remove(0);
        }
    }

    pub(super) fn release_address(&mut self) {
        // A pod that goes on keeps its address for life.
        if let (Some(address), Some(uid), true) = (self.address, &self.pod.metadata.uid, self.ending) {
            self.ctx.addresses.free(address, uid);
        }
    }

    fn take_sandbox(&mut self, identity: &Identity, container: Container) {
        let address = container.labels.get(ADDRESS).and_then(|text| text.parse().ok());
        self.address = address.or(self.address);
        let of_machine = self.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
        let connected = of_machine || address.is_none() || container.address == address;
        let running = container.state.is_running();
        let older = self.sandbox.as_ref().is_some_and(|known| known.created > container.created);
        if !older {
            let created = container.created;
            let since = match container.state {
                State::Running { started } => started,
                _ => created,
            };
            let attempt = identity.attempt;
            self.sandbox = Some(Sandbox { id: container.id, attempt, created, since, running, connected });
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
        let all = self.containers.get(&name).map(Vec::as_slice).unwrap_or_default();
        let known = all.iter().find(|record| record.id == container.id && !record.gone).cloned();
        // A container that is being started is not shown before its postStart hook has ended.
        let unknown = known.is_none() && all.last().is_none_or(|newest| newest.attempt < identity.attempt);
        if unknown && self.busy.get(&name) == Some(&Busy::Starting) {
            return;
        }
        if container.state == State::Created {
            // Made by an agent that was killed before it could start it: made anew.
            return self.remove(name, container.id);
        }
        let newest = all.last().is_none_or(|newest| newest.id == container.id);
        if known.is_some() && !newest && container.state.is_running() {
            // Somebody started an attempt again that another has followed.
            return self.remove(name, container.id);
        }
        let restarted = known.as_ref().filter(|known| memory::was_restarted(&known.state, &container.state));
        if container.state.is_exited() || restarted.is_some() {
            self.stop_is_over(&name, &container.id);
            self.forget_probes(&container.id);
        }
        if container.state.is_running() {
            self.adopt_health(&name, &container.id);
        }
        let was_over = known.as_ref().filter(|known| known.state.is_exited() && restarted.is_none());
        let message = match (container.state.is_exited(), was_over) {
            (true, Some(record)) => record.message.clone(),
            (true, None) => {
                termination_message::read(&self.ctx, &self.pod, &name, identity.attempt, &container).await
            }
            (false, _) => String::new(),
        };
        let interrupted = match was_over {
            Some(record) => record.interrupted,
            None => container.state.is_exited() && self.signalled.remove(&container.id),
        };
        let mut record = Record {
            attempt: known.as_ref().map_or(identity.attempt, |known| known.attempt),
            backoff: known.as_ref().map_or(identity.backoff, |known| known.backoff),
            begun: begun(&container),
            id: container.id,
            created: container.created,
            image: container.labels.get(IMAGE).cloned().unwrap_or_default(),
            image_id: container.image_id,
            state: container.state,
            message,
            limits: container.limits,
            stop_signal: container.stop_signal,
            gone: false,
            unseen: false,
            interrupted,
            replaced: restarted.is_none() && known.as_ref().is_some_and(|known| known.replaced),
        };
        let end = restarted.and_then(|_| self.ends.remove(&record.id));
        let before = restarted.map(|known| memory::split(known, &mut record, end));
        let all = self.containers.entry(name.clone()).or_default();
        all.retain(|known| known.id != record.id || known.gone);
        all.extend(before);
        all.push(record);
        all.sort_by_key(|record| (record.attempt, record.begun));
        self.keep_few(&name);
        self.end_doubles(&name);
    }

    /// If two of one name run, the one that was made last stays: it was made when the other one did not run.
    fn end_doubles(&mut self, name: &str) {
        let all = self.containers.get(name).map(Vec::as_slice).unwrap_or_default();
        let running = all.iter().filter(|record| record.state.is_running());
        let Some(last) = running.clone().max_by_key(|record| (record.created, record.attempt)) else {
            return;
        };
        let others: Vec<String> =
            running.filter(|record| record.id != last.id).map(|record| record.id.clone()).collect();
        for id in others {
            self.remove(name.to_owned(), id);
        }
    }

    /// Adds what the pod's status remembers to what was found.
    pub(super) fn recall(&mut self) {
        memory::recall(&mut self.containers, &self.pod, self.ctx.clock.now());
        for name in self.containers.keys().cloned().collect::<Vec<_>>() {
            self.keep_few(&name);
        }
    }

    /// Notes that somebody sent a container a signal, unless that was the agent: then it is stopping, starting or removing it.
    pub(super) fn note_signal(&mut self, id: &str) {
        let running = |record: &Record| record.id == id && !record.gone && record.state.is_running();
        let name = self.containers.iter().find(|(_, all)| all.iter().any(running)).map(|(name, _)| name);
        let ours = |name: &String| self.busy.contains_key(name) || self.removing.contains(id);
        if name.is_some_and(|name| !ours(name)) {
            self.signalled.insert(id.to_owned());
        }
    }
}

/// When a container began to run; when it was made, if it never ran.
fn begun(container: &Container) -> Timestamp {
    match container.state {
        State::Running { started } => started,
        State::Exited { started, .. } => started.unwrap_or(container.created),
        State::Created => container.created,
    }
}

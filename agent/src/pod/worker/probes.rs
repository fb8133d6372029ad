//! The probes of a worker's containers, and what they have found.

use super::state::{Done, Worker};
use super::tasks::caught;
use crate::pod::{Health, container_id};
use crate::probe::Purpose;
use crate::probe::task::{ProbeResult, ProbeTask};
use crate::runtime::State;
use crate::spec::{Role, containers};

impl Worker {
    pub(super) fn note_probe_result(&mut self, result: &ProbeResult) {
        // A result that comes after its container has ended does not count.
        let Some(health) = self.health.get_mut(&result.id) else { return };
        match result.purpose {
            Purpose::Readiness => health.ready = Some(result.success),
            Purpose::Startup if result.success => health.started = true,
            Purpose::Startup => health.failed_probe = Some("startup"),
            Purpose::Liveness if !result.success => health.failed_probe = Some("liveness"),
            Purpose::Liveness => {}
        }
        if result.success {
            self.end_probes(|id, purpose| id == result.id && purpose == Purpose::Startup);
        }
    }

    /// Sees to it that every running container is probed as its spec says.
    pub(super) fn keep_probes(&mut self) {
        let ending = self.pod.metadata.deletion_timestamp.is_some();
        if ending {
            // A pod that is being deleted restarts nothing: only readiness is still asked for.
            self.end_probes(|_, purpose| purpose != Purpose::Readiness);
        }
        let spec = self.pod.spec.clone().unwrap_or_default();
        let Some(address) = self.address else { return };
        for (container, _) in containers(&spec).filter(|(_, role)| *role != Role::Init) {
            let Some(record) = self.containers.get(&container.name).and_then(|all| all.last()) else {
                continue;
            };
            let State::Running { started } = record.state else { continue };
            let health = self.health.get(&record.id).cloned().unwrap_or_default();
            let up = container.startup_probe.is_none() || health.started;
            for purpose in [Purpose::Startup, Purpose::Readiness, Purpose::Liveness] {
                let due = match purpose {
                    Purpose::Startup => !up && !ending,
                    Purpose::Readiness => up,
                    Purpose::Liveness => up && !ending,
                };
                let key = (record.id.clone(), purpose);
                let failed_probe = health.failed_probe.is_some() && purpose != Purpose::Readiness;
                if !due || failed_probe || purpose.of(container).is_none() || self.probes.contains_key(&key) {
                    continue;
                }
                let task = ProbeTask {
                    ctx: self.ctx.clone(),
                    pod: self.pod.clone(),
                    container: container.clone(),
                    id: record.id.clone(),
                    since: started,
                    accepted: self.accepted,
                    address,
                    purpose,
                    results: self.results.clone(),
                };
                let ended = key.clone();
                let handle = self
                    .work
                    .spawn(async move { Done::ProbeEnded { key: ended, result: caught(task.run()).await } });
                self.probes.insert(key, handle);
            }
        }
    }

    fn end_probes(&mut self, ended: impl Fn(&str, Purpose) -> bool) {
        self.probes.retain(|(id, purpose), task| {
            let ended = ended(id, *purpose);
            if ended {
                task.abort();
            }
            !ended
        });
    }

    /// Ends the probes of a container that has ended, and forgets what they have found.
    pub(super) fn forget_probes(&mut self, id: &str) {
        self.end_probes(|of, _| of == id);
        self.health.remove(id);
    }

    /// After a crash of the agent, a container is believed to be as ready as it was.
    pub(super) fn adopt_health(&mut self, name: &str, id: &str) {
        if self.health.contains_key(id) {
            return;
        }
        let status = self.pod.status.as_ref();
        let reported = status.into_iter().flat_map(|status| {
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
        });
        let mut reported = reported.filter(|reported| {
            reported.name == name && reported.container_id.as_deref() == Some(&container_id(id))
        });
        let health = reported.next().map(|reported| Health {
            ready: reported.ready.then_some(true),
            started: reported.started == Some(true),
            failed_probe: None,
        });
        self.health.insert(id.to_owned(), health.unwrap_or_default());
    }
}

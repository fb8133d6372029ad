//! Keeps a worker's probes going, and what they say.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use super::state::{Done, Worker};
use crate::pod::Health;
use crate::probe::Purpose;
use crate::probe::task::{Asker, Opinion};
use crate::runtime::State;
use crate::spec::{Role, containers};

impl Worker {
    pub(super) fn weigh(&mut self, opinion: &Opinion) {
        // A late word about a container that is over counts no more.
        let Some(health) = self.health.get_mut(&opinion.id) else { return };
        match opinion.purpose {
            Purpose::Readiness => health.ready = Some(opinion.good),
            Purpose::Startup if opinion.good => health.started = true,
            Purpose::Startup => health.given_up = Some("startup"),
            Purpose::Liveness if !opinion.good => health.given_up = Some("liveness"),
            Purpose::Liveness => {}
        }
        if opinion.good {
            self.end_probes(|id, purpose| id == opinion.id && purpose == Purpose::Startup);
        }
    }

    /// Sees to it that every running container is probed as its spec says.
    pub(super) fn keep_probes(&mut self) {
        let ending = self.pod.metadata.deletion_timestamp.is_some();
        if ending {
            // What is to end need not live; whether it can still serve is asked to the last.
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
                let given_up = health.given_up.is_some() && purpose != Purpose::Readiness;
                if !due || given_up || purpose.of(container).is_none() || self.probes.contains_key(&key) {
                    continue;
                }
                let asker = Asker {
                    ctx: self.ctx.clone(),
                    pod: self.pod.clone(),
                    container: container.clone(),
                    id: record.id.clone(),
                    since: started,
                    accepted: self.accepted,
                    address,
                    purpose,
                    opinions: self.opinions.clone(),
                };
                let asked = AssertUnwindSafe(asker.run()).catch_unwind();
                let ended = key.clone();
                let handle = self
                    .work
                    .spawn(async move { Done::ProbeEnded { key: ended, result: asked.await.map_err(drop) } });
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

    /// A container is over: its probes end, and what they said.
    pub(super) fn lose(&mut self, id: &str) {
        self.end_probes(|of, _| of == id);
        self.health.remove(id);
    }

    /// After a crash of the agent, a container is believed to be as ready as it was.
    pub(super) fn adopt_health(&mut self, name: &str, id: &str) {
        if self.health.contains_key(id) {
            return;
        }
        let status = self.pod.status.as_ref();
        let told = status.into_iter().flat_map(|status| {
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
        });
        let mut told = told.filter(|told| {
            told.name == name && told.container_id.as_deref() == Some(&format!("docker://{id}"))
        });
        let health = told.next().map(|told| Health {
            ready: told.ready.then_some(true),
            started: told.started == Some(true),
            given_up: None,
        });
        self.health.insert(id.to_owned(), health.unwrap_or_default());
    }
}

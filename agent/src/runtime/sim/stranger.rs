//! What somebody else does to simulated containers behind the agent's back, as with `docker` in a shell.

use std::time::Duration;

use super::{SimRuntime, Simulated};
use crate::runtime::{Container, Error, EventKind, State};

/// How long the engine takes from the end of a container to its start, when it restarts one.
const BEFORE_START: Duration = Duration::from_millis(200);

impl SimRuntime {
    /// `docker rm -f`.
    pub fn rm(&self, id: &str) {
        self.0.remove(id);
    }

    /// `docker stop -t`: asks a container to end, and kills it after the timeout.
    pub async fn stop(&self, id: &str, timeout: Duration) {
        self.0.signal(id, "SIGTERM");
        let ended = async {
            while self.0.with(id, |one| one.container.state.is_running()).unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(timeout, ended).await.is_err() {
            self.0.signal(id, "SIGKILL");
        }
    }

    /// `docker restart -t`: the same container runs again.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn restart(&self, id: &str, timeout: Duration) -> Result<(), Error> {
        self.stop(id, timeout).await;
        tokio::time::sleep(BEFORE_START).await;
        self.0.run(id)
    }

    /// `docker commit` of a container and `docker run` of the image: it has the container's labels. Answers its id.
    pub fn run_committed(&self, id: &str) -> Option<String> {
        let mut containers = self.0.containers.lock();
        let committed = containers.by_id.get(id)?;
        let (container, env) = (committed.container.clone(), committed.env.clone());
        containers.made += 1;
        let (id, name) = (format!("{:064x}", containers.made), format!("stranger-{}", containers.made));
        let now = self.0.clock.now();
        let container = Container {
            id: id.clone(),
            created: now,
            state: State::Created,
            pid: 0,
            address: None,
            ..container
        };
        let run = Simulated {
            container,
            name: name.clone(),
            address: None,
            env,
            is_marked: false,
            run: 0,
            paused: false,
            due: None,
        };
        containers.names.insert(name, id.clone());
        containers.by_id.insert(id.clone(), run);
        drop(containers);
        self.0.run(&id).ok().map(|()| id)
    }

    /// `docker pause`.
    pub fn pause(&self, id: &str) {
        let _ = self.0.with(id, |one| one.paused = one.container.state.is_running());
    }

    /// `docker unpause`.
    pub fn unpause(&self, id: &str) {
        let due = self.0.with(id, |one| {
            one.paused = false;
            one.due.take()
        });
        if let Ok(Some(code)) = due {
            self.0.end(id, code, false);
        }
    }

    /// `docker container prune`: removes every container that does not run.
    pub fn prune(&self) {
        let idle: Vec<String> = {
            let containers = self.0.containers.lock();
            let idle = containers.by_id.iter().filter(|(_, one)| !one.container.state.is_running());
            idle.map(|(id, _)| id.clone()).collect()
        };
        idle.iter().for_each(|id| self.0.remove(id));
    }

    /// `docker rename`; nothing happens where the name is taken.
    pub fn rename(&self, id: &str, name: &str) {
        let mut containers = self.0.containers.lock();
        if containers.names.contains_key(name) {
            return;
        }
        let Some(one) = containers.by_id.get_mut(id) else { return };
        let old = std::mem::replace(&mut one.name, name.to_owned());
        containers.names.remove(&old);
        containers.names.insert(name.to_owned(), id.to_owned());
    }

    /// The engine restarts: everything that ran has been killed.
    pub fn reboot(&self) {
        let running: Vec<String> = {
            let containers = self.0.containers.lock();
            let running = containers.by_id.iter().filter(|(_, one)| one.container.state.is_running());
            running.map(|(id, _)| id.clone()).collect()
        };
        let finished = self.0.clock.now();
        for id in running {
            let labels = self.0.with(&id, |one| {
                if let State::Running { started } = one.container.state {
                    let (started, error) = (Some(started), String::new());
                    one.container.state = State::Exited { code: 137, oom: false, started, finished, error };
                }
                one.paused = false;
                one.container.labels.clone()
            });
            if let Ok(labels) = labels {
                self.0.containers.lock().disconnect(&id);
                self.0.send_event(&labels, &id, EventKind::Ended { code: 137, at: finished });
            }
        }
    }
}

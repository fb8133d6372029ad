//! Random schedules of everything that can go wrong, beside pods that come, change and go. The laws are checked at each
//! call of the engine and every half second; once the faults cease, everything comes to rest.
//!
//! `CORACLE_SCHEDULES=5000` plays more; `CORACLE_SEED=7` plays one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use coracle_api::{Key, Revision};
use coracle_client::Op;
use serde_json::{Value, json};

use crate::faulty::{Faults, What};
use crate::node::Node;

/// How many schedules are played where nobody says.
const SCHEDULES: u64 = 60;
const STEPS: u64 = 25;
/// Every so many tenths of a second all pods are looked at.
const LOOK: u64 = 5;

/// A small generator of numbers that look random (splitmix64): the same seed, the same schedule.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let end = u64::try_from(all.len()).unwrap();
        (end > 0).then(|| all[usize::try_from(self.below(end)).unwrap()].clone())
    }
}

/// What was seen of a pod before, against which it is held.
#[derive(Default)]
struct Seen {
    restarts: BTreeMap<(String, String), u64>,
    looked: BTreeMap<Key, Revision>,
}

struct Play {
    node: Node,
    chance: Chance,
    pods: Vec<(Key, Value)>,
    made: u64,
    seen: Seen,
    /// Whether strangers touch containers.
    strangers: bool,
    /// What strangers run of images of the pods' containers.
    theirs: Vec<String>,
    log: Vec<String>,
}

impl Play {
    fn new(seed: u64) -> Play {
        let node = Node::seeded(seed);
        node.runtime.watch_laws(&node.cluster);
        let strangers = !seed.is_multiple_of(3);
        Play {
            node,
            chance: Chance(seed),
            pods: Vec::new(),
            made: 0,
            seen: Seen::default(),
            strangers,
            theirs: Vec::new(),
            log: Vec::new(),
        }
    }

    fn spec(&mut self) -> Value {
        let run = |ms: u64, code: u64| json!([{"name": "SIM_RUN_MS", "value": ms.to_string()}, {"name": "SIM_EXIT_CODE", "value": code.to_string()}]);
        let policy =
            ["Always", "Always", "OnFailure", "Never"][usize::try_from(self.chance.below(4)).unwrap()];
        let stop = json!([{"name": "SIM_STOP_MS", "value": (self.chance.below(3) * 4000).to_string()}]);
        let mut spec = json!({
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": self.chance.below(8),
            "containers": [{"name": "c", "image": "i", "env": stop}],
        });
        if self.chance.below(2) == 0 {
            spec["initContainers"] = json!([{"name": "side", "image": "i", "restartPolicy": "Always"},
                {"name": "init", "image": "i", "env": run(200, 0)}]);
        }
        if self.chance.below(3) == 0 {
            let ends = json!({"name": "ends", "image": "i", "env": run(self.chance.below(3000), self.chance.below(2))});
            spec["containers"].as_array_mut().unwrap().push(ends);
        }
        spec
    }

    async fn step(&mut self) {
        let kinds = if self.strangers { 23 } else { 12 };
        let what = self.chance.below(kinds);
        let running: Vec<_> =
            self.node.containers().await.into_iter().filter(|(_, one)| one.state.is_running()).collect();
        let victim = self.chance.one_of(&running);
        let engine = self.node.runtime.engine.clone();
        let who = victim.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        self.log.push(format!("{what} {who}"));
        match (what, victim) {
            (0..=2, _) => {
                let spec = self.spec();
                self.made += 1;
                let key = self.node.create(&format!("x{}", self.made), spec.clone()).await;
                self.pods.push((key, spec));
            }
            (3, _) => {
                let at = self.chance.below(1 + u64::try_from(self.pods.len()).unwrap());
                if let Some((key, _)) = self.pods.get(usize::try_from(at).unwrap()) {
                    let op =
                        Op::delete_key(key.clone()).with_grace(i64::try_from(self.chance.below(6)).unwrap());
                    // It may be gone already.
                    let _ = self.node.client().write_one(op).await;
                }
            }
            (4, _) => self.node.cluster.compact(),
            (5, _) => self.node.cluster.break_watches(),
            (6, _) => {
                self.node.kill_agent().await;
                if self.chance.below(2) == 0 {
                    self.node.start_agent();
                }
            }
            (7, _) => {
                let slow = Duration::from_millis(self.chance.below(4) * 700);
                let errors = u32::try_from(self.chance.below(6)).unwrap();
                self.node.runtime.set(Faults { slow, errors, ..Faults::default() });
            }
            (8, _) => self.node.runtime.set(Faults { panics: 2, ..Faults::default() }),
            (9, _) => self.node.cluster.fail_calls(u32::try_from(self.chance.below(8)).unwrap()),
            (10, Some((_, one))) => engine.crash(&one.id, 1, false),
            (11, _) => {
                if let Some((key, _)) = self.chance.one_of(&self.pods) {
                    let patch = json!({"metadata": {"labels": {"turn": self.log.len().to_string()}}});
                    let _ = self.node.client().write_one(Op::merge(key, patch)).await;
                }
            }
            (12, Some((_, one))) => engine.rm(&one.id),
            (13, Some((_, one))) => drop(engine.restart(&one.id, Duration::from_secs(1)).await),
            (14, Some((_, one))) => engine.stop(&one.id, Duration::from_secs(1)).await,
            (15, Some((_, one))) => {
                engine.pause(&one.id);
                self.pass(self.chance.0 % 40).await;
                engine.unpause(&one.id);
            }
            (16, _) => engine.prune(),
            (17, Some((_, one))) => engine.rename(&one.id, &format!("renamed-{}", self.log.len())),
            (18, _) => engine.reboot(),
            (19, Some((_, one))) => self.theirs.extend(engine.run_committed(&one.id)),
            (20, Some((_, one))) => engine.disconnect(&one.id),
            (21, Some((_, one))) => {
                let last = u8::try_from(self.log.len() % 250).unwrap();
                // There may be no network just now.
                let _ = engine.reconnect(&one.id, Ipv4Addr::new(10, 250, 0, last));
            }
            (22, _) => engine.remove_network(),
            _ => {}
        }
        let tenths = self.chance.below(60);
        self.pass(tenths).await;
    }

    /// Lets time pass, in tenths of a second, and looks at every pod now and then.
    async fn pass(&mut self, tenths: u64) {
        for tenth in 0..tenths {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if tenth.is_multiple_of(LOOK) {
                self.look().await;
            }
        }
        if !self.node.agent_runs() && self.chance.below(3) == 0 {
            self.node.start_agent();
        }
    }

    /// Restart counts never fall, and no two containers of one name run.
    async fn look(&mut self) {
        for (key, _) in &self.pods {
            let Some(object) = self.node.cluster.peek(key) else { continue };
            if self.seen.looked.insert(key.clone(), object.revision) == Some(object.revision) {
                continue;
            }
            let pod = object.value().unwrap();
            for list in ["initContainerStatuses", "containerStatuses"] {
                for status in pod["status"][list].as_array().into_iter().flatten() {
                    let of = (key.name.clone(), status["name"].as_str().unwrap().to_owned());
                    let restarts = status["restartCount"].as_u64().unwrap();
                    let most = self.seen.restarts.entry(of.clone()).or_default();
                    assert!(restarts >= *most, "{of:?}: {restarts} restarts after {most}");
                    *most = restarts;
                }
            }
        }
        let mut running = BTreeMap::new();
        for (name, one) in self.node.containers().await.into_iter().filter(|(_, one)| one.state.is_running())
        {
            let of = name.rsplit_once('.').map_or(name.clone(), |(of, _)| of.to_owned());
            assert_eq!(running.insert(of, one.id), None, "two of {name} run");
        }
        let broken = self.node.runtime.broken();
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// The faults cease, and everything comes to rest.
    async fn rest(&mut self) {
        self.node.runtime.set(Faults::default());
        self.node.cluster.fail_calls(0);
        if !self.node.agent_runs() {
            self.node.start_agent();
        }
        for turn in 0.. {
            self.pass(20).await;
            let unrest = self.unrest().await;
            if unrest.is_empty() {
                break;
            }
            assert!(turn < 600, "no rest: {unrest:#?}");
        }
        if !self.strangers {
            self.count().await;
        }
        let calls = self.node.runtime.calls();
        let touched: Vec<_> = calls.iter().filter(|call| self.theirs.contains(&call.id)).collect();
        assert!(touched.is_empty(), "others' containers: {touched:#?}");
    }

    async fn unrest(&self) -> Vec<String> {
        let mut unrest = Vec::new();
        let containers = self.node.containers().await;
        for (key, spec) in &self.pods {
            let of = containers.iter().filter(|(name, _)| name.starts_with(&format!("{}/", key.name)));
            let running = of.clone().filter(|(_, one)| one.state.is_running()).count();
            let pod = self.node.pod(key).await;
            let phase = pod["status"]["phase"].as_str().unwrap_or("none").to_owned();
            let ends = spec["containers"].as_array().unwrap().len() > 1;
            let well = match () {
                () if pod.is_null() => of.count() == 0,
                () if pod["metadata"]["deletionTimestamp"].is_string() => false,
                () if phase == "Succeeded" || phase == "Failed" => {
                    running == 0 && spec["restartPolicy"] != "Always"
                }
                // One that ends again and again is never all well.
                () if ends => phase == "Running" || phase == "Pending",
                () => phase == "Running" && pod["status"]["containerStatuses"][0]["ready"] == true,
            };
            if !well {
                unrest.push(format!("{} is {phase}, {running} run: {:#}", key.name, pod["status"]));
            }
        }
        unrest
    }

    /// Without strangers the restarts shown are those that happened.
    async fn count(&self) {
        let calls = self.node.runtime.calls();
        for (key, _) in &self.pods {
            let pod = self.node.pod(key).await;
            for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
                let of = format!("{}/{}.", key.name, status["name"].as_str().unwrap());
                let started =
                    calls.iter().filter(|call| call.what == What::Start && call.of.starts_with(&of));
                let (shown, started) = (status["restartCount"].as_u64().unwrap(), started.count() as u64);
                assert!(started <= shown + 1, "{of}: started {started} times, {shown} restarts shown");
            }
        }
    }
}

/// Plays one schedule. Answers everything that happened: what was asked of the engine, and what the API was told.
async fn play(seed: u64) -> Vec<String> {
    let mut play = Play::new(seed);
    let begun = tokio::time::Instant::now();
    let done = std::panic::AssertUnwindSafe(async {
        for _ in 0..STEPS {
            play.step().await;
        }
        play.rest().await;
    });
    if let Err(fault) = futures::FutureExt::catch_unwind(done).await {
        println!("schedule {seed}, strangers: {}; steps: {:#?}", play.strangers, play.log);
        println!("play it again with CORACLE_SEED={seed}");
        std::panic::resume_unwind(fault);
    }
    let calls = play.node.runtime.calls();
    let calls = calls
        .into_iter()
        .map(|call| format!("{:?} {:?} {} {}", call.at - begun, call.what, call.of, call.id));
    let writes = play.node.cluster.writes().into_iter().map(|write| format!("{write:?}"));
    calls.chain(writes).collect()
}

fn run(seed: u64) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(play(seed))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_node_never_loses_what_it_runs() {
    let seeds = match number("CORACLE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CORACLE_SCHEDULES").unwrap_or(SCHEDULES),
    };
    for seed in seeds {
        run(seed);
    }
}

/// On paused time an agent does the same again, call by call and write by write: nothing in it draws chance of its own, works
/// on threads, or lets the order of a map decide.
#[test]
fn one_seed_gives_one_log() {
    for seed in [1, 2, 3] {
        let (first, again) = (run(seed), run(seed));
        let differ = first.iter().zip(&again).position(|(a, b)| a != b);
        assert_eq!(differ.map(|at| (&first[at], &again[at])), None, "seed {seed}");
        assert_eq!(first.len(), again.len(), "seed {seed}");
    }
}

//! Tables for [`super::step`]: what is done and said in each state of a pod.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::step::{Action, Step, step};
use super::{Busy, Failure, Health, Observed, Record, Sandbox};
use crate::runtime::{Limits, State};
use crate::spec::requests::{Requests, Room};

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

/// A pod and all that is known of it.
struct World {
    pod: Pod,
    sandbox: Option<Sandbox>,
    containers: BTreeMap<String, Vec<Record>>,
    busy: BTreeMap<String, Busy>,
    failures: BTreeMap<String, Failure>,
    health: BTreeMap<String, Health>,
    granted: BTreeMap<String, Limits>,
    refused: BTreeMap<String, Failure>,
    room: Room,
    evicted: Option<&'static str>,
    now: Timestamp,
}

impl World {
    fn new(spec: Value) -> World {
        let meta = json!({"name": "x", "namespace": "ns", "uid": "u"});
        World {
            pod: serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap(),
            sandbox: Some(Sandbox {
                id: "s".into(),
                attempt: 0,
                created: at(-100),
                since: at(-100),
                running: true,
            }),
            containers: BTreeMap::new(),
            busy: BTreeMap::new(),
            failures: BTreeMap::new(),
            health: BTreeMap::new(),
            granted: BTreeMap::new(),
            refused: BTreeMap::new(),
            room: Room { all: Requests { cpu_milli: 2000, memory: 1 << 30 }, others: Requests::default() },
            evicted: None,
            now: at(0),
        }
    }

    fn with(mut self, name: &str, state: State) -> World {
        let all = self.containers.entry(name.into()).or_default();
        let attempt = u32::try_from(all.len()).unwrap();
        all.push(Record {
            id: format!("{name}-{attempt}"),
            attempt,
            backoff: 0,
            created: at(-50),
            begun: at(-50),
            image_id: "sha256:1".into(),
            state,
            message: String::new(),
            limits: unlimited(),
            stop_signal: "SIGTERM".into(),
            gone: false,
            unseen: false,
            interrupted: false,
        });
        self
    }

    fn without_sandbox(mut self) -> World {
        self.sandbox = None;
        self
    }

    fn deleted(mut self) -> World {
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(30));
        self.pod.metadata.deletion_timestamp = Some(time);
        self.pod.metadata.deletion_grace_period_seconds = Some(30);
        self
    }

    fn step(&self) -> Step {
        step(&Observed {
            pod: &self.pod,
            ephemeral: &[],
            sandbox: self.sandbox.as_ref(),
            containers: &self.containers,
            busy: &self.busy,
            failures: &self.failures,
            health: &self.health,
            granted: &self.granted,
            refused: &self.refused,
            room: self.room,
            evicted: self.evicted,
            address: Some(Ipv4Addr::new(10, 88, 0, 2)),
            host: Ipv4Addr::new(10, 88, 0, 1),
            accepted: at(-100),
            now: self.now,
        })
    }
}

/// What a container may use that asks for nothing.
fn unlimited() -> Limits {
    Limits { cpu_shares: 2, ..Limits::default() }
}

fn running() -> State {
    State::Running { started: at(-50) }
}

fn ended(code: i64) -> State {
    State::Exited { code, oom: false, started: Some(at(-50)), finished: at(-1), error: String::new() }
}

/// What is done, in short: `start c.1`, `stop c`, `remove c-0`, `sandbox`, `remove sandbox`, `finish`.
fn short(step: &Step) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::StartSandbox { .. } => "sandbox".to_owned(),
        Action::RemoveSandbox { .. } => "remove sandbox".into(),
        Action::Start { name, attempt, .. } => format!("start {name}.{attempt}"),
        Action::Cancel { name } => format!("cancel {name}"),
        Action::Stop { name, .. } => format!("stop {name}"),
        Action::Remove { id, .. } => format!("remove {id}"),
        Action::Resize { name, limits, .. } => format!("resize {name} to {}m", limits.cpu_milli),
        Action::Tell { container: Some(name), .. } => format!("tell {name}"),
        Action::Tell { reason, .. } => format!("tell {reason}"),
        Action::Finish => "finish".into(),
    };
    step.actions.iter().map(word).collect()
}

fn two() -> Value {
    json!({"containers": [{"name": "a"}, {"name": "b"}]})
}

fn with_init() -> Value {
    json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
        "containers": [{"name": "c"}],
    })
}

#[test]
fn what_is_done_next() {
    let never = || json!({"restartPolicy": "Never", "containers": [{"name": "a"}, {"name": "b"}]});
    let mut bare = World::new(two());
    bare.sandbox = None;
    let mut starting = World::new(two());
    starting.busy.insert("a".into(), Busy::Starting);
    let mut waits = World::new(two()).with("a", running());
    waits.failures.insert("b".into(), Failure { reason: "E".into(), message: String::new(), until: at(5) });
    let mut broken = World::new(two()).with("a", running()).with("b", running());
    broken.sandbox.as_mut().unwrap().running = false;
    let mut changed = World::new(two());
    changed.sandbox.as_mut().unwrap().running = false;
    let by_rule = || {
        let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}});
        json!({"restartPolicy": "Never", "containers": [
            {"name": "a", "restartPolicy": "Never", "restartPolicyRules": [rule]},
            {"name": "b", "restartPolicy": "OnFailure"}]})
    };
    let resized = |policy: &str| {
        json!({"containers": [{"name": "a",
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": policy}],
            "resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "500m"}}}]})
    };
    let late = World::new(json!({"activeDeadlineSeconds": 10, "containers": [{"name": "a"}]}));
    let late = late.with("a", running());
    let mut over = World::new(never()).with("a", ended(0)).with("b", ended(0));
    over.sandbox = None;
    let mut too_large = World::new(two()).with("a", running()).with("b", running());
    too_large.evicted = Some("why");
    let mut given_up = World::new(two()).with("a", running()).with("b", running());
    given_up.health.insert("b-0".into(), Health { given_up: Some("liveness"), ..Default::default() });
    let cases: Vec<(&str, World, &[&str])> = vec![
        ("a sandbox first", bare, &["sandbox"]),
        ("one container at a time", World::new(two()), &["start a.0"]),
        ("the next waits for the first", starting, &[]),
        ("then the next", World::new(two()).with("a", running()), &["start b.0"]),
        ("a failure waits for its time", waits, &[]),
        ("all is well", World::new(two()).with("a", running()).with("b", running()), &[]),
        (
            "the first restart is at once",
            World::new(two()).with("a", ended(1)).with("b", running()),
            &["start a.1"],
        ),
        (
            "its own rule restarts one",
            World::new(by_rule()).with("a", ended(42)).with("b", running()),
            &["start a.1"],
        ),
        ("which no rule names", World::new(by_rule()).with("a", ended(1)).with("b", running()), &[]),
        (
            "its own policy restarts one",
            World::new(by_rule()).with("a", running()).with("b", ended(1)),
            &["start b.1"],
        ),
        ("never means never", World::new(never()).with("a", ended(1)).with("b", running()), &[]),
        (
            "an ended pod loses its sandbox",
            World::new(never()).with("a", ended(1)).with("b", ended(0)),
            &["remove sandbox"],
        ),
        (
            "a crashed start is made anew",
            World::new(two()).with("a", State::Created),
            &["remove a-0", "start b.0"],
        ),
        ("without sandbox all is stopped", broken, &["stop a", "stop b"]),
        ("and the sandbox made anew", changed, &["tell SandboxChanged", "remove sandbox"]),
        (
            "what it may use has changed",
            World::new(resized("NotRequired")).with("a", running()),
            &["tell ResizeStarted", "resize a to 500m"],
        ),
        (
            "which wants a restart",
            World::new(resized("RestartContainer")).with("a", running()),
            &["tell ResizeStarted", "stop a"],
        ),
        ("out of time", late, &["tell DeadlineExceeded", "stop a"]),
        ("too large", too_large, &["tell Evicted", "stop a", "stop b"]),
        ("who gave up is stopped", given_up, &["stop b"]),
        ("sidecars start first", World::new(with_init()), &["start s.0"]),
        ("then init containers", World::new(with_init()).with("s", running()), &["start i.0"]),
        ("which are waited for", World::new(with_init()).with("s", running()).with("i", running()), &[]),
        ("then the others", World::new(with_init()).with("s", running()).with("i", ended(0)), &["start c.0"]),
        (
            "a sidecar restarts though never",
            World::new(with_init()).with("s", ended(0)).with("i", ended(0)).with("c", running()),
            &["start s.1"],
        ),
        (
            "a failed init ends the pod",
            World::new(with_init()).with("s", running()).with("i", ended(1)),
            &["stop s"],
        ),
        (
            "sidecars end after the others",
            World::new(with_init()).with("s", running()).with("i", ended(0)).with("c", ended(0)),
            &["stop s"],
        ),
        (
            "deleted: the main ones first",
            World::new(with_init()).with("s", running()).with("i", ended(0)).with("c", running()).deleted(),
            &["stop c"],
        ),
        (
            "deleted: then the sandbox",
            World::new(two()).with("a", ended(0)).with("b", ended(0)).deleted(),
            &["remove sandbox"],
        ),
        (
            "old attempts go",
            World::new(never())
                .with("a", ended(1))
                .with("a", ended(1))
                .with("a", running())
                .with("b", running()),
            &["remove a-0"],
        ),
    ];
    for (name, world, expected) in cases {
        assert_eq!(short(&world.step()), expected, "case: {name}");
    }
    assert_eq!(short(&over.step()), Vec::<String>::new(), "an ended pod is left alone");
    over = over.deleted();
    assert_eq!(short(&over.step()), ["finish"], "a deleted one is forgotten");
}

#[test]
fn restarts_wait_and_say_so() {
    let mut world = World::new(two()).with("a", ended(1)).with("a", ended(1)).with("b", running());
    world.containers.get_mut("a").unwrap()[1].backoff = 10;
    let waiting = world.step();
    assert_eq!((short(&waiting), waiting.wake), (vec!["tell a".to_owned()], Some(at(9))));
    let shown = &waiting.status["containerStatuses"][0];
    assert_eq!(shown["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(
        shown["state"]["waiting"]["message"],
        "back-off 10s restarting failed container=a pod=x_ns(u)"
    );
    assert_eq!(
        (&shown["lastState"]["terminated"]["exitCode"], &shown["restartCount"]),
        (&json!(1), &json!(1))
    );
    world.now = at(9);
    let Action::Start { attempt, backoff, .. } = world.step().actions[0] else { panic!("it starts again") };
    assert_eq!((attempt, backoff), (2, 20));
}

#[test]
fn conditions_are_upstreams() {
    let never = || json!({"restartPolicy": "Never", "containers": [{"name": "a"}, {"name": "b"}]});
    let unready = |names: &str| format!("False ContainersNotReady containers with unready status: [{names}]");
    let cases: Vec<(&str, World, &str, [String; 4])> = vec![
        (
            "running",
            World::new(two()).with("a", running()).with("b", running()),
            "Running",
            ["True".into(), "True".into(), "True".into(), "True".into()],
        ),
        (
            "one is over",
            World::new(never()).with("a", ended(0)).with("b", running()),
            "Running",
            ["True".into(), "True".into(), unready("a"), unready("a")],
        ),
        (
            "succeeded",
            World::new(never()).with("a", ended(0)).with("b", ended(0)).without_sandbox(),
            "Succeeded",
            [
                "False".into(),
                "True PodCompleted".into(),
                "False PodCompleted".into(),
                "False PodCompleted".into(),
            ],
        ),
        (
            "failed",
            World::new(never()).with("a", ended(0)).with("b", ended(3)).without_sandbox(),
            "Failed",
            ["False".into(), "True".into(), "False PodFailed".into(), "False PodFailed".into()],
        ),
        (
            "initialising",
            World::new(with_init()).with("s", running()).with("i", running()),
            "Pending",
            [
                "True".into(),
                "False ContainersNotInitialized containers with incomplete status: [i]".into(),
                unready("c"),
                unready("c"),
            ],
        ),
        (
            "failed in init",
            World::new(with_init()).with("i", ended(1)).without_sandbox(),
            "Failed",
            [
                "False".into(),
                "False ContainersNotInitialized containers with incomplete status: [s i]".into(),
                "False PodFailed".into(),
                "False PodFailed".into(),
            ],
        ),
        (
            "a terminal phase waits for sidecars",
            World::new(with_init()).with("s", running()).with("i", ended(0)).with("c", ended(2)),
            "Running",
            ["True".into(), "True".into(), unready("c"), unready("c")],
        ),
    ];
    for (name, world, phase, expected) in cases {
        let status = world.step().status;
        assert_eq!(status["phase"], phase, "case: {name}");
        let conditions = status["conditions"].as_array().unwrap();
        let types: Vec<&str> = conditions.iter().map(|one| one["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"]);
        let text = |one: &Value| {
            let parts = ["status", "reason", "message"].iter().filter_map(|key| one[*key].as_str());
            parts.collect::<Vec<_>>().join(" ")
        };
        let got: Vec<String> = conditions.iter().map(text).collect();
        assert_eq!(got, expected, "case: {name}");
    }
}

#[test]
fn a_condition_keeps_its_time_until_it_changes() {
    let mut world = World::new(two()).with("a", running()).with("b", running());
    let old = json!({"conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "Initialized", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
    ]});
    world.pod.status = serde_json::from_value(old).unwrap();
    let conditions = world.step().status["conditions"].clone();
    let since = |kind: &str| {
        let found = conditions.as_array().unwrap().iter().find(|one| one["type"] == kind).unwrap();
        found["lastTransitionTime"].as_str().unwrap().to_owned()
    };
    assert_eq!(since("Ready"), "2020-01-01T00:00:00Z");
    assert_eq!(since("Initialized"), crate::times::rfc3339(at(0)));
    assert_eq!(conditions.as_array().unwrap().last().unwrap()["type"], "PodScheduled");
}

/// Does what a step asks for, at once and without failure.
fn perform(world: &mut World, actions: &[Action]) {
    for action in actions {
        match action {
            Action::StartSandbox { attempt } => {
                world.sandbox = Some(Sandbox {
                    id: "s".into(),
                    attempt: *attempt,
                    created: world.now,
                    since: world.now,
                    running: true,
                });
            }
            Action::RemoveSandbox { .. } => world.sandbox = None,
            Action::Start { name, attempt, backoff } => {
                let record = Record {
                    id: format!("{name}-{attempt}"),
                    attempt: *attempt,
                    backoff: *backoff,
                    created: world.now,
                    begun: world.now,
                    image_id: String::new(),
                    state: State::Running { started: world.now },
                    message: String::new(),
                    limits: unlimited(),
                    stop_signal: String::new(),
                    gone: false,
                    unseen: false,
                    interrupted: false,
                };
                world.containers.entry(name.clone()).or_default().push(record);
            }
            Action::Stop { id, .. } => {
                for record in world.containers.values_mut().flatten().filter(|record| record.id == *id) {
                    let State::Running { started } = record.state else { continue };
                    let (finished, error) = (world.now, String::new());
                    record.state =
                        State::Exited { code: 0, oom: false, started: Some(started), finished, error };
                }
            }
            Action::Remove { id, .. } => {
                world.containers.values_mut().for_each(|all| all.retain(|record| record.id != *id));
            }
            Action::Resize { id, limits, .. } => {
                for record in world.containers.values_mut().flatten().filter(|record| record.id == *id) {
                    record.limits = *limits;
                }
            }
            Action::Cancel { .. } | Action::Tell { .. } | Action::Finish => {}
        }
    }
}

proptest! {
    /// From any state a pod comes to rest, and a deleted one to its end.
    #[test]
    fn pods_converge(states in proptest::collection::vec(0..4u8, 3), sandbox in 0..3u8, deleted: bool, policy in 0..3usize) {
        let mut spec = with_init();
        spec["restartPolicy"] = json!(["Always", "OnFailure", "Never"][policy]);
        let mut world = World::new(spec);
        for (name, state) in ["s", "i", "c"].iter().zip(states) {
            world = match state {
                0 => world,
                1 => world.with(name, running()),
                2 => world.with(name, ended(0)),
                _ => world.with(name, ended(1)),
            };
        }
        match sandbox {
            0 => world.sandbox = None,
            1 => world.sandbox.as_mut().unwrap().running = false,
            _ => {}
        }
        if deleted {
            world = world.deleted();
        }
        for _ in 0..40 {
            let next = world.step();
            prop_assert_eq!(&next, &world.step(), "the same input gives the same answer");
            let done = next.actions.iter().all(|action| matches!(action, Action::Finish | Action::Tell { .. }));
            if done && next.wake.is_none() {
                prop_assert_eq!(deleted, next.actions.contains(&Action::Finish));
                return Ok(());
            }
            // The init container does its work.
            perform(&mut world, &next.actions);
            world.now = next.wake.unwrap_or(world.now + SignedDuration::from_secs(1));
            let now = world.now;
            for record in world.containers.get_mut("i").into_iter().flatten() {
                if let State::Running { started } = record.state {
                    record.state = State::Exited { code: 0, oom: false, started: Some(started), finished: now, error: String::new() };
                }
            }
        }
        prop_assert!(false, "it does not come to rest: {:?}", world.step().actions);
    }
}

/// What a resize comes to, and what is said of it.
#[test]
fn a_resize_tells_what_is_applied() {
    let wish = |cpu: &str, memory: Option<&str>| {
        let mut limits = json!({"cpu": cpu});
        if let Some(memory) = memory {
            limits["memory"] = memory.into();
        }
        json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": limits}}]})
    };
    let had = json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "allocatedResources": {"cpu": "100m", "memory": "64Mi"},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m"}}}]});
    let world = |cpu: &str, memory: Option<&str>| {
        let mut world = World::new(wish(cpu, memory)).with("a", running());
        world.pod.status = serde_json::from_value(had.clone()).unwrap();
        world.pod.metadata.generation = Some(2);
        let limits = Limits { cpu_shares: 102, cpu_milli: 100, ..Limits::default() };
        world.containers.get_mut("a").unwrap()[0].limits = limits;
        world
    };
    let mut refused = world("200m", Some("1Mi"));
    let failure = Failure { reason: String::new(), message: "no".into(), until: at(5) };
    refused.refused.insert("a".into(), failure);
    let mut full = world("1", None);
    full.room.others.cpu_milli = 1500;
    let mut done = world("200m", None);
    done.containers.get_mut("a").unwrap()[0].limits =
        Limits { cpu_shares: 204, cpu_milli: 200, ..Limits::default() };
    let infeasible = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
    let deferred = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000";
    let (old, new) = (json!({"cpu": "100m"}), json!({"cpu": "200m"}));
    let cases = [
        ("nothing is asked for", world("100m", None), None, "100m", &old),
        ("under way", world("200m", None), Some(("PodResizeInProgress", None, None)), "200m", &old),
        ("applied", done, None, "200m", &new),
        ("refused", refused, Some(("PodResizeInProgress", Some("Error"), Some("no"))), "200m", &old),
        (
            "never",
            world("3", None),
            Some(("PodResizePending", Some("Infeasible"), Some(infeasible))),
            "100m",
            &old,
        ),
        ("not now", full, Some(("PodResizePending", Some("Deferred"), Some(deferred))), "100m", &old),
    ];
    for (case, world, condition, allocated, limits) in cases {
        let next = world.step();
        let all = next.status["conditions"].as_array().unwrap();
        let told = all.iter().find(|one| one["type"].as_str().unwrap().starts_with("PodResize"));
        let told =
            told.map(|one| (one["type"].as_str().unwrap(), one["reason"].as_str(), one["message"].as_str()));
        assert_eq!(told, condition, "case: {case}");
        let shown = &next.status["containerStatuses"][0];
        assert_eq!(shown["allocatedResources"]["cpu"], allocated, "case: {case}");
        assert_eq!(&shown["resources"]["limits"], limits, "case: {case}");
    }
    let told = world("3", None).step().actions;
    let text = format!(
        "Pod resize Infeasible: {{\"containers\":[{{\"name\":\"a\",\"resources\":{{\"limits\":{{\"cpu\":\"3\"}},\
         \"requests\":{{\"cpu\":\"3\",\"memory\":\"64Mi\"}}}}}}],\"generation\":2,\"error\":\"{infeasible}\"}}"
    );
    assert!(
        told.iter().any(|one| matches!(one, Action::Tell { message, .. } if *message == text)),
        "{told:?}"
    );
}

#[test]
fn an_evicted_pod_has_failed_and_says_why() {
    let mut world = World::new(two()).with("a", ended(137)).with("b", ended(137));
    world.evicted = Some("Usage of EmptyDir volume \"d\" exceeds the limit \"5Mi\". ");
    world.sandbox.as_mut().unwrap().running = false;
    let told = |status: &Value| {
        ["phase", "reason", "message"].map(|key| status[key].as_str().unwrap_or_default().to_owned())
    };
    let status = world.step().status;
    assert_eq!(told(&status), ["Failed", "Evicted", world.evicted.unwrap()]);
    // What is told stays, also after the agent has begun anew.
    world.pod.status = serde_json::from_value(status).unwrap();
    world.evicted = None;
    let again = world.step().status;
    assert_eq!(told(&again)[..2], ["Failed", "Evicted"]);
}

//! What is done next.

use serde_json::json;

use super::world::{World, at, ended, running, short, two, with_init};
use crate::pod::step::Action;
use crate::pod::{Busy, Failure, Health};
use crate::runtime::State;

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
    let mut cut_off = World::new(two()).with("a", running()).with("b", running());
    cut_off.sandbox.as_mut().unwrap().connected = false;
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
    let mut failed_probe = World::new(two()).with("a", running()).with("b", running());
    failed_probe.health.insert("b-0".into(), Health { failed_probe: Some("liveness"), ..Default::default() });
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
        ("without its address, too", cut_off, &["stop a", "stop b"]),
        ("and the sandbox made anew", changed, &["event SandboxChanged", "remove sandbox"]),
        (
            "what it may use has changed",
            World::new(resized("NotRequired")).with("a", running()),
            &["event ResizeStarted", "resize a to 500m"],
        ),
        (
            "which wants a restart",
            World::new(resized("RestartContainer")).with("a", running()),
            &["event ResizeStarted", "stop a"],
        ),
        ("out of time", late, &["event DeadlineExceeded", "stop a"]),
        ("too large", too_large, &["event Evicted", "stop a", "stop b"]),
        ("who gave up is stopped", failed_probe, &["stop b"]),
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

/// A container of another image takes the place of one that runs, whatever the restart policy; one that was over stays over.
#[test]
fn another_image_is_another_container() {
    let asks = |policy: &str| {
        let one = |name: &str, image: &str| json!({"name": name, "image": image});
        let mut side = one("s", "i:2");
        side["restartPolicy"] = json!("Always");
        json!({"restartPolicy": policy, "initContainers": [side, one("i", "i:2")], "containers": [one("a", "i:2"), one("b", "i:1")]})
    };
    let pod = |policy: &str| World::new(asks(policy));
    let up = |policy: &str| {
        let mut world = pod(policy).with("s", running()).with("i", ended(0)).with("b", running());
        world.containers.get_mut("s").unwrap()[0].image = "i:2".into();
        world
    };
    let replaced = |policy: &str, code: i64| {
        let mut world = up(policy).with("a", ended(code));
        world.containers.get_mut("a").unwrap()[0].replaced = true;
        world
    };
    let mut crashing = up("Always").with("a", ended(1));
    crashing.containers.get_mut("a").unwrap()[0].backoff = 300;
    let mut unhealthy = up("Never").with("a", running());
    unhealthy.health.insert("a-0".into(), Health { failed_probe: Some("liveness"), ..Default::default() });
    let mut resized = up("Never").with("a", running());
    resized.containers.get_mut("a").unwrap()[0].limits.cpu_shares = 500;
    let mut stops = up("Always").with("a", running());
    stops.busy.insert("a".into(), Busy::Stopping { deadline: at(20) });
    let mut unknown = up("Always").with("a", running());
    unknown.containers.get_mut("a").unwrap()[0].image = String::new();
    let cases: Vec<(&str, World, &[&str])> = vec![
        ("it runs", up("Always").with("a", running()), &["replace a"]),
        ("whatever the policy", up("Never").with("a", running()), &["replace a"]),
        ("it is ending", stops, &[]),
        ("ended for another", replaced("Never", 143), &["start a.1"]),
        ("and well", replaced("OnFailure", 0), &["start a.1"]),
        ("it was over before", up("Never").with("a", ended(1)), &[]),
        ("what failed is not what starts", crashing, &["start a.1"]),
        ("once is enough", unhealthy, &["replace a"]),
        ("it is not resized as well", resized, &["event ResizeStarted", "replace a"]),
        ("nobody knows what it was made of", unknown, &[]),
        ("a sidecar", pod("Never").with("s", running()).with("i", running()), &["replace s"]),
        (
            "an init container runs to its end",
            {
                let mut world = pod("Never").with("s", running()).with("i", running());
                world.containers.get_mut("s").unwrap()[0].image = "i:2".into();
                world
            },
            &[],
        ),
    ];
    for (case, world, expected) in cases {
        let mut done = short(&world.step());
        done.sort_by_key(|word| word.starts_with("replace"));
        assert_eq!(done, expected, "case: {case}");
    }
    let status = replaced("Never", 143).step().status;
    assert_eq!(status["phase"], "Running", "another follows");
    let shown = &status["containerStatuses"][0];
    // The API refuses that what was shown as over runs again under this policy.
    assert_eq!(shown["state"]["waiting"]["reason"], "PodInitializing", "{shown:#}");
    assert_eq!(shown["lastState"]["terminated"]["exitCode"], 143, "{shown:#}");
    let Action::Start { backoff, .. } = replaced("Never", 143).step().actions[0] else { panic!("it starts") };
    assert_eq!(backoff, 10, "the back-off begins anew");
    let Action::Stop { message, .. } = &up("Never").with("a", running()).step().actions[0] else {
        panic!("it is stopped")
    };
    assert_eq!(message, "Container a definition changed, will be restarted");
}

#[test]
fn restarts_wait_and_say_so() {
    let mut world = World::new(two()).with("a", ended(1)).with("a", ended(1)).with("b", running());
    world.containers.get_mut("a").unwrap()[1].backoff = 10;
    let waiting = world.step();
    assert_eq!((short(&waiting), waiting.wake), (vec!["event a".to_owned()], Some(at(9))));
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

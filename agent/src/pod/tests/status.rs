//! What the status shows.

use serde_json::{Value, json};

use super::world::{World, at, ended, running, two, with_init};
use crate::times::rfc3339;

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
        assert_eq!(
            types,
            ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        );
        let text = |one: &Value| {
            let parts = ["status", "reason", "message"].iter().filter_map(|key| one[*key].as_str());
            parts.collect::<Vec<_>>().join(" ")
        };
        let got: Vec<String> = conditions.iter().map(text).collect();
        assert_eq!(got[..4], expected, "case: {name}");
        assert_eq!(got[4], "True", "case: {name}: a pod that is here has its node, whoever gave it");
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
    assert_eq!(since("Initialized"), rfc3339(at(0)));
    assert_eq!(conditions.as_array().unwrap().last().unwrap()["type"], "PodScheduled");
}

/// The image of the status is that of what runs, or ran last; the one that the spec names by now may never come up.
#[test]
fn the_status_names_the_image_that_runs() {
    let spec = json!({"containers": [{"name": "a", "image": "i:2"}]});
    let shown = |world: World| {
        let status = world.step().status["containerStatuses"][0].clone();
        [status["image"].as_str().unwrap().to_owned(), status["imageID"].as_str().unwrap().to_owned()]
    };
    assert_eq!(shown(World::new(spec.clone())), ["i:2", ""], "nothing was made yet");
    assert_eq!(shown(World::new(spec.clone()).with("a", running())), ["i:1", "sha256:1"]);
    assert_eq!(shown(World::new(spec).with("a", ended(143))), ["i:1", "sha256:1"]);
}

#[test]
fn an_evicted_pod_has_failed_and_says_why() {
    let mut world = World::new(two()).with("a", ended(137)).with("b", ended(137));
    world.evicted = Some("Usage of EmptyDir volume \"d\" exceeds the limit \"5Mi\". ");
    world.sandbox.as_mut().unwrap().running = false;
    let shown = |status: &Value| {
        ["phase", "reason", "message"].map(|key| status[key].as_str().unwrap_or_default().to_owned())
    };
    let status = world.step().status;
    assert_eq!(shown(&status), ["Failed", "Evicted", world.evicted.unwrap()]);
    // What is told stays, also after the agent has begun anew.
    world.pod.status = serde_json::from_value(status).unwrap();
    world.evicted = None;
    let again = world.step().status;
    assert_eq!(shown(&again)[..2], ["Failed", "Evicted"]);
}

#[test]
fn in_a_pod_that_is_over_nothing_waits_whose_turn_had_come() {
    let late = |mut spec: Value| {
        spec["activeDeadlineSeconds"] = json!(6);
        World::new(spec).without_sandbox()
    };
    let cases = [
        ("no init containers", late(two()).with("a", ended(137)), "a=Error b=ContainerStatusUnknown"),
        ("nothing of it began", late(two()), "a=ContainerStatusUnknown b=ContainerStatusUnknown"),
        (
            "initialised",
            late(with_init()).with("s", ended(137)).with("i", ended(0)),
            "s=Error i=Completed c=ContainerStatusUnknown",
        ),
        (
            "an init container began, so those before it had their turn",
            late(with_init()).with("i", ended(1)),
            "s=ContainerStatusUnknown i=Error c=PodInitializing",
        ),
        (
            "the first init container has always had its turn",
            late(with_init()),
            "s=ContainerStatusUnknown i=PodInitializing c=PodInitializing",
        ),
        ("not over yet", World::new(two()).with("a", running()), "a= b=ContainerCreating"),
    ];
    for (case, world, expected) in cases {
        let status = world.step().status;
        let lists = ["initContainerStatuses", "containerStatuses"].map(|key| status[key].as_array().cloned());
        let word = |one: &Value| {
            let state = &one["state"];
            let reason = state["terminated"]["reason"].as_str().or(state["waiting"]["reason"].as_str());
            format!("{}={}", one["name"].as_str().unwrap(), reason.unwrap_or_default())
        };
        let got: Vec<String> = lists.iter().flatten().flatten().map(word).collect();
        assert_eq!(got.join(" "), expected, "case: {case}");
    }
    let unknown = late(two()).step().status["containerStatuses"][0]["state"]["terminated"].clone();
    let message = "The container could not be located when the pod was terminated";
    assert_eq!((unknown["exitCode"].as_i64(), unknown["message"].as_str()), (Some(137), Some(message)));
}

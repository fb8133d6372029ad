//! How a resize goes.

use serde_json::json;

use super::world::{World, at, ended, running};
use crate::pod::step::Action;
use crate::pod::{Failure, resize};
use crate::resources;
use crate::runtime::{Enforced, Limits};

/// Somebody has limited a container that asks for no limit, or its engine enforces none: nobody asked for a resize, so none is made and
/// none is told. The status shows what the engine does.
#[test]
fn what_is_not_asked_for_is_no_resize() {
    let has = |limit: &str, limits: Limits, enforced: Enforced| {
        let mut resources = json!({"requests": {"cpu": "100m"}});
        if !limit.is_empty() {
            resources["limits"] = json!({"cpu": limit});
        }
        let mut world =
            World::new(json!({"containers": [{"name": "a", "resources": resources}]})).with("a", running());
        world.containers.get_mut("a").unwrap()[0].limits = Limits { cpu_shares: 102, ..limits };
        world.enforced = enforced;
        world
    };
    let limited = Limits { cpu_milli: 500, memory: 64 << 20, ..Limits::default() };
    let no_quota = Enforced { cpu: false, ..Enforced::default() };
    let cases = [
        (
            "limited by somebody",
            has("", limited, Enforced::default()),
            json!({"cpu": "500m", "memory": "67108864"}),
        ),
        ("not enforced", has("200m", Limits::default(), no_quota), json!({})),
    ];
    for (case, world, limits) in cases {
        let next = world.step();
        assert_eq!(next.actions, [], "case: {case}");
        let conditions = next.status["conditions"].to_string();
        assert!(!conditions.contains("PodResize"), "case: {case}: {conditions}");
        assert_eq!(next.status["containerStatuses"][0]["resources"]["limits"], limits, "case: {case}");
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
        let shown = all.iter().find(|one| one["type"].as_str().unwrap().starts_with("PodResize"));
        let shown =
            shown.map(|one| (one["type"].as_str().unwrap(), one["reason"].as_str(), one["message"].as_str()));
        assert_eq!(shown, condition, "case: {case}");
        let shown = &next.status["containerStatuses"][0];
        assert_eq!(shown["allocatedResources"]["cpu"], allocated, "case: {case}");
        assert_eq!(&shown["resources"]["limits"], limits, "case: {case}");
    }
    let shown = world("3", None).step().actions;
    let text = format!(
        "Pod resize Infeasible: {{\"containers\":[{{\"name\":\"a\",\"resources\":{{\"limits\":{{\"cpu\":\"3\"}},\
         \"requests\":{{\"cpu\":\"3\",\"memory\":\"64Mi\"}}}}}}],\"generation\":2,\"error\":\"{infeasible}\"}}"
    );
    assert!(
        shown.iter().any(|one| matches!(one, Action::Emit { message, .. } if *message == text)),
        "{shown:?}"
    );
}

/// A resize that has no room is not carried out by a restart either: the next attempt is made of what was allocated, and the status
/// goes on saying that the resize waits.
#[test]
fn a_restart_carries_out_no_resize_that_has_no_room() {
    let world = |cpu: &str, used: i64, known: serde_json::Value| {
        let resources = json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let container = json!({"name": "a", "resources": resources});
        let mut world = World::new(json!({"containers": [container]})).with("a", ended(1));
        let mut status = json!({"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "containerID": "docker://a-0"});
        status.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
        world.pod.status = serde_json::from_value(json!({"containerStatuses": [status]})).unwrap();
        world.room.others.cpu_milli = used;
        world
    };
    let had = || {
        json!({"allocatedResources": {"cpu": "100m"},
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}}})
    };
    let cases = [
        ("never", world("3", 0, had()), Some("Infeasible"), Some("100m"), (102, 100)),
        ("not now", world("1", 1500, had()), Some("Deferred"), Some("100m"), (102, 100)),
        (
            "it asked for nothing before",
            world("3", 0, json!({"resources": {}})),
            Some("Infeasible"),
            None,
            (2, 0),
        ),
        ("there is room", world("1", 1000, had()), None, Some("1"), (1024, 1000)),
        ("less", world("50m", 1990, had()), None, Some("50m"), (51, 50)),
    ];
    for (case, world, pending, allocated, limits) in cases {
        let next = world.step();
        let all = next.status["conditions"].as_array().unwrap();
        let shown = all.iter().find(|one| one["type"] == "PodResizePending");
        assert_eq!(shown.and_then(|one| one["reason"].as_str()), pending, "case: {case}");
        let shown = &next.status["containerStatuses"][0];
        assert_eq!(shown["allocatedResources"]["cpu"].as_str(), allocated, "case: {case}");
        assert_eq!(shown["resources"]["limits"]["cpu"].as_str(), allocated, "case: {case}");
        let given = resize::as_allocated(&world.observed());
        assert_eq!(given.is_some(), pending.is_some(), "case: {case}");
        let pod = given.as_ref().unwrap_or(&world.pod);
        let made = resources::limits(pod, &pod.spec.as_ref().unwrap().containers[0], 1);
        assert_eq!((made.cpu_shares, made.cpu_milli), limits, "case: {case}");
    }
}

/// What the node's other pods use changes while a resize waits: that is told once.
#[test]
fn a_resize_that_waits_is_told_once() {
    let told = |used: i64| {
        let container = json!({"name": "a", "resources": {"requests": {"cpu": "1"}}});
        let mut world = World::new(json!({"containers": [container]})).with("a", running());
        let status = json!({"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": "100m"}, "resources": {"requests": {"cpu": "100m"}}});
        world.pod.status = serde_json::from_value(json!({"containerStatuses": [status]})).unwrap();
        world.room.others.cpu_milli = used;
        let once = world.step().actions.into_iter().find_map(|action| match action {
            Action::Emit { once, reason: "ResizeDeferred", .. } => Some(once),
            _ => None,
        });
        once.expect("it is told")
    };
    assert_eq!(told(1500), told(1700));
}

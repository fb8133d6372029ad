//! From any state a pod comes to rest.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::world::{World, ended, running, unlimited, with_init};
use crate::pod::step::Action;
use crate::pod::{Record, Sandbox};
use crate::runtime::State;
use crate::spec;

/// Does what a step asks for, at once and without failure.
fn perform(world: &mut World, actions: &[Action]) {
    let spec = world.pod.spec.clone().unwrap();
    let image_of =
        |name: &str| spec::find(&spec, name).and_then(|(container, _)| container.image).unwrap_or_default();
    for action in actions {
        match action {
            Action::StartSandbox { attempt } => {
                world.sandbox = Some(Sandbox {
                    id: "s".into(),
                    attempt: *attempt,
                    created: world.now,
                    since: world.now,
                    running: true,
                    connected: true,
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
                    image: image_of(name),
                    image_id: String::new(),
                    state: State::Running { started: world.now },
                    message: String::new(),
                    limits: unlimited(),
                    stop_signal: String::new(),
                    gone: false,
                    unseen: false,
                    interrupted: false,
                    replaced: false,
                };
                world.containers.entry(name.clone()).or_default().push(record);
            }
            Action::Stop { id, replaced, .. } => {
                for record in world.containers.values_mut().flatten().filter(|record| record.id == *id) {
                    let State::Running { started } = record.state else { continue };
                    let (finished, error) = (world.now, String::new());
                    record.replaced |= replaced;
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
            Action::Cancel { .. } | Action::Emit { .. } | Action::Finish => {}
        }
    }
}

proptest! {
    /// From any state a pod comes to rest, and a deleted one to its end. What runs then was made of the image that is asked for.
    #[test]
    fn pods_converge(
        states in proptest::collection::vec(0..4u8, 3),
        changed in proptest::collection::vec(proptest::bool::ANY, 3),
        sandbox in 0..4u8,
        deleted: bool,
        policy in 0..3usize,
    ) {
        let mut spec = with_init();
        let images: Vec<&str> = changed.iter().map(|changed| if *changed { "i:2" } else { "i:1" }).collect();
        spec["initContainers"][0]["image"] = json!(images[0]);
        spec["initContainers"][1]["image"] = json!(images[1]);
        spec["containers"][0]["image"] = json!(images[2]);
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
            2 => world.sandbox.as_mut().unwrap().connected = false,
            _ => {}
        }
        if deleted {
            world = world.deleted();
        }
        for _ in 0..40 {
            let next = world.step();
            prop_assert_eq!(&next, &world.step(), "the same input gives the same answer");
            let done = next.actions.iter().all(|action| matches!(action, Action::Finish | Action::Emit { .. }));
            if done && next.wake.is_none() {
                prop_assert_eq!(deleted, next.actions.contains(&Action::Finish));
                for (name, image) in ["s", "c"].iter().zip([images[0], images[2]]) {
                    let newest = world.containers.get(*name).and_then(|all| all.last());
                    let running = newest.filter(|record| record.state.is_running());
                    prop_assert!(running.is_none_or(|record| record.image == image), "{} runs something else", name);
                }
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

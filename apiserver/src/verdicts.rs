//! Why each pod is where it is: the scheduler's latest word on every pod, as it reported it.

use std::collections::{HashMap, VecDeque};

use coracle_api::Key;
use parking_lot::Mutex;
use serde_json::Value;

/// More pods than a small cluster holds; the oldest words go first.
const MOST: usize = 20_000;

/// The verdicts of a server. Explanations, not objects: they are not kept over a restart.
#[derive(Default)]
pub struct Verdicts(Mutex<State>);

#[derive(Default)]
struct State {
    latest: HashMap<Key, Value>,
    order: VecDeque<Key>,
}

impl Verdicts {
    /// Takes the scheduler's word.
    pub fn report(&self, verdicts: Vec<(Key, Value)>) {
        let mut state = self.0.lock();
        for (pod, verdict) in verdicts {
            if state.latest.insert(pod.clone(), verdict).is_none() {
                state.order.push_back(pod);
            }
            if state.order.len() > MOST
                && let Some(oldest) = state.order.pop_front()
            {
                state.latest.remove(&oldest);
            }
        }
    }

    /// The latest word on a pod.
    pub fn get(&self, pod: &Key) -> Option<Value> {
        self.0.lock().latest.get(pod).cloned()
    }
}

//! Why each pod is where it is: the scheduler's latest word on every pod, as it reported it.

use std::collections::{HashMap, VecDeque};

use coracle_api::Key;
use parking_lot::Mutex;
use serde_json::Value;

/// The most bytes of verdicts: a few thousand pods on a few dozen nodes. The oldest words go first.
const MOST_BYTES: usize = 8 << 20;

/// The verdicts of a server. Explanations, not objects: they are not kept over a restart.
#[derive(Default)]
pub struct Verdicts(Mutex<State>);

#[derive(Default)]
struct State {
    /// As JSON, which is much smaller than a tree.
    latest: HashMap<Key, Box<str>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Verdicts {
    /// Takes the scheduler's word.
    pub fn report(&self, verdicts: Vec<(Key, Value)>) {
        let mut state = self.0.lock();
        for (pod, verdict) in verdicts {
            let text = verdict.to_string().into_boxed_str();
            state.bytes += text.len();
            match state.latest.insert(pod.clone(), text) {
                Some(old) => state.bytes -= old.len(),
                None => state.order.push_back(pod),
            }
            while state.bytes > MOST_BYTES
                && let Some(oldest) = state.order.pop_front()
            {
                let gone = state.latest.remove(&oldest).map_or(0, |text| text.len());
                state.bytes -= gone;
            }
        }
    }

    /// The latest word on a pod.
    pub fn get(&self, pod: &Key) -> Option<Value> {
        let state = self.0.lock();
        serde_json::from_str(state.latest.get(pod)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;

    use super::*;

    #[test]
    fn the_oldest_words_go_first() {
        let pod = |n: usize| Key::new(&kinds::POD, "default", format!("p{n}"));
        let verdicts = Verdicts::default();
        let word = |n: usize| (pod(n), Value::from("x".repeat(MOST_BYTES / 4 - 100)));
        verdicts.report((0..4).map(word).collect());
        verdicts.report(vec![word(0)]);
        assert!((0..4).all(|n| verdicts.get(&pod(n)).is_some()), "a newer word takes the older one's place");
        verdicts.report(vec![word(4)]);
        assert!(verdicts.get(&pod(0)).is_none() && (1..5).all(|n| verdicts.get(&pod(n)).is_some()));
    }
}

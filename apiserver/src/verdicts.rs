//! Why each pod is where it is: the scheduler's latest word on every pod, as it reported it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use coracle_api::Key;
use parking_lot::Mutex;
use serde_json::{Map, Value};

/// The most bytes of verdicts, what stands beside them included: those on twenty thousand pods of a few templates, or on a few
/// thousand that have all different ones. The oldest words go first.
const MOST_BYTES: usize = 8 << 20;
/// About what a verdict takes beside its texts.
const BESIDE: usize = 256;
/// What the verdict on a pod says of this pod alone. The rest is the same for pods of one template that wait for the same reasons.
const OWN: [&str; 3] = ["uid", "time", "attempt"];

/// The verdicts of a server. Explanations, not objects: they are not kept over a restart.
#[derive(Default)]
pub struct Verdicts(Mutex<State>);

#[derive(Default)]
struct State {
    latest: HashMap<Key, Word>,
    order: VecDeque<Key>,
    /// Every text that some words share.
    texts: HashSet<Arc<str>>,
    bytes: usize,
}

/// A verdict as JSON, which is much smaller than a tree.
struct Word {
    own: Box<str>,
    shared: Arc<str>,
}

impl Verdicts {
    /// Takes the scheduler's word.
    pub fn report(&self, verdicts: Vec<(Key, Value)>) {
        let mut state = self.0.lock();
        for (pod, verdict) in verdicts {
            state.put(pod, verdict);
            while state.bytes > MOST_BYTES && state.drop_oldest() {}
        }
    }

    /// The latest word on a pod.
    pub fn get(&self, pod: &Key) -> Option<Value> {
        let state = self.0.lock();
        let Word { own, shared } = state.latest.get(pod)?;
        let mut verdict: Map<String, Value> = serde_json::from_str(own).ok()?;
        verdict.extend(serde_json::from_str::<Map<String, Value>>(shared).ok()?);
        Some(verdict.into())
    }
}

impl State {
    fn put(&mut self, pod: Key, mut verdict: Value) {
        let own: Map<String, Value> = verdict.as_object_mut().map_or_else(Map::new, |fields| {
            OWN.iter().filter_map(|name| fields.shift_remove_entry(*name)).collect()
        });
        let own = Value::from(own).to_string().into_boxed_str();
        let text: Arc<str> = verdict.to_string().into();
        let shared = self.texts.get(&text).cloned().unwrap_or_else(|| {
            self.bytes += text.len();
            self.texts.insert(text.clone());
            text
        });
        self.bytes += own.len() + BESIDE;
        match self.latest.insert(pod.clone(), Word { own, shared }) {
            Some(old) => self.forget(old),
            None => self.order.push_back(pod),
        }
    }

    /// Drops the word on the pod that was the first to be spoken of; says whether there was any.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.order.pop_front() else { return false };
        if let Some(word) = self.latest.remove(&oldest) {
            self.forget(word);
        }
        true
    }

    /// Counts a word no more that has been taken out, nor its shared text if no other word has it.
    fn forget(&mut self, Word { own, shared }: Word) {
        self.bytes -= own.len() + BESIDE;
        // The set's own, and this one.
        if Arc::strong_count(&shared) == 2 {
            self.bytes -= shared.len();
            self.texts.remove(&shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;
    use serde_json::json;

    use super::*;

    fn pod(n: usize) -> Key {
        Key::new(&kinds::POD, "default", format!("p{n}"))
    }

    /// A verdict of some size on a pod; those of one `why` differ only in what is the pod's own.
    fn verdict(n: usize, why: usize, size: usize) -> Value {
        json!({"uid": format!("u{n}"), "time": "t", "attempt": n, "message": format!("{why}"), "rows": ["x".repeat(size)]})
    }

    #[test]
    fn the_oldest_words_go_first() {
        let verdicts = Verdicts::default();
        let word = |n: usize| (pod(n), verdict(n, n, MOST_BYTES / 4 - 1000));
        verdicts.report((0..4).map(word).collect());
        verdicts.report(vec![word(0)]);
        assert!((0..4).all(|n| verdicts.get(&pod(n)).is_some()), "a newer word takes the older one's place");
        verdicts.report(vec![word(4)]);
        assert!(verdicts.get(&pod(0)).is_none() && (1..5).all(|n| verdicts.get(&pod(n)).is_some()));
    }

    #[test]
    fn what_pods_of_a_template_are_told_alike_is_kept_once() {
        let verdicts = Verdicts::default();
        let (pods, size) = (1_000, 30_000);
        verdicts.report((0..pods).map(|n| (pod(n), verdict(n, 1, size))).collect());
        for n in [0, 1, pods - 1] {
            assert_eq!(verdicts.get(&pod(n)), Some(verdict(n, 1, size)));
        }
        // Each is told something else now: what they shared goes with the last one, and so does the count of it.
        verdicts.report((0..pods).map(|n| (pod(n), verdict(n, n, 10))).collect());
        let state = verdicts.0.lock();
        let counted = |word: &Word| word.own.len() + word.shared.len() + BESIDE;
        assert_eq!(state.bytes, state.latest.values().map(counted).sum::<usize>());
        assert_eq!(state.texts.len(), pods);
    }
}

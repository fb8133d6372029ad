//! Pods that wait for a node: by priority, then by age. A pod that no node takes sleeps until something changes that
//! can help it, and not more often than its back-off allows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::changes::Changes;
use crate::pod::{Pod, PodKey};

/// The wait after a first failure. Decisions are cheap here, so a tenth of upstream's second is enough to keep many
/// events from causing as many attempts.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// The longest wait, so that a pod is placed within moments of room appearing, however often it was refused before.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// A sleeping pod looks again after this long even if nothing is known to have helped, in case something was missed.
const LEFT_OVER: Duration = Duration::from_secs(300);

/// The queue.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<PodKey, Entry>,
    ready: BTreeMap<(Reverse<i32>, u64), PodKey>,
    /// Woken, but not yet due; and everything else that time alone brings back.
    later: BTreeSet<(Timestamp, u64, PodKey)>,
    /// Who sleeps, by the changes that would help: a change looks only at those whom it wakes.
    asleep: BTreeMap<Changes, BTreeSet<PodKey>>,
    arrivals: u64,
}

struct Entry {
    pod: Arc<Pod>,
    arrival: u64,
    attempts: u32,
    /// Not to be tried before.
    not_before: Timestamp,
    state: State,
}

enum State {
    Ready,
    /// Taken out by [`Queue::pop`]; nothing is known yet.
    Taken,
    /// Due when `later` says so.
    Later(Timestamp),
    /// Waits for one of the changes, or for the time at which it would look again anyway.
    Asleep(Changes, Timestamp),
}

impl Queue {
    /// Takes in a pod, or a new state of one. A change to the pod itself wakes it.
    pub fn offer(&mut self, pod: Arc<Pod>) {
        let key = pod.key.clone();
        let (arrival, attempts, not_before) = match self.entries.get(&key) {
            Some(entry) if *entry.pod == *pod => return,
            Some(entry) if entry.pod.uid == pod.uid => {
                if matches!(entry.state, State::Taken) {
                    // Its decision is on the way to disk; the answer will bring it back if need be.
                    if let Some(entry) = self.entries.get_mut(&key) {
                        entry.pod = pod;
                    }
                    return;
                }
                (entry.arrival, entry.attempts, entry.not_before)
            }
            _ => {
                self.arrivals += 1;
                (self.arrivals, 0, Timestamp::UNIX_EPOCH)
            }
        };
        self.remove(&key);
        self.ready.insert((Reverse(pod.shape.priority), arrival), key.clone());
        self.entries.insert(key, Entry { pod, arrival, attempts, not_before, state: State::Ready });
    }

    /// Forgets a pod: bound, gone, gated, or somebody else's.
    pub fn remove(&mut self, key: &str) {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return };
        match entry.state {
            State::Ready => {
                self.ready.remove(&(Reverse(entry.pod.shape.priority), entry.arrival));
            }
            State::Later(due) => {
                self.later.remove(&(due, entry.arrival, key));
            }
            State::Asleep(helped_by, due) => {
                self.asleep.entry(helped_by).or_default().remove(&key);
                self.later.remove(&(due, entry.arrival, key));
            }
            State::Taken => {}
        }
    }

    /// The next pod to be decided on. It stays known until [`Queue::remove`] or [`Queue::refused`].
    pub fn pop(&mut self) -> Option<Arc<Pod>> {
        let (_, key) = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        entry.state = State::Taken;
        entry.attempts = entry.attempts.saturating_add(1);
        Some(entry.pod.clone())
    }

    /// Whether a pod is to be decided on now.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A taken pod found no node: it sleeps until one of the changes. With no changes named it comes back by time alone.
    pub fn refused(&mut self, key: &str, helped_by: Changes, now: Timestamp) {
        let Some((key, _)) = self.entries.get_key_value(key) else { return };
        let key = key.clone();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if !matches!(entry.state, State::Taken) {
            return;
        }
        let factor = 1_u32 << entry.attempts.saturating_sub(1).min(10);
        entry.not_before = now + FIRST_BACK_OFF.saturating_mul(factor).min(LONGEST_BACK_OFF);
        let due;
        (entry.state, due) = if helped_by.is_empty() {
            (State::Later(entry.not_before), entry.not_before)
        } else {
            let due = now + LEFT_OVER;
            self.asleep.entry(helped_by).or_default().insert(key.clone());
            (State::Asleep(helped_by, due), due)
        };
        self.later.insert((due, entry.arrival, key));
    }

    /// Something changed in the cluster. Says whom it woke.
    pub fn wake(&mut self, changes: Changes, now: Timestamp, mut woken: impl FnMut(&str)) {
        if changes.is_empty() {
            return;
        }
        let helped = self.asleep.iter_mut().filter(|(helped_by, _)| helped_by.touches(changes));
        let keys: Vec<PodKey> = helped.flat_map(|(_, keys)| std::mem::take(keys)).collect();
        for key in keys {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let State::Asleep(_, old_due) = entry.state else { continue };
            woken(&key);
            self.later.remove(&(old_due, entry.arrival, key.clone()));
            if entry.not_before <= now {
                entry.state = State::Ready;
                self.ready.insert((Reverse(entry.pod.shape.priority), entry.arrival), key.clone());
            } else {
                entry.state = State::Later(entry.not_before);
                self.later.insert((entry.not_before, entry.arrival, key.clone()));
            }
        }
    }

    /// Brings back whoever is due, and says when the next one will be.
    pub fn tick(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some((due, _, _)) = self.later.first() {
            if *due > now {
                return Some(*due);
            }
            let Some((_, arrival, key)) = self.later.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&key) {
                if let State::Asleep(helped_by, _) = entry.state {
                    self.asleep.entry(helped_by).or_default().remove(&key);
                }
                entry.state = State::Ready;
                self.ready.insert((Reverse(entry.pod.shape.priority), arrival), key);
            }
        }
        None
    }

    /// How many pods wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Shape;

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        Arc::new(Pod {
            key: name.into(),
            uid: name.into(),
            namespace: "".into(),
            labels: Arc::default(),
            node: None,
            terminating: false,
            shape: Arc::new(Shape { priority, ..Shape::default() }),
        })
    }

    fn drain(queue: &mut Queue) -> String {
        let keys: Vec<String> = std::iter::from_fn(|| queue.pop()).map(|p| p.key.to_string()).collect();
        keys.join(" ")
    }

    #[test]
    fn by_priority_then_by_arrival() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)] {
            queue.offer(pod(name, priority));
        }
        queue.remove("c");
        assert_eq!(drain(&mut queue), "b d a e");
    }

    #[test]
    fn sleeps_until_a_change_that_helps_and_keeps_its_place() {
        let (mut queue, start) = (Queue::default(), Timestamp::UNIX_EPOCH);
        queue.offer(pod("old", 0));
        queue.offer(pod("new", 0));
        while let Some(p) = queue.pop() {
            queue.refused(&p.key, Changes::POD_GONE, start);
        }
        let later = start + Duration::from_secs(2);
        queue.wake(Changes::NODE_TAINTS, later, |_| {});
        assert!(!queue.is_ready(), "taints do not make room");
        queue.wake(Changes::POD_GONE, later, |_| {});
        assert_eq!(drain(&mut queue), "old new");
    }

    #[test]
    fn backs_off_but_not_for_long() {
        let (mut queue, mut now) = (Queue::default(), Timestamp::UNIX_EPOCH);
        queue.offer(pod("a", 0));
        let mut waits = Vec::new();
        for _ in 0..6 {
            queue.pop().expect("it is ready");
            queue.refused("a", Changes::POD_GONE, now);
            queue.wake(Changes::POD_GONE, now, |_| {});
            assert!(!queue.is_ready(), "woken at once, but not due");
            let due = queue.tick(now).expect("it is due some time");
            waits.push(due.duration_since(now).as_millis());
            now = due;
            assert_eq!(queue.tick(now), None);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn looks_again_by_itself_in_the_end() {
        let (mut queue, start) = (Queue::default(), Timestamp::UNIX_EPOCH);
        queue.offer(pod("a", 0));
        queue.pop();
        queue.refused("a", Changes::POD_GONE, start);
        assert_eq!(queue.tick(start), Some(start + LEFT_OVER));
        queue.tick(start + LEFT_OVER);
        assert!(queue.is_ready());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Offer(u8),
        Refuse(u8),
        Wake(u8),
        Remove(u8),
        Pass(u64),
    }

    fn step() -> impl proptest::strategy::Strategy<Value = Step> {
        use proptest::prelude::*;
        prop_oneof![
            (0..6u8).prop_map(Step::Offer),
            (0..3u8).prop_map(Step::Refuse),
            (0..3u8).prop_map(Step::Wake),
            (0..6u8).prop_map(Step::Remove),
            (0..400u64).prop_map(Step::Pass),
        ]
    }

    const SOME: [Changes; 3] = [Changes::POD_GONE, Changes::NODE_TAINTS, Changes::NODE_ADDED];

    proptest::proptest! {
        /// Whatever happens, each pod stands in exactly the lists that its state asks for.
        #[test]
        fn the_lists_agree_with_the_states(steps in proptest::collection::vec(step(), 0..80)) {
            let (mut queue, mut now) = (Queue::default(), Timestamp::UNIX_EPOCH);
            for step in steps {
                match step {
                    Step::Offer(n) => queue.offer(pod(&n.to_string(), i32::from(n % 2))),
                    Step::Refuse(n) => {
                        if let Some(pod) = queue.pop() {
                            queue.refused(&pod.key, SOME[usize::from(n)], now);
                        }
                    }
                    Step::Wake(n) => queue.wake(SOME[usize::from(n)], now, |_| {}),
                    Step::Remove(n) => queue.remove(&n.to_string()),
                    Step::Pass(seconds) => {
                        now += Duration::from_secs(seconds);
                        queue.tick(now);
                    }
                }
                let count = |is: fn(&State) -> bool| queue.entries.values().filter(|e| is(&e.state)).count();
                let asleep = count(|state| matches!(state, State::Asleep(..)));
                let later = count(|state| matches!(state, State::Later(_)));
                proptest::prop_assert_eq!(queue.asleep.values().map(BTreeSet::len).sum::<usize>(), asleep);
                proptest::prop_assert_eq!(queue.later.len(), asleep + later);
                proptest::prop_assert_eq!(queue.ready.len(), count(|state| matches!(state, State::Ready)));
            }
        }
    }
}

//! Which of many equal events are written, and how: upstream's rules (client-go, `tools/record/events_cache.go` and
//! `tools/events/event_broadcaster.go`), without I/O.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

use super::occurrence::Occurrence;

/// From this many different messages of one reason about one object within [`ALIKE_FOR`] on, they are combined into one event.
const MOST_ALIKE: usize = 10;
const ALIKE_FOR: SignedDuration = SignedDuration::from_mins(10);
/// So many events about one object at once, and one more every five minutes.
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;
/// A series of equal events ends after a pause of this length.
const SERIES_PAUSE: SignedDuration = SignedDuration::from_mins(6);
/// Entries a cache keeps; the oldest go first.
const MOST_ENTRIES: usize = 4096;

/// What to do with an occurrence.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing: too many about this object, or a series that is known to go on.
    Drop,
    /// Make an event.
    Create { name: String, occurrence: Occurrence },
    /// Raise the count of the event that tells it already.
    Count { name: String, occurrence: Occurrence, first: Timestamp, count: i32 },
}

#[derive(Default)]
pub(super) struct Correlator {
    alike: Cache<Vec<String>, Alike>,
    same: Cache<Vec<String>, Same>,
    tokens: Cache<Vec<String>, Tokens>,
    names: u32,
}

struct Alike {
    messages: BTreeSet<String>,
    last: Timestamp,
}

struct Same {
    name: String,
    first: Timestamp,
    last: Timestamp,
    count: i32,
}

struct Tokens {
    left: f64,
    at: Timestamp,
}

impl Correlator {
    /// Equal events count up in one; many that differ only in their message are combined; too many are dropped.
    pub(super) fn counted(&mut self, mut occurrence: Occurrence) -> Verdict {
        let mut key = object_key(&occurrence);
        let spam = key.clone();
        key.extend([occurrence.kind.to_owned(), occurrence.reason.clone()]);
        let combined = self.is_one_of_many(&key, &occurrence);
        if combined {
            occurrence.message = format!("(combined from similar events): {}", occurrence.message);
        } else {
            key.push(occurrence.message.clone());
            key.push(occurrence.about.field_path.clone().unwrap_or_default());
        }
        let now = occurrence.at;
        let known = self.same.get(&key).map(|same| {
            same.count += 1;
            same.last = now;
            (same.name.clone(), same.first, same.count)
        });
        let known = known.unwrap_or_else(|| {
            let name = self.name(&occurrence);
            self.same.put(key, Same { name: name.clone(), first: now, last: now, count: 1 });
            (name, now, 1)
        });
        if !self.may(spam, now) {
            return Verdict::Drop;
        }
        match known {
            (name, _, 1) => Verdict::Create { name, occurrence },
            (name, first, count) => Verdict::Count { name, occurrence, first, count },
        }
    }

    /// The first event, then one that says it has become a series; more are not written while the series goes on.
    pub(super) fn series(&mut self, occurrence: Occurrence) -> Verdict {
        let mut key = object_key(&occurrence);
        key.extend([occurrence.kind.to_owned(), occurrence.reason.clone(), occurrence.action.clone()]);
        let now = occurrence.at;
        let known = self.same.get(&key).filter(|same| now.duration_since(same.last) < SERIES_PAUSE);
        if let Some(same) = known {
            same.count += 1;
            same.last = now;
            let (name, first, count) = (same.name.clone(), same.first, same.count);
            return match count {
                2 => Verdict::Count { name, occurrence, first, count },
                _ => Verdict::Drop,
            };
        }
        let name = self.name(&occurrence);
        self.same.put(key, Same { name: name.clone(), first: now, last: now, count: 1 });
        Verdict::Create { name, occurrence }
    }

    fn is_one_of_many(&mut self, key: &[String], occurrence: &Occurrence) -> bool {
        let now = occurrence.at;
        let fresh = || Alike { messages: BTreeSet::new(), last: now };
        let alike = self.alike.get_or(key.to_vec(), fresh);
        if now.duration_since(alike.last) > ALIKE_FOR {
            alike.messages.clear();
        }
        alike.last = now;
        alike.messages.insert(occurrence.message.clone());
        if alike.messages.len() < MOST_ALIKE {
            return false;
        }
        alike.messages.pop_first();
        true
    }

    fn may(&mut self, key: Vec<String>, now: Timestamp) -> bool {
        let tokens = self.tokens.get_or(key, || Tokens { left: BURST, at: now });
        let passed = now.duration_since(tokens.at).as_secs_f64().max(0.0);
        tokens.left = (tokens.left + passed * REFILL_PER_SECOND).min(BURST);
        tokens.at = now;
        if tokens.left < 1.0 {
            return false;
        }
        tokens.left -= 1.0;
        true
    }

    /// The object's name and the time in nanoseconds as hex, made unique where a paused clock stands still.
    fn name(&mut self, occurrence: &Occurrence) -> String {
        self.names = self.names.wrapping_add(1);
        let nanos = occurrence.at.as_nanosecond() + i128::from(self.names % 1000);
        format!("{}.{nanos:x}", occurrence.about.name.as_deref().unwrap_or_default())
    }
}

fn object_key(occurrence: &Occurrence) -> Vec<String> {
    let about = &occurrence.about;
    let parts = [&about.kind, &about.namespace, &about.name, &about.uid, &about.api_version];
    parts.into_iter().map(|part| part.clone().unwrap_or_default()).collect()
}

/// A map that keeps only so many entries: those put last.
struct Cache<K, V> {
    entries: HashMap<K, V>,
    order: std::collections::VecDeque<K>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Cache { entries: HashMap::new(), order: std::collections::VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    fn put(&mut self, key: K, value: V) {
        self.make_room(&key);
        self.entries.insert(key, value);
    }

    fn get_or(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.make_room(&key);
        self.entries.entry(key).or_insert_with(make)
    }

    fn make_room(&mut self, key: &K) {
        if self.entries.contains_key(key) {
            return;
        }
        self.order.push_back(key.clone());
        if self.order.len() > MOST_ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn occurrence(message: &str, second: i64) -> Occurrence {
        Occurrence {
            about: ObjectReference { name: Some("web".into()), ..ObjectReference::default() },
            related: None,
            kind: "Normal",
            reason: "Scaled".into(),
            action: String::new(),
            message: message.into(),
            annotations: Vec::new(),
            at: Timestamp::from_second(1_000_000 + second).unwrap(),
        }
    }

    fn summary(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Drop => "drop".into(),
            Verdict::Create { occurrence, .. } => format!("create {}", occurrence.message),
            Verdict::Count { occurrence, count, .. } => format!("{count} x {}", occurrence.message),
        }
    }

    #[test]
    fn equal_events_count_up() {
        let mut correlator = Correlator::default();
        let got: Vec<String> =
            ["a", "a", "b", "a"].iter().map(|m| summary(&correlator.counted(occurrence(m, 0)))).collect();
        assert_eq!(got, ["create a", "2 x a", "create b", "3 x a"]);
    }

    #[test]
    fn the_tenth_message_of_a_reason_is_combined_until_ten_quiet_minutes() {
        let mut correlator = Correlator::default();
        let got: Vec<String> =
            (0..12).map(|n| summary(&correlator.counted(occurrence(&n.to_string(), n)))).collect();
        assert_eq!(got[8], "create 8");
        assert_eq!(got[9], "create (combined from similar events): 9");
        assert_eq!(got[10], "2 x (combined from similar events): 10");
        assert_eq!(summary(&correlator.counted(occurrence("late", 700))), "create late");
    }

    #[test]
    fn more_than_a_burst_is_dropped_and_comes_back_slowly() {
        let mut correlator = Correlator::default();
        let passed = (0..40).filter(|_| correlator.counted(occurrence("a", 0)) != Verdict::Drop).count();
        assert_eq!(passed, 25);
        assert_eq!(correlator.counted(occurrence("a", 299)), Verdict::Drop);
        assert_eq!(summary(&correlator.counted(occurrence("a", 301))), "42 x a");
    }

    #[test]
    fn a_series_is_written_when_it_begins_and_not_again() {
        let mut correlator = Correlator::default();
        let got: Vec<String> =
            [0, 5, 9, 500].iter().map(|s| summary(&correlator.series(occurrence("a", *s)))).collect();
        assert_eq!(got, ["create a", "2 x a", "drop", "create a"]);
    }

    #[test]
    fn a_name_is_the_objects_and_the_time_in_hex() {
        let verdict = Correlator::default().counted(occurrence("a", 0));
        let Verdict::Create { name, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(name, format!("web.{:x}", 1_000_000_i64 * 1_000_000_000 + 1));
    }
}

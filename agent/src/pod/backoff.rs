//! How long a container that ends again and again waits for its next start: 10 s, doubled up to 5 minutes, forgotten
//! once it has run for 10 minutes. It is computed from the last container alone, so that it survives a crash of the agent.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;

use super::Record;
use crate::runtime::State;
use crate::times::seconds_later;

/// The wait after the second end; the first restart is at once.
const FIRST: u64 = 10;
/// The longest wait.
const LONGEST: u64 = 300;
/// A container that has run for twice the longest wait starts anew.
const FORGOTTEN: SignedDuration = SignedDuration::from_secs(2 * LONGEST as i64);

/// When a container that is over may start again, and the wait that is in force until then. One whose definition has changed
/// need not wait: what failed is not what starts.
pub fn due(record: &Record, container: &Container) -> Option<(Timestamp, u64)> {
    let State::Exited { finished, .. } = record.state else { return None };
    let anew = record.has_changed(container) || forgotten(record, finished);
    let wait = if anew { 0 } else { record.backoff };
    Some((seconds_later(finished, wait), wait))
}

/// The wait that will follow the end of the container that comes after this one.
pub fn next(record: &Record, container: &Container) -> u64 {
    if record.has_changed(container) { FIRST } else { next_of_same(record) }
}

/// The same, where the next is made as this one was.
pub fn next_of_same(record: &Record) -> u64 {
    let State::Exited { finished, .. } = record.state else { return FIRST };
    match record.backoff {
        _ if forgotten(record, finished) => FIRST,
        0 => FIRST,
        wait => wait.saturating_mul(2).min(LONGEST),
    }
}

/// The back-off after so many restarts, where the container that would say so is gone.
pub fn after(restarts: u32) -> u64 {
    match restarts {
        0 => 0,
        n => FIRST.saturating_mul(1 << (n - 1).min(16)).min(LONGEST),
    }
}

fn forgotten(record: &Record, finished: Timestamp) -> bool {
    finished.duration_since(record.begun) > FORGOTTEN
}

/// A duration as Go writes it: `10s`, `1m20s`, `5m0s`.
pub fn go_seconds(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(backoff: u64, ran: i64) -> Record {
        let created = Timestamp::from_second(1_000_000).unwrap();
        let finished = created + SignedDuration::from_secs(ran);
        Record {
            limits: Default::default(),
            id: "i".into(),
            attempt: 0,
            backoff,
            created,
            begun: created,
            image: String::new(),
            image_id: String::new(),
            state: State::Exited {
                code: 1,
                oom: false,
                started: Some(created),
                finished,
                error: String::new(),
            },
            message: String::new(),
            stop_signal: String::new(),
            gone: false,
            unseen: false,
            interrupted: false,
            replaced: false,
        }
    }

    #[test]
    fn waits_double_and_are_forgotten() {
        let same = Container::default();
        let mut wait = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let record = ended(wait, 1);
            let State::Exited { finished, .. } = record.state else { unreachable!() };
            waits.push((due(&record, &same).unwrap().0.duration_since(finished)).as_secs());
            wait = next(&record, &same);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        let long = ended(300, 601);
        assert_eq!((due(&long, &same).unwrap().1, next(&long, &same)), (0, 10));
        let made = Record { image: "broken".into(), ..ended(300, 1) };
        let mended = Container { image: Some("mended".into()), ..Container::default() };
        assert_eq!((due(&made, &mended).unwrap().1, next(&made, &mended)), (0, 10), "another definition");
    }

    #[test]
    fn durations_read_as_in_go() {
        let cases = [(0, "0s"), (10, "10s"), (80, "1m20s"), (300, "5m0s"), (3601, "1h0m1s")];
        for (seconds, text) in cases {
            assert_eq!(go_seconds(seconds), text);
        }
    }
}

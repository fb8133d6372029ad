//! Times: how the API writes them, and sums that end at the last time there is instead of failing, since a pod may ask for a
//! grace of ten thousand years.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// So much later.
pub fn later(time: Timestamp, wait: SignedDuration) -> Timestamp {
    let end = if wait.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(wait).unwrap_or(end)
}

/// So many seconds later.
pub fn seconds_later(time: Timestamp, seconds: u64) -> Timestamp {
    later(time, SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// A time as the API writes it: whole seconds.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// So much later, as timers count; a century at most, which is more than any timer lives.
pub fn instant_later(time: Instant, wait: Duration) -> Instant {
    time + wait.min(CENTURY)
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_end_at_the_last_time() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let cases = [
            (0, now),
            (5, Timestamp::from_second(1_000_005).unwrap()),
            (300_000_000_000, Timestamp::MAX),
            (u64::MAX, Timestamp::MAX),
        ];
        for (seconds, expected) in cases {
            assert_eq!(seconds_later(now, seconds), expected, "{seconds} s");
        }
        assert_eq!(later(now, SignedDuration::MIN), Timestamp::MIN);
        assert_eq!(later(Timestamp::MAX, SignedDuration::from_secs(1)), Timestamp::MAX);
        assert!(instant_later(Instant::now(), Duration::MAX) > Instant::now());
    }
}

//! Times as people write and read them.

use std::time::Duration;

use serde_json::Value;

/// The longest time that makes sense to wait: ten years. A longer one would overflow the clock.
const LONGEST: u64 = 3650 * 86_400;

/// Reads `90`, `30s`, `5m`, `1h30m`.
///
/// # Errors
/// Anything else.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time; write 30s, 5m or 1h30m");
    let bounded = |seconds| if seconds <= LONGEST { Ok(Duration::from_secs(seconds)) } else { Err(bad()) };
    if let Ok(seconds) = text.parse() {
        return bounded(seconds);
    }
    let (mut seconds, mut digits) = (0_u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(bad()),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        seconds = number.checked_mul(unit).and_then(|n| seconds.checked_add(n)).ok_or_else(bad)?;
        digits.clear();
    }
    if digits.is_empty() && !text.is_empty() { bounded(seconds) } else { Err(bad()) }
}

/// How long ago a time of the API was: `5s`, `3m12s`, `2h`, as kubectl says it.
pub fn age(time: &Value, now: jiff::Timestamp) -> String {
    let Some(then) = time.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) else {
        return "<unknown>".into();
    };
    let s = now.duration_since(then).as_secs().max(0);
    match s {
        0..120 => format!("{s}s"),
        120..600 if s % 60 > 0 => format!("{}m{}s", s / 60, s % 60),
        120..10_800 => format!("{}m", s / 60),
        10_800..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("90", Some(90)),
            ("30s", Some(30)),
            ("1h30m", Some(5400)),
            ("5", Some(5)),
            ("", None),
            ("5x", None),
            ("s", None),
            ("5m3", None),
            ("18446744073709551615s", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_secs()), seconds, "case: {text:?}");
        }
    }

    #[test]
    fn ages() {
        let now: jiff::Timestamp = "2026-01-02T00:00:00Z".parse().expect("a time");
        for (time, expected) in [
            ("2026-01-01T23:59:55Z", "5s"),
            ("2026-01-01T23:55:30Z", "4m30s"),
            ("2026-01-01T23:00:00Z", "60m"),
            ("2026-01-01T00:00:00Z", "24h"),
            ("2025-12-01T00:00:00Z", "32d"),
        ] {
            assert_eq!(age(&json!(time), now), expected);
        }
        assert_eq!(age(&Value::Null, now), "<unknown>");
    }
}

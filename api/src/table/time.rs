//! Ages, as tables show them.

use jiff::Timestamp;
use serde_json::Value;

/// How long ago the RFC 3339 time in `value` was; `<unknown>` where there is none.
pub fn since(value: Option<&Value>, now: Timestamp) -> String {
    let then = value.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    then.map_or_else(|| "<unknown>".into(), |then| human(now.duration_since(then).as_secs()))
}

/// A span in the two largest units that say enough: `95s`, `4m5s`, `3h`, `2d4h`, `400d`, `3y10d`.
///
/// Source: `HumanDuration` in `k8s.io/apimachinery/pkg/util/duration`. A clock a second behind is forgiven.
///
/// ```
/// use coracle_api::table::time::human;
/// assert_eq!(human(119), "119s");
/// assert_eq!(human(245), "4m5s");
/// assert_eq!(human(3 * 3600 + 59), "3h");
/// assert_eq!(human(-5), "<invalid>");
/// ```
pub fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => pair(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_like_upstreams() {
        let (minute, hour, day, year) = (60, 3600, 86_400, 365 * 86_400);
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (2 * minute - 1, "119s"),
            (2 * minute, "2m"),
            (10 * minute - 1, "9m59s"),
            (10 * minute + 1, "10m"),
            (3 * hour - 1, "179m"),
            (3 * hour + minute, "3h1m"),
            (8 * hour + minute, "8h"),
            (2 * day, "2d"),
            (2 * day + hour, "2d1h"),
            (8 * day + hour, "8d"),
            (2 * year, "2y"),
            (2 * year + day, "2y1d"),
            (8 * year + day, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(seconds), expected, "case: {seconds}");
        }
    }

    #[test]
    fn an_absent_time_is_unknown() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(since(None, now), "<unknown>");
        assert_eq!(since(Some(&Value::from("2026-01-02T03:04:00.123456Z")), now), "4s");
    }
}

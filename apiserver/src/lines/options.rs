//! The options of `pods/log`, read and checked as upstream does.

use coracle_api::Status;
use coracle_api::field::Fault;
use coracle_api::status::{Cause, Details};
use coracle_client::line::Logs;
use jiff::Timestamp;

use crate::http::query::Query;

/// Reads the options of a log request: first their form, then their values.
///
/// # Errors
/// 400 for the form, 422 for the values.
pub(crate) fn read(pod: &str, query: &Query) -> Result<Logs, Status> {
    let since_time = query.get("sinceTime").filter(|text| !text.is_empty());
    if let Some(text) = since_time {
        text.parse::<Timestamp>().map_err(|_| Status::bad_request(go_time_error(text)))?;
    }
    let logs = Logs {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: query.int("tailLines")?,
        since_seconds: query.int("sinceSeconds")?,
        since_time: since_time.unwrap_or_default().into(),
        limit_bytes: query.int("limitBytes")?,
        stream: query.text("stream").into(),
    };
    check(pod, &logs)?;
    Ok(logs)
}

fn check(pod: &str, logs: &Logs) -> Result<(), Status> {
    let mut faults: Vec<(&str, Fault, String)> = Vec::new();
    let mut least = |field, value: Option<i64>, least: i64| {
        if let Some(value) = value.filter(|value| *value < least) {
            let than = if least == 0 { "greater than or equal to 0" } else { "greater than 0" };
            faults.push((field, Fault::Invalid, format!("Invalid value: {value}: must be {than}")));
        }
    };
    least("tailLines", logs.tail_lines, 0);
    least("limitBytes", logs.limit_bytes, 1);
    if logs.since_seconds.is_some() && !logs.since_time.is_empty() {
        let why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
        faults.push(("[]", Fault::Forbidden, why.into()));
    } else {
        least("sinceSeconds", logs.since_seconds, 1);
    }
    if !logs.stream.is_empty() {
        // Upstream knows the option, but not by default.
        faults.push(("stream", Fault::Forbidden, "Forbidden: may not be specified".into()));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = faults.iter().map(|(field, _, body)| format!("{field}: {body}")).collect();
    let all = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
    let cause = |(field, fault, body): (&str, Fault, String)| Cause {
        reason: fault.reason(),
        message: body,
        field: field.into(),
    };
    let details = Details {
        name: pod.into(),
        kind: "PodLogOptions".into(),
        causes: faults.into_iter().map(cause).collect(),
        ..Details::default()
    };
    let message = format!("PodLogOptions {pod:?} is invalid: {all}");
    Err(Status::failure(422, "Invalid", message).with_details(details))
}

/// What Go's parser says of a text that is no RFC 3339 time.
fn go_time_error(text: &str) -> String {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    let says = |what: String| format!("parsing time {text:?} as {LAYOUT:?}: {what}");
    let digits = |rest: &str, count: usize| {
        rest.len() >= count && rest.as_bytes()[..count].iter().all(u8::is_ascii_digit)
    };
    let parts =
        [("2006", 4, "-"), ("01", 2, "-"), ("02", 2, "T"), ("15", 2, ":"), ("04", 2, ":"), ("05", 2, "")];
    let mut rest = text;
    for (element, count, behind) in parts {
        if !digits(rest, count) {
            return says(format!("cannot parse {rest:?} as {element:?}"));
        }
        rest = &rest[count..];
        match rest.strip_prefix(behind) {
            Some(next) => rest = next,
            None => return says(format!("cannot parse {rest:?} as {behind:?}")),
        }
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    if !rest.starts_with(['Z', '+', '-']) {
        return says(format!("cannot parse {rest:?} as \"Z07:00\""));
    }
    format!("parsing time {text:?}: day out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_upstreams_texts() {
        let cases = [
            ("tailLines=0&limitBytes=1&sinceSeconds=1&follow=si", ""),
            ("tailLines=many", r#"strconv.ParseInt: parsing "many": invalid syntax"#),
            (
                "tailLines=-1",
                r#"PodLogOptions "x" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"#,
            ),
            (
                "limitBytes=0",
                r#"PodLogOptions "x" is invalid: limitBytes: Invalid value: 0: must be greater than 0"#,
            ),
            (
                "sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
                "PodLogOptions \"x\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
            ("stream=Stdout", r#"PodLogOptions "x" is invalid: stream: Forbidden: may not be specified"#),
            (
                "sinceTime=monday",
                r#"parsing time "monday" as "2006-01-02T15:04:05Z07:00": cannot parse "monday" as "2006""#,
            ),
            (
                "sinceTime=2026-01-01",
                r#"parsing time "2026-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
        ];
        for (query, expected) in cases {
            let got = read("x", &Query::parse(query)).err().map(|status| status.message).unwrap_or_default();
            assert_eq!(got, expected, "{query}");
        }
    }
}

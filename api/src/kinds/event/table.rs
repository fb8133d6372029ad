//! How an event shows in `kubectl get events`.

use std::borrow::Cow::Borrowed;

use jiff::Timestamp;
use serde_json::Value;

use crate::read::{int, text};
use crate::table::Cell::{Computed, Text};
use crate::table::time::since;
use crate::table::{Column, Table};

pub(super) static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::text(
            "Last Seen",
            "When it last happened.",
            Computed(|event, now| last_seen(event, now).into()),
        ),
        Column::text("Type", "Normal, or Warning.", Text("/type")),
        Column::text("Reason", "What happened, in a word.", Text("/reason")),
        Column::text("Object", "What it happened to.", Computed(|event, _| object(event).into())),
        Column::text("Subobject", "Which part of that.", Text("/involvedObject/fieldPath")).wide(),
        Column::text("Source", "Who tells.", Computed(|event, _| source(event).into())).wide(),
        Column::text(
            "Message",
            "What happened, in a sentence.",
            Computed(|event, _| text(event, "/message").trim().into()),
        ),
        Column::text(
            "First Seen",
            "When it first happened.",
            Computed(|event, now| first_seen(event, now).into()),
        )
        .wide(),
        Column::text("Count", "How often it happened.", Computed(|event, _| count(event).into())).wide(),
        Column::text("Name", "The event's own name.", Text("/metadata/name")).named().wide(),
    ]),
    ..Table::PLAIN
};

fn first_seen(event: &Value, now: Timestamp) -> String {
    let time = |pointer| event.pointer(pointer).filter(|time| time.is_string());
    since(time("/firstTimestamp").or_else(|| time("/eventTime")), now)
}

fn last_seen(event: &Value, now: Timestamp) -> String {
    match (event.pointer("/series"), event.pointer("/lastTimestamp")) {
        (Some(series), _) if series.is_object() => since(series.get("lastObservedTime"), now),
        (_, Some(last)) if last.is_string() => since(Some(last), now),
        _ => first_seen(event, now),
    }
}

fn count(event: &Value) -> i64 {
    match event.pointer("/series") {
        Some(series) if series.is_object() => int(series, "/count"),
        // An event of the new form without a series has no count: it stands for one occurrence.
        _ => int(event, "/count").max(1),
    }
}

fn object(event: &Value) -> String {
    let kind = text(event, "/involvedObject/kind").to_lowercase();
    match text(event, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let either = |old: &str, new: &str| match text(event, old) {
        "" => text(event, new).to_owned(),
        text => text.to_owned(),
    };
    let component = either("/source/component", "/reportingComponent");
    match either("/source/host", "/reportingInstance").as_str() {
        "" => component,
        instance => format!("{component}, {instance}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn old_and_new_events_show_alike() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let cases = [
            ("nothing known", json!({}), ("<unknown>", "<unknown>", 1, "")),
            (
                "old",
                json!({"firstTimestamp": "2026-01-02T03:03:05Z", "lastTimestamp": "2026-01-02T03:04:00Z", "count": 3,
                    "source": {"component": "kubelet", "host": "n1"}}),
                ("5s", "60s", 3, "kubelet, n1"),
            ),
            (
                "new, in a series",
                json!({"eventTime": "2026-01-02T03:03:05.000000Z", "reportingComponent": "c", "reportingInstance": "c-1",
                    "firstTimestamp": null, "lastTimestamp": null,
                    "series": {"count": 9, "lastObservedTime": "2026-01-02T03:04:04.000000Z"}}),
                ("1s", "60s", 9, "c, c-1"),
            ),
        ];
        for (name, event, (last, first, times, from)) in cases {
            let got = (last_seen(&event, now), first_seen(&event, now), count(&event), source(&event));
            assert_eq!(got, (last.into(), first.into(), times, from.into()), "case: {name}");
        }
    }
}

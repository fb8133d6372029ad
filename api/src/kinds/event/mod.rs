//! `Event`, in the form of the core group and in that of `events.k8s.io`.

mod table;

use serde_json::Value;

use super::strategy::{PLAIN, clear};
use super::{Borrowed, Named, Static, USUAL};
use crate::field::{Errors, Field, Path};
use crate::kind::{Kind, Selectable, Strategy, View};
use crate::names;
use crate::read::text;
use crate::validate::rules;

/// The row of `Event`.
pub static EVENT: Kind = Kind {
    kind: Borrowed("Event"),
    plural: Borrowed("events"),
    singular: Borrowed("event"),
    short_names: Borrowed("ev"),
    schema: Named("io.k8s.api.core.v1.Event"),
    // Events are many, and expire by themselves.
    collected: false,
    selectable: Borrowed(&[
        Selectable::text("involvedObject.kind", &["/involvedObject/kind"]),
        Selectable::text("involvedObject.namespace", &["/involvedObject/namespace"]),
        Selectable::text("involvedObject.name", &["/involvedObject/name"]),
        Selectable::text("involvedObject.uid", &["/involvedObject/uid"]),
        Selectable::text("involvedObject.apiVersion", &["/involvedObject/apiVersion"]),
        Selectable::text("involvedObject.resourceVersion", &["/involvedObject/resourceVersion"]),
        Selectable::text("involvedObject.fieldPath", &["/involvedObject/fieldPath"]),
        Selectable::text("reason", &["/reason"]),
        Selectable::text("reportingComponent", &["/reportingComponent"]),
        Selectable::text("source", &["/source/component", "/reportingComponent"]),
        Selectable::text("type", &["/type"]),
    ]),
    table: Static(&table::TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

/// The row of `Event` of `events.k8s.io`: the same objects, with other names for some fields and stricter rules.
pub static EVENT_V1: Kind = Kind {
    group: Borrowed("events.k8s.io"),
    kind: Borrowed("Event"),
    plural: Borrowed("events"),
    singular: Borrowed("event"),
    short_names: Borrowed("ev"),
    schema: Named("io.k8s.api.events.v1.Event"),
    selectable: Borrowed(&[
        Selectable::text("regarding.kind", &["/involvedObject/kind"]),
        Selectable::text("regarding.namespace", &["/involvedObject/namespace"]),
        Selectable::text("regarding.name", &["/involvedObject/name"]),
        Selectable::text("regarding.uid", &["/involvedObject/uid"]),
        Selectable::text("regarding.apiVersion", &["/involvedObject/apiVersion"]),
        Selectable::text("regarding.resourceVersion", &["/involvedObject/resourceVersion"]),
        Selectable::text("regarding.fieldPath", &["/involvedObject/fieldPath"]),
        Selectable::text("reason", &["/reason"]),
        Selectable::text("reportingController", &["/reportingComponent"]),
        Selectable::text("type", &["/type"]),
    ]),
    table: Static(&table::TABLE),
    strategy: &STRATEGY_V1,
    view: Some(&View {
        of: &EVENT,
        store: |shown| {
            rename(shown, "v1", |name| {
                NAMES.iter().find(|(shown, _)| *shown == name).map(|(_, stored)| *stored)
            })
        },
        show: |stored| {
            let mut shown = rename(stored, "events.k8s.io/v1", |name| {
                NAMES.iter().find(|(_, stored)| *stored == name).map(|(shown, _)| *shown)
            });
            for field in ["reportingController", "reportingInstance"] {
                // Always printed in the core group, and here only where there is one.
                if text(&shown, &format!("/{field}")).is_empty() {
                    clear(&mut shown, field);
                }
            }
            shown
        },
    }),
    ..USUAL
};

/// Fields that have one name in `events.k8s.io` and another in the core group.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn rename(event: Value, api_version: &str, other: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(fields) = event else { return event };
    let renamed = fields.into_iter().map(|(name, value)| match other(&name) {
        _ if name == "apiVersion" => (name, api_version.into()),
        Some(other) => (other.to_owned(), value),
        None => (name, value),
    });
    Value::Object(renamed.collect())
}

static STRATEGY: Strategy = Strategy {
    validate: |_, event, errors| validate(event, "reportingComponent", errors),
    validate_update: |_, new, _, errors| validate(new, "reportingComponent", errors),
    create_on_update: true,
    ..PLAIN
};

static STRATEGY_V1: Strategy =
    Strategy { validate: validate_v1, validate_update: validate_update_v1, create_on_update: true, ..PLAIN };

/// The most characters of a note.
const NOTE_MAX: usize = 1024;

/// The most characters of the other texts of a new event.
const TEXT_MAX: usize = 128;

/// The rules for every event. One without `eventTime` is of the old form, of which little is asked.
///
/// Source: `legacyValidateEvent` in `pkg/apis/core/validation/events.go`.
fn validate(event: &Value, reporter: &str, errors: &mut Errors) {
    let namespace = text(event, "/metadata/namespace");
    let object = Field::top(event, "involvedObject");
    let object_namespace = object.get("namespace");
    let agrees = match (Field::top(event, "eventTime").is_set(), object_namespace.text()) {
        (false, "") => matches!(namespace, "" | "default"),
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (false, of_object) => of_object == namespace,
        (true, _) => true,
    };
    if !agrees {
        errors.invalid(&object_namespace, object_namespace.text(), "does not match event.namespace");
    }
    if Field::top(event, "eventTime").is_set() {
        let component = text(event, "/reportingComponent");
        let at = Path::root(reporter);
        if component.is_empty() {
            errors.required(&at, "");
        }
        errors.all_invalid(&at, component, names::qualified_name(component));
        for (field, most) in [
            ("reportingInstance", TEXT_MAX),
            ("action", TEXT_MAX),
            ("reason", TEXT_MAX),
            ("message", NOTE_MAX),
        ] {
            let at = Field::top(event, field);
            if field != "message" && at.is_empty() {
                errors.required(&at, "");
            }
            if at.text().len() > most {
                errors.invalid(&at, "", &format!("can have at most {most} characters"));
            }
        }
    }
    errors.all_invalid(&Path::root("namespace"), namespace, names::dns_subdomain(namespace));
}

fn validate_v1(kind: &Kind, event: &Value, errors: &mut Errors) {
    validate(event, "reportingController", errors);
    kind.check_metadata(event, errors);
    validate_series(event, errors);
    if !Field::top(event, "eventTime").is_set() {
        errors.required(&Path::root("eventTime"), "");
    }
    let of_type = text(event, "/type");
    if !matches!(of_type, "Normal" | "Warning") {
        errors.invalid(&Path::root("type"), "", &format!("has invalid value: {of_type}"));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let field = Field::top(event, field);
        if !field.is_empty() {
            errors.invalid(&field, "", "needs to be unset");
        }
    }
}

/// Of an event of the new form only its series may change.
fn validate_update_v1(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    validate(new, "reportingController", errors);
    kind.check_metadata_update(new, old, errors);
    if new.get("series") != old.get("series") {
        validate_series(new, errors);
    }
    for field in FROZEN.split(' ') {
        let stored = NAMES.iter().find(|(shown, _)| *shown == field).map_or(field, |(_, stored)| stored);
        let new = Field::new(&Path::root(field), &new[stored]);
        rules::immutable(&new, &Field::top(old, stored), errors);
    }
}

/// Upstream's order of the rules, with its repetitions.
const FROZEN: &str = "involvedObject reason message source firstTimestamp lastTimestamp count reason type eventTime action related reportingController reportingInstance";

fn validate_series(event: &Value, errors: &mut Errors) {
    let series = Field::top(event, "series");
    if !series.is_set() {
        return;
    }
    if series.int("count").unwrap_or(0) < 2 {
        errors.invalid(&series.get("count"), "", "should be at least 2");
    }
    if !series.has("lastObservedTime") {
        errors.required(&series.get("lastObservedTime"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(rules: Strategy, event: Value) -> Vec<String> {
        let mut errors = Errors::new();
        (rules.validate)(&EVENT_V1, &event, &mut errors);
        errors.0.into_iter().map(|e| e.field).collect()
    }

    #[test]
    fn old_events_are_asked_little_and_new_ones_much() {
        let old = json!({"metadata": {"name": "X", "namespace": "n"}, "involvedObject": {"namespace": "n"}});
        let mut timed = old.clone();
        timed["eventTime"] = "2026-01-01T00:00:00.000000Z".into();
        let none: [&str; 0] = [];
        assert_eq!(faults(Strategy { ..STRATEGY }, old.clone()), none);
        let reporter = ["reportingComponent"; 3];
        let expected = [&reporter[..], &["reportingInstance", "action", "reason"]].concat();
        assert_eq!(faults(Strategy { ..STRATEGY }, timed), expected);
        assert_eq!(faults(Strategy { ..STRATEGY_V1 }, old), ["metadata.name", "eventTime", "type"]);
    }

    #[test]
    fn both_forms_are_one_event() {
        let shown = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"kind": "Pod"}, "note": "m", "deprecatedCount": 2});
        let stored = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"kind": "Pod"}, "message": "m", "count": 2});
        let view = EVENT_V1.view.unwrap();
        assert_eq!((view.store)(shown.clone()), stored);
        assert_eq!((view.show)(stored), shown);
    }
}

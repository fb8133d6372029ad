//! What the targets share: a kind chosen by the first byte, and all that a write and a read do with an object of it.

use coracle_api::decode::{Decoded, FieldValidation, Format, Target, decode};
use coracle_api::kinds::Kinds;
use coracle_api::table::{Form, Include};
use coracle_api::{KindRef, Status};
use serde_json::{Value, json};

/// The kind that the first byte names, and the bytes after it.
pub fn kind(data: &[u8]) -> Option<(KindRef, &[u8])> {
    let (first, rest) = data.split_first()?;
    let all: Vec<KindRef> = Kinds::new().served();
    all.get(usize::from(*first) % all.len()).map(|kind| (kind.clone(), rest))
}

/// Reads a body as this kind, and does with it what the server does. Panics where a law is broken.
pub fn read(kind: &KindRef, format: Format, body: &[u8]) {
    for validation in [FieldValidation::Warn, FieldValidation::Strict] {
        match decode(&Target::of(kind), format, body, validation) {
            Ok(decoded) => pass(kind, &decoded),
            Err(status) => refused(&status),
        }
    }
}

/// A refusal is the client's fault, and says why.
pub fn refused(status: &Status) {
    assert!((400..=500).contains(&status.code), "{status:?}");
    assert!(!status.message.is_empty());
}

/// What is read is read again to the same, and goes through defaulting, validation and printing.
pub fn pass(kind: &KindRef, decoded: &Decoded) {
    let text = decoded.value.to_string();
    let again = decode(&Target::of(kind), Format::Json, text.as_bytes(), FieldValidation::Strict)
        .unwrap_or_else(|why| panic!("{why}: {text}"));
    assert_eq!(again.value.to_string(), text, "decoding is idempotent");
    let mut object = kind.view.map_or(decoded.value.clone(), |view| (view.store)(decoded.value.clone()));
    kind.fill_in(&mut object);
    let filled = object.clone();
    kind.fill_in(&mut object);
    assert_eq!(object, filled, "defaulting is idempotent");
    (kind.strategy.prepare_create)(kind, &mut object);
    let errors = kind.validate(&object);
    let _ = Status::invalid(kind, "x", &errors);
    let _ = (kind.strategy.warnings)(kind, &object, None);
    let mut changed = filled.clone();
    (kind.strategy.prepare_update)(kind, &mut changed, &object);
    let _ = kind.validate_change(kind.strategy.validate_update, &changed, &object);
    let form = Form {
        api_version: "meta.k8s.io/v1",
        include: Include::Object,
        headed: true,
        now: "2026-01-02T03:04:09Z".parse().expect("a time"),
    };
    let table = kind.table.print([&object], json!({}), form);
    assert_eq!(table["rows"].as_array().map(Vec::len), Some(1));
    let written = coracle_api::document::yaml::write(&filled);
    let read = coracle_api::document::yaml::parse(&written).expect("what was written is read");
    assert_eq!(read.value.into_value(), sorted(&filled), "{written}");
}

/// The same with sorted keys, as YAML is written.
fn sorted(value: &Value) -> Value {
    coracle_api::document::Raw::sorted(value).into_value()
}

/// A decoded path with every letter of its segments written as a code.
pub fn spelled_out(path: &str) -> String {
    let code = |byte: u8| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02X}") };
    path.bytes().map(code).collect()
}

/// Whether there is a number with a fraction in it: what is printed of it is not always read to the very same.
pub fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(map) => map.values().any(has_fraction),
        _ => false,
    }
}

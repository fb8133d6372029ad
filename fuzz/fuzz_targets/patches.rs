//! The four patches, of objects of every kind: a patch, a zero byte, and the object that it changes.
#![no_main]

use coracle_api::apply::{Writer, apply};
use coracle_api::decode::{FieldValidation, Format, Target, decode};
use coracle_api::patch::{Kind, patch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = coracle_fuzz::kind(data) else { return };
    let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (body, object) = (&rest[..at], rest.get(at + 1..).unwrap_or(b"{}"));
    let target = Target::of(&kind);
    let read = decode(&target, Format::Json, object, FieldValidation::Ignore);
    let Ok(current) = read.or_else(|_| decode(&target, Format::Json, b"{}", FieldValidation::Ignore)) else {
        return;
    };
    for form in [Kind::Json, Kind::Merge, Kind::Strategic] {
        match patch(form, &target, &current.value, body, FieldValidation::Warn) {
            Ok(patched) => coracle_fuzz::pass(&kind, &patched),
            Err(status) => coracle_fuzz::refused(&status),
        }
    }
    let writer = Writer { manager: "m", subresource: "", now: "2026-01-01T00:00:00Z", ignored: &["status"] };
    for force in [false, true] {
        match apply(&target, &writer, force, Some(&current.value), body, FieldValidation::Warn) {
            Ok(applied) => coracle_fuzz::pass(&kind, &applied),
            Err(status) => coracle_fuzz::refused(&status),
        }
    }
});

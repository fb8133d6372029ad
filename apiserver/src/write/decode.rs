//! From the bytes of a request to a tree of the kind.

use coracle_api::decode::{self, Decoded, Format, Target};
use coracle_api::{Kind, Status};
use serde_json::Value;

use super::operation::{Body, Context};

/// Reads an object of a kind: its shape, its fields, its defaults; in its stored form, if the kind is a view of another.
pub fn object(
    context: &Context,
    kind: &Kind,
    body: Body,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let value = typed(context, &Target::of(kind), body, warnings)?;
    Ok(stored_form(kind, value))
}

/// The stored form of a decoded object, with its defaults.
pub fn stored_form(kind: &Kind, value: Value) -> Value {
    let mut object = match kind.view {
        Some(view) => (view.store)(value),
        None => value,
    };
    kind.fill_in(&mut object);
    object
}

/// Reads a document of any type that has a schema.
pub fn typed(
    context: &Context,
    target: &Target<'_>,
    body: Body,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let (format, bytes) = match body {
        Body::Bytes(format, bytes) => (format, bytes),
        // The tree of a component is decoded like any other body: it must fit the type, too.
        Body::Tree(value) => (Format::Json, value.to_string().into()),
    };
    let Decoded { value, warnings: found } =
        decode::decode(target, format, &bytes, context.field_validation)?;
    warnings.extend(found);
    Ok(value)
}

//! The three patches that change what is there: JSON patch, JSON merge patch, strategic merge patch.
//! (The fourth kind of patch, server-side apply, is [`crate::apply`].)
//!
//! ```text
//!  object + patch --json | merge | strategic--> tree --shape by schema--> object, warnings
//! ```

mod go;
mod json;
mod merge;
mod strategic;

use std::collections::HashMap;

use serde_json::Value;

use crate::decode::{
    Decoded, FieldValidation, Node, Target, Tongue, UNTYPED_MAP, gvk, json as reader, shape, type_fault,
    with_type,
};
use crate::field::{Errors, Path};
use crate::schema::Shape;
use crate::status::{Details, Status};

pub use go::{printed, type_name};
pub use merge::merge;

/// Which kind of patch a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

/// The object `current` as the patch leaves it, decoded anew: unknown fields are gone, types are right.
///
/// # Errors
/// 400 for a body that is no patch, 422 for one that does not fit the object or leaves no valid one, 413 for too many
/// operations, 500 for misused directives: all as upstream answers.
pub fn patch(
    kind: Kind,
    target: &Target<'_>,
    current: &Value,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let text = String::from_utf8_lossy(body);
    match kind {
        Kind::Json => {
            let (operations, faults) = json::operations(&text, validation != FieldValidation::Ignore)?;
            let patched = json::apply(current.clone(), &operations).map_err(|_| json::rejected())?;
            finish(target, &patched, faults, validation)
        }
        Kind::Merge => {
            let node = reader::parse(&text).map_err(|error| not_decoded(&error))?;
            let faults = repeated(&node);
            let patch = match node {
                Node::Map(_) => node.into_value(),
                Node::Null => return Err(Status::bad_request("Invalid JSON Patch")),
                other => return Err(not_decoded(&other.misfit(UNTYPED_MAP))),
            };
            let mut patched = current.clone();
            merge(&mut patched, patch);
            finish(target, &patched, faults, validation)
        }
        Kind::Strategic => {
            let node = reader::parse(&text).map_err(Status::bad_request)?;
            let faults = repeated(&node);
            let patch = match node {
                Node::Map(_) => node.into_value(),
                Node::Null => Value::Object(serde_json::Map::new()),
                other => return Err(Status::bad_request(other.misfit(UNTYPED_MAP))),
            };
            let patched = strategic::apply(current.clone(), patch.clone(), target.schema)?;
            finish_strategic(target, &patched, &patch, faults, validation)
        }
    }
}

fn not_decoded(error: &str) -> Status {
    Status::bad_request(format!("error decoding patch: {error}"))
}

/// The repeated keys of a document without a schema.
fn repeated(node: &Node<'_>) -> Vec<String> {
    fn walk(node: &Node<'_>, path: &str, out: &mut Vec<String>) {
        match node {
            Node::Map(entries) => {
                let mut times: HashMap<&str, usize> = HashMap::new();
                for (key, value) in entries {
                    let here = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                    let seen = times.entry(key.as_ref()).or_default();
                    *seen += 1;
                    if *seen == 2 {
                        out.push(format!("duplicate field \"{here}\""));
                    }
                    walk(value, &here, out);
                }
            }
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, &format!("{path}[{index}]"), out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(node, "", &mut out);
    out
}

/// 422 for a patch whose outcome is no object of the kind. Upstream names no object here.
fn invalid(value: impl Into<Value>, detail: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(&Path::root("patch"), value, detail);
    let message = format!(" \"\" is invalid: {}", errors.0[0]);
    let details = Details { causes: errors.causes(), ..Details::default() };
    Status::failure(422, "Invalid", message).with_details(details)
}

/// Warnings, or the error of strict validation.
fn judge(
    faults: Vec<String>,
    validation: FieldValidation,
    shown: impl FnOnce() -> String,
) -> Result<Vec<String>, Status> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(faults),
        FieldValidation::Strict if faults.is_empty() => Ok(faults),
        FieldValidation::Strict => {
            Err(invalid(shown(), &format!("strict decoding error: {}", faults.join(", "))))
        }
    }
}

/// Decodes what a JSON or merge patch made, as upstream decodes its JSON.
fn finish(
    target: &Target<'_>,
    patched: &Value,
    mut faults: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let node = Node::sorted(patched);
    let shown = || patched.to_string();
    let (api_version, kind) = gvk(&node).map_err(|error| invalid(shown(), &error))?;
    let (api_version, kind) = (api_version.as_deref().unwrap_or(""), kind.as_deref().unwrap_or(""));
    if kind.is_empty() && !matches!(target.schema.shape, Shape::Any) {
        let error = format!("Object 'Kind' is missing in '{}'", shown());
        return Err(invalid(shown(), &error));
    }
    if let Some(fault) = type_fault(target, api_version, kind) {
        return Err(invalid(shown(), &fault));
    }
    let (value, mut problems) = shape(node.clone(), target.schema, Tongue::Json);
    if let Some(error) = problems.error() {
        return Err(invalid(shown(), &error));
    }
    faults.append(&mut problems.strict);
    let warnings = judge(faults, validation, shown)?;
    Ok(Decoded { value: with_type(value, target.kind, &target.api_version()), warnings })
}

/// Decodes what a strategic patch made, as upstream converts its untyped map.
fn finish_strategic(
    target: &Target<'_>,
    patched: &Value,
    patch: &Value,
    mut faults: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (value, mut problems) = shape(Node::sorted(patched), target.schema, Tongue::Unstructured);
    if let Some(error) = problems.error() {
        return Err(invalid(printed(patch), &error));
    }
    faults.append(&mut problems.strict);
    let warnings = judge(faults, validation, || printed(patch))?;
    Ok(Decoded { value: with_type(value, target.kind, &target.api_version()), warnings })
}

impl Status {
    /// 422 whose text says nothing; upstream gives it for every JSON patch that does not apply.
    pub(crate) fn rejected() -> Status {
        Status::failure(422, "Invalid", "the server rejected our request due to an error in our request")
            .with_details(Details::default())
    }
}

/// 500 with nothing but a text, as upstream answers for errors that it did not foresee.
pub(crate) fn unforeseen(message: impl Into<String>) -> Status {
    Status::failure(500, "", message)
}

#[cfg(test)]
mod tests;

//! The three patches that change what is there: JSON patch, JSON merge patch, strategic merge patch.
//! (The fourth kind of patch, server-side apply, is [`crate::apply`].)
//!
//! ```text
//!  object + patch --json | merge | strategic--> tree --shape by schema--> object, warnings
//! ```

mod go;
mod json;
mod merge;
mod refuse;
mod strategic;

use std::collections::HashMap;

use serde_json::Value;

use crate::decode::{
    Decoded, FieldValidation, MOST_STRICT, Path, Target, Wording, gvk, shape, type_fault, with_type,
};
use crate::document::{Raw, UNTYPED_MAP, json as reader};
use crate::schema::Shape;
use crate::status::Status;
use refuse::{invalid, not_decoded, undecodable};

pub use go::{printed, type_name};
pub use merge::merge;
pub(crate) use refuse::unforeseen;

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
/// operations, values or moves, 500 for misused directives: all as upstream answers.
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
            let patched = json::apply(current.clone(), operations).map_err(json::Misfit::status)?;
            finish(target, &patched, faults, validation)
        }
        Kind::Merge => {
            let raw = reader::parse(&text).map_err(not_decoded)?;
            let faults = repeated(&raw);
            let patch = match raw {
                Raw::Map(_) => raw.into_value(),
                Raw::Null => return Err(Status::bad_request("Invalid JSON Patch")),
                other => return Err(undecodable(&other.misfit(UNTYPED_MAP))),
            };
            let mut patched = current.clone();
            merge(&mut patched, patch);
            finish(target, &patched, faults, validation)
        }
        Kind::Strategic => {
            let raw = reader::parse(&text).map_err(|fault| fault.status(|text| Status::bad_request(text)))?;
            let faults = repeated(&raw);
            let patch = match raw {
                Raw::Map(_) => raw.into_value(),
                Raw::Null => Value::Object(serde_json::Map::new()),
                other => return Err(Status::bad_request(other.misfit(UNTYPED_MAP))),
            };
            let patched = strategic::apply(current.clone(), patch.clone(), target.schema)?;
            finish_strategic(target, &patched, &patch, faults, validation)
        }
    }
}

/// The repeated keys of a document without a schema, as many as upstream tells.
fn repeated(raw: &Raw<'_>) -> Vec<String> {
    fn walk(raw: &Raw<'_>, path: &Path<'_>, out: &mut Vec<String>) {
        match raw {
            Raw::Map(entries) => {
                let mut times: HashMap<&str, usize> = HashMap::new();
                for (key, value) in entries {
                    let here = Path::Key { parent: path, key };
                    let seen = times.entry(key.as_ref()).or_default();
                    *seen += 1;
                    if *seen == 2 && out.len() < MOST_STRICT {
                        out.push(format!("duplicate field \"{here}\""));
                    }
                    walk(value, &here, out);
                }
            }
            Raw::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, &Path::Index { parent: path, index }, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(raw, &Path::Root, &mut out);
    out
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
    let raw = Raw::sorted(patched);
    let shown = || Raw::sorted(patched).into_value().to_string();
    let (api_version, kind) = gvk(&raw).map_err(|error| invalid(shown(), &error))?;
    let (api_version, kind) = (api_version.as_deref().unwrap_or(""), kind.as_deref().unwrap_or(""));
    if kind.is_empty() && !matches!(target.schema.shape, Shape::Any) {
        let error = format!("Object 'Kind' is missing in '{}'", shown());
        return Err(invalid(shown(), &error));
    }
    if let Some(fault) = type_fault(target, api_version, kind) {
        return Err(invalid(shown(), &fault));
    }
    let (value, mut problems) = shape(raw, target.schema, Wording::Json);
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
    let (value, mut problems) = shape(Raw::sorted(patched), target.schema, Wording::Unstructured);
    if let Some(error) = problems.error() {
        return Err(invalid(printed(patch), &error));
    }
    faults.append(&mut problems.strict);
    let warnings = judge(faults, validation, || printed(patch))?;
    Ok(Decoded { value: with_type(value, target.kind, &target.api_version()), warnings })
}

#[cfg(test)]
mod tests;

//! Request bodies: from bytes to an object of the kind that the URL asks for, or upstream's error.
//!
//! ```text
//!  bytes --crate::document--> Raw --is it of the target's type?--> --shape, by schema--> Value
//! ```

mod path;
mod shape;
pub mod time;

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::document::{Raw, json, protobuf, yaml};
use crate::kind::Kind;
use crate::schema::{Schema, internal_package, is_registered};
use crate::status::Status;

pub(crate) use path::Path;
pub(crate) use shape::MOST_STRICT;
pub use shape::{Problems, Wording, shape, zero};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`, and the default.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What becomes of unknown and repeated fields: the query parameter `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and a `Warning:` header names each.
    #[default]
    Warn,
    /// They are an error.
    Strict,
}

/// The group of the types that belong to no kind, such as `DeleteOptions`. Upstream registers them in every group version, and
/// reads them whichever one a client names: a client of `apps/v1` sends options of `apps/v1`.
pub const META: &str = "meta.k8s.io";

/// The type that a request's body must have.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// The type's schema.
    pub schema: &'a Schema,
}

impl<'a> Target<'a> {
    /// The type of a kind's own objects.
    pub fn of(kind: &'a Kind) -> Target<'a> {
        Target { group: kind.group(), version: kind.version(), kind: kind.kind(), schema: kind.schema() }
    }

    /// The type that a subresource reads, such as `autoscaling/v1 Scale`; nothing for one that has no schema.
    pub fn named(group: &'a str, version: &'a str, kind: &'a str) -> Option<Target<'a>> {
        let suffix = format!(".{version}.{kind}");
        let package = internal_package(group);
        let name = Schema::names().find(|name| {
            name.ends_with(&suffix)
                && (name.contains(&format!(".{package}.")) || (group.is_empty() && name.contains(".meta.")))
        })?;
        Schema::of(name).map(|schema| Target { group, version, kind, schema })
    }

    /// `apps/v1`, or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// An object that could be read.
#[derive(Debug)]
pub struct Decoded {
    /// The object, `kind` and `apiVersion` first, fields in upstream's order, unknown ones gone.
    pub value: Value,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

/// Reads a request's body.
///
/// # Errors
/// 400 with upstream's text for what cannot be read as the target, 413 for what holds too much.
pub fn decode(
    target: &Target<'_>,
    format: Format,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let text = String::from_utf8_lossy(body);
    let unread = |error: &str| unrecognized(target, error, body);
    let mut repeated = Vec::new();
    let raw = match format {
        Format::Json => {
            json::parse(&text).map_err(|fault| fault.status(|error| unread(&interpret_error(error))))?
        }
        Format::Yaml => {
            let document = yaml::parse(&text).map_err(|fault| fault.status(unread))?;
            repeated = document.repeated;
            document.value
        }
        Format::Protobuf => {
            let envelope = protobuf::open(body).map_err(|fault| fault.status(unread))?;
            check_type(target, &envelope.api_version, &envelope.kind)?;
            let message = envelope.read(target.schema);
            message.map_err(|fault| fault.status(|error| unusable(target, None, error)))?
        }
    };
    if format != Format::Protobuf {
        let (api_version, kind) = gvk(&raw).map_err(|error| unread(&error))?;
        check_type(target, api_version.as_deref().unwrap_or(""), kind.as_deref().unwrap_or(""))?;
    }
    let (value, mut problems) = shape(raw, target.schema, Wording::Json);
    if let Some(error) = problems.error() {
        return Err(unusable(target, None, &error));
    }
    finish(target, value, repeated, problems.strict, validation)
}

/// Puts the type in place, and turns faults into warnings or an error.
fn finish(
    target: &Target<'_>,
    value: Value,
    repeated: Vec<String>,
    strict: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => repeated.into_iter().chain(strict).collect(),
        FieldValidation::Strict => {
            let mut faults = strict;
            if !repeated.is_empty() {
                faults.insert(0, format!("yaml: unmarshal errors:\n  {}", repeated.join("\n  ")));
            }
            if !faults.is_empty() {
                return Err(unusable(target, None, &format!("strict decoding error: {}", faults.join(", "))));
            }
            Vec::new()
        }
    };
    Ok(Decoded { value: with_type(value, target.kind, &target.api_version()), warnings })
}

/// The object with `kind` and `apiVersion` set, and first.
pub fn with_type(value: Value, kind: &str, api_version: &str) -> Value {
    let mut map = Map::new();
    map.insert("kind".into(), kind.into());
    map.insert("apiVersion".into(), api_version.into());
    if let Value::Object(fields) = value {
        map.extend(fields.into_iter().filter(|(key, _)| key != "kind" && key != "apiVersion"));
    }
    Value::Object(map)
}

/// Puts the fields of an object, and of its metadata, into the order in which upstream prints them.
pub fn in_order(schema: &Schema, object: &mut Value) {
    order_fields(schema, object);
    if let (Some(metadata), Some(fields)) = (schema.child("metadata"), object.get_mut("metadata")) {
        order_fields(metadata, fields);
    }
}

fn order_fields(schema: &Schema, object: &mut Value) {
    let (Some(fields), Value::Object(map)) = (schema.fields(), object) else { return };
    let rank = |key: &str| fields.position(key).unwrap_or(usize::MAX);
    if !map.keys().is_sorted_by_key(|key| rank(key)) {
        let mut entries: Vec<(String, Value)> = std::mem::take(map).into_iter().collect();
        entries.sort_by_key(|(key, _)| rank(key));
        map.extend(entries);
    }
}

fn interpret_error(error: &str) -> String {
    format!("couldn't get version/kind; json parse error: {error}")
}

type TypeNames<'n> = (Option<Cow<'n, str>>, Option<Cow<'n, str>>);

/// The `apiVersion` and `kind` that a document claims.
///
/// # Errors
/// Upstream's text for a document that is no map, or whose type is no string.
pub fn gvk<'n>(raw: &'n Raw<'_>) -> Result<TypeNames<'n>, String> {
    const TYPE: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    match raw {
        Raw::Null | Raw::Map(_) => {}
        other => return Err(interpret_error(&other.misfit(&format!("value of type {TYPE}")))),
    }
    let text = |key: &str| match raw.get(key) {
        None | Some(Raw::Null) => Ok(None),
        Some(Raw::Text(text)) => Ok(Some(Cow::Borrowed(text.as_ref()))),
        Some(other) => Err(interpret_error(&other.misfit(&format!("struct field .{key} of type string")))),
    };
    let names = (text("apiVersion")?, text("kind")?);
    if let Some(version) = names.0.as_deref().filter(|version| version.matches('/').count() > 1) {
        return Err(format!("unexpected GroupVersion string: {version}"));
    }
    Ok(names)
}

/// Whether the type that a document claims is the one that the URL asks for; what it leaves out is taken from there.
pub(crate) fn check_type(target: &Target<'_>, api_version: &str, kind: &str) -> Result<(), Status> {
    if target.group == META && (kind.is_empty() || kind == target.kind) {
        return Ok(());
    }
    let expected = target.api_version();
    let api_version = if api_version.is_empty() { expected.as_str() } else { api_version };
    let kind = if kind.is_empty() { target.kind } else { kind };
    match type_fault(target, api_version, kind) {
        Some(fault) => Err(unusable(target, Some((kind, api_version)), &fault)),
        None if api_version != expected => Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        ))),
        None => Ok(()),
    }
}

/// Why a document of this type cannot become the target, but for its version.
pub(crate) fn type_fault(target: &Target<'_>, api_version: &str, kind: &str) -> Option<String> {
    if api_version == target.api_version() && kind == target.kind {
        return None;
    }
    if !is_registered(api_version, kind) {
        return Some(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ));
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let bygone = matches!(
        (group, target.group),
        ("extensions", "apps" | "networking.k8s.io" | "autoscaling") | ("apps", "autoscaling")
    );
    if kind != target.kind || (group != target.group && !bygone) {
        let package = internal_package(target.group);
        return Some(format!(
            "converting ({version}.{kind}) to ({package}.{}): unknown conversion",
            target.kind
        ));
    }
    None
}

/// 400 for a body whose type could not be found out.
pub(crate) fn unrecognized(target: &Target<'_>, error: &str, body: &[u8]) -> Status {
    let summary = summary(body);
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {error} ({summary})",
        target.kind
    ))
}

/// 400 for a body of a known type that cannot be read.
pub(crate) fn unusable(target: &Target<'_>, claimed: Option<(&str, &str)>, error: &str) -> Status {
    let (kind, version) = claimed.unwrap_or((target.kind, target.version));
    let version = version.rsplit('/').next().unwrap_or(version);
    Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {}: {error}",
        target.kind
    ))
}

/// The beginning of a body: as text if it looks like JSON, else in hexadecimal digits.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let shown = &body[..body.len().min(SHOWN)];
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

#[cfg(test)]
mod tests;

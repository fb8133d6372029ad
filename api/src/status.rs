//! The one error that crosses the API: a Kubernetes `Status`, with upstream's reasons, codes and texts.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::field::{Errors, FieldError};
use crate::kind::Kind;

/// A failed request's answer (or a delete's success), in upstream's key order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    /// Where a list was cut short, `continue`; else empty.
    pub metadata: serde_json::Value,
    /// `Success` or `Failure`.
    pub status: String,
    /// A text for people. Some clients match on it nevertheless.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A word for machines, such as `NotFound`; empty where upstream has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the failure is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code; 0 (left out) for a success.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

fn is_zero(code: &u16) -> bool {
    *code == 0
}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource (`pods`), or its Kind (`Pod`) in validation errors: upstream mixes the two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry for each fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(rename = "retryAfterSeconds", default, skip_serializing_if = "is_zero_seconds")]
    pub retry_after_seconds: i32,
}

fn is_zero_seconds(seconds: &i32) -> bool {
    *seconds == 0
}

impl Details {
    /// What a [`Status`] about the object `name` of a kind carries.
    pub fn of(kind: &Kind, name: &str) -> Details {
        Details {
            name: name.into(),
            group: kind.group().into(),
            kind: kind.plural().into(),
            ..Details::default()
        }
    }
}

/// One fault of many.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// A word for machines, such as `FieldValueInvalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The text without the path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Cause {
    /// The faults of an object as a [`Status`] lists them.
    pub fn of(errors: &Errors) -> Vec<Cause> {
        let cause = |error: &FieldError| Cause {
            reason: error.fault.reason(),
            message: error.body.clone(),
            field: error.field.clone(),
        };
        errors.0.iter().map(cause).collect()
    }
}

impl Status {
    /// A failure without details. Every other constructor ends here.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Status {
        Status {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: serde_json::json!({}),
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }
    }

    /// What a delete answers that has nothing left to show.
    pub fn success(details: Details) -> Status {
        Status { status: "Success".into(), details: Some(details), ..Status::failure(0, "", "") }
    }

    /// The same failure with details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Status {
        self.details = Some(details);
        self
    }

    /// A failure about the object `name`.
    fn about(kind: &Kind, name: &str, code: u16, reason: &str, message: String) -> Status {
        Status::failure(code, reason, message).with_details(Details::of(kind, name))
    }

    /// 404: the object is not there.
    pub fn not_found(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", kind.qualified_resource());
        Status::about(kind, name, 404, "NotFound", message)
    }

    /// 409: the name is taken.
    pub fn already_exists(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", kind.qualified_resource());
        Status::about(kind, name, 409, "AlreadyExists", message)
    }

    /// 409: somebody wrote first, or a precondition does not hold; `why` is the text after the colon.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let resource = kind.qualified_resource();
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Status::about(kind, name, 409, "Conflict", message)
    }

    /// 403: the user may not, or admission says no; `why` is the text after the colon.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
        let quoted = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        let message = format!("{}{quoted} is forbidden: {why}", kind.qualified_resource());
        Status::about(kind, name, 403, "Forbidden", message)
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::failure(400, "BadRequest", message)
    }

    /// 415: a body of this media type is not taken here; the text names those that are.
    pub fn unsupported_body(accepted: &[&str]) -> Status {
        let text = "the body of the request was in an unknown format - accepted media types include";
        Status::failure(415, "UnsupportedMediaType", format!("{text}: {}", accepted.join(", ")))
    }

    /// 413: more than one request may ask for; the text says which limit was met.
    pub fn too_large(message: impl Into<String>) -> Status {
        Status::failure(413, "RequestEntityTooLarge", message)
    }

    /// 410: the revision asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(410, "Expired", message)
    }

    /// 500: a fault of the server; the text helps whoever reports it.
    pub fn internal(message: impl std::fmt::Display) -> Status {
        let text = message.to_string();
        let cause = Cause { message: text.clone(), ..Cause::default() };
        Status::failure(500, "InternalError", format!("Internal error occurred: {text}"))
            .with_details(Details { causes: vec![cause], ..Details::default() })
    }

    /// 422: the object breaks rules. `message` drops repeated errors, `causes` keeps them, as upstream does.
    pub fn invalid(kind: &Kind, name: &str, errors: &Errors) -> Status {
        Status::invalid_named(kind.group(), kind.kind(), name, errors)
    }

    /// The same for a type that is no kind of its own, such as `Scale`.
    pub fn invalid_named(group: &str, kind: &str, name: &str, errors: &Errors) -> Status {
        let mut seen = HashSet::new();
        let texts = errors.0.iter().map(ToString::to_string);
        let mut texts: Vec<String> = texts.filter(|text| seen.insert(text.clone())).collect();
        let all = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let dot = if group.is_empty() { "" } else { "." };
        let message = format!("{kind}{dot}{group} \"{name}\" is invalid: {all}");
        let details =
            Details { name: name.into(), group: group.into(), kind: kind.into(), ..Details::default() };
        Status::failure(422, "Invalid", message)
            .with_details(Details { causes: Cause::of(errors), ..details })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

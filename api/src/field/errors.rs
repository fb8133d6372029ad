//! What is wrong with fields: upstream's error texts.

use std::fmt;

use serde_json::Value;

use super::{Field, Path};
use crate::internal::print;

/// What kind of fault a field has. The names are the reasons of upstream's `StatusCause`.
///
/// Source: `k8s.io/apimachinery/pkg/util/validation/field/errors.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A field that must be there is not.
    Required,
    /// A value repeats one that must be unique.
    Duplicate,
    /// A value is malformed or out of bounds.
    Invalid,
    /// A value is not one of an enumeration.
    NotSupported,
    /// A field may not be set here.
    Forbidden,
    /// A string is longer than it may be.
    TooLong,
    /// A list has more items than it may have.
    TooMany,
    /// What the value refers to does not exist.
    NotFound,
    /// The value has another type than the field.
    TypeInvalid,
    /// Something went wrong that is not the client's fault.
    Internal,
}

impl Fault {
    /// The `reason` of the `StatusCause`.
    pub fn reason(self) -> String {
        match self {
            Fault::Internal => "InternalError".into(),
            other => format!("FieldValue{other:?}"),
        }
    }
}

/// One fault at one place. `body` is upstream's text without the path: `Invalid value: "A": must be ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path, as printed.
    pub field: String,
    /// What kind of fault.
    pub fault: Fault,
    /// The text after the path.
    pub body: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// The most faults of one object that are reported. Each item of a large list may break several rules, and nobody reads
/// that many.
const MOST_FAULTS: usize = 1000;
/// The most bytes of all reported faults together: some rules print the whole value that they look at, once for each
/// fault in it.
const MOST_BYTES: usize = 1024 * 1024;

/// The faults of one object, in the order in which upstream finds them. Where there are more than are reported, the
/// last one says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<FieldError>, Room);

/// How much of the room for faults is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    bytes: usize,
    full: bool,
}

impl Errors {
    /// No faults yet.
    pub fn new() -> Errors {
        Errors::default()
    }

    /// Whether no more faults are reported. Rules ask before they make a text that costs much.
    pub fn is_full(&self) -> bool {
        self.1.full
    }

    /// Adds the faults of another list.
    pub fn append(&mut self, others: Errors) {
        others.0.into_iter().for_each(|error| self.add(error));
    }

    fn add(&mut self, error: FieldError) {
        if self.is_full() {
            return;
        }
        self.1.bytes += error.field.len() + error.body.len();
        self.0.push(error);
        if self.0.len() >= MOST_FAULTS || self.1.bytes >= MOST_BYTES {
            self.1.full = true;
            let body = format!("Too many: no more than the first {} errors are shown", self.0.len());
            self.0.push(FieldError { field: "<nil>".into(), fault: Fault::TooMany, body });
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, at: &Path<'_>, fault: Fault, body: impl FnOnce() -> String) {
        if !self.is_full() {
            self.add(FieldError { field: at.to_string(), fault, body: body() });
        }
    }

    /// `Required value`, with a colon and the detail only where there is one.
    pub fn required(&mut self, at: &Path<'_>, detail: &str) {
        self.push(at, Fault::Required, || with_detail("Required value".into(), detail));
    }

    /// `Invalid value: <value as JSON>: detail`.
    pub fn invalid(&mut self, at: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.push(at, Fault::Invalid, || {
            with_detail(format!("Invalid value: {}", print(&value.into())), detail)
        });
    }

    /// The same about the field's own value; none is printed as an empty string.
    pub fn wrong(&mut self, field: &Field<'_, '_>, detail: &str) {
        if !self.is_full() {
            let value = if field.is_set() { field.value.clone() } else { "".into() };
            self.invalid(field, value, detail);
        }
    }

    /// `Duplicate value: <value as JSON>`.
    pub fn duplicate(&mut self, at: &Path<'_>, value: impl Into<Value>) {
        self.push(at, Fault::Duplicate, || format!("Duplicate value: {}", print(&value.into())));
    }

    /// One `Invalid value` for each of `problems`, as the rules for names give them.
    pub fn all_invalid(&mut self, at: &Path<'_>, value: &str, problems: Vec<String>) {
        for problem in problems {
            self.invalid(at, value, &problem);
        }
    }

    /// `Not found: <value as JSON>`.
    pub fn not_found(&mut self, at: &Path<'_>, value: impl Into<Value>) {
        self.push(at, Fault::NotFound, || format!("Not found: {}", print(&value.into())));
    }

    /// `Forbidden: detail`.
    pub fn forbidden(&mut self, at: &Path<'_>, detail: &str) {
        self.push(at, Fault::Forbidden, || with_detail("Forbidden".into(), detail));
    }

    /// `Unsupported value: "x": supported values: "a", "b"`. Upstream prints sets sorted, but lists in their own
    /// order, so the order of the words is the caller's.
    pub fn not_supported(&mut self, at: &Path<'_>, value: impl Into<Value>, words: &str) {
        self.push(at, Fault::NotSupported, || {
            let names: Vec<String> = words.split(' ').map(|s| format!("{s:?}")).collect();
            let (value, names) = (print(&value.into()), names.join(", "));
            format!("Unsupported value: {value}: supported values: {names}")
        });
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, at: &Path<'_>, most: usize) {
        self.push(at, Fault::TooLong, || format!("Too long: may not be more than {most} bytes"));
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(&mut self, at: &Path<'_>, count: usize, most: usize) {
        let s = if most == 1 { "" } else { "s" };
        self.push(at, Fault::TooMany, || format!("Too many: {count}: must have at most {most} item{s}"));
    }

    /// Any other fault, its text made by the caller.
    pub fn other(&mut self, at: &Path<'_>, fault: Fault, body: impl Into<String>) {
        self.push(at, fault, || body.into());
    }
}

fn with_detail(head: String, detail: &str) -> String {
    if detail.is_empty() { head } else { format!("{head}: {detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_faults_are_told_than_anybody_reads() {
        let path = Path::root("spec");
        let mut many = Errors::new();
        (0..5000).for_each(|_| many.required(&path, ""));
        assert_eq!(many.0.len(), MOST_FAULTS + 1);
        let last = many.0.last().map(ToString::to_string);
        assert_eq!(last.as_deref(), Some("<nil>: Too many: no more than the first 1000 errors are shown"));
        let mut large = Errors::new();
        (0..20).for_each(|_| large.invalid(&path, "x".repeat(100_000), ""));
        assert_eq!(large.0.len(), 12, "a megabyte, and the last");
        let mut both = Errors::new();
        both.required(&path, "");
        both.append(large);
        assert!(both.is_full() && both.0.len() <= 13);
    }
}

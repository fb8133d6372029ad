//! Where in an object a fault lies, and what the fault is: upstream's field paths and error texts.

use std::fmt;

use serde_json::Value;

/// A path into an object, as a chain of borrowed steps: building one allocates nothing until it is printed.
///
/// ```
/// use coracle_api::Path;
/// let spec = Path::root("spec");
/// let containers = spec.child("containers");
/// let first = containers.index(0);
/// assert_eq!(first.child("image").to_string(), "spec.containers[0].image");
/// assert_eq!(Path::root("data").key("a.b").to_string(), "data[a.b]");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The first step of a path, such as `spec`.
    pub const fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Field(name) }
    }

    /// The field `name` of what this path names.
    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// Item `index` of the list that this path names.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The entry `key` of the map that this path names; printed in brackets, as upstream does.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

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
    pub fn reason(self) -> &'static str {
        match self {
            Fault::Required => "FieldValueRequired",
            Fault::Duplicate => "FieldValueDuplicate",
            Fault::Invalid => "FieldValueInvalid",
            Fault::NotSupported => "FieldValueNotSupported",
            Fault::Forbidden => "FieldValueForbidden",
            Fault::TooLong => "FieldValueTooLong",
            Fault::TooMany => "FieldValueTooMany",
            Fault::NotFound => "FieldValueNotFound",
            Fault::TypeInvalid => "FieldValueTypeInvalid",
            Fault::Internal => "InternalError",
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
    /// The text behind the path.
    pub body: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// The faults of one object, in the order in which upstream finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<FieldError>);

impl Errors {
    /// No faults yet.
    pub fn new() -> Errors {
        Errors::default()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, at: &Path<'_>, fault: Fault, body: String) {
        self.0.push(FieldError { field: at.to_string(), fault, body });
    }

    /// `Required value`, with a colon and the detail only where there is one.
    pub fn required(&mut self, at: &Path<'_>, detail: &str) {
        let body =
            if detail.is_empty() { "Required value".into() } else { format!("Required value: {detail}") };
        self.push(at, Fault::Required, body);
    }

    /// `Invalid value: <value as JSON>: detail`.
    pub fn invalid(&mut self, at: &Path<'_>, value: impl Into<Value>, detail: &str) {
        self.push(at, Fault::Invalid, with_detail(format!("Invalid value: {}", value.into()), detail));
    }

    /// `Duplicate value: <value as JSON>`.
    pub fn duplicate(&mut self, at: &Path<'_>, value: impl Into<Value>) {
        self.push(at, Fault::Duplicate, format!("Duplicate value: {}", value.into()));
    }

    /// `Not found: <value as JSON>`.
    pub fn not_found(&mut self, at: &Path<'_>, value: impl Into<Value>) {
        self.push(at, Fault::NotFound, format!("Not found: {}", value.into()));
    }

    /// `Forbidden: detail`.
    pub fn forbidden(&mut self, at: &Path<'_>, detail: &str) {
        self.push(at, Fault::Forbidden, with_detail("Forbidden".into(), detail));
    }

    /// `Unsupported value: "x": supported values: "a", "b"`; the values come sorted, as upstream's sets do.
    pub fn not_supported(&mut self, at: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        let mut names: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        names.sort();
        let detail =
            if names.is_empty() { String::new() } else { format!("supported values: {}", names.join(", ")) };
        self.push(
            at,
            Fault::NotSupported,
            with_detail(format!("Unsupported value: {}", value.into()), &detail),
        );
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, at: &Path<'_>, most: usize) {
        self.push(at, Fault::TooLong, format!("Too long: may not be more than {most} bytes"));
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(&mut self, at: &Path<'_>, count: usize, most: usize) {
        self.push(
            at,
            Fault::TooMany,
            format!("Too many: {count}: must have at most {most} item{}", if most == 1 { "" } else { "s" }),
        );
    }

    /// Any other fault, its text made by the caller.
    pub fn other(&mut self, at: &Path<'_>, fault: Fault, body: impl Into<String>) {
        self.push(at, fault, body.into());
    }
}

fn with_detail(head: String, detail: &str) -> String {
    if detail.is_empty() { head } else { format!("{head}: {detail}") }
}

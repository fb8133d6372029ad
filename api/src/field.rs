//! Where in an object a fault lies, and what the fault is: upstream's field paths and error texts.
//!
//! Rules are functions over a [`Field`]: a value together with its path, so that a rule can look and complain
//! with one argument.

use std::fmt;
use std::ops::Deref;

use serde_json::Value;

use crate::internal::print;
use crate::status::Cause;

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

    /// The last step, if it is a field or a key; empty for an index.
    pub const fn name(&self) -> &'a str {
        match self.step {
            Step::Field(name) | Step::Key(name) => name,
            Step::Index(_) => "",
        }
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

/// A value and where in its object it lies. Absent values read as null, which counts as not set, so rules need no
/// `Option`s: what the schema allows to be absent is simply [`Field::is_set`] or not.
///
/// ```
/// use coracle_api::{Field, Path};
/// let spec = serde_json::json!({"ports": [{"port": 80}, {"port": 81}]});
/// let path = Path::root("spec");
/// let spec = Field::new(&path, &spec);
/// let last = spec.get("ports").items().last().map(|p| (p.get("port").to_string(), p.int("port")));
/// assert_eq!(last, Some(("spec.ports[1].port".to_owned(), Some(81))));
/// assert!(!spec.get("selector").is_set());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Field<'p, 'v> {
    path: Path<'p>,
    /// The value; null where there is none.
    pub value: &'v Value,
}

static NULL: Value = Value::Null;

impl<'p, 'v> Field<'p, 'v> {
    /// The value at a path.
    pub fn new(path: &Path<'p>, value: &'v Value) -> Field<'p, 'v> {
        Field { path: *path, value }
    }

    /// The field `name` of a whole object, with which a path begins.
    pub fn top(object: &'v Value, name: &'p str) -> Field<'p, 'v> {
        Field { path: Path::root(name), value: object.get(name).unwrap_or(&NULL) }
    }

    /// A field of this object.
    pub fn get<'s>(&'s self, name: &'s str) -> Field<'s, 'v> {
        Field { path: self.path.child(name), value: self.raw(name) }
    }

    /// The items of this list with their indexes; none if it is no list.
    pub fn items<'s>(&'s self) -> impl DoubleEndedIterator<Item = Field<'s, 'v>> + ExactSizeIterator {
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(|(i, value)| Field { path: self.path.index(i), value })
    }

    /// The entries of this map, sorted by key, each with its path in brackets; none if it is no map.
    pub fn entries<'s>(&'s self) -> Vec<(&'v str, Field<'s, 'v>)>
    where
        'v: 's,
    {
        let mut entries: Vec<_> = self.value.as_object().into_iter().flatten().collect();
        entries.sort_by_key(|(key, _)| *key);
        let field =
            |(key, value): (&'v String, &'v Value)| (key.as_str(), Field { path: self.path.key(key), value });
        entries.into_iter().map(field).collect()
    }

    /// The fields that are set, in the order of `names`.
    pub fn among<'s>(&'s self, names: &'s [&'s str]) -> impl Iterator<Item = Field<'s, 'v>> {
        names.iter().map(|name| self.get(name)).filter(Field::is_set)
    }

    /// Visits what lies at `path`, steps with dots between them: of a list on the way every item, of what is not set nothing.
    ///
    /// ```
    /// # use coracle_api::Field;
    /// let pod = serde_json::json!({"spec": {"containers": [{"ports": [{"hostPort": 80}]}, {"name": "c"}]}});
    /// let mut found = Vec::new();
    /// Field::top(&pod, "spec").each("containers.ports.hostPort", &mut |port| found.push(port.to_string()));
    /// assert_eq!(found, ["spec.containers[0].ports[0].hostPort"]);
    /// ```
    pub fn each(&self, path: &str, visit: &mut dyn FnMut(&Field<'_, 'v>)) {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        let field = self.get(name);
        let mut pass = |field: &Field<'_, 'v>| match rest {
            "" => visit(field),
            rest => field.each(rest, visit),
        };
        if field.value.is_array() {
            field.items().for_each(|item| pass(&item));
        } else if field.is_set() {
            pass(&field);
        }
    }

    /// The plain value of a field of this object; null where there is none.
    pub fn raw(&self, name: &str) -> &'v Value {
        self.value.get(name).unwrap_or(&NULL)
    }

    /// Whether there is a value at all.
    pub fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// Whether this is what Go calls a zero value: nothing, an empty string, list or map, zero or false.
    pub fn is_empty(&self) -> bool {
        is_zero(self.value)
    }

    /// Whether the field `name` of this object holds more than a zero value.
    pub fn has(&self, name: &str) -> bool {
        !is_zero(self.raw(name))
    }

    /// This string; empty if it is none.
    pub fn text(&self) -> &'v str {
        self.value.as_str().unwrap_or_default()
    }

    /// The string field `name` of this object; empty if there is none.
    pub fn str(&self, name: &str) -> &'v str {
        self.raw(name).as_str().unwrap_or_default()
    }

    /// The integer field `name` of this object.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.raw(name).as_i64()
    }

    /// Whether the boolean field `name` of this object is true.
    pub fn is_true(&self, name: &str) -> bool {
        self.raw(name) == &Value::Bool(true)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path<'p> {
        &self.path
    }
}

/// A field stands for its path wherever a path is asked for.
impl<'p> Deref for Field<'p, '_> {
    type Target = Path<'p>;

    fn deref(&self) -> &Path<'p> {
        &self.path
    }
}

/// Whether a value is what Go calls a zero value: nothing, an empty string, list or map, zero or false.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
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
    /// The text behind the path.
    pub body: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// The most faults of one object that are told. A large list of small items may break several rules with each of them, and
/// nobody reads so many.
const MOST_FAULTS: usize = 1000;
/// The most bytes that all of them are printed with: some rules print all that they look at, and may find a fault in each
/// part of it.
const MOST_BYTES: usize = 1024 * 1024;

/// The faults of one object, in the order in which upstream finds them, as many as are told: the last one says so where
/// there are more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<FieldError>, Room);

/// What of the room for faults is taken.
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

    /// Whether no more are told. Rules ask before they make a text that is dear to make.
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

    /// The faults as a `Status` lists them.
    pub fn causes(&self) -> Vec<Cause> {
        let cause = |e: &FieldError| Cause {
            reason: e.fault.reason(),
            message: e.body.clone(),
            field: e.field.clone(),
        };
        self.0.iter().map(cause).collect()
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

//! Fields of objects: their values, their paths, and what is wrong with them, in upstream's texts.
//!
//! Rules are functions over a [`Field`]: a value together with its path, so that a rule can look and complain
//! with one argument.

mod errors;
mod path;

use std::ops::Deref;

use serde_json::Value;

pub use errors::{Errors, Fault, FieldError};
pub use path::Path;

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

    /// Visits every value at `path`, whose steps have dots between them. A list on the way stands for each of its
    /// items; a field that is not set is skipped.
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

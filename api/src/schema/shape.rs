//! What a schema says of a type, as data. Shapes name other types, which [`super::catalog`] finds.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde_json::Value;

use super::structural::Rules;

/// The shape of one type, or of one field.
#[derive(Debug)]
pub struct Schema {
    /// The type's name, such as `io.k8s.api.core.v1.Pod`; empty for a shape that has none.
    pub name: Cow<'static, str>,
    /// What Go calls it in its errors: `v1.PodSpec`, `[]string`.
    pub go: String,
    /// What values may look like.
    pub shape: Shape,
    /// What a schema that was defined at run time asks beside the shape; built-in types have rules in code.
    pub rules: Option<Box<Rules>>,
}

/// What a value may look like.
#[derive(Debug)]
pub enum Shape {
    /// Any JSON: kept as it is.
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number of 32 or 64 bits.
    Integer {
        /// 32 or 64.
        bits: u8,
    },
    /// A number that may have a fraction.
    Number,
    /// A string.
    Text(Text),
    /// A quantity: a string or a number, kept in canonical form.
    Quantity,
    /// A number or a string, such as a port.
    IntOrString,
    /// A list.
    List {
        /// The shape of its items.
        items: Link,
        /// How two lists are merged.
        kind: ListKind,
    },
    /// A map from strings to values of one shape.
    Map {
        /// The shape of its values.
        values: Link,
    },
    /// A struct: named fields.
    Struct(Struct),
}

/// What a string holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Anything.
    Plain,
    /// Bytes in base64.
    Bytes,
    /// A time, to the second.
    Time,
    /// A time with six fraction digits.
    MicroTime,
}

/// How lists are merged: `x-kubernetes-list-type` and `x-kubernetes-list-map-keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// As a whole.
    Atomic,
    /// As a set of scalars.
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

/// Fields in the order in which Go declares (and upstream prints) them.
#[derive(Debug)]
pub struct Struct {
    /// The fields.
    pub fields: Vec<StructField>,
    /// Indexes into `fields`, sorted by name.
    by_name: Vec<u16>,
    /// Whether the whole is one value to server-side apply (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Whether unknown fields are kept.
    pub open: bool,
}

/// One field of a struct.
#[derive(Debug)]
pub struct StructField {
    /// Its name in JSON.
    pub name: Cow<'static, str>,
    /// Its shape.
    pub link: Link,
    /// What becomes of its zero value.
    pub zero: Zero,
    /// Its number in protobuf; 0 if it has none.
    pub number: u32,
    /// The structs that Go and protobuf embed it in, such as `VolumeSource`, from the outermost to the innermost.
    pub embedded: Vec<Embedded>,
    /// What Go calls its type where it has a name of its own, such as `v1.PodPhase`.
    pub go: Option<String>,
    /// How strategic merge patch treats it.
    pub patch: PatchStrategy,
    /// The default that the schema declares.
    pub default: Option<Value>,
    /// Whether it must be there.
    pub required: bool,
    /// Whether server-side apply takes it as one value, or field by field, against what its type says.
    pub atomic: Option<bool>,
}

/// A struct inside another whose fields JSON does not nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// `ProbeHandler`.
    pub name: &'static str,
    /// Its number in protobuf.
    pub number: u32,
}

/// What becomes of a field's zero value when the object is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// A pointer or a collection: kept if given, but for empty collections.
    Kept,
    /// A collection that is kept if given, even an empty one.
    Given,
    /// Left out.
    Omitted,
    /// Printed, even if it was not given.
    Printed,
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged, by `key` if there is one, else as a set.
    pub merge: bool,
    /// Maps drop the keys that `$retainKeys` does not name.
    pub retain_keys: bool,
    /// Maps are replaced.
    pub replace: bool,
    /// The field that tells items apart.
    pub key: Option<&'static str>,
}

/// A shape that is part of another: there already, or named and looked up when it is first needed.
#[derive(Debug)]
pub enum Link {
    /// Told in place.
    Here(Box<Schema>),
    /// A type of its own.
    Named(&'static str, OnceLock<&'static Schema>),
}

/// What an unknown name, or a schema that says nothing, allows: anything.
pub static ANYTHING: Schema =
    Schema { name: Cow::Borrowed(""), go: String::new(), shape: Shape::Any, rules: None };

impl Struct {
    pub(super) fn new(fields: Vec<StructField>, atomic: bool, open: bool) -> Struct {
        let mut by_name: Vec<u16> = (0..u16::try_from(fields.len()).unwrap_or(u16::MAX)).collect();
        by_name.sort_by(|&a, &b| fields[usize::from(a)].name.cmp(&fields[usize::from(b)].name));
        Struct { fields, by_name, atomic, open }
    }

    /// The place of the field `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self.by_name.binary_search_by(|&i| (*self.fields[usize::from(i)].name).cmp(name)).ok()?;
        Some(usize::from(self.by_name[found]))
    }

    /// The field `name`.
    pub fn field(&self, name: &str) -> Option<&StructField> {
        self.position(name).map(|at| &self.fields[at])
    }
}

impl Schema {
    /// The fields, if this is a struct.
    pub fn fields(&self) -> Option<&Struct> {
        match &self.shape {
            Shape::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// The type's name without its package: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or("")
    }
}

//! Sets of fields: who owns what, in the form that `managedFields` stores (`FieldsV1`).
//!
//! Source: `sigs.k8s.io/structured-merge-diff/fieldpath` for the notation and the order of elements.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::schema::{Schema, Shape};

/// A scalar inside a path, with an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal(pub Value);

impl Eq for Literal {}

impl PartialOrd for Literal {
    fn partial_cmp(&self, other: &Literal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Literal {
    fn cmp(&self, other: &Literal) -> Ordering {
        let rank = |value: &Value| match value {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            _ => 3,
        };
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0))
            }
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
        }
    }
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field, or a key of a map.
    Field(String),
    /// The item of a list whose key fields have these values, sorted by name.
    Key(Vec<(String, Literal)>),
    /// The item of a set.
    Item(Literal),
    /// An item by its place.
    Index(usize),
}

impl Element {
    /// As `FieldsV1` writes it: `f:spec`, `k:{"name":"c"}`, `v:"x"`, `i:0`.
    fn write(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(keys) => {
                let map: Map<String, Value> = keys.iter().map(|(k, v)| (k.clone(), v.0.clone())).collect();
                format!("k:{}", Value::Object(map))
            }
            Element::Item(value) => format!("v:{}", value.0),
            Element::Index(index) => format!("i:{index}"),
        }
    }

    /// About how many bytes it prints as.
    pub fn length(&self) -> usize {
        let of = |value: &Literal| value.0.as_str().map_or(8, str::len);
        match self {
            Element::Field(name) => name.len(),
            Element::Key(keys) => keys.iter().map(|(key, value)| key.len() + of(value)).sum(),
            Element::Item(value) => of(value),
            Element::Index(_) => 8,
        }
    }

    fn read(text: &str) -> Option<Element> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Element::Field(rest.into())),
            "v" => Some(Element::Item(Literal(serde_json::from_str(rest).ok()?))),
            "i" => Some(Element::Index(rest.parse().ok()?)),
            "k" => {
                let map: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Element::Key(map.into_iter().map(|(k, v)| (k, Literal(v))).collect()))
            }
            _ => None,
        }
    }
}

/// As conflicts print it: `.spec`, `[name="c"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={}", v.0)).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Element::Item(value) => write!(f, "[={}]", value.0),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A set of paths. A member is owned itself; its descendants are listed separately, in `children`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    members: BTreeSet<Element>,
    children: BTreeMap<Element, Set>,
}

impl Set {
    /// The set of dotted paths of fields, such as `metadata.name`.
    pub fn of_fields<'a>(paths: impl IntoIterator<Item = &'a str>) -> Set {
        let mut set = Set::default();
        for path in paths {
            let elements: Vec<Element> = path.split('.').map(|part| Element::Field(part.into())).collect();
            set.insert(&elements);
        }
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Set::is_empty)
    }

    /// Adds what is owned at one element: the element itself, and what is below it.
    pub fn put(&mut self, element: Element, owned: bool, below: Set) {
        if owned {
            self.members.insert(element.clone());
        }
        if !below.is_empty() {
            self.children.entry(element).or_default().add(below);
        }
    }

    /// Adds one path. The empty path is nothing.
    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => match self.children.get_mut(first) {
                Some(child) => child.insert(rest),
                None => self.children.entry(first.clone()).or_default().insert(rest),
            },
        }
    }

    /// Whether this very element is owned.
    pub fn has(&self, element: &Element) -> bool {
        self.members.contains(element)
    }

    /// What is owned below an element.
    pub fn below(&self, element: &Element) -> Option<&Set> {
        self.children.get(element).filter(|set| !set.is_empty())
    }

    /// Adds all of another.
    pub fn add(&mut self, other: Set) {
        self.members.extend(other.members);
        for (element, child) in other.children {
            self.children.entry(element).or_default().add(child);
        }
    }

    /// Takes out what is in another; paths below a member of the other stay.
    pub fn remove(&mut self, other: &Set) {
        self.members.retain(|element| !other.members.contains(element));
        self.remove_in_children(other, Set::remove);
    }

    /// Takes out the members of another and all that is below them.
    pub fn remove_below(&mut self, other: &Set) {
        self.members.retain(|element| !other.members.contains(element));
        self.children.retain(|element, _| !other.members.contains(element));
        self.remove_in_children(other, Set::remove_below);
    }

    /// The cost depends on the size of this set alone: one large set is subtracted from the sets of many owners, and
    /// intersected with them.
    fn remove_in_children(&mut self, other: &Set, remove: fn(&mut Set, &Set)) {
        self.children.retain(|element, mine| {
            if let Some(theirs) = other.children.get(element) {
                remove(mine, theirs);
            }
            !mine.is_empty()
        });
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.add(other.clone());
        out
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let both = |(element, mine): (&Element, &Set)| {
            let child = mine.intersection(other.children.get(element)?);
            (!child.is_empty()).then(|| (element.clone(), child))
        };
        Set {
            // Walks this set and looks things up in the other, see above.
            members: self.members.iter().filter(|element| other.members.contains(element)).cloned().collect(),
            children: self.children.iter().filter_map(both).collect(),
        }
    }

    /// What is in this one only; paths below a member of the other stay.
    #[must_use]
    pub fn difference(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.remove(other);
        out
    }

    /// What is in this one, without the members of the other and all that is below them.
    #[must_use]
    pub fn without_below(&self, other: &Set) -> Set {
        let mut out = self.clone();
        out.remove_below(other);
        out
    }

    /// The set with every declared field on the way to a member as a member too: whoever owns `spec.a.b` keeps
    /// `spec` and `a` alive.
    #[must_use]
    pub fn with_named_fields(&self, schema: &Schema) -> Set {
        let mut out = Set { members: self.members.clone(), children: BTreeMap::new() };
        for (element, child) in &self.children {
            let below = match (element, &schema.shape) {
                (Element::Field(name), Shape::Struct(fields)) => {
                    let field = fields.field(name);
                    if field.is_some() {
                        out.members.insert(element.clone());
                    }
                    field.map(|field| field.link.get())
                }
                (Element::Field(name), _) => schema.child(name),
                _ => schema.items(),
            };
            let child = below.map_or_else(|| child.clone(), |below| child.with_named_fields(below));
            out.children.insert(element.clone(), child);
        }
        out
    }

    /// Visits every path, in order.
    pub fn visit(&self, visit: &mut dyn FnMut(&[&Element])) {
        fn walk<'s>(set: &'s Set, path: &mut Vec<&'s Element>, visit: &mut dyn FnMut(&[&Element])) {
            let elements: BTreeSet<&Element> = set.members.iter().chain(set.children.keys()).collect();
            for element in elements {
                path.push(element);
                if set.members.contains(element) {
                    visit(path);
                }
                if let Some(child) = set.children.get(element) {
                    walk(child, path, visit);
                }
                path.pop();
            }
        }
        walk(self, &mut Vec::new(), visit);
    }

    /// As `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        let elements: BTreeSet<&Element> = self.members.iter().chain(self.children.keys()).collect();
        for element in elements {
            let mut inner = Map::new();
            if let Some(child) = self.below(element) {
                if self.members.contains(element) {
                    inner.insert(".".into(), Value::Object(Map::new()));
                }
                if let Value::Object(fields) = child.to_value() {
                    inner.extend(fields);
                }
            } else if !self.members.contains(element) {
                continue;
            }
            map.insert(element.write(), Value::Object(inner));
        }
        Value::Object(map)
    }

    /// From `fieldsV1`; nothing for what is none.
    pub fn from_value(value: &Value) -> Option<Set> {
        let mut set = Set::default();
        for (key, child) in value.as_object()? {
            if key == "." {
                continue;
            }
            let element = Element::read(key)?;
            let map = child.as_object()?;
            if map.is_empty() || map.contains_key(".") {
                set.members.insert(element.clone());
            }
            let below = Set::from_value(child)?;
            if !below.is_empty() {
                set.children.insert(element, below);
            }
        }
        Some(set)
    }
}

/// A path as conflicts print it.
pub fn printed(path: &[&Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> Set {
        Set::from_value(&value).unwrap()
    }

    #[test]
    fn fields_v1_is_read_and_written_alike() {
        let value = json!({
            "f:metadata": {"f:finalizers": {".": {}, "v:\"e/a\"": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}, "k:{\"port\":443,\"protocol\":\"TCP\"}": {}}}
        });
        assert_eq!(set(value.clone()).to_value().to_string(), value.to_string());
        let mut paths = Vec::new();
        set(value).visit(&mut |path| paths.push(printed(path)));
        assert_eq!(paths[3], ".spec.ports[port=80,protocol=\"TCP\"].port");
        assert!(Set::from_value(&json!({"nonsense": {}})).is_none());
    }

    #[test]
    fn set_arithmetic() {
        let a = set(json!({"f:a": {".": {}, "f:x": {}}, "f:b": {}}));
        let b = set(json!({"f:a": {}, "f:c": {}}));
        assert_eq!(a.union(&b).to_value(), json!({"f:a": {".": {}, "f:x": {}}, "f:b": {}, "f:c": {}}));
        assert_eq!(a.intersection(&b).to_value(), json!({"f:a": {}}));
        assert_eq!(a.difference(&b).to_value(), json!({"f:a": {"f:x": {}}, "f:b": {}}));
        assert_eq!(a.without_below(&b).to_value(), json!({"f:b": {}}));
    }
}

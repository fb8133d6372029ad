//! Built-in types by their names, and what is reached from a type by following the names in it.

use super::build::{Entry, entries};
use super::shape::{ANYTHING, Link, Schema, Shape};

fn entry(name: &str) -> Option<&'static Entry> {
    let at = entries().binary_search_by_key(&name, |entry| entry.name).ok()?;
    Some(&entries()[at])
}

impl Link {
    /// The shape; a named type is looked up once.
    pub fn get(&self) -> &Schema {
        match self {
            Link::Here(schema) => schema,
            Link::Named(name, cell) => cell.get_or_init(|| Schema::of(name).unwrap_or(&ANYTHING)),
        }
    }
}

impl Schema {
    /// The type of this name.
    pub fn of(name: &str) -> Option<&'static Schema> {
        entry(name).map(Entry::schema)
    }

    /// The OpenAPI v3 schema of this name, as text.
    pub fn text(name: &str) -> Option<&'static str> {
        entry(name).map(|entry| entry.text)
    }

    /// The names of all types.
    pub fn names() -> impl Iterator<Item = &'static str> {
        entries().iter().map(|entry| entry.name)
    }

    /// The shape of the field `name`, of any key of a map, or nothing.
    pub fn child(&self, name: &str) -> Option<&Schema> {
        match &self.shape {
            Shape::Struct(fields) => fields.field(name).map(|f| f.link.get()),
            Shape::Map { values } => Some(values.get()),
            Shape::Any => Some(&ANYTHING),
            _ => None,
        }
    }

    /// The shape of a list's items.
    pub fn items(&self) -> Option<&Schema> {
        match &self.shape {
            Shape::List { items, .. } => Some(items.get()),
            Shape::Any => Some(&ANYTHING),
            _ => None,
        }
    }
}

//! Tables: how the server prints objects for `kubectl get`. A kind's row holds its columns; here they become a `Table`.
//!
//! Source: `pkg/printers/internalversion/printers.go` for the cells,
//! `k8s.io/apiserver/pkg/endpoints/handlers/response.go` for the form.

pub mod cells;
pub mod path;
pub mod time;

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::handle::Text;
use crate::read::{int, text};

/// A kind's table.
pub struct Table {
    /// Its columns, in order.
    pub columns: Cow<'static, [Column]>,
    /// What is marked on an object's row, such as that the pod has completed; usually null.
    pub conditions: fn(&Value) -> Value,
}

impl Table {
    /// A table without columns, and without marks on its rows: a kind's table says what differs.
    pub const PLAIN: Table = Table { columns: Cow::Borrowed(&[]), conditions: |_| Value::Null };
}

/// What a column shows of an object. Where it stands is a JSON pointer where nothing else is said.
#[derive(Clone)]
pub enum Cell {
    /// The text at a pointer.
    Text(&'static str),
    /// The text at a pointer, or `<none>`.
    TextOrNone(&'static str),
    /// The number at a pointer; 0 if there is none.
    Number(&'static str),
    /// How many entries the map or list at a pointer has.
    Count(&'static str),
    /// The value at a JSON path, as the column's type prints it: how defined kinds say it.
    Path(path::JsonPath),
    /// What a function makes of the object, at a moment.
    Computed(fn(&Value, Timestamp) -> Value),
}

impl Cell {
    fn of(&self, object: &Value, of_type: &str, now: Timestamp) -> Value {
        match self {
            Cell::Text(pointer) => text(object, pointer).into(),
            Cell::TextOrNone(pointer) => cells::or_none(text(object, pointer)),
            Cell::Number(pointer) => int(object, pointer).into(),
            Cell::Count(pointer) => cells::count(object, pointer).into(),
            Cell::Path(path) => cells::typed(path.find(object), of_type, now),
            Cell::Computed(make) => make(object, now),
        }
    }
}

/// A column of a kind's table.
#[derive(Clone)]
pub struct Column {
    /// `Ready`.
    pub name: Text,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub of_type: Text,
    /// `name` marks the column that holds the object's name; else empty.
    pub format: &'static str,
    /// What a person may want to know of the column.
    pub description: Text,
    /// 0 always shows; 1 only with `-o wide`.
    pub priority: i32,
    /// What it shows.
    pub cell: Cell,
}

impl Column {
    /// A column of text.
    pub const fn text(name: &'static str, description: &'static str, cell: Cell) -> Column {
        Column::of(name, "string", description, cell)
    }

    const fn of(name: &'static str, of_type: &'static str, description: &'static str, cell: Cell) -> Column {
        Column {
            name: Cow::Borrowed(name),
            of_type: Cow::Borrowed(of_type),
            format: "",
            description: Cow::Borrowed(description),
            priority: 0,
            cell,
        }
    }

    /// A column of whole numbers.
    pub const fn integer(name: &'static str, description: &'static str, cell: Cell) -> Column {
        Column::of(name, "integer", description, cell)
    }

    /// The object's name, first in nearly every table.
    pub const fn name() -> Column {
        Column::text("Name", "Unique within its kind and namespace.", Cell::Text("/metadata/name")).named()
    }

    /// Time since creation.
    pub const fn age() -> Column {
        Column::text("Age", "Time since the object was created.", Cell::Computed(cells::age))
    }

    /// The same column, shown only with `-o wide`.
    pub const fn wide(mut self) -> Column {
        self.priority = 1;
        self
    }

    /// The same column, marked as the one that holds the object's name.
    pub const fn named(mut self) -> Column {
        self.format = "name";
        self
    }

    fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.of_type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// How much of each object its row carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads the parameter `includeObject`.
    ///
    /// # Errors
    /// Upstream's text for any other value.
    pub fn parse(text: &str) -> Result<Include, String> {
        match text {
            "" | "Metadata" => Ok(Include::Metadata),
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            other => Err(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                Value::from(other)
            )),
        }
    }
}

/// How a table is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// `meta.k8s.io/v1`, or `meta.k8s.io/v1beta1`.
    pub api_version: &'a str,
    /// What its rows carry.
    pub include: Include,
    /// Whether it has column definitions; in a watch only the first does.
    pub headed: bool,
    /// The moment that ages are counted to.
    pub now: Timestamp,
}

impl Table {
    /// The `Table` of these objects. `metadata` is the list's, or holds the one object's `resourceVersion`.
    pub fn print<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Value>,
        metadata: Value,
        form: Form<'_>,
    ) -> Value {
        let definitions = self.columns.iter().map(Column::definition).collect::<Vec<_>>();
        json!({
            "kind": "Table",
            "apiVersion": form.api_version,
            "metadata": metadata,
            "columnDefinitions": if form.headed { Value::from(definitions) } else { Value::Null },
            "rows": objects.into_iter().map(|object| self.row(object, form)).collect::<Vec<_>>(),
        })
    }

    /// The `Table` of one object.
    pub fn print_one(&self, object: &Value, form: Form<'_>) -> Value {
        let revision = object.pointer("/metadata/resourceVersion");
        let metadata = revision.map_or_else(|| json!({}), |revision| json!({"resourceVersion": revision}));
        self.print([object], metadata, form)
    }

    fn row(&self, object: &Value, form: Form<'_>) -> Value {
        let cells = self
            .columns
            .iter()
            .map(|column| column.cell.of(object, &column.of_type, form.now))
            .collect::<Vec<_>>();
        let mut row = json!({"cells": cells});
        match (self.conditions)(object) {
            Value::Null => {}
            marks => row["conditions"] = marks,
        }
        row["object"] = match form.include {
            Include::None => Value::Null,
            Include::Object => object.clone(),
            Include::Metadata => partial_metadata(object, form.api_version),
        };
        row
    }
}

/// The `PartialObjectMetadata` of an object.
pub fn partial_metadata(object: &Value, api_version: &str) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_else(|| json!({}));
    json!({"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": metadata})
}

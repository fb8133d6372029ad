//! Rows that are made at run time, from definitions: what a `CustomResourceDefinition` says of one version of a kind.

use std::borrow::Cow::{self, Owned};
use std::sync::Arc;

use serde_json::{Value, json};

use super::strategy::{PLAIN, clear, generation, keep, set_generation};
use super::{SCALE, STATUS, USUAL};
use crate::handle::Handle::Shared;
use crate::kind::{Kind, Origin, Read, ScalePaths, Selectable, Strategy};
use crate::schema::{SchemaRef, structural};
use crate::table::path::JsonPath;
use crate::table::{Cell, Column, Table};

/// What a definition says.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// `example.com`.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `Widget`.
    pub kind: String,
    /// `widgets`.
    pub plural: String,
    /// `widget`; empty: the kind in lower case.
    pub singular: String,
    /// `wd`.
    pub short_names: Vec<String>,
    /// `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// The structural schema of its objects.
    pub schema: Value,
    /// Its columns after the name; none: their age.
    pub columns: Vec<PrinterColumn>,
    /// Whether `/status` is a subresource.
    pub status: bool,
    /// Whether `/scale` is one: JSON paths of the wanted and the found number, and perhaps of the selector.
    pub scale: Option<(String, String, Option<String>)>,
    /// JSON paths of fields that field selectors may name.
    pub selectable: Vec<String>,
}

/// A column of a defined kind.
#[derive(Clone, Debug, Default)]
pub struct PrinterColumn {
    /// `Size`.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub of_type: String,
    /// What a person may want to know of it.
    pub description: String,
    /// 0 always shows; more only with `-o wide`.
    pub priority: i32,
    /// Where the value stands.
    pub path: String,
}

impl Definition {
    /// The row of the kind.
    ///
    /// # Errors
    /// What is wrong with the definition: its schema, or one of its paths.
    pub fn row(self) -> Result<Kind, String> {
        for (what, text) in [
            ("group", &self.group),
            ("version", &self.version),
            ("kind", &self.kind),
            ("plural", &self.plural),
        ] {
            if text.is_empty() {
                return Err(format!("{what}: must be set"));
            }
        }
        let package: Vec<&str> = self.group.rsplit('.').collect();
        let type_name = format!("{}.{}.{}", package.join("."), self.version, self.kind);
        let schema = structural::read(&type_name, &self.schema)?;
        let scale = self.scale.map(|(wanted, found, selector)| {
            let plain = |text: &str| match JsonPath::parse(text)? {
                path if path.is_plain() => Ok(path),
                _ => Err(format!("scale: {text:?} must name fields only")),
            };
            let selector = selector.as_deref().map(plain).transpose()?;
            Ok::<_, String>(ScalePaths { wanted: plain(&wanted)?, found: plain(&found)?, selector })
        });
        let scale = scale.transpose()?;
        let selectable = |path: &String| {
            let field = path.trim_start_matches('.').to_owned();
            Ok(Selectable { field: Owned(field), read: Read::Path(JsonPath::parse(path)?), zero: "" })
        };
        let selectable: Vec<Selectable> =
            self.selectable.iter().map(selectable).collect::<Result<_, String>>()?;
        let mut columns = vec![Column::name()];
        match self.columns.as_slice() {
            [] => columns.push(Column::age()),
            own => columns.extend(own.iter().map(PrinterColumn::column).collect::<Result<Vec<_>, _>>()?),
        }
        let mut subresources = Vec::new();
        subresources.extend(scale.is_some().then_some(SCALE));
        subresources.extend(self.status.then_some(STATUS));
        let singular = if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular };
        Ok(Kind {
            group: Owned(self.group),
            version: Owned(self.version),
            kind: Owned(self.kind),
            plural: Owned(self.plural),
            singular: Owned(singular),
            short_names: Owned(self.short_names.join(" ")),
            categories: Owned(self.categories.join(" ")),
            namespaced: self.namespaced,
            schema: SchemaRef::Inline { schema, document: Arc::new(self.schema) },
            subresources: Owned(subresources),
            selectable: Owned(selectable),
            table: Shared(Arc::new(Table { columns: Owned(columns), conditions: |_| Value::Null })),
            strategy: &STRATEGY,
            scale,
            origin: Origin::Definition,
            ..USUAL
        })
    }
}

impl PrinterColumn {
    fn column(&self) -> Result<Column, String> {
        Ok(Column {
            name: Cow::Owned(self.name.clone()),
            of_type: Cow::Owned(self.of_type.clone()),
            format: "",
            description: Cow::Owned(self.description.clone()),
            priority: self.priority,
            cell: Cell::Path(JsonPath::parse(&self.path)?),
        })
    }
}

/// The strategy of every defined kind: its schema says the rest.
///
/// Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresource/{strategy,status_strategy}.go`.
static STRATEGY: Strategy = Strategy {
    default: |kind, object| structural::fill_in(object, kind.schema()),
    prepare_create: |kind, object| {
        if kind.has_subresource("status") {
            clear(object, "status");
        }
        set_generation(object, 1);
    },
    prepare_update,
    prepare_status_update: |_, new, old| {
        let status = new.get("status").cloned();
        let managed = new.pointer("/metadata/managedFields").cloned();
        let revision = new.pointer("/metadata/resourceVersion").cloned();
        *new = old.clone();
        keep(new, &json!({ "status": status }), "status");
        keep(&mut new["metadata"], &json!({ "managedFields": managed }), "managedFields");
        keep(&mut new["metadata"], &json!({ "resourceVersion": revision }), "resourceVersion");
    },
    validate: |kind, object, errors| {
        kind.check_metadata(object, errors);
        structural::validate(object, None, kind.schema(), errors);
    },
    validate_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        structural::validate(new, Some(old), kind.schema(), errors);
    },
    validate_status_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        structural::validate_status(new, old, kind.schema(), errors);
    },
    unconditional_update: false,
    ..PLAIN
};

/// Any change but one of metadata, or of a status with a path of its own, counts.
fn prepare_update(kind: &Kind, new: &mut Value, old: &Value) {
    let apart = kind.has_subresource("status");
    if apart {
        keep(new, old, "status");
    }
    let counts = |(name, _): &(&String, &Value)| *name != "metadata" && !(apart && *name == "status");
    let fields = |object: &Value| -> serde_json::Map<String, Value> {
        let fields = object.as_object().into_iter().flatten().filter(counts);
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let changed = fields(new) != fields(old);
    set_generation(new, generation(old).saturating_add(i64::from(changed)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errors;

    fn widget() -> Kind {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {
            "spec": {"type": "object", "required": ["size"], "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            }},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }});
        Definition {
            group: "example.com".into(),
            version: "v1".into(),
            kind: "Widget".into(),
            plural: "widgets".into(),
            namespaced: true,
            schema,
            status: true,
            scale: Some((".spec.size".into(), ".status.size".into(), None)),
            selectable: vec![".spec.color".into()],
            ..Definition::default()
        }
        .row()
        .expect("a good definition")
    }

    #[test]
    fn a_definition_becomes_a_row_that_defaults_validates_and_counts() {
        let kind = widget();
        assert_eq!((kind.singular(), kind.schema.name()), ("widget", "com.example.v1.Widget"));
        let names: Vec<&str> = kind.subresources.iter().map(|sub| sub.name).collect();
        assert_eq!(names, ["scale", "status"]);
        let mut old =
            json!({"metadata": {"name": "a", "namespace": "n", "resourceVersion": "3"}, "spec": {"size": 3}});
        kind.fill_in(&mut old);
        assert_eq!(old["spec"]["color"], "red");
        assert_eq!(kind.selectable[0].value(&old), "red");
        (kind.strategy.prepare_create)(&kind, &mut old);
        assert_eq!(kind.validate(&old), Errors::new());
        let changed = |change: Value| {
            let mut new = old.clone();
            new["status"] = json!({"size": 2});
            new["spec"] = change;
            (kind.strategy.prepare_update)(&kind, &mut new, &old);
            assert!(new.get("status").is_none(), "a status has a path of its own");
            generation(&new)
        };
        assert_eq!((changed(old["spec"].clone()), changed(json!({"size": 4}))), (1, 2));
        let mut status = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"size": 9}, "status": {"size": 2}});
        (kind.strategy.prepare_status_update)(&kind, &mut status, &old);
        assert_eq!((&status["spec"], &status["status"]), (&old["spec"], &json!({"size": 2})));
        assert!(status["metadata"].get("labels").is_none());
        let bad =
            json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"size": 10, "color": "green"}});
        let fields: Vec<String> = kind.validate(&bad).0.into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["spec.size", "spec.color"]);
    }

    #[test]
    fn a_bad_definition_is_refused_with_its_place() {
        let broken = |change: &dyn Fn(&mut Definition)| {
            let mut definition = Definition {
                group: "e.com".into(),
                version: "v1".into(),
                kind: "Thing".into(),
                plural: "things".into(),
                schema: json!({"type": "object"}),
                ..Definition::default()
            };
            change(&mut definition);
            definition.row().expect_err("a fault")
        };
        let property = |schema: Value| {
            move |d: &mut Definition| d.schema = json!({"type": "object", "properties": {"a": schema}})
        };
        let cases: [(&dyn Fn(&mut Definition), &str); 6] = [
            (&|d| d.plural.clear(), "plural: must be set"),
            (&|d| d.schema = json!({"type": "string"}), "openAPIV3Schema.type: must be object"),
            (&property(json!({})), "openAPIV3Schema.properties[a].type: must be set"),
            (&property(json!({"type": "array"})), "openAPIV3Schema.properties[a].items: must be set"),
            (&property(json!({"type": "string", "pattern": "("})), "openAPIV3Schema.properties[a].pattern: "),
            (
                &|d| d.scale = Some((".a[0]".into(), ".b".into(), None)),
                "scale: \".a[0]\" must name fields only",
            ),
        ];
        for (change, expected) in cases {
            let found = broken(change);
            assert!(found.starts_with(expected), "{found} is not {expected}");
        }
    }
}

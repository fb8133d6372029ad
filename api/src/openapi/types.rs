//! Which types a document holds, and how it refers to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::descriptions::describe;
use crate::kind::KindRef;
use crate::schema::{Schema, SchemaRef, structural};

/// The version of Kubernetes that documents name.
pub const VERSION: &str = "v1.36.2";
/// Where references to types point.
pub const REFERENCE: &str = "#/components/schemas/";
/// The package of the types that all groups share.
pub const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The type of a kind that was defined at run time, and that of its lists.
pub fn inline(kind: &KindRef) -> Vec<(String, Value)> {
    let SchemaRef::Inline { document, .. } = &kind.schema else { return Vec::new() };
    let (group, version) = (kind.group(), kind.version());
    let name = kind.schema.name();
    let list = json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": format!("{REFERENCE}{name}")}},
            "kind": {"type": "string"},
            "metadata": {"$ref": format!("{REFERENCE}{META}ListMeta")},
        },
        "x-kubernetes-group-version-kind": [
            {"group": group, "version": version, "kind": format!("{}List", kind.kind())},
        ],
    });
    let object = structural::document(document, group, version, kind.kind());
    vec![(name.to_owned(), object), (format!("{name}List"), list)]
}

/// All types of the packages that these kinds live in, and the general ones that their operations speak of.
pub fn types_of(kinds: &[KindRef]) -> Vec<String> {
    let mut packages: Vec<&str> =
        kinds.iter().filter_map(|kind| Some(kind.schema.name().rsplit_once('.')?.0)).collect();
    packages.dedup();
    let general =
        ["APIResourceList", "DeleteOptions", "ListMeta", "ObjectMeta", "Patch", "Status", "WatchEvent"];
    let of_subresources = kinds.iter().flat_map(|kind| &*kind.subresources).filter_map(|sub| {
        let (group, version, name) = sub.gvk?;
        crate::decode::Target::named(group, version, name)
            .map(|target| target.schema.name.clone().into_owned())
    });
    Schema::names()
        .filter(|name| name.rsplit_once('.').is_some_and(|(package, _)| packages.contains(&package)))
        .map(str::to_owned)
        .chain(general.map(|name| format!("{META}{name}")))
        // The `/scale` of every group reads and writes this type.
        .chain(std::iter::once("io.k8s.api.autoscaling.v1.Scale".to_owned()))
        .chain(of_subresources)
        .collect()
}

/// Adds a type and everything that it refers to.
pub fn collect(name: &str, out: &mut BTreeMap<&'static str, Value>) {
    let Some(known) = Schema::of(name).map(|schema| &*schema.name) else { return };
    if out.contains_key(known) {
        return;
    }
    let text = Schema::text(known).unwrap_or("{}");
    let mut schema = serde_json::from_str(text).unwrap_or_default();
    describe(known, &mut schema);
    out.insert(known, schema);
    for part in text.split(REFERENCE).skip(1) {
        collect(part.split('"').next().unwrap_or(""), out);
    }
}

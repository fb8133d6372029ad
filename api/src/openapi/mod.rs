//! OpenAPI: an index, one document for each group and version (v3), and one for everything (v2). All of it derives from
//! the schemas and the table of kinds.
//!
//! Most documents are never asked for, so each is made on first use, and then kept as bytes.

mod descriptions;
mod operations;
mod parameters;
mod types;
mod v2;
mod v2_protobuf;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::kind::KindRef;
use crate::schema::{Schema, SchemaRef};
use types::{META, VERSION, collect, inline, types_of};

/// The documents about a set of kinds.
pub struct Documents {
    kinds: Vec<KindRef>,
    /// By path, such as `apis/apps/v1`: the document, once somebody asked for it.
    made: BTreeMap<String, OnceLock<Bytes>>,
    v2: OnceLock<Bytes>,
    hash: String,
}

impl Documents {
    /// The documents about these kinds; none is made yet.
    pub fn new(kinds: impl IntoIterator<Item = KindRef>) -> Arc<Documents> {
        let kinds: Vec<KindRef> = kinds.into_iter().collect();
        let mut made = BTreeMap::new();
        let mut digest = Sha512::new();
        for path in ["api", "apis", "version"] {
            made.insert(path.to_owned(), OnceLock::new());
        }
        for kind in &kinds {
            if kind.group().is_empty() {
                made.insert(format!("api/{}", kind.version()), OnceLock::new());
            } else {
                made.insert(format!("apis/{}", kind.group()), OnceLock::new());
                made.insert(format!("apis/{}/{}", kind.group(), kind.version()), OnceLock::new());
            }
            digest.update(format!("{}/{}/{} {VERSION} ", kind.group(), kind.version(), kind.plural()));
            match &kind.schema {
                SchemaRef::Named(name) => digest.update(Schema::text(name).unwrap_or_default()),
                SchemaRef::Inline { document, .. } => digest.update(document.to_string()),
            }
        }
        let hash = digest.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        Arc::new(Documents { kinds, made, v2: OnceLock::new(), hash })
    }

    /// The index of `/openapi/v3`.
    pub fn index(&self) -> Bytes {
        let entry = |path: &String| {
            (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", self.hash)}))
        };
        let paths: Map<String, Value> = self.made.keys().map(entry).collect();
        Bytes::from(json!({ "paths": paths }).to_string())
    }

    /// The hash that addresses of documents carry; a client that asks with another has an old index.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The document of a path, such as `apis/apps/v1`; nothing for a path that the index does not have.
    pub fn document(&self, path: &str) -> Option<Bytes> {
        let cell = self.made.get(path)?;
        Some(cell.get_or_init(|| Bytes::from(self.make(path).to_string())).clone())
    }

    /// The one document of `/openapi/v2`.
    pub fn v2(&self) -> Bytes {
        self.v2.get_or_init(|| Bytes::from(v2::document(&self.kinds).to_string())).clone()
    }

    /// The types of the v2 document in protobuf, as kubectl asks for them. Rare enough to be made anew each time.
    pub fn v2_protobuf(&self) -> Bytes {
        Bytes::from(v2_protobuf::document(&v2::definitions(&self.kinds)))
    }

    fn make(&self, path: &str) -> Value {
        let parts: Vec<&str> = path.split('/').collect();
        let mut defined: Vec<(String, Value)> = Vec::new();
        let (paths, types) = match parts.as_slice() {
            ["version"] => (single("/version/", "getCodeVersion", "version"), Vec::new()),
            ["api"] => (single("/api/", "getCoreAPIVersions", "core"), Vec::new()),
            ["apis"] => (single("/apis/", "getAPIVersions", "apis"), Vec::new()),
            ["apis", group] => {
                let id = format!("get{}APIGroup", operations::camel(group));
                (single(&format!("/apis/{group}/"), &id, &operations::tag(group)), Vec::new())
            }
            _ => {
                let (group, version) =
                    if parts[0] == "api" { ("", parts[1]) } else { (parts[1], *parts.last().unwrap_or(&"")) };
                let kinds: Vec<KindRef> = self
                    .kinds
                    .iter()
                    .filter(|k| k.group() == group && k.version() == version)
                    .cloned()
                    .collect();
                defined = kinds.iter().flat_map(inline).collect();
                (operations::paths(group, version, &kinds), types_of(&kinds))
            }
        };
        let mut schemas = BTreeMap::new();
        for name in types {
            collect(&name, &mut schemas);
        }
        // Every group has its own form of what all groups share.
        if let ([_, version] | [_, _, version], false) = (parts.as_slice(), schemas.is_empty()) {
            let group = if parts.len() == 2 { "" } else { parts[1] };
            for kind in ["DeleteOptions", "WatchEvent"] {
                if let Some(schema) = schemas.get_mut(format!("{META}{kind}").as_str()) {
                    let row = json!([{"group": group, "kind": kind, "version": version}]);
                    schema["x-kubernetes-group-version-kind"] = row;
                }
            }
        }
        let mut schemas: Map<String, Value> =
            schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
        if !defined.is_empty() {
            schemas.extend(defined);
            schemas.sort_keys();
        }
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "BearerToken": {
                        "type": "apiKey",
                        "description": "Bearer Token authentication",
                        "name": "authorization",
                        "in": "header",
                    },
                },
            },
        })
    }
}

/// The only path of a document that describes no kinds.
fn single(path: &str, id: &str, tag: &str) -> Map<String, Value> {
    let get =
        json!({"tags": [tag], "operationId": id, "responses": {"401": {"description": "Unauthorized"}}});
    Map::from_iter([(path.to_owned(), json!({ "get": get }))])
}

#[cfg(test)]
mod tests {
    use super::types::REFERENCE;
    use super::*;
    use crate::kinds;

    fn read(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn the_index_names_every_document() {
        let documents = Documents::new(kinds::Kinds::new().served());
        let index = read(&documents.index());
        for path in ["api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version"] {
            let url = index["paths"][path]["serverRelativeURL"].as_str().unwrap();
            assert_eq!(url, format!("/openapi/v3/{path}?hash={}", documents.hash()));
            assert!(documents.document(path).is_some(), "case: {path}");
        }
        assert!(documents.document("apis/nope/v1").is_none());
    }

    #[test]
    fn a_defined_kind_is_described_like_any_other() {
        let kinds = kinds::Kinds::new();
        let before = Documents::new(kinds.served());
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}});
        let definition = kinds::Definition {
            group: "example.com".into(),
            version: "v1".into(),
            kind: "Widget".into(),
            plural: "widgets".into(),
            namespaced: true,
            schema,
            ..kinds::Definition::default()
        };
        kinds.add(definition.row().unwrap()).unwrap();
        let documents = Documents::new(kinds.served());
        assert_ne!(before.hash(), documents.hash(), "clients are told that their index is old");
        let document = read(&documents.document("apis/example.com/v1").unwrap());
        let types = &document["components"]["schemas"];
        assert_eq!(
            types["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"]["type"],
            "integer"
        );
        let path = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}";
        assert_eq!(document["paths"][path]["get"]["operationId"], "readExampleComV1NamespacedWidget");
        for part in document.to_string().split(REFERENCE).skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(types.get(name).is_some(), "dangling: {name}");
        }
        let v2 = read(&documents.v2());
        assert!(v2["definitions"]["com.example.v1.WidgetList"].is_object());
        assert!(v2["paths"][path]["get"].is_object());
    }

    #[test]
    fn documents_hold_operations_and_every_type_that_they_name() {
        let documents = Documents::new(kinds::Kinds::new().served());
        let core = read(&documents.document("api/v1").unwrap());
        let pod = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
        assert_eq!(pod["patch"]["operationId"], "patchCoreV1NamespacedPod");
        assert_eq!(pod["patch"]["x-kubernetes-action"], "patch");
        let all = core["paths"]["/api/v1/namespaces/{namespace}/pods"]["delete"]["operationId"].clone();
        assert_eq!(all, "deleteCoreV1CollectionNamespacedPod");
        let text = core.to_string();
        for part in text.split(REFERENCE).skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(core["components"]["schemas"].get(name).is_some(), "dangling: {name}");
        }
    }
}

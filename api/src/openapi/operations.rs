//! Paths and their operations, from the rows of the table of kinds.

use serde_json::{Map, Value, json};

use super::parameters;
use super::types::{META, REFERENCE};
use crate::decode::Target;
use crate::kind::{Kind, KindRef, Subresource};

/// `rbac.authorization.k8s.io` is `RbacAuthorization` in names of operations.
pub(super) fn camel(group: &str) -> String {
    if group.is_empty() {
        return "Core".into();
    }
    group.trim_end_matches(".k8s.io").split('.').map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The same in lower camel case: the tag of a group's operations.
pub(super) fn tag(group: &str) -> String {
    let name = camel(group);
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{REFERENCE}{name}") })
}

fn content(name: &str, watch: bool) -> Value {
    let mut types = vec!["application/cbor", "application/json"];
    if watch {
        types.extend(["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]);
    }
    types.extend(["application/vnd.kubernetes.protobuf", "application/yaml"]);
    types
        .into_iter()
        .map(|kind| (kind.to_owned(), json!({"schema": reference(name)})))
        .collect::<Map<_, _>>()
        .into()
}

/// What is the same for all operations of one kind, or of one subresource.
struct Subject<'a> {
    kind: &'a Kind,
    /// The type that is read and written.
    gvk: (&'a str, &'a str, &'a str),
    schema: String,
    /// `Status`, after the kind in names of operations.
    suffix: String,
}

impl Subject<'_> {
    /// `readAppsV1NamespacedDeploymentScale`
    fn id(&self, verb: &str, middle: &str) -> String {
        let scope = if self.kind.namespaced { "Namespaced" } else { "" };
        let (group, version) = (camel(self.kind.group()), capital(self.kind.version()));
        format!("{verb}{group}{version}{middle}{scope}{}{}", self.kind.kind(), self.suffix)
    }

    fn operation(
        &self,
        id: String,
        action: &str,
        responses: Value,
        body: Option<Value>,
        verb: &str,
    ) -> Value {
        let mut map = Map::new();
        map.insert("tags".into(), json!([format!("{}_{}", tag(self.kind.group()), self.kind.version())]));
        map.insert("operationId".into(), id.into());
        let parameters = parameters::of_verb(verb);
        if !parameters.is_empty() {
            map.insert("parameters".into(), parameters.into());
        }
        if let Some(body) = body {
            map.insert("requestBody".into(), body);
        }
        map.insert("responses".into(), responses);
        map.insert("x-kubernetes-action".into(), action.into());
        let (group, version, kind) = self.gvk;
        map.insert(
            "x-kubernetes-group-version-kind".into(),
            json!({"group": group, "version": version, "kind": kind}),
        );
        Value::Object(map)
    }

    fn responses(&self, codes: &[&str], schema: &str, watch: bool) -> Value {
        let mut map = Map::new();
        for code in codes {
            let words = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            map.insert((*code).into(), json!({"description": words, "content": content(schema, watch)}));
        }
        map.insert("401".into(), json!({"description": "Unauthorized"}));
        Value::Object(map)
    }

    fn whole_body(&self) -> Option<Value> {
        Some(json!({"content": {"*/*": {"schema": reference(&self.schema)}}, "required": true}))
    }

    fn read(&self) -> Value {
        self.operation(self.id("read", ""), "get", self.responses(&["200"], &self.schema, false), None, "get")
    }

    fn replace(&self) -> Value {
        let responses = self.responses(&["200", "201"], &self.schema, false);
        self.operation(self.id("replace", ""), "put", responses, self.whole_body(), "put")
    }

    fn create(&self) -> Value {
        let responses = self.responses(&["200", "201", "202"], &self.schema, false);
        self.operation(self.id("create", ""), "post", responses, self.whole_body(), "post")
    }

    fn patch(&self) -> Value {
        let mut types = self.kind.patch_types().to_vec();
        types.sort_unstable();
        let patch = json!({"schema": reference(&format!("{META}Patch"))});
        let content: Map<String, Value> =
            types.into_iter().map(|kind| (kind.to_owned(), patch.clone())).collect();
        let responses = self.responses(&["200", "201"], &self.schema, false);
        let body = Some(json!({"content": content, "required": true}));
        self.operation(self.id("patch", ""), "patch", responses, body, "patch")
    }

    fn delete(&self) -> Value {
        let status = format!("{META}Status");
        let schema = if self.kind.strategy.delete_answers_object { &self.schema } else { &status };
        let responses = self.responses(&["200", "202"], schema, false);
        self.operation(self.id("delete", ""), "delete", responses, delete_options(), "delete")
    }

    fn list(&self, all_namespaces: bool) -> Value {
        let list = format!("{}List", self.schema);
        let id = if all_namespaces {
            let (group, version) = (camel(self.kind.group()), capital(self.kind.version()));
            format!("list{group}{version}{}ForAllNamespaces", self.kind.kind())
        } else {
            self.id("list", "")
        };
        let verb = if all_namespaces { "" } else { "list" };
        self.operation(id, "list", self.responses(&["200"], &list, true), None, verb)
    }

    fn delete_all(&self) -> Value {
        let responses = self.responses(&["200"], &format!("{META}Status"), false);
        let id = self.id("delete", "Collection");
        self.operation(id, "deletecollection", responses, delete_options(), "deletecollection")
    }

    /// A stream, such as `exec`.
    fn connect(&self, method: &str) -> Value {
        let scope = if self.kind.namespaced { "Namespaced" } else { "" };
        let (group, version) = (camel(self.kind.group()), capital(self.kind.version()));
        let id = format!("connect{group}{version}{method}{scope}{}{}", self.kind.kind(), self.suffix);
        let responses = json!({
            "200": {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}},
            "401": {"description": "Unauthorized"},
        });
        self.operation(id, "connect", responses, None, "connect")
    }
}

fn delete_options() -> Option<Value> {
    Some(json!({"content": {"*/*": {"schema": reference(&format!("{META}DeleteOptions"))}}}))
}

/// All paths of one group and version.
pub(super) fn paths(group: &str, version: &str, kinds: &[KindRef]) -> Map<String, Value> {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let mut paths = Map::new();
    let id = format!("get{}{}APIResources", camel(group), capital(version));
    let list = format!("{META}APIResourceList");
    let get = json!({
        "tags": [format!("{}_{version}", tag(group))],
        "operationId": id,
        "responses": {"200": {"description": "OK", "content": content(&list, false)}, "401": {"description": "Unauthorized"}},
    });
    paths.insert(format!("{root}/"), json!({ "get": get }));
    for kind in kinds {
        of_kind(kind, &root, &mut paths);
    }
    paths.sort_keys();
    paths
}

fn of_kind(kind: &Kind, root: &str, paths: &mut Map<String, Value>) {
    let gvk = (kind.group(), kind.version(), kind.kind());
    let subject = Subject { kind, gvk, schema: kind.schema.name().into(), suffix: String::new() };
    let may = |verb: &str| kind.verbs.contains(&verb);
    let home = if kind.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", kind.plural())
    } else {
        format!("{root}/{}", kind.plural())
    };
    let mut collection = Map::new();
    let mut item = Map::new();
    for verb in ["list", "create", "deletecollection", "get", "update", "delete", "patch"] {
        let (map, method, operation) = match verb {
            _ if !may(verb) => continue,
            "list" => (&mut collection, "get", subject.list(false)),
            "create" => (&mut collection, "post", subject.create()),
            "deletecollection" => (&mut collection, "delete", subject.delete_all()),
            "get" => (&mut item, "get", subject.read()),
            "update" => (&mut item, "put", subject.replace()),
            "delete" => (&mut item, "delete", subject.delete()),
            _ => (&mut item, "patch", subject.patch()),
        };
        map.insert(method.into(), operation);
    }
    collection.insert("parameters".into(), parameters::of_path(None, kind.namespaced, false).into());
    item.insert("parameters".into(), parameters::of_path(Some(kind.kind()), kind.namespaced, false).into());
    paths.insert(home.clone(), collection.into());
    paths.insert(format!("{home}/{{name}}"), item.into());
    if kind.namespaced && may("list") {
        let all = json!({"get": subject.list(true), "parameters": parameters::of_path(None, false, true)});
        paths.insert(format!("{root}/{}", kind.plural()), all);
    }
    for subresource in &*kind.subresources {
        paths.insert(format!("{home}/{{name}}/{}", subresource.name), of_subresource(kind, subresource));
    }
}

fn of_subresource(kind: &Kind, subresource: &Subresource) -> Value {
    let gvk = subresource.gvk.unwrap_or((kind.group(), kind.version(), kind.kind()));
    let schema = match subresource.gvk {
        Some((group, version, name)) => {
            Target::named(group, version, name).map_or("", |target| &target.schema.name)
        }
        None => kind.schema.name(),
    };
    let subject = Subject { kind, gvk, schema: schema.into(), suffix: capital(subresource.name) };
    let mut map = Map::new();
    let streams = gvk.2.ends_with("Options");
    for verb in subresource.verbs {
        let (method, operation) = match *verb {
            "get" if streams => ("get", subject.connect("Get")),
            "create" if streams => ("post", subject.connect("Post")),
            "update" if streams => ("put", subject.connect("Put")),
            "patch" if streams => ("patch", subject.connect("Patch")),
            "delete" if streams => ("delete", subject.connect("Delete")),
            "get" => ("get", subject.read()),
            "update" => ("put", subject.replace()),
            "create" => ("post", subject.create()),
            "patch" => ("patch", subject.patch()),
            _ => continue,
        };
        map.insert(method.into(), operation);
    }
    let parameters = parameters::of_subresource(subresource.name, kind.kind(), kind.namespaced)
        .unwrap_or_else(|| parameters::of_path(Some(kind.kind()), kind.namespaced, false));
    map.insert("parameters".into(), parameters.into());
    map.into()
}

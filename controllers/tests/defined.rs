//! The whole life of a kind that is defined while the server runs: objects are made, patched, applied, scaled and printed; the
//! server is started again before its definition is known; objects go with their owner and with their namespace; the kind goes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::decode::Format;
use coracle_api::kinds::{self, Definition, PrinterColumn};
use coracle_api::table::{Form, Include};
use coracle_api::{Key, KindRef, Status};
use coracle_apiserver::identity::Identity;
use coracle_apiserver::state::list::ListOptions;
use coracle_apiserver::state::selection::Selection;
use coracle_apiserver::write::operation::{
    Body, Context, DeleteOptions, FieldValidation, Operation, PatchForm, Written,
};
use coracle_apiserver::{Config, Server};
use coracle_client::grpc::Grpc;
use coracle_client::{Client, Clock, Error, Event, Interest};
use coracle_controllers::Timing;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Long enough for the slowest machine; nothing waits for it that works.
const AT_MOST: Duration = Duration::from_secs(20);

fn widget() -> Definition {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 0, "maximum": 9},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "count": {"type": "integer", "default": 1}}}},
        }},
        "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
    }});
    let column = |name: &str, of_type: &str, path: &str| PrinterColumn {
        name: name.into(),
        of_type: of_type.into(),
        path: path.into(),
        ..PrinterColumn::default()
    };
    Definition {
        group: "example.com".into(),
        version: "v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
        short_names: vec!["wd".into()],
        namespaced: true,
        schema,
        columns: vec![
            column("Size", "integer", ".spec.size"),
            column("Door", "integer", r#".spec.parts[?(@.name=="door")].count"#),
        ],
        status: true,
        scale: Some((".spec.size".into(), ".status.size".into(), None)),
        selectable: vec![".spec.color".into()],
        ..Definition::default()
    }
}

struct Cluster {
    server: Server,
    client: Arc<dyn Client>,
    stop: CancellationToken,
}

/// Where the controllers are.
#[derive(Clone, Copy)]
enum Controllers {
    InTheServersProcess,
    OverTheNetwork,
}

impl Cluster {
    async fn start(dir: &Path, controllers: Controllers) -> Cluster {
        let address: SocketAddr = ([127, 0, 0, 1], 0).into();
        let server = Server::start(Config::new(dir, address)).await.expect("a server");
        let user = "system:kube-controller-manager";
        let client = server.client(user, &["system:masters"]);
        let theirs: Arc<dyn Client> = match controllers {
            Controllers::InTheServersProcess => client.clone(),
            Controllers::OverTheNetwork => {
                let url = format!("https://{}", server.address());
                let credentials = server.pki().credentials(&url, user, None).expect("credentials");
                Arc::new(Grpc::new(&credentials).expect("good credentials"))
            }
        };
        let stop = CancellationToken::new();
        let config = coracle_controllers::Config { timing: Timing::kubernetes(), ca_pem: "pem".into() };
        coracle_controllers::start(theirs, config, Clock::system(), stop.clone());
        Cluster { server, client, stop }
    }

    async fn shut_down(self) {
        self.stop.cancel();
        self.server.shutdown().await;
    }

    fn define(&self) -> KindRef {
        self.server.registry().define(widget().row().expect("a good definition")).expect("a free name")
    }

    async fn perform(&self, operation: Operation) -> Result<Written, Status> {
        let user = Identity::new("test", &["system:masters"]);
        let context = Context {
            field_manager: "test".into(),
            field_validation: FieldValidation::Strict,
            ..Context::of(user)
        };
        self.server.registry().perform(context, operation).await.result
    }

    async fn create(
        &self,
        kind: impl Into<KindRef>,
        namespace: &str,
        object: Value,
    ) -> Result<Value, Status> {
        let (kind, body) = (kind.into(), Body::Tree(object));
        let create = Operation::Create { kind, namespace: namespace.into(), sub: None, body };
        Ok(self.perform(create).await?.object.value().expect("JSON"))
    }

    async fn patch(
        &self,
        key: &Key,
        sub: Option<&str>,
        form: PatchForm,
        patch: Value,
    ) -> Result<Value, Status> {
        let body = Body::Bytes(Format::Json, patch.to_string().into());
        let (key, sub) = (key.clone(), sub.map(str::to_owned));
        let written = self.perform(Operation::Patch { key, sub, form, body }).await?;
        Ok(written.shown.unwrap_or_else(|| written.object.value().expect("JSON")))
    }

    async fn delete(&self, key: Key) {
        self.perform(Operation::Delete { key, options: DeleteOptions::default() }).await.expect("it goes");
    }

    async fn get(&self, key: &Key) -> Option<Value> {
        self.client.get(key).await.expect("an answer").map(|object| object.value().expect("JSON"))
    }

    /// Waits until an object is gone.
    async fn until_gone(&self, key: &Key) {
        let (_, since) = self.client.list(&Interest::all(&key.kind)).await.expect("a list");
        let mut events = self.client.watch(vec![Interest::all(&key.kind)], since).await.expect("a watch");
        let gone = async {
            while self.get(key).await.is_some() {
                events.next().await;
            }
        };
        tokio::time::timeout(AT_MOST, gone).await.unwrap_or_else(|_| panic!("{key} never goes"));
    }
}

fn key(kind: &KindRef, namespace: &str, name: &str) -> Key {
    Key::new(kind, namespace, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_comes_lives_and_goes_while_the_server_runs() {
    live(Controllers::InTheServersProcess).await;
}

/// Controllers in a process of their own hear of the kind over gRPC; they know no more of it than that tells.
#[tokio::test(flavor = "multi_thread")]
async fn controllers_elsewhere_hear_of_it() {
    live(Controllers::OverTheNetwork).await;
}

async fn live(controllers: Controllers) {
    let dir = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(dir.path(), controllers).await;
    let registry = cluster.server.registry();
    assert!(registry.kinds().by_word("wd").is_none());
    let kind = cluster.define();
    assert_eq!(registry.kinds().by_word("wd"), Some(kind.clone()));

    // Objects are defaulted and validated by their schema, and are watched.
    let (_, since) = cluster.client.list(&Interest::all(&kind)).await.expect("a list");
    let mut events = cluster.client.watch(vec![Interest::all(&kind)], since).await.expect("a watch");
    let a = json!({"metadata": {"name": "a"}, "spec": {"size": 2, "parts": [{"name": "door"}]}});
    let made = cluster.create(&kind, "default", a).await.expect("a good object");
    assert_eq!((&made["apiVersion"], &made["kind"]), (&json!("example.com/v1"), &json!("Widget")));
    assert_eq!((&made["spec"]["color"], &made["spec"]["parts"][0]["count"]), (&json!("red"), &json!(1)));
    assert_eq!(made["metadata"]["generation"], 1);
    let seen = tokio::time::timeout(AT_MOST, events.next()).await.expect("an event").expect("a watch");
    assert!(matches!(seen, Ok(Event::Added(object)) if object.key == key(&kind, "default", "a")));
    let bad = json!({"metadata": {"name": "b"}, "spec": {"size": 10, "color": "green"}});
    let refused = cluster.create(&kind, "default", bad).await.expect_err("a bad object");
    assert_eq!(refused.code, 422, "{refused}");
    assert!(refused.message.contains("spec.size in body should be less than or equal to 9"), "{refused}");

    // All forms of patches, by way of the object, its status and its scale.
    let a = key(&kind, "default", "a");
    let merged =
        cluster.patch(&a, None, PatchForm::Merge, json!({"spec": {"size": 3}})).await.expect("merged");
    assert_eq!((&merged["spec"]["size"], &merged["metadata"]["generation"]), (&json!(3), &json!(2)));
    let steps = json!([{"op": "replace", "path": "/spec/color", "value": "blue"}]);
    let patched = cluster.patch(&a, None, PatchForm::Json, steps).await.expect("patched");
    assert_eq!(patched["spec"]["color"], "blue");
    let strategic = cluster.patch(&a, None, PatchForm::Strategic, json!({"spec": {"size": 4}})).await;
    let accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let refused = strategic.expect_err("there are no merge keys");
    let why = "the body of the request was in an unknown format - accepted media types include";
    assert_eq!((refused.code, refused.message), (415, format!("{why}: {accepted}")));
    let config = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"},
        "spec": {"parts": [{"name": "window", "count": 4}]}});
    let applied = cluster.patch(&a, None, PatchForm::Apply { force: false }, config).await.expect("applied");
    let parts = json!([{"name": "door", "count": 1}, {"name": "window", "count": 4}]);
    assert_eq!(applied["spec"]["parts"], parts, "a list that is a map is merged by its keys");
    let status = json!({"status": {"size": 3}, "spec": {"size": 9}});
    let told = cluster.patch(&a, Some("status"), PatchForm::Merge, status).await.expect("a status");
    assert_eq!((&told["status"]["size"], &told["spec"]["size"]), (&json!(3), &json!(3)));
    let wanted = json!({"spec": {"replicas": 5}});
    let scale = cluster.patch(&a, Some("scale"), PatchForm::Merge, wanted).await.expect("a scale");
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(5), &json!(3)));

    // Selectors and tables.
    let find = |selector: &str| {
        let selection = Selection::parse(&kind, None, "", selector).expect("a good selector");
        registry.list(&selection, &ListOptions::default()).expect("a list").entries
    };
    assert_eq!((find("spec.color=blue").len(), find("spec.color=red").len()), (1, 0));
    assert!(Selection::parse(&kind, None, "", "spec.size=5").is_err());
    let values: Vec<Value> = find("").iter().map(|entry| entry.value()).collect();
    let now = Clock::system().now();
    let form = Form { api_version: "meta.k8s.io/v1", include: Include::None, headed: true, now };
    let table = kind.table.print(&values, json!({}), form);
    assert_eq!(table["columnDefinitions"][1]["name"], "Size");
    assert_eq!(table["rows"][0]["cells"], json!(["a", 5, 1]));

    // One that is owned by the first, by an object of another kind, and owns one in turn.
    let owner = |object: &Value, kind: &str, version: &str| json!([{"apiVersion": version, "kind": kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"]}]);
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": owner(&made, "Widget", "example.com/v1")}, "spec": {"size": 1}});
    let owned = cluster.create(&kind, "default", owned).await.expect("made");
    let map =
        json!({"metadata": {"name": "below", "ownerReferences": owner(&owned, "Widget", "example.com/v1")}});
    cluster.create(&kinds::CONFIG_MAP, "default", map).await.expect("made");
    cluster.create(&kinds::NAMESPACE, "", json!({"metadata": {"name": "going"}})).await.expect("made");
    let inside = json!({"metadata": {"name": "inside"}, "spec": {"size": 1}});
    cluster.create(&kind, "going", inside).await.expect("made");
    drop(registry);
    cluster.shut_down().await;

    // Started again, the server replays what it holds of a kind that nobody has defined yet.
    let cluster = Cluster::start(dir.path(), controllers).await;
    assert!(cluster.server.registry().kinds().by_word("wd").is_none());
    let refused = cluster.client.list(&Interest::all(&kind)).await;
    assert!(!matches!(refused, Ok((objects, _)) if !objects.is_empty() && objects[0].key.kind.is_defined()));
    // The collector is at work before the kind comes, so that it has to hear of it.
    let early = json!({"metadata": {"name": "early"}});
    let early = cluster.create(&kinds::CONFIG_MAP, "default", early).await.expect("made");
    let late = json!({"metadata": {"name": "late", "ownerReferences": owner(&early, "ConfigMap", "v1")}});
    cluster.create(&kinds::CONFIG_MAP, "default", late).await.expect("made");
    cluster.delete(Key::new(&kinds::CONFIG_MAP, "default", "early")).await;
    cluster.until_gone(&Key::new(&kinds::CONFIG_MAP, "default", "late")).await;
    let kind = cluster.define();
    let names: Vec<String> = {
        let (objects, _) = cluster.client.list(&Interest::all(&kind)).await.expect("a list");
        objects.iter().map(|object| object.key.name.clone()).collect()
    };
    assert_eq!(names, ["a", "owned", "inside"], "nothing is lost");
    let a = key(&kind, "default", "a");
    let found = cluster.get(&a).await.expect("it is there");
    assert_eq!((&found["kind"], &found["spec"]["size"]), (&json!("Widget"), &json!(5)));

    // Objects go with their owners and with their namespace.
    cluster.delete(a).await;
    cluster.until_gone(&key(&kind, "default", "owned")).await;
    cluster.until_gone(&Key::new(&kinds::CONFIG_MAP, "default", "below")).await;
    cluster.delete(Key::new(&kinds::NAMESPACE, "", "going")).await;
    cluster.until_gone(&Key::new(&kinds::NAMESPACE, "", "going")).await;
    assert!(cluster.get(&key(&kind, "going", "inside")).await.is_none());

    // The kind goes: its watches end, and it is not known any more.
    let (_, since) = cluster.client.list(&Interest::all(&kind)).await.expect("a list");
    let mut events = cluster.client.watch(vec![Interest::all(&kind)], since).await.expect("a watch");
    assert!(cluster.server.registry().undefine(&kind));
    let ended = async {
        while let Some(event) = events.next().await {
            if let Err(error) = event {
                return error;
            }
        }
        Error::Unreachable("it ended without a word".into())
    };
    let ended = tokio::time::timeout(AT_MOST, ended).await.expect("the watch ends");
    assert!(matches!(ended, Error::Expired { .. }), "{ended}");
    assert!(cluster.client.list(&Interest::all(&kind)).await.is_err());
    assert!(cluster.server.registry().kinds().by_word("wd").is_none());

    // And the controllers go on with those that are left.
    cluster.create(&kinds::NAMESPACE, "", json!({"metadata": {"name": "after"}})).await.expect("made");
    cluster.delete(Key::new(&kinds::NAMESPACE, "", "after")).await;
    cluster.until_gone(&Key::new(&kinds::NAMESPACE, "", "after")).await;
    cluster.shut_down().await;
}

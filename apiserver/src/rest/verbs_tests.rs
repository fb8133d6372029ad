//! Every verb of every kind, with all of its options, in every encoding, by every name that clients give to what they send.

use axum::body::{Body, to_bytes};
use coracle_api::kinds::Kinds;
use coracle_api::{Kind, KindRef};
use futures::StreamExt;
use http::{Request, header};
use serde_json::{Value, json};

use super::handle::handle;
use super::path_tests::{Bench, bench};
use crate::http::connection::{Connection, Peer};
use crate::identity::{AUTHENTICATED, Identity, MASTERS};

/// The media types that documents are written in.
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A counted piece as a field of protobuf.
fn piece(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&[number << 3 | 2], varint(bytes.len()).as_slice(), bytes].concat()
}

/// A number as a field.
fn number(field: u8, value: usize) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

/// A document in each encoding, under the names that it claims; without them where they are empty.
fn documents(api_version: &str, kind: &str, fields: &Value, message: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let mut document = fields.clone();
    if !api_version.is_empty() {
        document["apiVersion"] = api_version.into();
        document["kind"] = kind.into();
    }
    let names = [piece(1, api_version), piece(2, kind)].concat();
    [
        (JSON, document.to_string().into_bytes()),
        (YAML, coracle_api::document::yaml::write(&document).into_bytes()),
        (PROTOBUF, [b"k8s\0".to_vec(), piece(1, names), piece(2, message)].concat()),
    ]
}

/// What an object of a kind must say beside its name, and the same as fields of its message.
fn rest_of(kind: &Kind) -> (Value, Vec<u8>) {
    let containers = json!([{"name": "c", "image": "i"}]);
    let pod_spec = piece(2, [piece(1, "c"), piece(2, "i")].concat());
    let label = piece(1, [piece(1, "a"), piece(2, "b")].concat());
    let template =
        [piece(1, piece(11, [piece(1, "a"), piece(2, "b")].concat())), piece(2, &pod_spec)].concat();
    match (kind.group(), kind.kind()) {
        ("", "Pod") => (json!({"spec": {"containers": containers}}), piece(2, pod_spec)),
        ("", "Service") => (json!({"spec": {"ports": [{"port": 80}]}}), piece(2, piece(1, number(3, 80)))),
        ("", "Event") => (
            json!({"involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"}}),
            piece(2, [piece(1, "Pod"), piece(2, "default"), piece(3, "x")].concat()),
        ),
        ("events.k8s.io", "Event") => (
            json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "e.com/c", "reportingInstance": "i",
                "action": "a", "reason": "r", "type": "Normal", "regarding": {"kind": "Pod", "namespace": "default", "name": "x"}}),
            [
                // The same time, as seconds since 1970.
                piece(2, number(1, 1_767_225_600)),
                piece(4, "e.com/c"),
                piece(5, "i"),
                piece(6, "a"),
                piece(7, "r"),
                piece(8, [piece(1, "Pod"), piece(2, "default"), piece(3, "x")].concat()),
                piece(11, "Normal"),
            ]
            .concat(),
        ),
        (_, "Deployment" | "ReplicaSet") => (
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}}}),
            piece(2, [piece(2, label), piece(3, template)].concat()),
        ),
        (_, "PodDisruptionBudget") => {
            (json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), piece(2, piece(2, label)))
        }
        _ => (json!({}), Vec::new()),
    }
}

/// An object of a kind under a name, in each encoding.
fn object(kind: &Kind, name: &str) -> [(&'static str, Vec<u8>); 3] {
    let (mut fields, message) = rest_of(kind);
    fields["metadata"] = json!({"name": name});
    let message = [piece(1, piece(1, name)), message].concat();
    documents(&kind.api_version(), kind.kind(), &fields, &message)
}

/// Where the objects of a kind are.
fn collection(kind: &Kind) -> String {
    let root =
        if kind.group().is_empty() { "/api/v1".into() } else { format!("/apis/{}", kind.api_version()) };
    let namespace = if kind.namespaced { "/namespaces/default" } else { "" };
    format!("{root}{namespace}/{}", kind.plural())
}

struct Asked<'a> {
    method: &'a str,
    path: String,
    accept: &'a str,
    content_type: &'a str,
    body: Vec<u8>,
}

impl Bench {
    fn send(&self, asked: &Asked<'_>) -> (u16, String, Body) {
        let mut request = Request::builder()
            .method(asked.method)
            .uri(&asked.path)
            .header(header::HOST, "x")
            .header(header::ACCEPT, asked.accept)
            .header(header::CONTENT_TYPE, asked.content_type)
            .body(Body::from(asked.body.clone()))
            .expect("a request");
        let admin = Identity::new("admin", &[MASTERS, AUTHENTICATED]);
        request
            .extensions_mut()
            .insert(Connection { peer: Peer::Known(admin.into()), ..Connection::default() });
        let response = self.runtime.block_on(handle(&self.app, request));
        let told = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        (response.status().as_u16(), told.unwrap_or_default().to_owned(), response.into_body())
    }

    /// The code of an answer, and the document.
    fn answer(&self, asked: &Asked<'_>) -> (u16, Value) {
        let (code, of_type, body) = self.send(asked);
        let bytes = self.runtime.block_on(to_bytes(body, 1 << 24)).expect("a body");
        let text = String::from_utf8_lossy(&bytes);
        let document = if of_type == YAML {
            coracle_api::document::yaml::parse(&text).map(|read| read.value.into_value()).ok()
        } else {
            serde_json::from_str(&text).ok()
        };
        (code, document.unwrap_or_else(|| panic!("{} {}: {of_type} {text}", asked.method, asked.path)))
    }

    fn expect(&self, codes: &[u16], asked: &Asked<'_>) -> Value {
        let (code, document) = self.answer(asked);
        let Asked { method, path, content_type, .. } = asked;
        assert!(codes.contains(&code), "{method} {path} {content_type}: {code} {document}");
        document
    }
}

fn get(path: String, accept: &str) -> Asked<'_> {
    Asked { method: "GET", path, accept, content_type: "", body: Vec::new() }
}

/// What clients write as the version of options: nothing, or whichever group they are at work in.
fn versions(kind: &Kind) -> Vec<String> {
    let mut all = ["", "v1", "meta.k8s.io/v1", "policy/v1beta1"].map(str::to_owned).to_vec();
    all.push(kind.api_version());
    all
}

/// Options of a delete that only asks, with what they are in protobuf.
fn delete_options() -> (Value, Vec<u8>) {
    let options = json!({"gracePeriodSeconds": 7, "propagationPolicy": "Background", "dryRun": ["All"]});
    (options, [number(1, 7), piece(4, "Background"), piece(5, "All")].concat())
}

/// Every kind, each with a name of its own: views show what is kept under the same name.
fn served() -> impl Iterator<Item = (KindRef, String)> {
    Kinds::new().served().into_iter().enumerate().map(|(at, kind)| (kind, format!("one-{at}")))
}

/// A cluster in which pods may be made.
fn furnished() -> Bench {
    let bench = bench();
    let account = &coracle_api::kinds::SERVICE_ACCOUNT;
    let [(content_type, body), ..] = object(account, "default");
    bench.expect(
        &[201],
        &Asked { method: "POST", path: collection(account), accept: JSON, content_type, body },
    );
    bench
}

#[test]
fn every_kind_is_written_in_every_encoding_with_all_options() {
    let bench = furnished();
    let written = "dryRun=All&fieldManager=m&fieldValidation=Strict&pretty=true";
    let accepts = [JSON, YAML, "application/vnd.kubernetes.protobuf,application/json"];
    for (kind, name) in served() {
        let at = collection(&kind);
        for ((content_type, body), accept) in object(&kind, &name).into_iter().zip(accepts) {
            let path = format!("{at}?{written}");
            let post = Asked { method: "POST", path, accept, content_type, body: body.clone() };
            let made = bench.expect(&[201], &post);
            assert_eq!(made["metadata"]["name"], *name, "{kind:?} {content_type}");
            let claimed = (made["apiVersion"].as_str(), made["kind"].as_str());
            assert_eq!(claimed, (Some(kind.api_version().as_str()), Some(kind.kind())));
        }
        let [(content_type, body), ..] = object(&kind, &name);
        let post = Asked { method: "POST", path: at.clone(), accept: JSON, content_type, body };
        let made = bench.expect(&[201], &post);
        let [(_, _), (_, _), (_, mut message)] = object(&kind, &name);
        let bodies = [
            (JSON, made.to_string().into_bytes()),
            (YAML, coracle_api::document::yaml::write(&made).into_bytes()),
            (PROTOBUF, std::mem::take(&mut message)),
        ];
        for ((content_type, body), accept) in bodies.into_iter().zip(accepts) {
            let path = format!("{at}/{name}?{written}");
            let put = Asked { method: "PUT", path, accept, content_type, body };
            // The small message has no revision: some kinds take it for any, others tell that it must be there.
            let codes: &[u16] = if content_type == PROTOBUF { &[200, 409, 422] } else { &[200] };
            bench.expect(codes, &put);
        }
        let merge = json!({"metadata": {"labels": {"x": "y"}}}).to_string();
        let mut applied = json!({"metadata": {"labels": {"x": "y"}}});
        applied["apiVersion"] = kind.api_version().into();
        applied["kind"] = kind.kind().into();
        let steps = json!([{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]).to_string();
        for content_type in kind.patch_types() {
            let body = match *content_type {
                "application/json-patch+json" => steps.clone(),
                "application/apply-patch+yaml" => applied.to_string(),
                _ => merge.clone(),
            };
            let force = if content_type.ends_with("yaml") { "&force=true" } else { "" };
            let path = format!("{at}/{name}?{written}{force}");
            let patch = Asked { method: "PATCH", path, accept: JSON, content_type, body: body.into() };
            let changed = bench.expect(&[200], &patch);
            assert_eq!(changed["metadata"]["labels"]["x"], "y", "{kind:?} {content_type}");
        }
    }
}

#[test]
fn every_kind_is_read_and_watched_with_all_options() {
    let bench = furnished();
    let options = "labelSelector=a!%3Db&limit=5&timeoutSeconds=5&allowWatchBookmarks=true&pretty=1";
    for (kind, name) in served() {
        let at = collection(&kind);
        let listed = format!("{options}&fieldSelector=metadata.name%3D{name}");
        let [(content_type, body), ..] = object(&kind, &name);
        let post = Asked { method: "POST", path: at.clone(), accept: JSON, content_type, body };
        bench.expect(&[201], &post);
        for accept in
            [JSON, YAML, PROTOBUF, "*/*", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"]
        {
            let one = bench.expect(&[200], &get(format!("{at}/{name}?resourceVersion=0&pretty=0"), accept));
            assert_eq!(one["metadata"]["name"], *name, "{kind:?} {accept}");
        }
        for accept in [JSON, YAML, PROTOBUF, "application/json;as=Table;g=meta.k8s.io;v=v1"] {
            let all = bench.expect(&[200], &get(format!("{at}?{listed}"), accept));
            let found = all["items"].as_array().or(all["rows"].as_array()).map(Vec::len);
            assert_eq!(found, Some(1), "{kind:?} {accept}: {all}");
        }
        for accept in [
            JSON,
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch,application/json",
        ] {
            let path = format!("{at}?watch=1&{listed}");
            let (code, of_type, body) = bench.send(&get(path, accept));
            assert_eq!((code, of_type.as_str()), (200, JSON), "{kind:?} {accept}");
            let mut events = body.into_data_stream();
            let first = bench.runtime.block_on(events.next()).expect("an event").expect("bytes");
            let event: Value = serde_json::from_slice(&first).expect("a line of JSON");
            let seen = (&event["type"], &event["object"]["metadata"]["name"], &event["object"]["kind"]);
            assert_eq!(seen, (&json!("ADDED"), &json!(name), &json!(kind.kind())), "{accept}");
        }
        // Upstream writes no events in YAML either.
        assert_eq!(bench.send(&get(format!("{at}?watch=1"), YAML)).0, 406);
    }
}

#[test]
fn every_kind_is_deleted_with_options_of_every_version_in_every_encoding() {
    let bench = furnished();
    let (options, message) = delete_options();
    for (kind, name) in served() {
        let at = collection(&kind);
        let [(content_type, body), ..] = object(&kind, &name);
        let post = Asked { method: "POST", path: at.clone(), accept: JSON, content_type, body };
        bench.expect(&[201], &post);
        let named = format!("{at}/{name}");
        let many = format!("{at}?labelSelector=none");
        for version in versions(&kind) {
            for (content_type, body) in documents(&version, "DeleteOptions", &options, &message) {
                for path in [&named, &many]
                    .into_iter()
                    .filter(|path| **path == named || kind.verbs.contains(&"deletecollection"))
                {
                    let asked = Asked {
                        method: "DELETE",
                        path: path.clone(),
                        accept: JSON,
                        content_type,
                        body: body.clone(),
                    };
                    bench.expect(&[200, 202], &asked);
                }
            }
        }
        let query = "gracePeriodSeconds=7&propagationPolicy=Background&dryRun=All";
        let asked = Asked {
            method: "DELETE",
            path: format!("{named}?{query}"),
            accept: JSON,
            content_type: "",
            body: vec![],
        };
        bench.expect(&[200, 202], &asked);
        for (content_type, body) in documents("v1", "CreateOptions", &json!({}), &[]) {
            let asked = Asked { method: "DELETE", path: named.clone(), accept: JSON, content_type, body };
            let refused = bench.expect(&[400], &asked);
            assert_eq!(refused["reason"], "BadRequest", "{kind:?} {content_type}");
        }
        bench.expect(&[200], &get(named, JSON));
    }
}

#[test]
fn pods_are_bound_and_evicted_in_every_encoding() {
    let bench = furnished();
    let pods = "/api/v1/namespaces/default/pods";
    let [(content_type, body), ..] = object(&coracle_api::kinds::POD, "p");
    bench.expect(&[201], &Asked { method: "POST", path: pods.into(), accept: JSON, content_type, body });
    let meta = piece(1, piece(1, "p"));
    let target = piece(2, [piece(1, "Node"), piece(3, "n1")].concat());
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    for (content_type, body) in documents("v1", "Binding", &binding, &[meta.clone(), target].concat()) {
        for path in ["/api/v1/namespaces/default/bindings", "/api/v1/namespaces/default/pods/p/binding"] {
            let path = format!("{path}?dryRun=All&fieldManager=m&fieldValidation=Strict");
            let post = Asked { method: "POST", path, accept: JSON, content_type, body: body.clone() };
            let done = bench.expect(&[201], &post);
            assert_eq!(done["status"], "Success");
        }
    }
    let (options, message) = delete_options();
    for version in versions(&coracle_api::kinds::POD_DISRUPTION_BUDGET) {
        let mut inner = options.clone();
        if !version.is_empty() {
            inner["apiVersion"] = version.as_str().into();
            inner["kind"] = "DeleteOptions".into();
        }
        let eviction = json!({"metadata": {"name": "p"}, "deleteOptions": inner});
        let message = [meta.clone(), piece(2, &message)].concat();
        for (content_type, body) in documents("policy/v1", "Eviction", &eviction, &message) {
            let path = format!("{pods}/p/eviction?fieldManager=m");
            let post = Asked { method: "POST", path, accept: JSON, content_type, body };
            let done = bench.expect(&[201], &post);
            assert_eq!(done["status"], "Success");
        }
    }
    bench.expect(&[200], &get(format!("{pods}/p"), JSON));
}

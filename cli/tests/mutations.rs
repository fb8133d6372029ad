//! Hostile bodies: a thousand random mutations of real ones, as creates, updates and patches of every form. Whatever comes,
//! the answer is foreseen: no 500, no panic, no hang, and nobody else waits meanwhile.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{TestCluster, repository};
use kube::Client;
use serde_json::{Map, Value, json};

const MUTATIONS: usize = 1000;

/// How long a bystander may wait for an answer while hostile bodies are looked at, on a machine that builds beside.
const BYSTANDER: Duration = Duration::from_secs(5);

const JSON: &str = "application/json";

/// xorshift: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Bodies to start from: those of the recorded reference where it is here, and always the examples.
fn bodies() -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = Vec::new();
    let reference = repository().parent().map(|p| p.join("shared/reference/cases")).unwrap_or_default();
    for entry in std::fs::read_dir(reference).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines() {
            let case: Value = serde_json::from_str(line).unwrap_or_default();
            for step in case["steps"].as_array().into_iter().flatten() {
                let request = step["request"].as_str().unwrap_or_default();
                let Some(path) = request.strip_prefix("POST ") else { continue };
                if step["body"].is_object() && served(path) {
                    found.push((path.replace("$NS", "default"), step["body"].clone()));
                }
            }
        }
    }
    for (path, file) in [
        ("/api/v1/namespaces/default/pods", "pod.yaml"),
        ("/api/v1/namespaces/default/pods", "multi-container.yaml"),
        ("/apis/apps/v1/namespaces/default/deployments", "deployment.yaml"),
    ] {
        let file: PathBuf = repository().join("examples").join(file);
        let text = std::fs::read_to_string(&file).expect("an example");
        found.push((path.into(), serde_saphyr::from_str(&text).expect("YAML")));
    }
    found
}

fn served(path: &str) -> bool {
    const KINDS: [&str; 11] = [
        "pods",
        "nodes",
        "namespaces",
        "events",
        "configmaps",
        "secrets",
        "services",
        "serviceaccounts",
        "leases",
        "deployments",
        "replicasets",
    ];
    let path = path.split('?').next().unwrap_or_default();
    KINDS.iter().any(|kind| path.ends_with(&format!("/{kind}")))
}

/// Every place in a tree, as a pointer.
fn pointers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                out.push(here.clone());
                pointers(inner, here, out);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let here = format!("{at}/{index}");
                out.push(here.clone());
                pointers(inner, here, out);
            }
        }
        _ => {}
    }
}

fn strange(random: &mut Random) -> Value {
    match random.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(i64::MAX),
        4 => json!(1.5e300),
        5 => json!(""),
        6 => json!("\u{0}\u{7f}ÿ💥 \"\\"),
        7 => json!("x".repeat(70_000)),
        8 => json!([]),
        9 => json!({}),
        10 => json!([[[[[[[[]]]]]]]]),
        11 => (0..900).fold(json!("deep"), |inner, _| json!({"a": inner})),
        12 => Value::Array(vec![json!({"name": "a"}); 2000]),
        13 => (0..5000).map(|n| json!({"name": format!("a{n}"), "key": n, "containerPort": n})).collect(),
        14 => Value::Object((0..5000).map(|n| (format!("k{n}"), json!("v"))).collect()),
        _ => json!("9999999999999999999999Ei"),
    }
}

/// Drops, doubles, retypes or grows something somewhere.
fn mutate(body: &mut Value, random: &mut Random) {
    let mut all = Vec::new();
    pointers(body, String::new(), &mut all);
    if all.is_empty() {
        *body = strange(random);
        return;
    }
    let pointer = all[random.below(all.len())].clone();
    let (parent, last) = pointer.rsplit_once('/').expect("places begin with a slash");
    let last = last.replace("~1", "/").replace("~0", "~");
    match random.below(4) {
        0 => match body.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.shift_remove(&last)),
            Some(Value::Array(items)) => drop(items.remove(last.parse().expect("an index"))),
            _ => {}
        },
        1 => {
            let copy = body.pointer(&pointer).cloned().unwrap_or_default();
            match body.pointer_mut(parent) {
                Some(Value::Array(items)) => items.push(copy),
                Some(Value::Object(map)) => drop(map.insert(format!("{last}2"), copy)),
                _ => {}
            }
        }
        _ => {
            if let Some(target) = body.pointer_mut(&pointer) {
                *target = strange(random);
            }
        }
    }
}

/// Writes a key of the text's twice, which no tree can say.
fn doubled(text: &str, random: &mut Random) -> String {
    let keys: Vec<usize> = text.match_indices("{\"").map(|(at, _)| at + 1).collect();
    if keys.is_empty() {
        return text.into();
    }
    let at = keys[random.below(keys.len())];
    let Some(end) = text[at + 1..].find('"') else { return text.into() };
    format!("{}{}:null,{}", &text[..at], &text[at..at + end + 2], &text[at..])
}

/// The status of the answer. A 500 is an error, but for those that upstream, too, answers to patches that cannot be applied:
/// they have no reason, and count as 422.
async fn send(client: &Client, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<u16, String> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", kind)
        .body(kube::client::Body::from(body.to_vec()))
        .map_err(|error| error.to_string())?;
    let asked = async {
        let answer = client.send(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let text = answer.into_body().collect_bytes().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&text);
        match status {
            500 if method == "PATCH" && !text.contains("\"reason\"") => Ok(422),
            500 => Err(text.into_owned()),
            status => Ok(status),
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.map_err(|_| "no answer in 20 s".to_owned())?
}

/// Asks whether the server is ready, again and again; returns the longest that an answer took.
async fn bystander(client: Client, stop: tokio_util::sync::CancellationToken) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.is_cancelled() {
        let asked = tokio::time::Instant::now();
        assert_eq!(send(&client, "GET", "/readyz", JSON, b"").await, Ok(200), "the server goes on");
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

/// One hostile request after another, and what came of them.
struct Attack {
    seed: u64,
    random: Random,
    client: Client,
    accepted: usize,
    refused: usize,
}

impl Attack {
    /// Sends a body, perhaps with a key doubled; whether it was accepted.
    async fn send(&mut self, method: &str, path: &str, kind: &str, body: &Value) -> bool {
        let mut text = body.to_string();
        if self.random.below(6) == 0 {
            text = doubled(&text, &mut self.random);
        }
        let shown = |text: &str| text.chars().take(2000).collect::<String>();
        let status = send(&self.client, method, path, kind, text.as_bytes()).await.unwrap_or_else(|why| {
            panic!("seed {}, {method} {path} ({kind}): {why}\n{}", self.seed, shown(&text))
        });
        let accepted = status < 300;
        *(if accepted { &mut self.accepted } else { &mut self.refused }) += 1;
        accepted
    }

    /// A create, and where it is accepted perhaps a change of what it made.
    async fn mutation(&mut self, number: usize, path: &str, mut body: Value) {
        for _ in 0..=self.random.below(3) {
            mutate(&mut body, &mut self.random);
        }
        if self.random.below(4) > 0 {
            // A name of its own, so that most bodies get past "already exists".
            if let Some(meta) = body.get_mut("metadata").and_then(Value::as_object_mut) {
                meta.insert("name".into(), json!(format!("m{number}")));
            }
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        let create = format!("{path}{separator}fieldManager=m");
        let kind = [JSON, JSON, JSON, "application/yaml"][self.random.below(4)];
        if !self.send("POST", &create, kind, &body).await || self.random.below(2) > 0 {
            return;
        }
        let plain = path.split('?').next().unwrap_or_default();
        let target = format!("{plain}/m{number}?fieldManager=p");
        let spec = Value::Object(Map::from_iter([("spec".to_owned(), body["spec"].clone())]));
        let (method, kind, mut change) = match self.random.below(5) {
            0 => ("PUT", JSON, body),
            1 => ("PATCH", "application/merge-patch+json", spec),
            2 => ("PATCH", "application/strategic-merge-patch+json", spec),
            3 => ("PATCH", "application/apply-patch+yaml", body),
            _ => (
                "PATCH",
                "application/json-patch+json",
                json!([{"op": "replace", "path": "/spec", "value": spec}]),
            ),
        };
        mutate(&mut change, &mut self.random);
        self.send(method, &target, kind, &change).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_makes_the_server_stumble() {
    let seed = std::env::var("CORACLE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
    println!("CORACLE_SEED={seed}");
    let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let cluster = TestCluster::up(&["--parts", "apiserver"]);
    let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("a config");
    let client = Client::try_from(config.clone()).expect("a client");
    // Without controllers nobody makes the account that each pod waits for a moment for.
    let account = json!({"metadata": {"name": "default"}}).to_string();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(send(&client, "POST", accounts, JSON, account.as_bytes()).await, Ok(201));
    let stop = tokio_util::sync::CancellationToken::new();
    let bystander = tokio::spawn(bystander(Client::try_from(config).expect("a client"), stop.clone()));
    let bodies = bodies();
    let mut attack = Attack { seed, random, client, accepted: 0, refused: 0 };
    for number in 0..MUTATIONS {
        let (path, body) = &bodies[attack.random.below(bodies.len())];
        attack.mutation(number, path, body.clone()).await;
    }
    let Attack { accepted, refused, .. } = attack;
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 20 && refused > 200, "the mutations should do both: {accepted} and {refused}");
    stop.cancel();
    let longest = bystander.await.expect("the server went on");
    assert!(longest < BYSTANDER, "a bystander waited for {longest:?}");
}

/// As large as a body may be, of things that all differ: what is quadratic anywhere shows here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_hold_nobody_up() {
    let cluster = TestCluster::up(&["--parts", "apiserver"]);
    let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("a config");
    let client = Client::try_from(config.clone()).expect("a client");
    let stop = tokio_util::sync::CancellationToken::new();
    let bystander = tokio::spawn(bystander(Client::try_from(config).expect("a client"), stop.clone()));
    let many = |count: usize, one: &dyn Fn(usize) -> Value| (0..count).map(one).collect::<Value>();
    let meta = json!({"name": "large", "namespace": "default"});
    let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
    let core = |kind: &str| format!("/api/v1/namespaces/default/{kind}?dryRun=All");
    let keys = |count: usize| Value::Object((0..count).map(|n| (format!("key-{n}"), json!("v"))).collect());
    let owner =
        |n: usize| json!({"apiVersion": "v1", "kind": "Pod", "name": format!("p{n}"), "uid": format!("{n}")});
    let container = |n: usize| json!({"name": format!("c{n}"), "image": "i"});
    let bodies = [
        ("pods", pod(json!({"containers": many(10_000, &container)}))),
        (
            "pods",
            pod(json!({"containers": [{"name": "c", "image": "i",
            "env": many(10_000, &|n| json!({"name": format!("E{n}"), "value": "v"}))}]})),
        ),
        (
            "pods",
            pod(json!({"containers": [container(0)],
            "tolerations": many(10_000, &|n| json!({"key": format!("t{n}"), "operator": "Exists"}))})),
        ),
        (
            "configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": keys(40_000)}),
        ),
        (
            "configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "large", "labels": keys(20_000), "ownerReferences": many(5000, &owner)}}),
        ),
        (
            "services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
            "ports": many(10_000, &|n| json!({"name": format!("p{n}"), "port": n + 1}))}}),
        ),
    ];
    // All at the same time: nobody else's turn may depend on theirs.
    let sent = bodies.map(|(kind, body)| {
        let (client, text, path) = (client.clone(), body.to_string(), core(kind));
        async move {
            let created = send(&client, "POST", &path, JSON, text.as_bytes()).await;
            let status = created.unwrap_or_else(|why| panic!("{kind} of {} bytes: {why}", text.len()));
            println!("{kind} of {} bytes: {status}", text.len());
        }
    });
    futures::future::join_all(sent).await;
    stop.cancel();
    let longest = bystander.await.expect("the server went on");
    assert!(longest < BYSTANDER, "a bystander waited for {longest:?}");
}

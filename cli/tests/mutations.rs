//! Hostile bodies: a thousand random mutations of real ones. Whatever comes, the answer is foreseen: no 500, no panic, no hang.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{TestCluster, repository};
use kube::Client;
use serde_json::{Map, Value, json};

const MUTATIONS: usize = 1000;

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
fn places(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                out.push(here.clone());
                places(inner, here, out);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let here = format!("{at}/{index}");
                out.push(here.clone());
                places(inner, here, out);
            }
        }
        _ => {}
    }
}

fn strange(random: &mut Random) -> Value {
    match random.below(14) {
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
        _ => json!("9999999999999999999999Ei"),
    }
}

/// Drops, doubles, retypes or grows something somewhere.
fn mutate(body: &mut Value, random: &mut Random) {
    let mut all = Vec::new();
    places(body, String::new(), &mut all);
    if all.is_empty() {
        *body = strange(random);
        return;
    }
    let place = all[random.below(all.len())].clone();
    let (parent, last) = place.rsplit_once('/').expect("places begin with a slash");
    let last = last.replace("~1", "/").replace("~0", "~");
    match random.below(4) {
        0 => match body.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.shift_remove(&last)),
            Some(Value::Array(items)) => drop(items.remove(last.parse().expect("an index"))),
            _ => {}
        },
        1 => {
            let copy = body.pointer(&place).cloned().unwrap_or_default();
            match body.pointer_mut(parent) {
                Some(Value::Array(items)) => items.push(copy),
                Some(Value::Object(map)) => drop(map.insert(format!("{last}2"), copy)),
                _ => {}
            }
        }
        _ => {
            if let Some(target) = body.pointer_mut(&place) {
                *target = strange(random);
            }
        }
    }
}

async fn send(client: &Client, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<u16, String> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", kind)
        .body(kube::client::Body::from(body.to_vec()))
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(Duration::from_secs(20), client.send(request)).await;
    let answer = answer.map_err(|_| "no answer in 20 s".to_owned())?.map_err(|error| error.to_string())?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn no_body_makes_the_server_stumble() {
    let seed = std::env::var("CORACLE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
    println!("CORACLE_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let cluster = TestCluster::up(&["--parts", "apiserver"]);
    let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig()).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("a config");
    let client = Client::try_from(config).expect("a client");
    // Without controllers nobody makes the account that each pod waits for a moment for.
    let account = json!({"metadata": {"name": "default"}}).to_string();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(send(&client, "POST", accounts, "application/json", account.as_bytes()).await, Ok(201));
    let bodies = bodies();
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..MUTATIONS {
        let (path, body) = &bodies[random.below(bodies.len())];
        let mut body = body.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut body, &mut random);
        }
        if random.below(4) > 0 {
            // A name of its own, so that most bodies get past "already exists".
            if let Some(meta) = body.get_mut("metadata").and_then(Value::as_object_mut) {
                meta.insert("name".into(), json!(format!("m{number}")));
            }
        }
        let bytes = serde_json::to_vec(&body).expect("JSON");
        let separator = if path.contains('?') { '&' } else { '?' };
        let status =
            send(&client, "POST", &format!("{path}{separator}fieldManager=m"), "application/json", &bytes)
                .await;
        let status =
            status.unwrap_or_else(|why| panic!("seed {seed}, mutation {number}, {path}: {why}\n{body}"));
        assert_ne!(status, 500, "seed {seed}, mutation {number}, {path}: {body}");
        if status < 300 {
            accepted += 1
        } else {
            refused += 1
        }
        if status < 300 && random.below(2) == 0 {
            let plain = path.split('?').next().unwrap_or_default();
            let target = format!("{plain}/m{number}?fieldManager=p");
            let mut patch = Value::Object(Map::from_iter([("spec".to_owned(), body["spec"].clone())]));
            mutate(&mut patch, &mut random);
            let bytes = serde_json::to_vec(&patch).expect("JSON");
            let status = send(&client, "PATCH", &target, "application/merge-patch+json", &bytes).await;
            let status =
                status.unwrap_or_else(|why| panic!("seed {seed}, patch {number}, {target}: {why}\n{patch}"));
            assert_ne!(status, 500, "seed {seed}, patch {number}, {target}: {patch}");
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 20 && refused > 200, "the mutations should do both: {accepted} and {refused}");
    let status = send(&client, "GET", "/readyz", "application/json", b"").await;
    assert_eq!(status, Ok(200), "the server goes on");
}

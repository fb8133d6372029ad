//! The whole life of a Deployment on a real API server, store and all. The test plays the kubelet: every pod is ready as soon as
//! it is seen.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, KindRef, kinds};
use coracle_apiserver::{Config, Server};
use coracle_client::{Client, Clock, Event, Informers, Interest, Op};
use coracle_controllers::Timing;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Long enough for the slowest machine; nothing waits for it that works.
const AT_MOST: Duration = Duration::from_secs(60);

struct Cluster {
    client: Arc<dyn Client>,
    server: Server,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let server =
            Server::start(Config::new(dir.path(), ([127, 0, 0, 1], 0).into())).await.expect("a server");
        let client = server.client("system:kube-controller-manager", &["system:masters"]);
        let stop = CancellationToken::new();
        let config = coracle_controllers::Config { timing: Timing::kubernetes(), ca_pem: "pem".into() };
        coracle_controllers::start(client.clone(), config, Clock::system(), stop.clone());
        let cluster = Cluster { client, server, stop, _dir: dir };
        cluster.until(&kinds::SERVICE_ACCOUNT, "default", |account| account.is_some()).await;
        cluster.play_kubelet();
        cluster
    }

    /// Makes every pod ready that is not.
    fn play_kubelet(&self) {
        let informers = Informers::new(self.client.clone());
        let (send, mut receive) = mpsc::unbounded_channel();
        informers.store::<Pod>().on_change(move |change| {
            let pending = change.new.filter(|pod| {
                pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending")
            });
            if let Some(name) = pending.and_then(|pod| pod.metadata.name.clone()) {
                // The receiver lives as long as the test.
                let _ = send.send(name);
            }
        });
        let (stop, client) = (self.stop.clone(), self.client.clone());
        tokio::spawn(async move { informers.run(stop).await });
        tokio::spawn(async move {
            while let Some(name) = receive.recv().await {
                let ready = json!([{"type": "Ready", "status": "True"}]);
                let patch = json!({"status": {"phase": "Running", "conditions": ready}});
                let write = Op::merge_status(Key::new(&kinds::POD, "default", name), patch);
                // The pod may be gone already.
                let _ = client.write(vec![write.into()]).await;
            }
        });
    }

    /// Waits until the object called `name` is as it should be.
    async fn until(&self, kind: impl Into<KindRef>, name: &str, holds: impl Fn(Option<&Value>) -> bool) {
        let key = Key::new(kind, "default", name);
        let (_, since) = self.client.list(&Interest::all(&key.kind)).await.expect("a list");
        let mut events = self.client.watch(vec![Interest::all(&key.kind)], since).await.expect("a watch");
        let follow = async {
            let now =
                self.client.get(&key).await.expect("an answer").map(|object| object.value().expect("JSON"));
            if holds(now.as_ref()) {
                return;
            }
            while let Some(event) = events.next().await {
                let state = match event.expect("an event") {
                    Event::Added(object) | Event::Modified(object) if object.key == key => {
                        object.value().ok()
                    }
                    Event::Deleted(object) if object.key == key => None,
                    _ => continue,
                };
                if holds(state.as_ref()) {
                    return;
                }
            }
        };
        tokio::time::timeout(AT_MOST, follow)
            .await
            .unwrap_or_else(|_| panic!("{key} never came to be as it should"));
    }

    async fn pods(&self) -> Vec<Value> {
        let (objects, _) = self.client.list(&Interest::all(&kinds::POD)).await.expect("a list");
        objects.iter().map(|object| object.value().expect("JSON")).collect()
    }
}

fn deployment(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "app:v1"}], "automountServiceAccountToken": false},
            },
        },
    })
}

fn is_rolled_out(object: Option<&Value>, replicas: i64) -> bool {
    let Some(object) = object else { return false };
    let status = &object["status"];
    status["observedGeneration"] == object["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|count| status[count] == json!(replicas))
}

#[tokio::test]
async fn a_deployment_is_made_rolled_and_removed() {
    let cluster = Cluster::start().await;
    let create = Op::Create {
        kind: kinds::DEPLOYMENT.handle(),
        namespace: "default".into(),
        sub: None,
        object: deployment(4),
    };
    cluster.client.write_one(create).await.expect("created");
    cluster.until(&kinds::DEPLOYMENT, "web", |object| is_rolled_out(object, 4)).await;

    // Availability as anybody sees it who watches the Deployment.
    let (_, since) = cluster.client.list(&Interest::all(&kinds::DEPLOYMENT)).await.expect("a list");
    let watch = cluster.client.watch(vec![Interest::all(&kinds::DEPLOYMENT)], since).await.expect("a watch");
    let key = Key::new(&kinds::DEPLOYMENT, "default", "web");
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:v2"}]}}}});
    cluster.client.write_one(Op::merge(key.clone(), image)).await.expect("patched");
    cluster.until(&kinds::DEPLOYMENT, "web", |object| is_rolled_out(object, 4)).await;
    let last = cluster.client.get(&key).await.expect("an answer").expect("the Deployment").revision;
    let mut seen = watch.take_while(|event| {
        let more = event.as_ref().is_ok_and(|event| event.revision() <= last);
        std::future::ready(more)
    });
    let mut least = i64::MAX;
    while let Some(Ok(Event::Modified(object))) = seen.next().await {
        let value = object.value().expect("JSON");
        least = least.min(value["status"]["availableReplicas"].as_i64().unwrap_or(0));
        if object.revision == last {
            break;
        }
    }
    assert_eq!(least, 4, "never fewer available than asked for");
    let images: Vec<Value> =
        cluster.pods().await.iter().map(|p| p["spec"]["containers"][0]["image"].clone()).collect();
    assert_eq!(images, vec![json!("app:v2"); 4]);

    let foreground = Op::delete_key(key).with_propagation(coracle_client::Propagation::Foreground);
    cluster.client.write_one(foreground).await.expect("deleted");
    cluster.until(&kinds::DEPLOYMENT, "web", |object| object.is_none()).await;
    assert_eq!(cluster.pods().await, Vec::<Value>::new(), "the owner goes last");
    cluster.stop.cancel();
    cluster.server.shutdown().await;
}

//! That every write passes the chain, and what links can rely on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use coracle_api::decode::Format;
use coracle_api::{Key, KindRef, Status, kinds};
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::operation::{Body, Context, DeleteOptions, Operation, PatchForm};
use super::tests::World;
use crate::admission::attributes::{self, Attributes, Companion, Extras};
use crate::admission::chain::Chain;
use crate::admission::link::Link;
use crate::identity::Identity;
use crate::state::list::ListOptions;
use crate::state::selection::Selection;
use crate::store::Bounds;

/// Notes what it is asked, and refuses it if it is told to.
#[derive(Clone, Default)]
struct Recorder {
    seen: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
}

impl Recorder {
    fn note(&self, half: &str, asked: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        let (_, _, kind) = asked.gvk();
        let (plural, sub, name) = (asked.key.kind.plural(), asked.subresource, &asked.key.name);
        let has = |value: &Value| if value.is_null() { "-" } else { "+" };
        self.seen.lock().push(format!(
            "{half} {} {plural}/{sub} {name} {kind} new{} old{}",
            asked.operation.word(),
            has(object),
            has(asked.old)
        ));
        if self.refuses.load(Ordering::SeqCst) {
            return Err(asked.forbid(object, "not today"));
        }
        Ok(())
    }
}

#[async_trait]
impl Link for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    async fn mutate(
        &self,
        asked: &Attributes<'_>,
        object: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        self.note("mutate", asked, object).map(|()| false)
    }

    async fn validate(&self, asked: &Attributes<'_>, object: &Value, _: &mut Extras) -> Result<(), Status> {
        self.note("validate", asked, object)
    }
}

async fn world_with(link: impl Link + Clone + 'static) -> World {
    let mut chain = Chain::default();
    chain.mutating.push(Arc::new(link.clone()));
    chain.validating.push(Arc::new(link));
    World::with_chain(Bounds::default(), chain).await
}

fn key(kind: &'static coracle_api::Kind, name: &str) -> Key {
    Key::new(kind, "default", name)
}

/// Everything that can be written, and what the chain is to be told of it, without the half.
fn writes() -> Vec<(Operation, &'static str)> {
    let namespace = || "default".to_string();
    let create = |kind: &'static coracle_api::Kind, body: Value| Operation::Create {
        kind: kind.into(),
        namespace: namespace(),
        sub: None,
        body: Body::Tree(body),
    };
    let post = |kind: &'static coracle_api::Kind, name: &str, sub: &str, body: Value| Operation::Create {
        kind: kind.into(),
        namespace: namespace(),
        sub: Some((name.into(), sub.into())),
        body: Body::Tree(body),
    };
    let map = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": text}});
    let patch = |key: Key, sub: Option<&str>, form: PatchForm, body: Value| Operation::Patch {
        key,
        sub: sub.map(str::to_owned),
        form,
        body: Body::Bytes(Format::Yaml, body.to_string().into()),
    };
    let a = || key(&kinds::CONFIG_MAP, "a");
    let (web, pod) = (key(&kinds::REPLICA_SET, "web"), key(&kinds::POD, "p"));
    let force = PatchForm::Apply { force: true };
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let scale = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2}});
    let applied =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": "w"}});
    let delete = |key: Key| Operation::Delete { key, options: DeleteOptions::default() };
    vec![
        (create(&kinds::CONFIG_MAP, map("v")), "CREATE configmaps/ a ConfigMap new+ old-"),
        (
            Operation::Update { key: a(), sub: None, body: Body::Tree(map("w")) },
            "UPDATE configmaps/ a ConfigMap new+ old+",
        ),
        (
            patch(a(), None, PatchForm::Merge, json!({"data": {"k": "x"}})),
            "UPDATE configmaps/ a ConfigMap new+ old+",
        ),
        (patch(a(), None, force, map("y")), "UPDATE configmaps/ a ConfigMap new+ old+"),
        (
            patch(key(&kinds::CONFIG_MAP, "b"), None, force, applied),
            "CREATE configmaps/ b ConfigMap new+ old-",
        ),
        (post(&kinds::POD, "p", "binding", binding), "CREATE pods/binding p Binding new+ old-"),
        (
            patch(pod.clone(), Some("status"), PatchForm::Merge, json!({"status": {"phase": "Running"}})),
            "UPDATE pods/status p Pod new+ old+",
        ),
        (
            post(&kinds::POD, "p", "eviction", json!({"metadata": {"name": "p"}})),
            "CREATE pods/eviction p Eviction new+ old-",
        ),
        (
            Operation::Update { key: web.clone(), sub: Some("scale".into()), body: Body::Tree(scale) },
            "UPDATE replicasets/scale web Scale new+ old+",
        ),
        (
            patch(web, Some("scale"), PatchForm::Merge, json!({"spec": {"replicas": 3}})),
            "UPDATE replicasets/scale web Scale new+ old+",
        ),
        (
            post(&kinds::SERVICE_ACCOUNT, "default", "token", json!({"spec": {}})),
            "CREATE serviceaccounts/token default TokenRequest new+ old-",
        ),
        (delete(a()), "DELETE configmaps/ a ConfigMap new- old+"),
    ]
}

async fn prepare(world: &World) {
    world.make_pod("p").await;
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let kind: KindRef = (&kinds::REPLICA_SET).into();
    world.make(kind, json!({"metadata": {"name": "web"}, "spec": spec})).await.unwrap();
}

#[tokio::test]
async fn every_write_passes_both_halves_of_the_chain() {
    let recorder = Recorder::default();
    let world = world_with(recorder.clone()).await;
    prepare(&world).await;
    for (operation, told) in writes() {
        recorder.seen.lock().clear();
        let outcome = world.perform(operation).await;
        // Nothing signs tokens here; the chain is passed before that is found out.
        assert!(outcome.is_ok() || told.contains("token"), "{told}: {outcome:?}");
        let seen = std::mem::take(&mut *recorder.seen.lock());
        assert_eq!(seen, [format!("mutate {told}"), format!("validate {told}")]);
    }
    // A collection is asked about object by object, which are not named.
    let context = Context::of(Identity::new("test", &["system:masters"]));
    let all = Selection::all(&kinds::CONFIG_MAP, Some("default".into()));
    let (page, options) = (ListOptions::default(), DeleteOptions::default());
    let (listing, _) = world.registry.delete_collection(&context, &all, &page, &options).await;
    assert_eq!(listing.unwrap().entries.len(), 1);
    let told = "DELETE configmaps/  ConfigMap new- old+";
    assert_eq!(
        std::mem::take(&mut *recorder.seen.lock()),
        [format!("mutate {told}"), format!("validate {told}")]
    );
    let exec = json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]});
    world.registry.admit_connection(&context, &key(&kinds::POD, "p"), "exec", exec).await.unwrap();
    let told = "CONNECT pods/exec p PodExecOptions new+ old-";
    assert_eq!(
        std::mem::take(&mut *recorder.seen.lock()),
        [format!("mutate {told}"), format!("validate {told}")]
    );
}

#[tokio::test]
async fn what_a_link_refuses_has_not_happened() {
    let recorder = Recorder::default();
    let world = world_with(recorder.clone()).await;
    prepare(&world).await;
    for (operation, told) in writes() {
        recorder.refuses.store(true, Ordering::SeqCst);
        let before = world.registry.revision();
        let status = world.perform(operation.clone()).await.unwrap_err();
        assert_eq!(status.code, 403, "{told}: {status:?}");
        assert_eq!(world.registry.revision(), before, "{told}");
        recorder.refuses.store(false, Ordering::SeqCst);
        let _ = world.perform(operation).await;
    }
}

/// A quota in small: a ConfigMap counts how many others there are, ten at most.
#[derive(Clone)]
struct Quota;

const MOST: u64 = 10;

fn used(quota: &Value) -> u64 {
    quota["data"]["used"].as_str().and_then(|used| used.parse().ok()).unwrap_or(0)
}

#[async_trait]
impl Link for Quota {
    fn name(&self) -> &'static str {
        "Quota"
    }

    fn writes_companions(&self) -> bool {
        true
    }

    async fn validate(
        &self,
        asked: &Attributes<'_>,
        object: &Value,
        extras: &mut Extras,
    ) -> Result<(), Status> {
        let counts = asked.operation == attributes::Operation::Create && asked.is_about(&kinds::CONFIG_MAP);
        let Some(read) = asked.find(&key(&kinds::CONFIG_MAP, "quota")).filter(|_| counts) else {
            return Ok(());
        };
        let mut quota = read.value();
        let count = used(&quota);
        if count == MOST {
            return Err(asked.forbid(object, "exceeded quota"));
        }
        quota["data"]["used"] = (count + 1).to_string().into();
        extras.changes.push(Companion { read, object: quota });
        Ok(())
    }
}

#[tokio::test]
async fn a_companion_is_written_with_the_write_or_neither_is() {
    let world = world_with(Quota).await;
    let kind = || KindRef::from(&kinds::CONFIG_MAP);
    world.make(kind(), json!({"metadata": {"name": "quota"}, "data": {"used": "0"}})).await.unwrap();
    let make = |n: usize| world.make(kind(), json!({"metadata": {"name": format!("m{n}")}}));
    // All at once: whoever loses the race for the count reads it again.
    let outcomes = join_all((0..40).map(make)).await;
    let quota = key(&kinds::CONFIG_MAP, "quota");
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    let count = || used(&world.registry.get(&quota).unwrap().value().unwrap());
    assert!((1..=MOST).contains(&made), "{made}");
    assert_eq!(count(), made);
    for outcome in outcomes {
        assert!(outcome.is_ok() || outcome.is_err_and(|status| matches!(status.code, 403 | 409)));
    }
    for n in 40..60 {
        let room = count() < MOST;
        assert_eq!(make(n).await.is_ok(), room);
    }
    assert_eq!(count(), MOST);
}

#[tokio::test]
async fn an_eviction_is_one_commit_with_its_budget() {
    for commits in [0, 1] {
        let world = World::new(1000).await;
        let pod = world.make_pod("p").await;
        let perform = |operation| world.perform(operation);
        let merge = |key: Key, sub: &str, patch: Value| Operation::Patch {
            key,
            sub: Some(sub.into()),
            form: PatchForm::Merge,
            body: Body::Tree(patch),
        };
        let running = json!({"metadata": {"labels": {"a": "b"}}});
        let label = Operation::Patch {
            key: pod.clone(),
            sub: None,
            form: PatchForm::Merge,
            body: Body::Tree(running),
        };
        perform(label).await.unwrap();
        let ready = json!([{"type": "Ready", "status": "True"}]);
        perform(merge(pod.clone(), "status", json!({"status": {"phase": "Running", "conditions": ready}})))
            .await
            .unwrap();
        let budget = key(&kinds::POD_DISRUPTION_BUDGET, "b");
        let spec = json!({"minAvailable": 0, "selector": {"matchLabels": {"a": "b"}}});
        world
            .make(&kinds::POD_DISRUPTION_BUDGET, json!({"metadata": {"name": "b"}, "spec": spec}))
            .await
            .unwrap();
        let allows = json!({"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1, "observedGeneration": 1});
        perform(merge(budget.clone(), "status", json!({"status": allows}))).await.unwrap();
        let before = world.registry.revision();
        world.left.store(commits, Ordering::SeqCst);
        let evict = Operation::Create {
            kind: (&kinds::POD).into(),
            namespace: "default".into(),
            sub: Some(("p".into(), "eviction".into())),
            body: Body::Tree(json!({"metadata": {"name": "p"}})),
        };
        let outcome = perform(evict).await;
        let left =
            world.registry.get(&budget).unwrap().value().unwrap()["status"]["disruptionsAllowed"].clone();
        let changes = world.registry.changes(None, before).1;
        let verbs: Vec<&str> = changes.iter().map(|change| change.verb.word()).collect();
        if commits == 0 {
            assert_eq!((outcome.unwrap_err().code, left, verbs.len()), (500, json!(1), 0));
        } else {
            assert!(outcome.unwrap().gone && world.registry.get(&pod).is_none());
            assert_eq!((left, verbs), (json!(0), vec!["update", "update", "delete", "update"]));
        }
    }
}

#[tokio::test]
async fn an_account_that_says_so_limits_its_pods_to_its_secrets() {
    let world = World::new(1000).await;
    let annotations = json!({"kubernetes.io/enforce-mountable-secrets": "true"});
    let account =
        json!({"metadata": {"name": "sa", "annotations": annotations}, "secrets": [{"name": "ok"}]});
    world.make(&kinds::SERVICE_ACCOUNT, account).await.unwrap();
    let container = |name: &str, secret: &str| json!({"name": name, "image": "i", "envFrom": [{"secretRef": {"name": secret}}]});
    let pod = |name: &str, secret: &str| json!({"metadata": {"name": name}, "spec": {"serviceAccountName": "sa", "containers": [container("c", secret)]}});
    let end = "with envFrom referencing secret.secretName=\"bad\" is not allowed because service account sa does not reference that secret";
    let refused = world.make(&kinds::POD, pod("a", "bad")).await.unwrap_err();
    assert_eq!(refused.message, format!("pods \"a\" is forbidden: container c {end}"));
    world.make(&kinds::POD, pod("a", "ok")).await.unwrap();
    let debug = async |secret: &str| {
        let patch = json!({"spec": {"ephemeralContainers": [container("e", secret)]}});
        let (sub, form) = (Some("ephemeralcontainers".into()), PatchForm::Strategic);
        world
            .perform(Operation::Patch { key: key(&kinds::POD, "a"), sub, form, body: Body::Tree(patch) })
            .await
    };
    let refused = debug("bad").await.unwrap_err();
    assert_eq!(refused.message, format!("pods \"a\" is forbidden: ephemeral container e {end}"));
    debug("ok").await.unwrap();
}

#[tokio::test]
async fn an_object_without_a_name_is_refused_by_the_beginning_of_it() {
    let world = World::new(1000).await;
    let spec = json!({"serviceAccountName": "nope", "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"generateName": "gen-"}, "spec": spec});
    let refused = world.make(&kinds::POD, pod).await.unwrap_err();
    let why = "error looking up service account default/nope: serviceaccount \"nope\" not found";
    assert_eq!(refused.message, format!("pods \"gen-\" is forbidden: {why}"));
    assert_eq!(refused.details.unwrap().name, "gen-");
}

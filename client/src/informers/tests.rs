use std::sync::Arc;

use coracle_api::{Key, kinds};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::Op;
use crate::fake::Fake;

fn make(kind: &str, name: &str) -> Op {
    let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": "a", "name": name,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "owner"}]}});
    let kind = kinds::by_kind("v1", kind).unwrap();
    Op::Create { kind, namespace: "a".into(), sub: None, object }
}

async fn write(fake: &Fake, op: Op) -> Revision {
    let client: Arc<dyn Client> = Arc::new(fake.clone());
    client.write_one(op).await.unwrap().revision
}

/// Informers at work on a fake, and a log of the pods' changes: `+`, `~`, `-` and the name.
fn informers(fake: &Fake) -> (Informers, Store<Pod>, Arc<Mutex<Vec<String>>>) {
    let informers = Informers::new(Arc::new(fake.clone()));
    let pods = informers.store::<Pod>();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    pods.on_change(move |change| {
        let sign = match (change.old, change.new) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        seen.lock().push(format!("{sign}{}", change.object().metadata.name.as_deref().unwrap()));
    });
    let running = informers.clone();
    tokio::spawn(async move { running.run(CancellationToken::new()).await });
    (informers, pods, log)
}

async fn reach(informers: &Informers, revision: Revision) {
    let waiting = informers.wait_for(revision);
    timeout(Duration::from_secs(60), waiting).await.expect("the informers get there");
}

#[tokio::test(start_paused = true)]
async fn stores_follow_the_cluster_and_tell_each_change_once() {
    let fake = Fake::new();
    write(&fake, make("Pod", "old")).await;
    let (informers, pods, log) = informers(&fake);
    informers.synced().await;
    assert_eq!(pods.len(), 1);

    write(&fake, make("Pod", "new")).await;
    let old = Key::new(&kinds::POD, "a", "old");
    write(&fake, Op::merge(old.clone(), json!({"spec": {"nodeName": "n1"}}))).await;
    let revision = write(&fake, Op::delete_key(old)).await;
    reach(&informers, revision).await;
    assert_eq!(*log.lock(), ["+old", "+new", "~old", "-old"]);
    assert_eq!(pods.owned_by("owner").len(), 1, "the index follows as well");
    assert!(pods.get("a", "new").is_some() && pods.get("a", "old").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_goes_on_where_it_was() {
    let fake = Fake::new();
    let (informers, _, log) = informers(&fake);
    informers.synced().await;
    let before = write(&fake, make("Pod", "before")).await;
    reach(&informers, before).await;
    fake.break_watches();
    write(&fake, make("Pod", "between")).await;
    tokio::time::sleep(LONGEST_WAIT).await;
    let after = write(&fake, make("Pod", "after")).await;
    reach(&informers, after).await;
    assert_eq!(*log.lock(), ["+before", "+between", "+after"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again_and_tells_the_differences_only() {
    let fake = Fake::new();
    let (informers, _, log) = informers(&fake);
    informers.synced().await;
    write(&fake, make("Pod", "stays")).await;
    let revision = write(&fake, make("Pod", "goes")).await;
    reach(&informers, revision).await;
    fake.break_watches();
    write(&fake, Op::delete_key(Key::new(&kinds::POD, "a", "goes"))).await;
    let revision = write(&fake, make("Pod", "comes")).await;
    fake.compact();
    reach(&informers, revision).await;
    assert_eq!(*log.lock(), ["+stays", "+goes", "+comes", "-goes"]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_added_later_is_listed_and_nothing_is_told_twice() {
    let fake = Fake::new();
    let (informers, _, log) = informers(&fake);
    informers.synced().await;
    write(&fake, make("ConfigMap", "c")).await;
    let maps = informers.store::<ConfigMap>();
    let again = informers.store::<ConfigMap>();
    informers.synced().await;
    assert_eq!((maps.len(), again.len()), (1, 1));
    write(&fake, make("Pod", "p")).await;
    let revision = write(&fake, make("ConfigMap", "d")).await;
    reach(&informers, revision).await;
    assert_eq!(*log.lock(), ["+p"]);
    assert_eq!(again.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_is_told_of_everything_present() {
    let fake = Fake::new();
    write(&fake, make("Pod", "p")).await;
    let (informers, pods, _) = informers(&fake);
    informers.synced().await;
    let count = Arc::new(Mutex::new(0));
    let seen = count.clone();
    pods.on_change(move |change| {
        assert!(change.old.is_none());
        *seen.lock() += 1;
    });
    let by_name = pods.index(|pod| pod.metadata.name.clone().into_iter().collect());
    assert_eq!((*count.lock(), by_name.find("p").len()), (1, 1));
}

use std::sync::Arc;

use coracle_api::{Key, Status, kinds};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::Op;
use crate::fake::Fake;
use crate::faulty::Faulty;

fn make(kind: &str, name: &str) -> Op {
    let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": "a", "name": name,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "owner"}]}});
    let kind = kinds::Kinds::new().by_kind("v1", kind).unwrap();
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
    timeout(Duration::from_secs(60), waiting).await.expect("an end").expect("the informers get there");
}

#[tokio::test(start_paused = true)]
async fn stores_follow_the_cluster_and_tell_each_change_once() {
    let fake = Fake::new();
    write(&fake, make("Pod", "old")).await;
    let (informers, pods, log) = informers(&fake);
    informers.synced().await.expect("they are filled");
    assert_eq!(pods.len(), 1);

    write(&fake, make("Pod", "new")).await;
    let old = Key::new(&kinds::POD, "a", "old");
    write(&fake, Op::merge(old.clone(), json!({"spec": {"nodeName": "n1"}}))).await;
    let revision = write(&fake, Op::delete_key(old).with_grace(0)).await;
    reach(&informers, revision).await;
    assert_eq!(*log.lock(), ["+old", "+new", "~old", "~old", "-old"], "marked, then gone");
    assert_eq!(pods.owned_by("owner").len(), 1, "the index follows as well");
    assert!(pods.get("a", "new").is_some() && pods.get("a", "old").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_while_its_kind_is_listed_is_filled() {
    let fake = Fake::new();
    write(&fake, make("Pod", "old")).await;
    let client = Faulty::new(Arc::new(fake));
    let informers = Informers::new(Arc::new(client.clone()));
    let pods = informers.store::<Pod>();
    // Another controller asks for its store when the first list is already on its way.
    let (late, given) = (informers.clone(), Arc::new(Mutex::new(None)));
    let keep = given.clone();
    client.refuse_lists(move |interest| {
        keep.lock().get_or_insert_with(|| late.metadata(&interest.kind));
        None
    });
    let running = informers.clone();
    tokio::spawn(async move { running.run(CancellationToken::new()).await });
    informers.synced().await.expect("they are filled");
    assert_eq!((pods.len(), given.lock().as_ref().map(Store::len)), (1, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_goes_on_where_it_was() {
    let fake = Fake::new();
    let (informers, _, log) = informers(&fake);
    informers.synced().await.expect("they are filled");
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
    informers.synced().await.expect("they are filled");
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
    informers.synced().await.expect("they are filled");
    write(&fake, make("ConfigMap", "c")).await;
    let maps = informers.store::<ConfigMap>();
    let again = informers.store::<ConfigMap>();
    informers.synced().await.expect("they are filled");
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
    informers.synced().await.expect("they are filled");
    let count = Arc::new(Mutex::new(0));
    let seen = count.clone();
    pods.on_change(move |change| {
        assert!(change.old.is_none());
        *seen.lock() += 1;
    });
    let by_name = pods.index(|pod| pod.metadata.name.clone().into_iter().collect());
    assert_eq!((*count.lock(), by_name.find("p").len()), (1, 1));
}

fn forbidden(interest: &Interest) -> Option<Error> {
    let refused = Status::failure(403, "Forbidden", format!("{} are forbidden", interest.kind.plural));
    (interest.kind == kinds::SECRET).then_some(Error::Refused(refused))
}

#[tokio::test(start_paused = true)]
async fn a_refused_kind_holds_up_those_who_need_it_and_nobody_else() {
    for verb in ["list", "watch"] {
        let fake = Fake::new();
        write(&fake, make("Pod", "p")).await;
        let faulty = Faulty::new(Arc::new(fake.clone()));
        match verb {
            "list" => faulty.refuse_lists(forbidden),
            _ => faulty.refuse_watches(forbidden),
        }
        let informers = Informers::new(Arc::new(faulty.clone()));
        let (of_pods, of_both, of_all_kinds) = (informers.part(), informers.part(), informers.part());
        let pods = of_pods.store::<Pod>();
        let (_, _) = (of_both.store::<Pod>(), of_both.store::<Secret>());
        let metadata = [of_all_kinds.metadata(&Pod::kind()), of_all_kinds.metadata(&Secret::kind())];
        let running = informers.clone();
        tokio::spawn(async move { running.run(CancellationToken::new()).await });

        let reason = format!("cannot {verb} secrets: secrets are forbidden");
        let within = Duration::from_secs(5);
        let error = timeout(within, of_both.synced()).await.expect("no hanging").unwrap_err();
        assert_eq!(error.to_string(), format!("not all objects are known yet: {reason}"));
        assert!(timeout(within, of_both.wait_for(Revision(1))).await.expect("no hanging").is_err());
        timeout(within, of_pods.synced()).await.expect("no hanging").expect("pods are not refused");
        timeout(within, of_all_kinds.synced()).await.expect("no hanging").expect("of all that is shown");
        assert_eq!(informers.health(), Err(reason));

        let revision = write(&fake, make("Pod", "q")).await;
        reach(&of_pods, revision).await;
        assert_eq!((pods.len(), metadata[0].len()), (2, 2), "what is not refused is followed");

        write(&fake, make("Secret", "s")).await;
        match verb {
            "list" => faulty.refuse_lists(|_| None),
            _ => faulty.refuse_watches(|_| None),
        }
        assert!(of_both.synced_or_cancelled(&CancellationToken::new()).await);
        assert_eq!((informers.health(), metadata[1].len()), (Ok(()), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_list_is_asked_again_with_waits_in_between() {
    let faulty = Faulty::new(Arc::new(Fake::new()));
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    faulty.refuse_lists(move |interest| {
        *count.lock() += 1;
        forbidden(interest)
    });
    let informers = Informers::new(Arc::new(faulty));
    let _secrets = informers.store::<Secret>();
    let _ = timeout(Duration::from_secs(600), informers.run(CancellationToken::new())).await;
    // Waits of 15 to 30 s, after a few shorter ones.
    assert!((25..=60).contains(&*asked.lock()), "{} lists in ten minutes", asked.lock());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_put_back_to_an_earlier_time_is_followed_from_there() {
    let (before, after) = (Fake::new(), Fake::new());
    for name in ["a", "b", "c"] {
        write(&before, make("Pod", name)).await;
    }
    write(&after, make("Pod", "a")).await;
    let faulty = Faulty::new(Arc::new(before.clone()));
    let informers = Informers::new(Arc::new(faulty.clone()));
    let pods = informers.store::<Pod>();
    let running = informers.clone();
    tokio::spawn(async move { running.run(CancellationToken::new()).await });
    informers.synced().await.expect("they are filled");
    assert_eq!((pods.len(), informers.revision()), (3, Revision(3)));

    faulty.replace(Arc::new(after.clone()));
    before.break_watches();
    let listed_again = async {
        while pods.len() != 1 {
            tokio::time::sleep(FIRST_WAIT).await
        }
    };
    timeout(Duration::from_secs(600), listed_again).await.expect("it is listed again");
    let revision = write(&after, make("Pod", "d")).await;
    assert_eq!(revision, Revision(2));
    reach(&informers, revision).await;
    assert_eq!(pods.len(), 2, "and what comes then is seen, though the number is an old one");
}

#[tokio::test(start_paused = true)]
async fn every_wait_ends_when_nobody_fills_the_stores() {
    let informers = Informers::new(Arc::new(Fake::new()));
    let _pods = informers.store::<Pod>();
    let never_run = timeout(PATIENCE * 2, informers.synced()).await.expect("an end").unwrap_err();
    assert!(never_run.to_string().contains("still waiting after 30 s"), "{never_run}");

    let (running, stop) = (informers.clone(), CancellationToken::new());
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { running.run(stop).await }
    });
    informers.synced().await.expect("they are filled");
    let waiting = informers.wait_for(Revision(1_000_000));
    stop.cancel();
    let stopped = timeout(Duration::from_secs(1), waiting).await.expect("an end").unwrap_err();
    assert!(stopped.to_string().contains("the informers have stopped"), "{stopped}");
    task.await.expect("it ends");
}

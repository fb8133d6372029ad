//! What every store promises, on a real etcd, and what only this one does: several servers, and an etcd that does not answer.

use std::collections::BTreeMap;

use super::super::suite::{self, Listener, change, commit, key};
use super::super::{Expected, Verb};
use super::process::{EtcdProcess, started, started_with};
use super::*;

/// A log that is folded soon.
const SHORT: Bounds =
    Bounds { count: 15, memory_bytes: usize::MAX, disk_bytes: u64::MAX, age_seconds: i64::MAX / 4 };

fn store(etcd: &EtcdProcess, prefix: &str, bounds: Bounds) -> Etcd {
    let endpoints = Endpoints { urls: vec![etcd.url.clone()], ..Endpoints::default() };
    Etcd::new(&endpoints, prefix, bounds, Clock::system()).unwrap()
}

async fn loaded(etcd: &EtcdProcess, prefix: &str, bounds: Bounds) -> (Arc<Etcd>, Listener) {
    let (store, listener) = (store(etcd, prefix, bounds), Listener::default());
    store.load(Arc::new(listener.clone())).await.unwrap();
    (Arc::new(store), listener)
}

#[tokio::test]
async fn it_keeps_what_every_store_promises() {
    let Some(etcd) = started() else { return };
    suite::run(|name| store(&etcd, name, SHORT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_write_one_row_of_changes() {
    let Some(etcd) = started() else { return };
    let (one, first) = loaded(&etcd, "two", SHORT).await;
    let (two, second) = loaded(&etcd, "two", SHORT).await;
    let writers = (0..8).map(|writer| {
        let store = [&one, &two][writer % 2].clone();
        tokio::spawn(async move {
            let (mut made, mut own) = (BTreeMap::new(), None);
            for step in 0..25 {
                // A key of its own, and one that all fight for.
                let (name, text) = (format!("w{writer}"), step.to_string());
                let verb = if own.is_none() { Verb::Create } else { Verb::Update };
                let revision = commit(&*store, change(&name, own, verb, &text)).await.unwrap();
                own = Some(revision);
                made.insert(name, (revision.0, text));
                let shared = store.commit(Batch::Together(vec![change(
                    &format!("shared{step}"),
                    Expected::Absent,
                    Verb::Create,
                    &writer.to_string(),
                )]));
                match shared.await {
                    Ok(outcomes) => {
                        let object = outcomes[0].as_ref().unwrap();
                        made.insert(object.key.name.clone(), (object.revision.0, writer.to_string()));
                    }
                    Err(error) => assert!(matches!(error, StoreError::Conflict(_)), "{error}"),
                }
            }
            made
        })
    });
    let mut acknowledged = BTreeMap::new();
    for writer in writers.collect::<Vec<_>>() {
        let made = writer.await.unwrap();
        for (name, value) in made {
            assert!(acknowledged.insert(name, value).is_none(), "two were told that they made one object");
        }
    }
    for store in [&one, &two] {
        store.catch_up().await.unwrap();
    }
    for listener in [&first, &second] {
        assert_eq!(listener.world().lives, acknowledged);
        let (world, told) = (listener.world(), listener.published());
        // A server that the short log has left behind has read everything again, and hears of every change from there on.
        let last = world.floor + world.log as u64;
        let consecutive: Vec<Revision> = (last + 1 - told.len() as u64..=last).map(Revision).collect();
        assert_eq!(told, consecutive, "every change once and in order");
    }
    assert_eq!(acknowledged.len(), 8 + 25);
    one.close().await;
    two.close().await;
    let (again, third) = loaded(&etcd, "two", SHORT).await;
    assert_eq!(third.world().lives, acknowledged);
    assert!(third.world().log <= SHORT.count, "the log is folded");
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_etcd_is_silent_nothing_is_said_that_may_be_wrong() {
    let Some(etcd) = started() else { return };
    let (store, listener) = loaded(&etcd, "silent", Bounds::default()).await;
    commit(&*store, change("before", None, Verb::Create, "1")).await.unwrap();

    // Short: the write is answered when etcd goes on.
    etcd.signal("STOP");
    let write = tokio::spawn({
        let store = store.clone();
        async move { commit(&*store, change("short", None, Verb::Create, "1")).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    etcd.signal("CONT");
    let made = write.await.unwrap().unwrap();
    assert_eq!(listener.world().lives["short"], (made.0, "1".into()));

    // Long: it cannot be said what became of it, and what comes then is refused at once.
    etcd.signal("STOP");
    let unknown = commit(&*store, change("long", None, Verb::Create, "1")).await;
    assert!(matches!(unknown, Err(StoreError::Unknown { .. })), "{unknown:?}");
    assert!(store.health().unwrap_err().contains("cannot reach etcd"));
    let refused = commit(&*store, change("refused", None, Verb::Create, "1")).await;
    assert!(matches!(refused, Err(StoreError::Unreachable { .. })), "{refused:?}");
    etcd.signal("CONT");

    // It goes on by itself, and by then knows what became of it.
    while store.health().is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    commit(&*store, change("after", None, Verb::Create, "1")).await.unwrap();
    let lives = listener.world().lives;
    assert!(lives.contains_key("after") && !lives.contains_key("refused"));
    let (again, other) = loaded(&etcd, "silent", Bounds::default()).await;
    assert_eq!(other.world().lives, lives);
    again.close().await;
    store.close().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_in_etcds_words_and_what_is_not_can_be_folded() {
    let Some(etcd) = started() else { return };
    let bounds = Bounds { count: 2, ..SHORT };
    let (store, listener) = loaded(&etcd, "large", bounds).await;
    let large = |name: &str, size: usize| change(name, None, Verb::Create, &"x".repeat(size));
    let error = commit(&*store, large("over", 1_600_000)).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: request is too large");
    let many = (0..101).map(|n| change(&format!("m{n}"), None, Verb::Create, "")).collect();
    let error = store.commit(Batch::Together(many)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { changes: 101 }), "{error:?}");
    // Together they would be too much for one step, and yet each is made.
    let writes = (0..6).map(|n| {
        let (store, change) = (store.clone(), large(&format!("n{n}"), 1_500_000 + n * 10_000));
        async move { commit(&*store, change).await.unwrap() }
    });
    let made = futures::future::join_all(writes).await;
    // Marked and removed at once, it is as large twice.
    let gone = [(Expected::At(made[0]), Verb::Update), (Expected::Earlier, Verb::Delete)];
    let gone = gone.map(|(expected, verb)| change("n0", expected, verb, &"y".repeat(1_500_000)));
    store.commit(Batch::Together(gone.into())).await.unwrap();
    store.close().await;
    let (again, other) = loaded(&etcd, "large", bounds).await;
    assert_eq!(other.world().lives, listener.world().lives);
    assert!(other.world().log <= 2, "folded: {}", other.world().log);
    again.close().await;
}

/// A server that has not listened while the log went past it begins again.
#[tokio::test]
async fn who_falls_behind_the_log_reads_everything_again() {
    let Some(etcd) = started() else { return };
    let (store, listener) = loaded(&etcd, "behind", SHORT).await;
    let behind = self::store(&etcd, "behind", SHORT);
    let old = snapshot::read(&behind.access, &behind.layout).await.unwrap();
    let late = Listener::default();
    late.load(old.loaded);
    let mut revision = None;
    for step in 0..40 {
        let verb = if revision.is_none() { Verb::Create } else { Verb::Update };
        revision = Some(commit(&*store, change("a", revision, verb, &step.to_string())).await.unwrap());
    }
    store.close().await;
    let mut writer = Writer {
        access: behind.access.clone(),
        layout: behind.layout.clone(),
        ledger: old.ledger,
        counter: old.counter,
        frames: old.frames,
        bounds: SHORT,
        clock: Clock::system(),
        follower: Arc::new(late.clone()),
        health: Arc::default(),
        goal: watch::channel(Revision(0)).0,
        silent: None,
    };
    writer.look().await.unwrap();
    assert_eq!(late.world().lives, listener.world().lives);
    assert!(late.world().floor > 9);
    assert_eq!(late.world().lives[&key("a").name].1, "39");
}

#[tokio::test]
async fn what_is_no_store_of_ours_is_refused() {
    let Some(etcd) = started() else { return };
    let (first, _) = loaded(&etcd, "a", SHORT).await;
    first.close().await;
    let layout = Layout::new("a");
    let put = |key, value: &str| coracle_proto::etcd::PutRequest { key, value: value.to_owned().into() };
    let endpoint = tonic::transport::Endpoint::from_shared(etcd.url.clone()).unwrap();
    let mut client = coracle_proto::etcd::kv_client::KvClient::new(endpoint.connect_lazy());
    client.put(put(layout.revision(), "77")).await.unwrap();
    let listener: Arc<dyn Follower> = Arc::new(Listener::default());
    let error = store(&etcd, "a", SHORT).load(listener.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    client.put(put(layout.format(), "something else")).await.unwrap();
    let error = store(&etcd, "a", SHORT).load(listener.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let nowhere = Endpoints { urls: vec!["http://127.0.0.1:1".into()], ..Endpoints::default() };
    let nowhere = Etcd::new(&nowhere, "a", SHORT, Clock::system()).unwrap();
    assert!(matches!(nowhere.load(listener).await, Err(StoreError::Open { .. })));
}

#[tokio::test]
async fn what_is_too_old_is_folded_though_nobody_writes() {
    let Some(etcd) = started() else { return };
    // The changes of the tests are of long ago.
    let bounds = Bounds { age_seconds: 3600, ..Bounds::default() };
    let (store, listener) = loaded(&etcd, "old", bounds).await;
    for name in ["a", "b", "c"] {
        commit(&*store, change(name, None, Verb::Create, "1")).await.unwrap();
    }
    store.age();
    store.close().await;
    let (again, other) = loaded(&etcd, "old", bounds).await;
    assert_eq!((other.world().log, other.world().floor), (0, 12));
    assert_eq!(other.world().lives, listener.world().lives);
    again.close().await;
}

#[tokio::test]
async fn a_member_that_is_away_is_passed_over() {
    let Some(etcd) = started() else { return };
    let urls = vec!["http://127.0.0.1:1".into(), etcd.url.clone()];
    let endpoints = Endpoints { urls, ..Endpoints::default() };
    let store = Etcd::new(&endpoints, "away", Bounds::default(), Clock::system()).unwrap();
    store.load(Arc::new(Listener::default())).await.unwrap();
    commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn both_sides_show_certificates_where_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&authority).unwrap().pem();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca, authority).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap().pem();
    let key = key.serialize_pem();
    let [ca_file, certificate_file, key_file] =
        [("ca", &ca), ("crt", &certificate), ("key", &key)].map(|(name, text)| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        });
    let arguments = ["--client-cert-auth", "--trusted-ca-file", &ca_file, "--cert-file", &certificate_file];
    let Some(etcd) = started_with("https", &[&arguments[..], &["--key-file", &key_file]].concat()) else {
        return;
    };
    // Without a scheme: certificates mean TLS.
    let urls = vec![etcd.url.trim_start_matches("https://").to_owned()];
    let whole = Endpoints { urls: urls.clone(), ca: Some(ca.clone()), identity: Some((certificate, key)) };
    let store = Etcd::new(&whole, "tls", Bounds::default(), Clock::system()).unwrap();
    store.load(Arc::new(Listener::default())).await.unwrap();
    commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    store.close().await;
    let nobody = Endpoints { urls, ca: Some(ca), identity: None };
    let nobody = Etcd::new(&nobody, "tls", Bounds::default(), Clock::system()).unwrap();
    assert!(nobody.load(Arc::new(Listener::default())).await.is_err());
}

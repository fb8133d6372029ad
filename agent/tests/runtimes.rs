//! One suite for every runtime: what the trait promises, the engine and the simulation both keep.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use coracle_agent::labels::{Identity, Mark, Owner};
use coracle_agent::runtime::{
    Container, ContainerSpec, Error, EventKind, File, Files, MountSource, NetworkMode, PodFile, Removed,
    Runtime, Share, State, Streams, VolumeContent, VolumeSpec,
};
use coracle_agent::sim::SimRuntime;
use coracle_client::Clock;
use futures::StreamExt;
use tokio::io::AsyncWriteExt as _;

mod common;

const PATIENCE: Duration = Duration::from_secs(30);

/// Signals a container until it has ended: one that has just started may not listen yet.
async fn end(runtime: &dyn Runtime, id: &str, signal: &str) -> Container {
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            runtime.kill(id, signal).await.unwrap();
            match runtime.inspect(id).await.unwrap() {
                Some(found) if found.state.is_exited() => return found,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    ended.await.expect("the container ends")
}

async fn keeps_its_promises(runtime: Arc<dyn Runtime>, cluster: &str, on_disk: bool) {
    keeps_files(runtime.as_ref(), cluster, on_disk).await;
    let owner = Owner::node(cluster, "node-1");
    let other = Owner::node(cluster, "node-2");
    let identity = Identity {
        namespace: "ns".into(),
        pod: "x".into(),
        uid: "0123456789".into(),
        container: "c".into(),
        attempt: 0,
        backoff: 0,
    };
    let spec = ContainerSpec {
        name: identity.container_name(cluster),
        labels: identity.labels(cluster, "node-1"),
        image: common::IMAGE.into(),
        env: vec!["A=1".into()],
        ..Default::default()
    };
    let mut events = runtime.events(&owner).await.unwrap();

    let id = runtime.create(&spec).await.unwrap();
    assert!(matches!(runtime.create(&spec).await, Err(Error::Conflict(_))), "the name is taken");
    assert_eq!(runtime.inspect(&spec.name).await.unwrap().unwrap().id, id, "names do as well as ids");
    let made = runtime.inspect(&id).await.unwrap().unwrap();
    assert_eq!((made.state, Identity::read(&made.labels)), (State::Created, Some(identity.clone())));

    runtime.start(&id).await.unwrap();
    let heard = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    assert_eq!(
        (heard.id.as_str(), heard.uid.as_str(), heard.kind),
        (id.as_str(), "0123456789", EventKind::Started)
    );
    assert!(runtime.inspect(&id).await.unwrap().unwrap().state.is_running());
    let done = runtime.exec(&id, &["echo".into(), "hi".into()], 100, PATIENCE).await.unwrap();
    assert_eq!(done.code, 0);
    assert_eq!(runtime.containers(&owner).await.unwrap().len(), 1);
    let labels = runtime.labels(&owner).await.unwrap();
    assert_eq!(labels.len(), 1);
    assert_eq!((&labels[0].0, Identity::read(&labels[0].1)), (&id, Some(identity.clone())));
    runtime.ping().await.unwrap();
    assert_eq!(runtime.of_pod(&owner, "0123456789").await.unwrap().len(), 1);
    assert!(runtime.of_pod(&owner, "another").await.unwrap().is_empty());
    assert!(runtime.containers(&other).await.unwrap().is_empty(), "another node's is not ours");

    let watched = tokio::spawn({
        let (runtime, id) = (runtime.clone(), id.clone());
        async move { runtime.ended(&id).await }
    });
    assert!(!watched.is_finished());
    let State::Exited { code, oom, started, .. } = end(runtime.as_ref(), &id, "SIGKILL").await.state else {
        unreachable!("`end` waits for that")
    };
    assert_eq!((code, oom, started.is_some()), (137, false, true));
    tokio::time::timeout(PATIENCE, watched).await.expect("its end is seen").unwrap().unwrap();
    runtime.ended(&id).await.expect("what is over is over");
    runtime.kill(&id, "SIGTERM").await.expect("to kill what is over is fine");

    runtime.remove(&id).await.unwrap();
    runtime.remove(&id).await.expect("to remove what is gone is fine");
    assert_eq!(runtime.inspect(&id).await.unwrap(), None);
    runtime.ended(&id).await.expect("what is gone does not run");
    let gone = tokio::time::timeout(PATIENCE, async {
        while events.next().await.expect("events go on").kind != EventKind::Removed {}
    });
    gone.await.expect("the removal is heard");

    let id = runtime.create(&spec).await.unwrap();
    runtime.start(&id).await.unwrap();
    let State::Exited { code, .. } = end(runtime.as_ref(), &id, "SIGTERM").await.state else {
        unreachable!("`end` waits for that")
    };
    assert_eq!(code, 0, "asked to end, it ends well");
    runtime.remove(&id).await.unwrap();
    addresses_are_given_once(runtime.as_ref(), cluster, &spec).await;
    assert_eq!(runtime.clean_up(&other, "").await.unwrap().containers, 0);
    assert_eq!(runtime.clean_up(&owner, "").await.unwrap().containers, 2);
    assert!(runtime.containers(&owner).await.unwrap().is_empty());
    let whole = Owner { node: None, ..owner };
    runtime.clean_up(&whole, "").await.unwrap();
    assert_eq!(
        runtime.clean_up(&whole, "").await.unwrap(),
        Removed::default(),
        "not even the network is left"
    );
}

/// What a pod has of files is there, found again by the next agent, and removed; simulated pods have none at all.
async fn keeps_files(runtime: &dyn Runtime, cluster: &str, on_disk: bool) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("node");
    let owner = Owner::node(cluster, "node-1");
    let file = File { data: b"1".to_vec(), mode: 0o644, only_for: None };
    let content = Files::from([("key".to_owned(), file)]);
    let volume = |name: &str, content| VolumeSpec {
        name: name.into(),
        content,
        group: None,
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        turn: 0,
    };
    let own = PodFile { path: "etc-hosts".into(), text: "hosts".into(), mode: 0o644, replace: true };
    let at_path = |source| {
        let MountSource::Path(path) = source else { panic!("no path: {source:?}") };
        path
    };
    for removed_with_node in [false, true] {
        let files = runtime.open_files(&root, &owner).await.unwrap();
        let secret = volume("secret", VolumeContent::Files { files: content.clone(), in_memory: true });
        let secret = at_path(files.make_volume("uid", secret).await.unwrap());
        let data = volume("data", VolumeContent::Folder { in_memory: false });
        let data = at_path(files.make_volume("uid", data).await.unwrap());
        let inside = at_path(files.sub_path("uid", &data, "a/b", false).await.unwrap());
        let own = files.make_files("uid", vec![own.clone()]).await.unwrap();
        for path in [&root, &secret.join("key"), &inside, &own[0]] {
            assert_eq!(path.exists(), on_disk, "{path:?}");
        }
        assert_eq!(files.end_of_file("uid", "etc-hosts", 3).await, if on_disk { &b"sts"[..] } else { b"" });
        assert!(files.usage("uid", "data", 1 << 30).await.unwrap() < 1 << 30);
        let again = runtime.open_files(&root, &owner).await.unwrap();
        assert_eq!(
            (files.pods().await, again.pods().await),
            (vec!["uid".to_owned()], vec!["uid".to_owned()])
        );
        match removed_with_node {
            true => runtime.remove_files(&owner, std::slice::from_ref(&root)).await.unwrap(),
            false => again.remove("uid").await.unwrap(),
        }
        again.remove("uid").await.expect("to remove what is gone is fine");
        assert_eq!(again.pods().await, Vec::<String>::new());
        assert!(!secret.exists() && !data.exists() && !own[0].exists());
    }
    assert!(!root.exists(), "nothing is left");
}

async fn addresses_are_given_once(runtime: &dyn Runtime, cluster: &str, like: &ContainerSpec) {
    let network = runtime.ensure_network(&Mark::new(cluster, None), None).await.unwrap();
    let at = |name: &str, last: u32| ContainerSpec {
        name: format!("{}.{name}", like.name),
        network: NetworkMode::Bridge {
            network: network.name.clone(),
            address: Ipv4Addr::from(u32::from(network.subnet.first) + last),
            ports: Vec::new(),
        },
        ..like.clone()
    };
    let first = runtime.create(&at("first", 7)).await.unwrap();
    runtime.start(&first).await.unwrap();
    let second = runtime.create(&at("second", 7)).await.unwrap();
    let refused = runtime.start(&second).await;
    assert!(matches!(refused, Err(Error::AddressInUse(_))), "{refused:?}");
    runtime.remove(&first).await.unwrap();
    runtime.start(&second).await.expect("the address is free again");
    let beside = runtime.create(&at("beside", 8)).await.unwrap();
    runtime.start(&beside).await.expect("another address is another's");
}

#[tokio::test(start_paused = true)]
async fn the_simulation() {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    keeps_its_promises(Arc::new(SimRuntime::new(clock, Duration::from_millis(300))), "test", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker() {
    let Some(runtime) = common::docker("runtime").await else { return };
    keeps_its_promises(Arc::new(runtime), &format!("test-runtime-{}", std::process::id()), true).await;
}

/// What the processes of a container were started as.
async fn processes(runtime: &dyn Runtime, id: &str) -> String {
    let script = "for one in /proc/[0-9]*; do cat $one/cmdline 2>/dev/null; echo; done";
    let words = ["sh", "-c", script].map(String::from);
    let done = runtime.exec(id, &words, 100_000, PATIENCE).await.unwrap();
    String::from_utf8_lossy(&done.output).replace('\0', " ")
}

/// A command that is not waited for any more is ended, with what it started: a child, and one whose parent is gone.
#[tokio::test(flavor = "multi_thread")]
async fn commands_leave_nothing_behind() {
    let Some(runtime) = common::docker("commands").await else { return };
    let cluster = format!("test-commands-{}", std::process::id());
    let owner = Owner::node(&cluster, "node-1");
    let identity = |container: &str| Identity {
        namespace: "ns".into(),
        pod: "x".into(),
        uid: "0123456789".into(),
        container: container.into(),
        attempt: 0,
        backoff: 0,
    };
    let described = |container: &str, pid| ContainerSpec {
        name: identity(container).container_name(&cluster),
        labels: identity(container).labels(&cluster, "node-1"),
        image: common::IMAGE.into(),
        pid,
        ..Default::default()
    };
    let alone = runtime.create(&described("alone", Share::Own)).await.unwrap();
    runtime.start(&alone).await.unwrap();
    let guest = runtime.create(&described("guest", Share::Container(alone.clone()))).await.unwrap();
    runtime.start(&guest).await.unwrap();

    let script = "sleep 3601 & (sleep 3602 &); sleep 3603; true";
    let words = ["sh", "-c", script].map(String::from);
    for id in [&alone, &guest] {
        let before = processes(&runtime, id).await.matches("sleep 360").count();
        let late = runtime.exec(id, &words, 100, Duration::from_secs(1)).await;
        assert_eq!(late, Err(Error::TimedOut(Duration::from_secs(1))));
        let after = processes(&runtime, id).await;
        assert_eq!(after.matches("sleep 360").count(), before, "after a timeout: {after}");

        // Nobody waits for the answer, or holds the other end, any more.
        let asked = tokio::time::timeout(Duration::from_secs(1), runtime.exec(id, &words, 100, PATIENCE));
        asked.await.expect_err("it takes longer");
        let streams = Streams { stdout: true, ..Default::default() };
        drop(runtime.open_exec(id, &words, streams, None).await.unwrap());
        let gone = tokio::time::timeout(PATIENCE, async {
            while processes(&runtime, id).await.matches("sleep 360").count() > before {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(gone.await.is_ok(), "left behind: {}", processes(&runtime, id).await);
        assert!(runtime.inspect(id).await.unwrap().unwrap().state.is_running());
    }
    runtime.clean_up(&Owner { node: None, ..owner }, "").await.unwrap();
}

/// A terminal passes every key on at once, Ctrl-P too.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_held_back() {
    let Some(runtime) = common::docker("keys").await else { return };
    let cluster = format!("test-keys-{}", std::process::id());
    let labels = Owner::node(&cluster, "node-1").labels();
    let spec = ContainerSpec {
        name: format!("coracle.{cluster}.keys"),
        labels,
        image: common::IMAGE.into(),
        ..Default::default()
    };
    let id = runtime.create(&spec).await.unwrap();
    runtime.start(&id).await.unwrap();
    let streams = Streams { stdin: true, stdout: true, stderr: true, tty: true };
    let mut session = runtime.open_exec(&id, &["cat".into()], streams, None).await.unwrap();
    session.input.write_all(&[0x10]).await.unwrap();
    session.input.flush().await.unwrap();
    // The terminal shows what was typed.
    let shown = tokio::time::timeout(PATIENCE, session.output.next()).await;
    let shown = shown.expect("the key arrives").unwrap().unwrap();
    assert_eq!(shown.data.as_ref(), b"^P");
    drop(session);
    runtime.clean_up(&Owner { cluster, node: None }, "").await.unwrap();
}

//! The agent on a real Docker engine, against a small cluster in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_agent::labels::SANDBOX;
use coracle_agent::runtime::{Container, Runtime};
use coracle_client::line::{Attach, Exec, Frame, Logs, STDOUT, What};
use coracle_client::{Client, Op};
use serde_json::{Value, json};

mod common;
use common::IMAGE;
use common::bench::{Bench, PATIENCE, pod, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_dies() {
    let Some(bench) = Bench::new("life").await else { return };
    let key = bench
        .create(pod("x", json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0})))
        .await;
    let ready = |status: &Value| status["containerStatuses"][0]["ready"] == true;
    let status = bench.until(&key, "ready", ready).await;
    assert_eq!(status["phase"], "Running");
    assert!(status["podIP"].is_string() && status["hostIP"].is_string());
    let containers = bench.containers().await;
    assert_eq!(containers.keys().collect::<Vec<_>>(), [&format!("x/{SANDBOX}.0"), "x/c.0"]);

    bench.runtime.kill(&containers["x/c.0"].id, "SIGKILL").await.unwrap();
    let again = |status: &Value| {
        status["containerStatuses"][0]["restartCount"] == 1 && status["containerStatuses"][0]["ready"] == true
    };
    let status = bench.until(&key, "restarted", again).await;
    let last = &status["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("Error")));

    bench.client().write_one(Op::delete_key(key)).await.unwrap();
    let gone = tokio::time::timeout(PATIENCE, async {
        while !bench.containers().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(gone.await.is_ok(), "containers are left");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_goes_on_where_it_was() {
    let Some(mut bench) = Bench::new("adopt").await else { return };
    let spec = json!({"containers": [sleeper("a"), sleeper("b")], "terminationGracePeriodSeconds": 0});
    let key = bench.create(pod("x", spec)).await;
    let ready = |status: &Value| {
        let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.len() == 2 && all.iter().all(|one| one["ready"] == true)
    };
    bench.until(&key, "ready", ready).await;
    let ids = |all: BTreeMap<String, Container>| all.into_values().map(|one| one.id).collect::<Vec<_>>();
    let before = ids(bench.containers().await);
    bench.kill_agent().await;
    bench.start_agent();
    // A second pod shows that the new agent is at work.
    let other = bench
        .create(pod("y", json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0})))
        .await;
    let status = bench.until(&other, "ready", |status| status["containerStatuses"][0]["ready"] == true).await;
    let first = bench.until(&key, "still ready", ready).await;
    assert_ne!(first["podIP"], status["podIP"]);
    let after = ids(bench.containers().await);
    assert!(before.iter().all(|id| after.contains(id)), "the same containers: {before:?}, {after:?}");
    assert_eq!(after.len(), before.len() + 2);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_sidecars_and_last_words() {
    let Some(bench) = Bench::new("order").await else { return };
    let shell = |name: &str, script: &str| {
        json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script],
               "volumeMounts": [{"name": "d", "mountPath": "/d"}]})
    };
    let mut side = shell("side", "echo side >> /d/log; trap 'exit 0' TERM; sleep 3600 & wait");
    side["restartPolicy"] = json!("Always");
    let key = bench
        .create(pod(
            "x",
            json!({
                "restartPolicy": "Never",
                "initContainers": [side, shell("init", "echo init >> /d/log")],
                "containers": [shell("main", "cat /d/log > /dev/termination-log; exit 3")],
                "volumes": [{"name": "d", "emptyDir": {}}],
            }),
        ))
        .await;
    let status = bench.until(&key, "failed", |status| status["phase"] == "Failed").await;
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(3), &json!("side\ninit\n")), "{status:#}");
    let sidecar = &status["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(sidecar["reason"], "Completed", "{status:#}");
    bench.finish().await;
}

/// What people hold open of a container ends when the container does, also where other containers see its processes: the
/// engine would keep such a command's streams open for ever.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_container() {
    let Some(bench) = Bench::new("sessions").await else { return };
    let spec = json!({"containers": [sleeper("c")], "shareProcessNamespace": true, "terminationGracePeriodSeconds": 1});
    let ends = [
        ("its pod is deleted", Ending::Deleted),
        ("it dies", Ending::Signal("SIGKILL")),
        ("somebody removes it", Ending::Removed),
    ];
    for (number, (case, ending)) in ends.into_iter().enumerate() {
        let key = bench.create(pod(&format!("x{number}"), spec.clone())).await;
        bench.until(&key, "ready", |status| status["containerStatuses"][0]["ready"] == true).await;
        let object = bench.cluster.get(&key).await.unwrap().unwrap().value().unwrap();
        let id = bench.containers().await[&format!("x{number}/c.0")].id.clone();
        let command = ["sh", "-c", "echo begun; sleep 3601; true"].map(String::from).to_vec();
        let exec = What::Exec(Exec { command, stdout: true, ..Exec::default() });
        let logs = What::Logs(Logs { follow: true, ..Logs::default() });
        let attach = What::Attach(Attach { stdout: true, ..Attach::default() });
        let mut sessions = Vec::new();
        for what in [exec, logs, attach] {
            sessions.push(bench.line.open(&object, "c", what).await);
        }
        let begun = sessions[0].receive.recv().await;
        assert!(matches!(begun, Some(Frame::Data { channel: STDOUT, .. })), "{begun:?}");
        match ending {
            Ending::Deleted => drop(bench.client().write_one(Op::delete_key(key)).await.unwrap()),
            Ending::Signal(signal) => bench.runtime.kill(&id, signal).await.unwrap(),
            Ending::Removed => bench.runtime.remove(&id).await.unwrap(),
        }
        let mut ended = Vec::new();
        for session in &mut sessions {
            let frame = tokio::time::timeout(Duration::from_secs(10), session.receive.recv()).await;
            ended.push(frame.unwrap_or_else(|_| panic!("{case}: a session goes on")));
        }
        let Some(Frame::Closed(Some(status))) = &ended[0] else { panic!("{case}: {ended:?}") };
        assert_eq!(status.message, "command terminated with non-zero exit code: exit status 137", "{case}");
        assert_eq!(ended[1..], [Some(Frame::Closed(None)), Some(Frame::Closed(None))], "{case}");
    }
    bench.finish().await;
}

/// How a container ends.
enum Ending {
    Deleted,
    Signal(&'static str),
    Removed,
}

/// What the status says that a container may use was read back from the engine, which refuses some wishes.
#[tokio::test(flavor = "multi_thread")]
async fn a_resize_is_applied_or_told_to_have_failed() {
    let Some(bench) = Bench::new("resize").await else { return };
    let spec = |resources: Value| {
        let mut container = sleeper("c");
        container["resources"] = resources;
        json!({"containers": [container], "terminationGracePeriodSeconds": 0})
    };
    let small = json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "100m"}});
    let key = bench.create(pod("x", spec(small))).await;
    let shown = |status: &Value| status["containerStatuses"][0]["resources"].clone();
    bench.until(&key, "ready", |status| status["containerStatuses"][0]["ready"] == true).await;
    let ask = async |resources: Value| {
        let op = Op::merge(key.clone(), json!({"spec": spec(resources)}));
        bench.client().write_one(op).await.unwrap();
    };
    let limits = async || bench.containers().await["x/c.0"].limits;
    assert_eq!((limits().await.cpu_milli, limits().await.memory), (100, 0));

    let larger = json!({"requests": {"cpu": "200m", "memory": "32Mi"}, "limits": {"cpu": "200m"}});
    ask(larger.clone()).await;
    bench.until(&key, "resized", |status| shown(status) == larger).await;
    assert_eq!(
        (limits().await.cpu_milli, limits().await.memory),
        (200, 0),
        "no limit of memory was asked for"
    );

    let refused =
        json!({"requests": {"cpu": "200m", "memory": "1Mi"}, "limits": {"cpu": "200m", "memory": "1Mi"}});
    ask(refused).await;
    let error = |status: &Value| {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|one| one["type"] == "PodResizeInProgress" && one["reason"] == "Error")
    };
    let status = bench.until(&key, "refused", |status| error(status).is_some()).await;
    assert!(error(&status).unwrap()["message"].as_str().unwrap().contains("emory"), "{status:#}");
    assert_eq!(shown(&status)["limits"], json!({"cpu": "200m"}), "{status:#}");

    let limited =
        json!({"requests": {"cpu": "200m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
    ask(limited.clone()).await;
    let done = |status: &Value| shown(status) == limited && error(status).is_none();
    bench.until(&key, "resized", done).await;
    assert_eq!((limits().await.cpu_milli, limits().await.memory), (200, 64 << 20));
    bench.finish().await;
}

/// A pod whose volume on disk grows beyond its limit is ended, in upstream's words.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_larger_than_its_limit_evicts_its_pod() {
    let Some(bench) = Bench::new("limit").await else { return };
    // Where only root can read it: an agent that is not root has it measured.
    let script =
        "mkdir -m 700 /d/private; dd if=/dev/zero of=/d/private/file bs=1024 count=$SIZE; sleep 3600";
    let writer = |kib: &str| {
        json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script],
               "env": [{"name": "SIZE", "value": kib}], "volumeMounts": [{"name": "d", "mountPath": "/d"}]})
    };
    let spec = |kib: &str| {
        let volume = json!({"name": "d", "emptyDir": {"sizeLimit": "5Mi"}});
        json!({"containers": [writer(kib)], "volumes": [volume], "terminationGracePeriodSeconds": 0})
    };
    let small = bench.create(pod("small", spec("1024"))).await;
    let large = bench.create(pod("large", spec("20480"))).await;
    let status = bench.until(&large, "evicted", |status| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "Evicted", "{status:#}");
    assert_eq!(status["message"], "Usage of EmptyDir volume \"d\" exceeds the limit \"5Mi\". ");
    let status = bench.until(&small, "ready", |status| status["containerStatuses"][0]["ready"] == true).await;
    assert_eq!(status["phase"], "Running");
    bench.finish().await;
}

//! Pods on a real Docker engine whose spec changes, whose logs are followed, whose terminals have a size.

use bollard::Docker;
use bollard::models::ContainerUpdateBody;
use bollard::query_parameters as query;
use bytes::Bytes;
use coracle_agent::runtime::Runtime;
use coracle_client::line::{Duplex, Exec, Frame, Logs, RESIZE, STDOUT, What};
use coracle_client::{Client, Op};
use serde_json::{Value, json};

mod common;
use common::IMAGE;
use common::bench::{Bench, PATIENCE, pod, sleeper};

fn all_ready(status: &Value) -> bool {
    let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
    !all.is_empty() && all.iter().all(|one| one["ready"] == true)
}

/// All that comes of a session's output until it ends.
async fn output(session: &mut Duplex) -> String {
    let mut bytes = Vec::new();
    let all = tokio::time::timeout(PATIENCE, async {
        while let Some(frame) = session.receive.recv().await {
            match frame {
                Frame::Data { channel: STDOUT, data } => bytes.extend_from_slice(&data),
                Frame::Closed(_) => return,
                _ => {}
            }
        }
    });
    assert!(all.await.is_ok(), "it goes on after {} bytes", bytes.len());
    String::from_utf8(bytes).unwrap()
}

/// Another image in a pod's spec: the container is killed, and one of the new image takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn another_image_restarts_its_container() {
    let Some(bench) = Bench::new("image").await else { return };
    let spec = |image: &str| {
        let mut changing = sleeper("c");
        changing["image"] = json!(image);
        json!({"restartPolicy": "Never", "containers": [changing, sleeper("d")], "terminationGracePeriodSeconds": 0})
    };
    let key = bench.create(pod("x", spec(IMAGE))).await;
    let before = bench.until(&key, "ready", all_ready).await;
    let other = common::other_image(&bench.runtime).await;
    bench.client().write_one(Op::merge(key.clone(), json!({"spec": spec(&other)}))).await.unwrap();
    let again = |status: &Value| status["containerStatuses"][0]["restartCount"] == 1 && all_ready(status);
    let after = bench.until(&key, "restarted", again).await;
    let shown = &after["containerStatuses"][0];
    assert_eq!(shown["image"], json!(other));
    assert_ne!(shown["imageID"], before["containerStatuses"][0]["imageID"]);
    assert_eq!(after["containerStatuses"][1], before["containerStatuses"][1], "the other goes on");
    assert_eq!(json!(bench.containers().await["x/c.1"].image_id), shown["imageID"]);
    bench.finish().await;
    let docker = Docker::connect_with_defaults().unwrap();
    docker.remove_image(&other, None::<query::RemoveImageOptions>, None).await.unwrap();
}

/// A program that asks for the size of its terminal at its start.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_its_size_from_the_start() {
    let Some(bench) = Bench::new("terminal").await else { return };
    let spec = json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0});
    let key = bench.create(pod("x", spec)).await;
    bench.until(&key, "ready", all_ready).await;
    let object = bench.cluster.get(&key).await.unwrap().unwrap().value().unwrap();
    // A shell reads its files first, which takes longer than this; engines before API 1.42 cannot tell the size with the start.
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; /bin/busybox stty size";
    let command = ["sh", "-c", script].map(String::from).to_vec();
    let exec = Exec { command, stdin: true, stdout: true, tty: true, ..Exec::default() };
    let mut session = bench.line.open(&object, "c", What::Exec(exec)).await;
    let data = Bytes::from_static(br#"{"Width":100,"Height":40}"#);
    session.send.send(Frame::Data { channel: RESIZE, data }).await.unwrap();
    assert_eq!(output(&mut session).await, "40 100\r\n");
    bench.finish().await;
}

/// More than three files of a log are written while it is followed; the engine keeps five.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_rotated_while_it_is_followed_loses_no_line() {
    const LINES: usize = 32_000;
    let Some(bench) = Bench::new("rotation").await else { return };
    let script = "i=0; while [ $i -lt $LINES ]; do echo $i $FILL; i=$((i+1)); done";
    let env = [("LINES", LINES.to_string()), ("FILL", "x".repeat(1000))];
    let env = env.map(|(name, value)| json!({"name": name, "value": value}));
    let writer = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script], "env": env});
    let key = bench.create(pod("x", json!({"restartPolicy": "Never", "containers": [writer]}))).await;
    let begun = |status: &Value| {
        let state = &status["containerStatuses"][0]["state"];
        state["running"].is_object() || state["terminated"].is_object()
    };
    bench.until(&key, "running", begun).await;
    let object = bench.cluster.get(&key).await.unwrap().unwrap().value().unwrap();
    let logs = What::Logs(Logs { follow: true, ..Logs::default() });
    let text = output(&mut bench.line.open(&object, "c", logs).await).await;
    let got: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let wrong = got.iter().enumerate().find(|(n, text)| n.to_string() != **text);
    assert_eq!((got.len(), wrong), (LINES, None), "number of lines, and the first that is not in its place");
    bench.finish().await;
}

/// `docker update --cpus` sets what a quota cannot change any more. The status shows it, no resize is told that nobody asked for, and
/// one that somebody asks for is done.
#[tokio::test(flavor = "multi_thread")]
async fn limits_that_somebody_has_set_are_shown_and_can_be_changed() {
    let Some(bench) = Bench::new("nanos").await else { return };
    let spec = |limits: Value| {
        let mut container = sleeper("c");
        container["resources"] = json!({"requests": {"cpu": "100m"}, "limits": limits});
        json!({"containers": [container], "terminationGracePeriodSeconds": 0})
    };
    let key = bench.create(pod("x", spec(json!({})))).await;
    bench.until(&key, "ready", all_ready).await;
    let id = bench.containers().await["x/c.0"].id.clone();
    let docker = Docker::connect_with_defaults().unwrap();
    let by_hand = ContainerUpdateBody { nano_cpus: Some(500_000_000), ..Default::default() };
    docker.update_container(&id, by_hand).await.unwrap();
    let limits = async || bench.runtime.inspect(&id).await.unwrap().unwrap().limits;
    assert_eq!(limits().await.cpu_milli, 500);
    let ask = async |limits: Value| {
        let mut wanted = spec(limits);
        // Something changes in any case, so that the container is looked at.
        wanted["containers"][0]["resources"]["requests"]["cpu"] = json!("150m");
        bench.client().write_one(Op::merge(key.clone(), json!({ "spec": wanted }))).await.unwrap();
    };
    let shown = |status: &Value| status["containerStatuses"][0]["resources"]["limits"]["cpu"].clone();
    ask(json!({})).await;
    bench.until(&key, "shown", |status| shown(status) == "500m").await;
    ask(json!({"cpu": "200m"})).await;
    bench.until(&key, "resized", |status| shown(status) == "200m").await;
    assert_eq!((limits().await.cpu_milli, limits().await.cpu_shares), (200, 153));
    bench.finish().await;
}

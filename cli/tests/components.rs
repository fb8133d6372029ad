//! Every component as a process of its own, over TLS: they cannot tell the difference.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use common::{Component, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, PostParams};

fn path(folder: &Path, file: &str) -> String {
    folder.join(file).to_str().expect("a path in text").to_owned()
}

#[tokio::test]
async fn a_deployment_comes_up_across_four_processes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (server_dir, node_dir) = (folder.path().join("server"), path(folder.path(), "node"));
    let _server =
        Component::start(&["apiserver", "--data-dir", &path(folder.path(), "server"), "--port", "0"]);
    let token = server_dir.join("join-token");
    eventually("the server writes its credentials", Duration::from_secs(20), || {
        if token.exists() { Ok(()) } else { Err("no join-token".into()) }
    });
    let kubeconfig =
        kube::config::Kubeconfig::read_from(server_dir.join("kubeconfig")).expect("a kubeconfig");
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).expect("a client");
    // A port that was free a moment ago.
    let health = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let _others = [
        Component::start(&[
            "controllers",
            "--kubeconfig",
            &path(&server_dir, "controllers.kubeconfig"),
            "--healthz-bind-address",
            &health.to_string(),
        ]),
        Component::start(&["scheduler", "--kubeconfig", &path(&server_dir, "scheduler.kubeconfig")]),
        Component::start(&[
            "agent",
            "--node=far-away",
            "--runtime=sim",
            "--timing=demo",
            "--server",
            url.trim_end_matches('/'),
            "--ca",
            &path(&server_dir, "ca.crt"),
            "--token-file",
            &path(&server_dir, "join-token"),
            "--data-dir",
            &node_dir,
        ]),
    ];
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let text = include_str!("../../examples/deployment.yaml");
    let deployment: Deployment = serde_saphyr::from_str(text).expect("an example");
    deployments.create(&PostParams::default(), &deployment).await.expect("created");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let status = deployments.get("web").await.expect("it is there").status.unwrap_or_default();
        if status.ready_replicas == Some(3) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "not ready: {status:?}");
        // Other processes are at work: there is nothing here to be woken by.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut stream = TcpStream::connect(health).expect("the controllers can be asked");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    write!(stream, "GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("an answer");
    assert!(page.ends_with("[+]ping ok\n[+]informer-sync ok\nreadyz check passed\n"), "{page}");
}

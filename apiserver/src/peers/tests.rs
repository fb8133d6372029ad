use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Key, kinds};
use coracle_client::line::{Frame, Lines as _, Logs, Open, STDIN, STDOUT, What};
use serde_json::json;

use super::announce::others;
use crate::server::{Config, Server, StartError};
use crate::store::{Batch, Bounds, Follower, Memory, Outcome, Store, StoreError};

/// A store in memory that says that others write to it, too.
struct Shared(Memory);

#[async_trait::async_trait]
impl Store for Shared {
    async fn load(&self, follower: Arc<dyn Follower>) -> Result<(), StoreError> {
        self.0.load(follower).await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        self.0.commit(batch).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn age(&self) {}

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

async fn start(store: &Memory, dir: &Path, name: &str, pki: &str) -> Result<Server, StartError> {
    let config = Config::new(dir.join(name), SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = Config { pki_dir: Some(dir.join(pki)), ..config };
    Server::start_on(config, Box::new(Shared(store.another()))).await
}

/// Says back what it hears, and then ends the session.
async fn echo(server: &Server, node: &'static str) {
    let lines = server.lines();
    let mut orders = lines.connect(node).await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok(order)) = futures::StreamExt::next(&mut orders).await {
            let mut session = lines.attend(node, order.session).await.unwrap();
            session.send.send(Frame::Accepted).await.unwrap();
            let Some(Frame::Data { data, .. }) = session.receive.recv().await else { return };
            session.send.send(Frame::Data { channel: STDOUT, data }).await.unwrap();
            session.send.send(Frame::Closed(None)).await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_line_and_a_verdict_are_found_at_the_server_that_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Memory::new(Bounds::default());
    let one = start(&store, dir.path(), "one", "pki").await.unwrap();
    let two = start(&store, dir.path(), "two", "pki").await.unwrap();
    let strange = start(&store, dir.path(), "three", "pki-of-another-cluster");
    // Both say that they are there in tasks of their own.
    let said = async {
        while one.registry().state.all(&kinds::LEASE, Some("kube-system")).len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), said).await.expect("both are announced");
    assert!(matches!(strange.await, Err(StartError::Authority { .. })));

    echo(&two, "far").await;
    let order = Open { pod: "web".into(), what: Some(What::Logs(Logs::default())), ..Open::default() };
    let mut session = one.peers().open("far", order.clone()).await.unwrap();
    let word = Frame::Data { channel: STDIN, data: Bytes::from_static(b"hello") };
    session.send.send(word).await.unwrap();
    let mut heard = Vec::new();
    while let Some(frame) = session.receive.recv().await {
        heard.push(frame);
    }
    let answer = Frame::Data { channel: STDOUT, data: Bytes::from_static(b"hello") };
    assert_eq!(heard, [Frame::Accepted, answer, Frame::Closed(None)]);
    let nowhere = one.peers().open("nowhere", order).await.unwrap_err();
    assert_eq!(nowhere.to_string(), "node \"nowhere\" is not connected");

    let pod = Key::new(&kinds::POD, "default", "web");
    two.verdicts().report(vec![(pod.clone(), json!({"node": "far"}))]);
    assert_eq!(one.peers().verdicts(&pod).await, [json!({"node": "far"})]);
    assert_eq!(two.peers().verdicts(&pod).await, [] as [serde_json::Value; 0]);

    two.shutdown().await;
    let own = super::announce::Announced::new("https://127.0.0.1:1", "");
    assert_eq!(others(&one.registry(), &own).len(), 1, "a server that ends says so");
    one.shutdown().await;
}

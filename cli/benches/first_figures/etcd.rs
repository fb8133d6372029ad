//! The peer of durable creates: an etcd of its own on the same disk, and bare puts into it.

use std::time::{Duration, Instant};

use anyhow::Result;
use coracle_proto::etcd::PutRequest;
use coracle_proto::etcd::kv_client::KvClient;
use tonic::transport::{Channel, Endpoint};

use crate::until;

/// As large as the objects are that stand beside it.
const SIZE: usize = 1500;

async fn connect(url: &str) -> Result<KvClient<Channel>> {
    let channel = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect().await?;
    Ok(KvClient::new(channel))
}

/// Returns once it takes writes.
pub async fn answers(url: &str) -> Result<()> {
    until(async || {
        let Ok(mut kv) = connect(url).await else { return Ok(false) };
        Ok(kv.put(PutRequest { key: "hello".into(), value: "".into() }).await.is_ok())
    })
    .await
}

/// Puts in a second, by so many clients with a connection each.
pub async fn puts(url: &str, clients: usize, time: Duration) -> Result<f64> {
    let mut lines = Vec::new();
    for _ in 0..clients {
        lines.push(connect(url).await?);
    }
    let started = Instant::now();
    let tasks = lines.into_iter().enumerate().map(|(client, mut kv)| {
        tokio::spawn(async move {
            let mut count = 0_usize;
            while started.elapsed() < time {
                let key = format!("{clients}/{client}/{count}").into();
                kv.put(PutRequest { key, value: vec![b'x'; SIZE].into() }).await?;
                count += 1;
            }
            anyhow::Ok(count)
        })
    });
    let mut count = 0;
    for task in tasks.collect::<Vec<_>>() {
        count += task.await??;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

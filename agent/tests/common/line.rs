//! The API server's end of a node's line: asks for sessions and holds their other ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use coracle_client::Error;
use coracle_client::line::{Duplex, Frame, Lines, Open, What, duplex};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Cheap to clone; all clones are one line.
#[derive(Clone)]
pub struct Line(Arc<Ends>);

struct Ends {
    orders: watch::Sender<Option<mpsc::Sender<Open>>>,
    waiting: Mutex<HashMap<u64, Duplex>>,
    asked: AtomicU64,
}

impl Default for Line {
    fn default() -> Line {
        Line(Arc::new(Ends {
            orders: watch::channel(None).0,
            waiting: Mutex::default(),
            asked: AtomicU64::new(0),
        }))
    }
}

impl Line {
    /// Asks the node for a session with a container of a pod, and waits until it has begun.
    pub async fn open(&self, pod: &Value, container: &str, what: What) -> Duplex {
        let (mut ours, theirs) = duplex();
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let session = self.0.asked.fetch_add(1, Ordering::Relaxed);
        self.0.waiting.lock().await.insert(session, theirs);
        let mut orders = self.0.orders.subscribe();
        let orders = orders.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let order = Open {
            session,
            namespace: text("namespace"),
            pod: text("name"),
            uid: text("uid"),
            container: container.into(),
            what: Some(what),
            user: "test".into(),
        };
        orders.send(order).await.unwrap();
        assert_eq!(ours.receive.recv().await, Some(Frame::Accepted));
        ours
    }
}

#[async_trait]
impl Lines for Line {
    async fn connect(&self, _: &str) -> Result<BoxStream<'static, Result<Open, Error>>, Error> {
        let (sender, orders) = mpsc::channel(8);
        self.0.orders.send_replace(Some(sender));
        Ok(ReceiverStream::new(orders).map(Ok).boxed())
    }

    async fn attend(&self, _: &str, session: u64) -> Result<Duplex, Error> {
        Ok(self.0.waiting.lock().await.remove(&session).expect("a session that was asked for"))
    }
}

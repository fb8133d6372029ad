//! The nodes' lines: what people want of containers goes down to the agent that has them, and what comes back goes to the
//! people.
//!
//! ```text
//!  kubectl logs, exec, attach --> serve --> Lines::open --Open--> agent
//!        ^----- log, socket <---- Duplex <---- attend -----------'
//! ```

pub mod serve;
pub mod service;
pub mod session;

mod container;
mod log;
pub(crate) mod options;

mod remote;
mod socket;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use coracle_client::Error;
use coracle_client::line::{self, Duplex, Open};
use futures::stream::{BoxStream, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for an agent to read them; an agent that leaves more waiting is stuck.
const WAITING: usize = 64;
/// How long an agent may take to take up a session.
const ATTEND: Duration = Duration::from_secs(10);

/// The lines of all nodes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    numbers: u64,
    nodes: HashMap<String, Node>,
    /// Sessions that nobody has taken up yet, and whose they are.
    awaited: HashMap<u64, (String, oneshot::Sender<Duplex>)>,
}

struct Node {
    /// Tells an old connection of the node from its latest.
    number: u64,
    orders: mpsc::Sender<Open>,
}

/// Why a session did not come about.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The node's agent has no line to this server.
    #[error("node {0:?} is not connected")]
    NotConnected(String),
    /// The agent does not react.
    #[error("the agent of node {0:?} does not answer")]
    NoAnswer(String),
}

impl Lines {
    /// Opens a session with a node's agent. The agent's first frame tells whether the container is there.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn open(&self, node: &str, mut order: Open) -> Result<Duplex, LineError> {
        let no_answer = || LineError::NoAnswer(node.to_owned());
        let (answer, session) = {
            let mut state = self.0.lock();
            state.numbers += 1;
            let session = state.numbers;
            let line = state.nodes.get(node).ok_or_else(|| LineError::NotConnected(node.to_owned()))?;
            order.session = session;
            line.orders.try_send(order).map_err(|_| no_answer())?;
            let (send, receive) = oneshot::channel();
            state.awaited.insert(session, (node.to_owned(), send));
            (receive, session)
        };
        let _awaited = Awaited { lines: self, session };
        match tokio::time::timeout(ATTEND, answer).await {
            Ok(Ok(duplex)) => Ok(duplex),
            _ => Err(no_answer()),
        }
    }

    /// Whether a node has a line.
    pub fn is_connected(&self, node: &str) -> bool {
        self.0.lock().nodes.contains_key(node)
    }
}

/// Forgets a session that nobody took up, whether its time ran out or whoever asked has gone.
struct Awaited<'a> {
    lines: &'a Lines,
    session: u64,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.lines.0.lock().awaited.remove(&self.session);
    }
}

/// The line within a process.
#[async_trait]
impl line::Lines for Lines {
    async fn connect(&self, node: &str) -> Result<BoxStream<'static, Result<Open, Error>>, Error> {
        let (send, receive) = mpsc::channel(WAITING);
        let mut state = self.0.lock();
        state.numbers += 1;
        let number = state.numbers;
        // A new connection takes the place of one that has not noticed yet that it is dead.
        state.nodes.insert(node.to_owned(), Node { number, orders: send });
        Ok(Orders { lines: self.clone(), node: node.to_owned(), number, receive }.map(Ok).boxed())
    }

    async fn attend(&self, node: &str, session: u64) -> Result<Duplex, Error> {
        let mut state = self.0.lock();
        let gone = || Error::Unreachable(format!("nobody waits for session {session} any more"));
        if state.awaited.get(&session).is_none_or(|(whose, _)| whose != node) {
            return Err(gone());
        }
        let (_, answer) = state.awaited.remove(&session).ok_or_else(gone)?;
        let (ours, theirs) = line::duplex();
        answer.send(ours).map_err(|_| gone())?;
        Ok(theirs)
    }
}

/// What is asked of a node; the node counts as connected while this lives.
struct Orders {
    lines: Lines,
    node: String,
    number: u64,
    receive: mpsc::Receiver<Open>,
}

impl Stream for Orders {
    type Item = Open;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Open>> {
        self.receive.poll_recv(cx)
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        let mut state = self.lines.0.lock();
        if state.nodes.get(&self.node).is_some_and(|node| node.number == self.number) {
            state.nodes.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests;

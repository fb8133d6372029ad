//! The thread that owns writing: it takes all batches that wait, makes them durable with one sync, and only then answers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as threads;

use coracle_api::Object;
use coracle_client::clock::Clock;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::disk::is_full;
use super::health::Health;
use super::ledger::Ledger;
use super::log::{Log, Sealed};
use super::{Batch, Bounds, Committed, Follower, Outcome, StoreError, Verb, spare};

/// The most batches in one commit, and the most bytes but for the last: keeps one sync, and so everybody's wait, short.
const GROUP: usize = 1024;
const GROUP_BYTES: u64 = 4 << 20;

/// What the thread is asked for.
pub enum Order {
    /// Make a batch durable.
    Commit(Batch, Answer),
    /// Let go of what is too old.
    Age,
    /// See whether the disk takes writes again.
    Probe,
}

/// Whom to tell what became of a batch. If the writer has stopped waiting, nobody receives it.
pub type Answer = oneshot::Sender<Result<Vec<Outcome>, StoreError>>;

/// The state of the thread.
pub struct Writer {
    /// Where commits are written.
    pub log: Log,
    /// Decides which changes are refused, and numbers the others.
    pub ledger: Ledger,
    /// How long and how large the log may become.
    pub bounds: Bounds,
    /// Says when a change was made.
    pub clock: Clock,
    /// The data directory, for messages.
    pub path: PathBuf,
    /// Is shown every change once it is on disk.
    pub follower: Arc<dyn Follower>,
    /// Where failures are reported; another part of the store may report there that it is broken.
    pub health: Arc<Health>,
    /// Takes full files of the log; `None` has them looked at.
    pub full: threads::Sender<Option<Sealed>>,
}

impl Writer {
    /// Works until nobody can give orders any more, or another part of the store has broken.
    pub fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut orders = Vec::with_capacity(GROUP);
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.bytes();
            orders.push(first);
            while orders.len() < GROUP && bytes < GROUP_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.bytes();
                orders.push(next);
            }
            if let Some(why) = self.health.is_broken() {
                orders.drain(..).for_each(|order| order.refuse(|| StoreError::Disk(why.clone())));
                return;
            }
            self.obey(&mut orders);
        }
    }

    /// One group of orders: make room, check, number, write, sync, publish, answer.
    pub fn obey(&mut self, orders: &mut Vec<Order>) {
        let is_full = !self.make_room(orders);
        let (mut waiting, mut age) = (Vec::with_capacity(orders.len()), false);
        let mut draft = self.ledger.draft();
        for order in orders.drain(..) {
            match order {
                // Refusals wait, too: they may rest on changes that are not durable yet, and that no reader sees.
                Order::Commit(batch, answer) => waiting.push((answer, draft.add(batch))),
                Order::Age => age = true,
                Order::Probe => {}
            }
        }
        let changes = draft.changes;
        let written = if is_full { self.write(&short(&changes)) } else { self.write(&changes) };
        if let Err(error) = written {
            self.health.set_write(Some(format!("cannot write: {error}")));
            for (answer, _) in waiting {
                // A frame that may be on disk stays in a broken file until another is begun, or the store is opened again.
                let unknown = self.log.is_broken();
                let refusal =
                    if unknown { StoreError::Disk(error.to_string()) } else { self.refusal(&error) };
                let _ = answer.send(Err(refusal));
            }
            return;
        }
        for change in &changes {
            self.ledger.apply(change);
        }
        if !changes.is_empty() {
            self.follower.publish(changes);
        }
        for (answer, outcomes) in waiting {
            let _ = answer.send(outcomes.map_err(StoreError::from));
        }
        if age {
            self.age();
        }
    }

    /// Makes room for the orders, and answers whether there is some. If there is none, only those stay that take away and find
    /// room in the reserve.
    fn make_room(&mut self, orders: &mut Vec<Order>) -> bool {
        let error = match self.log.prepare(orders.iter().map(Order::bytes).sum()) {
            Ok(sealed) => {
                self.hand_over(sealed);
                self.health.set_write(None);
                return true;
            }
            Err(error) => error,
        };
        self.health.set_write(Some(format!("cannot write: {error}")));
        let usable = !self.log.is_broken();
        orders.retain_mut(|order| {
            let stays = usable && order.frees_room();
            if !stays {
                std::mem::replace(order, Order::Probe).refuse(|| self.refusal(&error));
            }
            stays
        });
        false
    }

    /// What writers are told of an error after which nothing of theirs was written.
    fn refusal(&self, error: &io::Error) -> StoreError {
        let (path, why) = (self.path.clone(), error.to_string());
        if is_full(error) { StoreError::Full { path, why } } else { StoreError::Unwritten { path, why } }
    }

    /// Writes changes to the log. A file that fails is left, and another tried once.
    fn write(&mut self, changes: &[Committed]) -> io::Result<()> {
        let Err(error) = self.log.append(changes) else { return Ok(()) };
        if !self.log.is_broken() {
            return Err(error);
        }
        tracing::error!(%error, "a file of the store's log cannot be written any more; another is begun");
        let sealed = self.log.prepare(0)?;
        self.hand_over(sealed);
        self.log.append(changes)
    }

    /// On a cluster where nothing happens, the file that is open grows old, too.
    fn age(&mut self) {
        spare::keep(self.log.disk(), &self.path, &self.bounds);
        let oldest_kept = self.clock.now().as_second().saturating_sub(self.bounds.age_seconds);
        if self.log.newest().is_some_and(|newest| newest.as_second() < oldest_kept) {
            match self.log.seal() {
                Ok(sealed) => self.hand_over(sealed),
                Err(error) => tracing::warn!(%error, "cannot begin another file of the log"),
            }
        }
        let _ = self.full.send(None);
    }

    /// Hands a full file on. Whoever folds lives as long as the writer, or the store is broken.
    fn hand_over(&self, sealed: Option<Sealed>) {
        if sealed.is_some() {
            let _ = self.full.send(sealed);
        }
    }
}

/// What is written of changes on a full disk: of a deleted object only its metadata, so that the largest ones, too, find room
/// in the reserve. Watches that are open now see the whole object; only one that resumes there after a restart does not.
fn short(changes: &[Committed]) -> Vec<Committed> {
    let of = |change: &Committed| match (change.verb, change.object.value()) {
        (Verb::Delete, Ok(mut whole)) => {
            let metadata = whole["metadata"].take();
            let kept = ["name", "namespace", "uid", "labels", "resourceVersion", "creationTimestamp"];
            let metadata: serde_json::Map<_, _> =
                kept.iter().filter_map(|name| Some(((*name).into(), metadata.get(name)?.clone()))).collect();
            let json =
                json!({"kind": whole["kind"], "apiVersion": whole["apiVersion"], "metadata": metadata});
            let Object { key, revision, .. } = &*change.object;
            let object = Object { key: key.clone(), revision: *revision, json: json.to_string().into() };
            Committed { object: Arc::new(object), ..change.clone() }
        }
        _ => change.clone(),
    };
    changes.iter().map(of).collect()
}

impl Order {
    /// About how many bytes it brings to the log.
    fn bytes(&self) -> u64 {
        match self {
            Order::Commit(batch, _) => batch.bytes() as u64,
            Order::Age | Order::Probe => 0,
        }
    }

    fn frees_room(&self) -> bool {
        match self {
            Order::Commit(batch, _) => batch.frees_room(),
            Order::Age | Order::Probe => true,
        }
    }

    fn refuse(self, why: impl Fn() -> StoreError) {
        if let Order::Commit(_, answer) = self {
            let _ = answer.send(Err(why()));
        }
    }
}

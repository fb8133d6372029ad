//! The task that owns writing: it takes all batches that wait, checks and numbers them against its memory, and makes them in etcd in
//! one step that holds only if nobody has written meanwhile. If somebody has, it first takes in what.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Revision;
use coracle_client::backoff::Backoff;
use coracle_client::clock::Clock;
use coracle_proto::etcd as pb;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::health::Health;
use super::super::ledger::Ledger;
use super::super::{Batch, Bounds, Committed, Follower, Outcome, StoreError};
use super::access::{Access, Trouble};
use super::follow::Heard;
use super::layout::{self, Found, Layout, News};
use super::snapshot::{self, Extent, Frames};

/// The most changes in one step, and the most bytes but for its last batch. A frame is folded in one step, too, and etcd takes
/// 128 operations and 1.5 MB in one.
const GROUP: usize = 100;
const GROUP_BYTES: usize = 512 << 10;
/// The largest frame. Folding it takes a little more than writing it.
const LARGEST: usize = (3 << 19) - (8 << 10);
/// How long one attempt may take, and all attempts together.
const ATTEMPT: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(10);
/// How often etcd is asked for news though none is told: while all is well, and while it does not answer.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long such a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// What the task is asked for.
pub enum Order {
    /// Make a batch durable.
    Commit(Batch, Answer),
    /// Take in whatever any server has written.
    CatchUp(oneshot::Sender<Result<(), StoreError>>),
    /// Let go of what is too old.
    Age,
}

/// Whom to tell what became of a batch.
pub type Answer = oneshot::Sender<Result<Vec<Outcome>, StoreError>>;

/// The state of the task.
pub struct Writer {
    pub access: Arc<Access>,
    pub layout: Layout,
    pub ledger: Ledger,
    /// etcd's revision of the counter, as it was set by the last change that is known here.
    pub counter: i64,
    /// The frames of the log that are not folded, as far as is known here.
    pub frames: Frames,
    pub bounds: Bounds,
    pub clock: Clock,
    pub follower: Arc<dyn Follower>,
    pub health: Arc<Health>,
    /// Up to where the log is to be folded.
    pub goal: watch::Sender<Revision>,
    /// When etcd did not answer last.
    pub silent: Option<Instant>,
}

impl Writer {
    /// Works until nobody can give orders any more.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Order>, mut heard: mpsc::Receiver<Vec<Heard>>) {
        let mut orders = Vec::new();
        loop {
            let next_look = if self.health.can_write() { LOOK_EVERY } else { LOOK_AGAIN };
            tokio::select! {
                news = heard.recv() => match news {
                    Some(news) => self.hear(news).await,
                    None => return,
                },
                order = queue.recv() => match order {
                    Some(order) => {
                        orders.push(order);
                        self.collect(&mut queue, &mut orders);
                        self.obey(&mut orders).await;
                    }
                    None => return,
                },
                () = tokio::time::sleep(next_look) => drop(self.look().await),
            }
        }
    }

    /// Takes what waits beside the first order, as much as one step takes.
    fn collect(&self, queue: &mut mpsc::Receiver<Order>, orders: &mut Vec<Order>) {
        let size = |order: &Order| match order {
            Order::Commit(batch, _) => (batch.changes().len(), batch.bytes()),
            _ => (0, 0),
        };
        let (mut changes, mut bytes) = orders.first().map(size).unwrap_or_default();
        while changes < GROUP && bytes < GROUP_BYTES {
            let Ok(next) = queue.try_recv() else { break };
            let (more, larger) = size(&next);
            (changes, bytes) = (changes + more, bytes + larger);
            orders.push(next);
        }
    }

    async fn obey(&mut self, orders: &mut Vec<Order>) {
        let (mut batches, mut waiting) = (Vec::new(), Vec::new());
        for order in orders.drain(..) {
            match order {
                Order::Commit(batch, answer) => batches.push((batch, answer)),
                Order::CatchUp(answer) => waiting.push(answer),
                Order::Age => self.set_goal(true),
            }
        }
        if !waiting.is_empty() {
            let caught = self.look().await;
            for answer in waiting {
                let _ = answer.send(caught.as_ref().copied().map_err(|trouble| self.unreachable(trouble)));
            }
        }
        while !batches.is_empty() {
            let group = batches.drain(..one_step(&batches)).collect();
            // What is too large together may not be, each batch for itself.
            for alone in self.commit(group).await {
                self.commit(vec![alone]).await;
            }
        }
    }

    /// Makes batches durable and answers. Hands back what is too large for one step.
    async fn commit(&mut self, group: Vec<(Batch, Answer)>) -> Vec<(Batch, Answer)> {
        // While etcd does not answer, nobody waits for it but who comes first.
        let silent = self.silent.is_some_and(|since| since.elapsed() < LOOK_AGAIN);
        if !self.health.can_write() && (silent || self.look().await.is_err()) {
            let why = self.health.check().err().unwrap_or_default();
            return refuse(group, &StoreError::Unreachable { why });
        }
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        loop {
            let mut draft = self.ledger.draft();
            let outcomes: Vec<_> = group.iter().map(|(batch, _)| draft.add(batch.clone())).collect();
            let changes = draft.changes;
            let made =
                if changes.is_empty() { self.confirm().await } else { self.write(changes, deadline).await };
            match made {
                Ok(true) => {
                    for ((_, answer), outcome) in group.into_iter().zip(outcomes) {
                        let _ = answer.send(outcome.map_err(StoreError::from));
                    }
                    self.set_goal(false);
                    return Vec::new();
                }
                // Somebody else wrote; what, is known by now. The next attempt of all who lost would meet the same way.
                Ok(false) if Instant::now() < deadline => tokio::time::sleep(backoff.next_wait()).await,
                Ok(false) => return refuse(group, &StoreError::Busy),
                Err(StoreError::TooLarge { .. }) if group.len() > 1 => return group,
                Err(error) => return refuse(group, &error),
            }
        }
    }

    /// Whether what is refused would be refused by what is in etcd now, too: memory may be behind. Takes in what is new.
    async fn confirm(&mut self) -> Result<bool, StoreError> {
        let known = self.ledger.last();
        self.look().await.map_err(|trouble| self.unreachable(&trouble))?;
        Ok(self.ledger.last() == known)
    }

    /// Writes a frame. `false`: somebody else wrote first, and that is taken in by now.
    async fn write(&mut self, changes: Vec<Committed>, deadline: Instant) -> Result<bool, StoreError> {
        let id = Uuid::new_v4().simple().to_string();
        let (first, last) =
            (Revision(self.ledger.last().0 + 1), changes.last().map_or(Revision(0), |c| c.object.revision));
        let value = layout::value(&id, &changes);
        if value.len() > LARGEST || changes.len() > GROUP {
            return Err(StoreError::TooLarge { changes: changes.len() });
        }
        let extent = Extent::of(&changes, value.len());
        let txn = self.layout.commit(self.counter, first, last, value);
        // The same step again, until etcd tells what became of it: it can be done once only, because it changes the counter that it
        // compares. So what may have been sent and was not answered is never taken for not done.
        let mut sent = false;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let response = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.access.txn(txn.clone(), ATTEMPT.min(left)).await {
                Ok(response) => break response,
                Err(Trouble::Silent { why, unsent }) => {
                    sent |= !unsent;
                    let wait = backoff.next_wait();
                    if Instant::now() + wait >= deadline {
                        let trouble = Trouble::Silent { why, unsent };
                        self.note(Some(&trouble));
                        return Err(if sent { self.unknown(&trouble) } else { self.unreachable(&trouble) });
                    }
                    tokio::time::sleep(wait).await;
                }
                // What was sent before may have been done all the same.
                Err(trouble) if sent => return Err(self.unknown(&trouble)),
                Err(Trouble::TooLarge) => return Err(StoreError::TooLarge { changes: changes.len() }),
                Err(trouble) => {
                    let path = PathBuf::from(self.access.name());
                    return Err(StoreError::Unwritten { path, why: trouble.to_string() });
                }
            }
        };
        self.note(None);
        if response.succeeded {
            self.counter = response.header.as_ref().map_or(self.counter, |header| header.revision);
            self.take(changes, extent);
            return Ok(true);
        }
        let next = News::of(&response).frames.first().and_then(|kv| layout::read(&kv.value).ok());
        let ours = next.as_ref().is_some_and(|frame| frame.id == id);
        // Where the log goes on after what is known here, it would show a frame that was sent before. Else that cannot be said.
        let known = !sent || next.is_some_and(|frame| frame.first == first);
        match self.take_news(&response).await {
            Ok(()) if known => Ok(ours),
            Ok(()) => Err(self.unknown(&Trouble::Refused("the log has gone past it".into()))),
            Err(trouble) if sent => Err(self.unknown(&trouble)),
            Err(trouble) => Err(self.unreachable(&trouble)),
        }
    }

    /// Asks for news, and takes them in.
    pub async fn look(&mut self) -> Result<(), Trouble> {
        loop {
            let first = Revision(self.ledger.last().0 + 1);
            let txn = pb::TxnRequest { success: self.layout.news(first), ..Default::default() };
            let looked = match self.access.txn(txn, LOOK_WITHIN).await {
                Ok(response) => self.take_news(&response).await.map(|()| News::of(&response).more),
                Err(trouble) => Err(trouble),
            };
            match looked {
                Ok(true) => {}
                Ok(false) => {
                    self.note(None);
                    return Ok(());
                }
                Err(trouble) => {
                    self.note(Some(&trouble));
                    return Err(trouble);
                }
            }
        }
    }

    /// Takes in what [`Layout::news`] found. If the log no longer reaches back to what is known here, or etcd holds less than is known,
    /// as after the restore of a backup, everything is read again.
    async fn take_news(&mut self, response: &pb::TxnResponse) -> Result<(), Trouble> {
        let News { floor, counter, frames, .. } = News::of(response);
        let known = self.ledger.last();
        let last = layout::number(counter);
        if floor.is_none_or(|floor| floor > known) || last.is_none_or(|last| last < known) {
            return self.read_again().await;
        }
        for kv in frames {
            if !self.take_frame(kv.mod_revision, &kv.value).map_err(Trouble::Refused)? {
                return Err(Trouble::Refused(format!(
                    "its log has a gap after revision {}",
                    self.ledger.last()
                )));
            }
        }
        if let Some(kv) = counter.filter(|_| last == Some(self.ledger.last())) {
            self.counter = kv.mod_revision;
        }
        Ok(())
    }

    /// Takes in what the watch tells. Frames that are known are passed over; where one is missing, etcd is asked.
    async fn hear(&mut self, news: Vec<Heard>) {
        let mut gap = news.is_empty();
        for (revision, value) in news {
            match self.take_frame(revision, &value) {
                Ok(follows) => gap |= !follows,
                Err(why) => tracing::error!(why, "a frame in etcd cannot be read"),
            }
        }
        if gap {
            let _ = self.look().await;
        }
    }

    /// Takes in a frame, if it is the next one. Answers whether nothing is missing before it.
    fn take_frame(&mut self, revision: i64, value: &[u8]) -> Result<bool, String> {
        let (first, next) = (layout::first(value)?, self.ledger.last().0 + 1);
        if first.0 != next {
            return Ok(first.0 < next);
        }
        let Found { changes, .. } = layout::read(value)?;
        self.counter = revision;
        let extent = Extent::of(&changes, value.len());
        self.take(changes, extent);
        Ok(true)
    }

    /// Takes in durable changes, which follow what is known, and tells of them.
    fn take(&mut self, changes: Vec<Committed>, extent: Extent) {
        changes.iter().for_each(|change| self.ledger.apply(change));
        self.frames.push(extent);
        self.follower.publish(changes);
    }

    async fn read_again(&mut self) -> Result<(), Trouble> {
        tracing::warn!(
            "the log in etcd no longer reaches back to what is known here; reading everything again"
        );
        let read = snapshot::read(&self.access, &self.layout).await;
        let read = read.map_err(|error| Trouble::Refused(error.to_string()))?;
        self.follower.load(read.loaded);
        (self.ledger, self.counter, self.frames) = (read.ledger, read.counter, read.frames);
        Ok(())
    }

    /// Has the log folded as far as its bounds ask for.
    fn set_goal(&mut self, by_age: bool) {
        let oldest_kept = self.clock.now().as_second().saturating_sub(self.bounds.age_seconds);
        let oldest_kept = if by_age { oldest_kept } else { i64::MIN };
        if let Some(goal) = self.frames.beyond(&self.bounds, oldest_kept) {
            self.goal.send_replace(goal);
        }
    }

    fn note(&mut self, trouble: Option<&Trouble>) {
        self.silent = trouble.map(|_| Instant::now());
        self.health.set_write(
            trouble.map(|trouble| format!("cannot reach etcd at {}: {trouble}", self.access.name())),
        );
    }

    fn unreachable(&self, trouble: &Trouble) -> StoreError {
        StoreError::Unreachable { why: format!("cannot reach etcd at {}: {trouble}", self.access.name()) }
    }

    fn unknown(&self, trouble: &Trouble) -> StoreError {
        StoreError::Unknown { why: format!("etcd at {} does not answer: {trouble}", self.access.name()) }
    }
}

/// How many of the batches go into one step: at least one.
fn one_step(batches: &[(Batch, Answer)]) -> usize {
    let mut changes = 0;
    let fits = |(batch, _): &&(Batch, Answer)| {
        changes += batch.changes().len();
        changes <= GROUP
    };
    batches.iter().take_while(fits).count().max(1)
}

fn refuse(group: Vec<(Batch, Answer)>, why: &StoreError) -> Vec<(Batch, Answer)> {
    for (_, answer) in group {
        let _ = answer.send(Err(why.clone()));
    }
    Vec::new()
}

//! The task behind a recorder: writes what has queued up, a batch at a time.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::correlate::{Correlator, Verdict};
use super::occurrence::{Form, Occurrence};
use crate::backoff::Backoff;
use crate::deadline::{ANSWER, in_time};
use crate::{Chance, Client, Clock, Error, Op, Write};

/// How many events one batch holds: they share one flush of the disk.
const BATCH: usize = 64;
/// How often a batch is tried, with waits in between, before it is dropped.
const ATTEMPTS: u32 = 12;

pub(super) struct Writer {
    pub(super) client: Arc<dyn Client>,
    pub(super) clock: Clock,
    pub(super) chance: Chance,
    pub(super) form: Form,
    pub(super) who: String,
    pub(super) at: String,
    pub(super) correlator: Correlator,
}

/// What is to be written of one occurrence.
struct Item {
    /// The event's name.
    name: String,
    op: Op,
    /// What is written if the event that was to be counted up has gone by its age.
    anew: Option<Op>,
}

impl Writer {
    /// Writes until the last recorder is gone.
    pub(super) async fn run(mut self, mut receive: mpsc::Receiver<Occurrence>) {
        let mut queued = Vec::with_capacity(BATCH);
        while receive.recv_many(&mut queued, BATCH).await > 0 {
            let mut batch: Vec<Item> = Vec::new();
            for occurrence in queued.drain(..) {
                let Some(item) = self.item(occurrence) else { continue };
                // Items of a batch do not see each other: a count waits for the event that it raises.
                if batch.iter().any(|earlier| earlier.name == item.name) {
                    self.write_all(std::mem::take(&mut batch)).await;
                }
                batch.push(item);
            }
            self.write_all(batch).await;
        }
    }

    fn item(&mut self, occurrence: Occurrence) -> Option<Item> {
        let verdict = match self.form {
            Form::Counted => self.correlator.counted(occurrence),
            Form::Series => self.correlator.series(occurrence),
        };
        match verdict {
            Verdict::Drop => None,
            Verdict::Create { name, occurrence } => {
                let op = create(self.event(&name, &occurrence));
                Some(Item { name, op, anew: None })
            }
            Verdict::Count { name, occurrence, first, count } => {
                let mut event = self.event(&name, &occurrence);
                if self.form == Form::Counted {
                    event["count"] = json!(count);
                    event["firstTimestamp"] = json!(seconds(first));
                }
                let key = Key::new(&kinds::EVENT, namespace_of(&occurrence), name.clone());
                let op = Op::merge(key, self.count_patch(&occurrence, count));
                Some(Item { name, op, anew: Some(create(event)) })
            }
        }
    }

    async fn write_all(&self, batch: Vec<Item>) {
        let (ops, anew): (Vec<Op>, Vec<Option<Op>>) =
            batch.into_iter().map(|item| (item.op, item.anew)).unzip();
        let missing = self.write(ops).await;
        let again = anew.into_iter().zip(missing).filter_map(|(anew, missing)| anew.filter(|_| missing));
        self.write(again.collect()).await;
    }

    /// Tries until a batch is written, or not worth more. Answers of each item whether its event was not there.
    async fn write(&self, ops: Vec<Op>) -> Vec<bool> {
        if ops.is_empty() {
            return Vec::new();
        }
        let batch: Vec<Write> =
            ops.into_iter().map(|op| Write { actor: self.who.clone(), ..Write::from(op) }).collect();
        let mut backoff =
            Backoff::with_chance(Duration::from_millis(100), Duration::from_secs(10), self.chance.clone());
        for attempt in 1..=ATTEMPTS {
            let error = match in_time(ANSWER, self.client.write(batch.clone())).await {
                Ok(outcomes) => {
                    let refused = outcomes.into_iter().map(|outcome| outcome.err());
                    // Namespaces that are going away refuse events; so do names that have gone.
                    return refused
                        .inspect(|refused| {
                            if let Some(status) = refused {
                                tracing::debug!(message = status.message, "event refused");
                            }
                        })
                        .map(|refused| refused.is_some_and(|status| status.code == 404))
                        .collect();
                }
                Err(error) => error,
            };
            if attempt == ATTEMPTS || !matches!(error, Error::Unreachable(_)) {
                tracing::warn!(%error, events = batch.len(), "events not written");
                break;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
        Vec::new()
    }

    fn event(&self, name: &str, occurrence: &Occurrence) -> Value {
        let mut metadata = json!({"name": name, "namespace": namespace_of(occurrence)});
        if !occurrence.annotations.is_empty() {
            metadata["annotations"] = occurrence.annotations.iter().cloned().collect();
        }
        let mut event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata,
            "involvedObject": occurrence.about,
            "reason": occurrence.reason,
            "message": occurrence.message,
            "type": occurrence.kind,
            "reportingComponent": self.who,
            "reportingInstance": self.at,
        });
        match self.form {
            Form::Counted => {
                let mut source = json!({"component": self.who});
                if !self.at.is_empty() {
                    source["host"] = json!(self.at);
                }
                event["source"] = source;
                event["firstTimestamp"] = json!(seconds(occurrence.at));
                event["lastTimestamp"] = json!(seconds(occurrence.at));
                event["count"] = json!(1);
                event["eventTime"] = Value::Null;
            }
            Form::Series => {
                event["source"] = json!({});
                event["firstTimestamp"] = Value::Null;
                event["lastTimestamp"] = Value::Null;
                event["eventTime"] = json!(micros(occurrence.at));
                event["action"] = json!(occurrence.action);
            }
        }
        if let Some(related) = &occurrence.related {
            event["related"] = json!(related);
        }
        event
    }

    fn count_patch(&self, occurrence: &Occurrence, count: i32) -> Value {
        match self.form {
            Form::Counted => {
                json!({"count": count, "lastTimestamp": seconds(occurrence.at), "message": occurrence.message})
            }
            Form::Series => {
                json!({"series": {"count": count, "lastObservedTime": micros(self.clock.now())}})
            }
        }
    }
}

fn create(event: Value) -> Op {
    let namespace = event["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    Op::Create { kind: kinds::EVENT.handle(), namespace, sub: None, object: event }
}

/// Events about cluster-scoped objects live in `default`.
fn namespace_of(occurrence: &Occurrence) -> String {
    occurrence.about.namespace.clone().filter(|ns| !ns.is_empty()).unwrap_or_else(|| "default".into())
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use coracle_api::{Object, Revision, Status};
    use futures::stream::BoxStream;

    use super::super::EventRecorder;
    use super::*;
    use crate::fake::Fake;
    use crate::{Event, Interest};

    /// Counts the batches on their way to a cluster.
    #[derive(Clone, Default)]
    struct Counting(Fake, Arc<AtomicUsize>);

    #[async_trait]
    impl Client for Counting {
        fn kinds(&self) -> &coracle_api::kinds::Kinds {
            self.0.kinds()
        }

        async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
            self.0.get(key).await
        }
        async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
            self.0.list(interest).await
        }
        async fn watch(
            &self,
            interests: Vec<Interest>,
            since: Revision,
        ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
            self.0.watch(interests, since).await
        }
        async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.write(writes).await
        }
        async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
            self.0.report(verdicts).await
        }
    }

    /// What was written for these messages about one object, and in how many batches.
    async fn written(cluster: &Counting, messages: &[&str]) -> (Vec<String>, usize) {
        let clock = Clock::starting_at(Timestamp::from_second(1_000_000).unwrap());
        let recorder = EventRecorder::new(Arc::new(cluster.clone()), clock, "kubelet", "node-1");
        let about =
            k8s_openapi::api::core::v1::ObjectReference { name: Some("web".into()), ..Default::default() };
        for message in messages {
            recorder.emit(about.clone(), "Normal", "Said", "", *message);
        }
        drop(recorder);
        // Nothing is slow in this cluster: an hour of its paused time is enough for all attempts.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let text = |write: Write| match write.op {
            Op::Create { object, .. } => format!("create {}", object["message"].as_str().unwrap_or_default()),
            Op::Patch { patch, .. } => format!("count {}", patch["count"]),
            other => format!("{other:?}"),
        };
        let writes = cluster.0.writes().into_iter().map(text).collect();
        (writes, cluster.1.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_queued_is_one_batch_in_order() {
        let (writes, batches) = written(&Counting::default(), &["a", "b", "c"]).await;
        assert_eq!(writes, ["create a", "create b", "create c"]);
        assert_eq!(batches, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_waits_for_its_event() {
        let (writes, batches) = written(&Counting::default(), &["a", "b", "a", "a"]).await;
        assert_eq!(writes, ["create a", "create b", "count 2", "count 3"]);
        assert_eq!(batches, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_server_loses_nothing_and_a_lost_event_is_made_anew() {
        let cluster = Counting::default();
        cluster.0.fail_next_write(Error::Unreachable("down".into()), false);
        let (writes, _) = written(&cluster, &["a", "b"]).await;
        assert_eq!(writes, ["create a", "create b", "create a", "create b"]);

        let cluster = Counting::default();
        let gone = Status::not_found(&kinds::EVENT, "web");
        // The write of the event is answered but not done, so that the count finds no event.
        cluster.0.fail_next_write(Error::Refused(gone), false);
        let (writes, _) = written(&cluster, &["a", "a"]).await;
        assert_eq!(writes, ["create a", "count 2", "create a"]);
    }
}

//! A cluster small enough for a test: objects in a map, one counter, watches. It validates nothing and defaults nothing but
//! names, uids and revisions; what the real server does beyond that is tested there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::{Key, Object, Revision, Status};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{Client, Error, Event, Interest, Op, PatchForm, Write};

/// The cluster. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

type Watcher = mpsc::UnboundedSender<Result<Event, Error>>;

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Arc<Object>>,
    log: Vec<Event>,
    /// Watches from before this revision are refused with `Expired`.
    compacted: u64,
    watchers: Vec<(Vec<Interest>, Watcher)>,
    verdicts: HashMap<Key, Value>,
    writes: Vec<Write>,
    /// Answers to hand out instead of the next writes.
    refusals: Vec<Error>,
    /// Whether a refused write happens all the same.
    refused_happen: bool,
    held_back: Option<Vec<Event>>,
}

impl Fake {
    /// An empty cluster.
    pub fn new() -> Fake {
        Fake::default()
    }

    /// The cluster's revision.
    pub fn revision(&self) -> Revision {
        Revision(self.0.lock().revision)
    }

    /// Every write that has arrived, in order.
    pub fn writes(&self) -> Vec<Write> {
        self.0.lock().writes.clone()
    }

    /// The latest verdict on a pod.
    pub fn verdict(&self, pod: &Key) -> Option<Value> {
        self.0.lock().verdicts.get(pod).cloned()
    }

    /// Breaks every watch off, as a lost connection does.
    pub fn break_watches(&self) {
        self.0.lock().watchers.clear();
    }

    /// Forgets the change log: watches from before now are refused with [`Error::Expired`].
    pub fn compact(&self) {
        let mut state = self.0.lock();
        state.compacted = state.revision;
        state.log.clear();
        state.watchers.clear();
    }

    /// Answers the next write with an error; with `happens` it is done all the same.
    pub fn fail_next_write(&self, error: Error, happens: bool) {
        let mut state = self.0.lock();
        state.refusals.push(error);
        state.refused_happen = happens;
    }

    /// Holds events back from the watches until [`Fake::let_events_through`].
    pub fn hold_events_back(&self) {
        self.0.lock().held_back.get_or_insert_default();
    }

    /// Delivers what was held back.
    pub fn let_events_through(&self) {
        let mut state = self.0.lock();
        for event in state.held_back.take().unwrap_or_default() {
            state.publish(event);
        }
    }
}

impl State {
    fn publish(&mut self, event: Event) {
        if let Some(held) = &mut self.held_back {
            held.push(event);
            return;
        }
        self.watchers
            .retain(|(interests, to)| !matches(interests, &event) || to.send(Ok(event.clone())).is_ok());
    }

    fn store(&mut self, key: Key, mut object: Value) -> Arc<Object> {
        let known = self.objects.contains_key(&key);
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = self.encode(key.clone(), &object);
        self.objects.insert(key, object.clone());
        let event = if known { Event::Modified(object.clone()) } else { Event::Added(object.clone()) };
        self.log.push(event.clone());
        self.publish(event);
        object
    }

    fn encode(&self, key: Key, object: &Value) -> Arc<Object> {
        Arc::new(Object { key, revision: Revision(self.revision), json: object.to_string().into() })
    }

    fn apply(&mut self, op: Op) -> Result<Arc<Object>, Status> {
        let key = op.key();
        match op {
            Op::Create { sub: Some((_, "binding")), object: binding, .. } => {
                let mut pod = self.current(&key)?;
                pod["spec"]["nodeName"] = binding["target"]["name"].clone();
                Ok(self.store(key, pod))
            }
            Op::Create { kind, namespace, mut object, .. } => {
                if object["metadata"]["name"].is_null() {
                    let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
                    object["metadata"]["name"] = json!(format!("{prefix}{}", self.revision + 1));
                }
                let key = Key::new(kind, namespace, object["metadata"]["name"].as_str().unwrap_or_default());
                if self.objects.contains_key(&key) {
                    return Err(Status::already_exists(&key.kind, &key.name));
                }
                object["metadata"]["uid"] = json!(format!("uid-{}", self.revision + 1));
                Ok(self.store(key, object))
            }
            Op::Update { sub, mut object, .. } => {
                let old = self.current(&key)?;
                let expected = &object["metadata"]["resourceVersion"];
                if expected.is_string() && *expected != old["metadata"]["resourceVersion"] {
                    let why = "the object has been modified; please apply your changes to the latest version and try again";
                    return Err(Status::conflict(&key.kind, &key.name, why));
                }
                if let Some(part) = sub {
                    let status = object[part].take();
                    object = old;
                    object[part] = status;
                }
                Ok(self.store(key, object))
            }
            Op::Patch { form, patch, .. } => {
                let mut object = self.current(&key)?;
                match form {
                    PatchForm::Merge | PatchForm::Strategic => merge(&mut object, patch),
                    PatchForm::Json => return Err(Status::bad_request("the fake knows merge patches only")),
                }
                Ok(self.store(key, object))
            }
            Op::Delete { .. } => {
                let last = self.current(&key)?;
                self.revision += 1;
                self.objects.remove(&key);
                let object = self.encode(key, &last);
                let event = Event::Deleted(object.clone());
                self.log.push(event.clone());
                self.publish(event);
                Ok(object)
            }
        }
    }

    fn current(&self, key: &Key) -> Result<Value, Status> {
        let object = self.objects.get(key).ok_or_else(|| Status::not_found(&key.kind, &key.name))?;
        object.value().map_err(Status::internal)
    }
}

fn matches(interests: &[Interest], event: &Event) -> bool {
    match event {
        Event::Bookmark(_) => true,
        Event::Added(object) | Event::Modified(object) | Event::Deleted(object) => {
            interests.iter().any(|interest| interested(interest, &object.key))
        }
    }
}

fn interested(interest: &Interest, key: &Key) -> bool {
    interest.kind == key.kind && interest.namespace.as_ref().is_none_or(|ns| *ns == key.namespace)
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|object| object.shift_remove(&field));
        } else {
            merge(&mut target[&field], value);
        }
    }
}

#[async_trait]
impl Client for Fake {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        Ok(self.0.lock().objects.get(key).cloned())
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        let state = self.0.lock();
        let found = state.objects.iter().filter(|(key, _)| interested(interest, key));
        let named =
            |key: &Key| !interest.fields.starts_with("metadata.name=") || interest.fields[14..] == key.name;
        let found = found.filter(|(key, _)| named(key)).map(|(_, object)| object.clone()).collect();
        Ok((found, Revision(state.revision)))
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let mut state = self.0.lock();
        if since.0 < state.compacted {
            return Err(Error::Expired { since });
        }
        let (send, receive) = mpsc::unbounded_channel();
        for event in &state.log {
            if event.revision() > since && matches(&interests, event) && state.held_back.is_none() {
                // The receiver is right here.
                let _ = send.send(Ok(event.clone()));
            }
        }
        state.watchers.push((interests, send));
        Ok(UnboundedReceiverStream::new(receive).boxed())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
        let mut state = self.0.lock();
        state.writes.extend(writes.iter().cloned());
        let refusal = state.refusals.pop();
        if refusal.is_none() || state.refused_happen {
            let outcomes = writes.into_iter().map(|write| state.apply(write.op)).collect();
            return refusal.map_or(Ok(outcomes), Err);
        }
        refusal.map_or(Ok(Vec::new()), Err)
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        self.0.lock().verdicts.extend(verdicts);
        Ok(())
    }
}

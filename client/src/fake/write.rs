//! What a write does: preconditions, conflicts, grace periods and finalizers as the real server has them.

use std::sync::Arc;

use coracle_api::decode::{FieldValidation, Target};
use coracle_api::kind::{Deletion, Exclusive};
use coracle_api::{Errors, Key, Object, Path, Revision, Status, patch, read};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::State;
use super::select::Change;
use crate::{Op, PatchForm};

/// The grace of a pod that does not say.
const POD_GRACE: i64 = 30;
const STALE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl State {
    pub fn apply(&mut self, op: Op) -> Result<Arc<Object>, Status> {
        let key = op.key();
        match op {
            Op::Create { sub: Some((_, "binding")), object: binding, .. } => self.bind(&key, &binding),
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
                object["apiVersion"] = json!(key.kind.api_version());
                object["kind"] = json!(key.kind.kind);
                let object = patched(&key, &object, patch::Kind::Merge, &json!({}))?;
                self.check_ranges(&key, &object)?;
                Ok(self.store(key, object))
            }
            Op::Update { sub, mut object, .. } => {
                let old = self.current(&key)?;
                same_object(&key, &old, &object)?;
                if let Some(part) = sub {
                    let status = object[part].take();
                    object = old;
                    object[part] = status;
                }
                self.check_ranges(&key, &object)?;
                Ok(self.replace(key, object))
            }
            Op::Patch { sub, form, patch, .. } => {
                let old = self.current(&key)?;
                let form = match form {
                    PatchForm::Merge => patch::Kind::Merge,
                    PatchForm::Strategic => patch::Kind::Strategic,
                    PatchForm::Json => patch::Kind::Json,
                };
                let mut new = patched(&key, &old, form, &patch)?;
                same_object(&key, &old, &new)?;
                if let Some(part) = sub {
                    let status = new[part].take();
                    new = old;
                    new[part] = status;
                }
                self.check_ranges(&key, &new)?;
                Ok(self.replace(key, new))
            }
            Op::Delete { uid, revision, grace_seconds, .. } => self.delete(key, uid, revision, grace_seconds),
        }
    }

    /// 422 where a Node is to have a range of another one.
    fn check_ranges(&self, key: &Key, object: &Value) -> Result<(), Status> {
        let ranges = read::list(object, "/spec/podCIDRs");
        if !matches!(key.kind.claims, Some(Exclusive::PodRanges)) || ranges.is_empty() {
            return Ok(());
        }
        for (holder, other) in
            self.objects.iter().filter(|(other, _)| other.kind == key.kind && *other != key)
        {
            let other = other.value().map_err(Status::internal)?;
            let theirs = read::list(&other, "/spec/podCIDRs");
            if let Some(range) = ranges.iter().find(|range| theirs.contains(range)) {
                let mut errors = Errors::new();
                let why = format!("provided range is already allocated to node {:?}", holder.name);
                errors.invalid(
                    &Path::root("spec").child("podCIDRs"),
                    range.as_str().unwrap_or_default(),
                    &why,
                );
                return Err(Status::invalid(&key.kind, &key.name, &errors));
            }
        }
        Ok(())
    }

    fn bind(&mut self, key: &Key, binding: &Value) -> Result<Arc<Object>, Status> {
        let mut pod = self.current(key)?;
        same_object(key, &pod, binding)?;
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !node.is_empty() {
            let why = format!("pod {} is already assigned to node {node:?}", key.name);
            return Err(Status::conflict(&key.kind, &key.name, &why));
        }
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        Ok(self.store(key.clone(), pod))
    }

    fn delete(
        &mut self,
        key: Key,
        uid: Option<String>,
        revision: Option<Revision>,
        grace: Option<i64>,
    ) -> Result<Arc<Object>, Status> {
        let mut object = self.current(&key)?;
        let expected =
            json!({"metadata": {"uid": uid, "resourceVersion": revision.map(|r| r.0.to_string())}});
        same_object(&key, &object, &expected)?;
        let now = self.clock.now();
        let had = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
        let deleting = object["metadata"]["deletionTimestamp"].is_string();
        let graceful = key.kind.deletion == Deletion::Graceful;
        let wanted = if graceful { pod_grace(&object, grace) } else { 0 };
        let due = match (deleting, had) {
            // It may only be hurried.
            (true, Some(had)) if had > 0 && wanted >= had => return Ok(self.objects[&key].clone()),
            (true, Some(had)) => {
                let due = object["metadata"]["deletionTimestamp"].as_str().and_then(|text| text.parse().ok());
                later(due.unwrap_or(now), wanted.saturating_sub(had))
            }
            _ => later(now, wanted),
        };
        let held = !is_empty(&object["metadata"]["finalizers"]);
        if graceful || held {
            object["metadata"]["deletionTimestamp"] = json!(due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            object["metadata"]["deletionGracePeriodSeconds"] = json!(wanted);
            let marked = self.replace(key.clone(), object);
            if wanted > 0 || held || !self.objects.contains_key(&key) {
                return Ok(marked);
            }
        }
        Ok(self.remove(key))
    }

    /// Stores what changed. An object that waited only for its finalizers is gone with the last of them.
    fn replace(&mut self, key: Key, object: Value) -> Arc<Object> {
        let meta = &object["metadata"];
        let deleting = meta["deletionTimestamp"].is_string();
        let had_finalizers = self.current(&key).is_ok_and(|old| !is_empty(&old["metadata"]["finalizers"]));
        let no_grace = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
        if deleting && no_grace && had_finalizers && is_empty(&meta["finalizers"]) {
            self.store(key.clone(), object);
            return self.remove(key);
        }
        self.store(key, object)
    }

    /// A write that changes nothing is none.
    fn store(&mut self, key: Key, mut object: Value) -> Arc<Object> {
        let before = self.objects.get(&key).cloned();
        if let Some(before) = &before {
            object["metadata"]["resourceVersion"] = json!(before.revision.0.to_string());
            if before.value().is_ok_and(|old| old == object) {
                return before.clone();
            }
        }
        self.revision += 1;
        let revision = Revision(self.revision);
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(Object { key: key.clone(), revision, json: object.to_string().into() });
        self.objects.insert(key, object.clone());
        self.publish(Change { before, after: Some(object.clone()), revision });
        object
    }

    fn remove(&mut self, key: Key) -> Arc<Object> {
        let last = self.objects.remove(&key).expect("the caller has looked");
        self.revision += 1;
        let revision = Revision(self.revision);
        self.publish(Change { before: Some(last.clone()), after: None, revision });
        Arc::new(Object { revision, ..Object::clone(&last) })
    }

    fn current(&self, key: &Key) -> Result<Value, Status> {
        let object = self.objects.get(key).ok_or_else(|| Status::not_found(&key.kind, &key.name))?;
        object.value().map_err(Status::internal)
    }
}

/// An object as a patch leaves it, in the form in which it is stored.
fn patched(key: &Key, object: &Value, form: patch::Kind, body: &Value) -> Result<Value, Status> {
    let (target, body) = (Target::of(&key.kind), body.to_string());
    Ok(patch::patch(form, &target, object, body.as_bytes(), FieldValidation::Ignore)?.value)
}

/// 409 where the uid or the revision that a write names is not that of the object.
fn same_object(key: &Key, object: &Value, named: &Value) -> Result<(), Status> {
    let (found, named) = (&object["metadata"], &named["metadata"]);
    let uid = &named["uid"];
    if uid.is_string() && *uid != found["uid"] {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            uid.as_str().unwrap_or_default(),
            found["uid"].as_str().unwrap_or_default()
        );
        return Err(Status::conflict(&key.kind, &key.name, &why));
    }
    let revision = &named["resourceVersion"];
    if revision.as_str().is_some_and(|text| !text.is_empty()) && *revision != found["resourceVersion"] {
        return Err(Status::conflict(&key.kind, &key.name, STALE));
    }
    Ok(())
}

/// How long a pod may take. One that was never bound, or has ended, has nobody to wait for.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let unbound = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    if unbound || ended {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(POD_GRACE);
    let wanted = asked.unwrap_or(own);
    if wanted < 0 { 1 } else { wanted }
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

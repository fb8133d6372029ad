//! Deletion of objects: grace periods, finalizers, dependents.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest/delete.go` and `generic/registry/store.go`.

use coracle_api::kind::Deletion;
use coracle_api::{Key, Status};
use coracle_client::Propagation;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::meta::{finalizers, is_deleting, meta, read_time, text, tidy, time_text};
use super::operation::{Context, DeleteOptions, Written};
use super::{Failure, Registry, TRIES, nothing_stored, unstored};
use crate::admission::attributes::{Companion, Extras};
use crate::entry::Entry;
use crate::store::{Expected, Verb};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Upstream's default for pods that do not say.
const POD_GRACE: i64 = 30;

/// What deleting an object comes to.
#[derive(Debug, PartialEq)]
pub(super) enum DeleteOutcome {
    /// It is being deleted already: nothing to do.
    Pending,
    /// It stays for now, marked so.
    Mark(Value),
    /// It is removed now; its last state.
    Remove(Value),
    /// It is marked, and then removed at once.
    MarkAndRemove(Value),
}

impl Registry {
    pub(super) async fn delete(
        &self,
        context: &Context,
        key: &Key,
        options: &DeleteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        self.delete_as(context, key, key, options, warnings).await
    }

    /// The same for one of a collection, whose name the chain is not told: it was not asked for by name.
    pub(super) async fn delete_item(
        &self,
        context: &Context,
        key: &Key,
        options: &DeleteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let asked = Key { name: String::new(), ..key.clone() };
        self.delete_as(context, key, &asked, options, warnings).await
    }

    async fn delete_as(
        &self,
        context: &Context,
        key: &Key,
        asked: &Key,
        options: &DeleteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        for _ in 0..TRIES {
            let old = self.entry(key).ok_or_else(|| Status::not_found(&key.kind, &key.name))?;
            let value = old.value();
            check_preconditions(key, &value, options)?;
            let mut extras = Extras::default();
            self.admit_delete(context, asked, &value, options, &mut extras).await?;
            warnings.append(&mut extras.warnings);
            let with = extras.changes;
            let outcome = match step(key, &value, options, self.clock().now()) {
                DeleteOutcome::Pending => return Ok(Written::changed(old.object)),
                DeleteOutcome::Mark(new) if new == value => return Ok(Written::changed(old.object)),
                DeleteOutcome::Mark(new) => {
                    self.commit(context, key, Some(&old), Verb::Update, &new, with).await.map(|e| (e, false))
                }
                DeleteOutcome::Remove(last) => {
                    self.remove(context, key, &old, &last, with).await.map(|e| (e, true))
                }
                DeleteOutcome::MarkAndRemove(new) => {
                    self.mark_and_remove(context, key, &old, &new, with).await.map(|e| (e, true))
                }
            };
            match outcome {
                Ok((entry, gone)) => return Ok(Written { gone, ..Written::changed(entry.object) }),
                Err(Failure::Refused(status) | Failure::Unknown(status)) => return Err(*status),
                Err(Failure::Conflict | Failure::Raced) => {}
            }
        }
        Err(Status::conflict(&key.kind, &key.name, super::update::STALE))
    }

    async fn remove(
        &self,
        context: &Context,
        key: &Key,
        old: &Entry,
        last: &Value,
        with: Vec<Companion>,
    ) -> Result<Entry, Failure> {
        self.commit(context, key, Some(old), Verb::Delete, last, with).await
    }

    /// An object of a kind that is deleted gracefully, with a grace period of zero: it is marked and then removed in
    /// one commit, so that watchers see both changes.
    async fn mark_and_remove(
        &self,
        context: &Context,
        key: &Key,
        old: &Entry,
        new: &Value,
        with: Vec<Companion>,
    ) -> Result<Entry, Failure> {
        if context.dry_run {
            return Ok(unstored(key, new));
        }
        let mark = self.change(context, key, Expected::At(old.object.revision), Verb::Update, new);
        let removal = self.change(context, key, Expected::Earlier, Verb::Delete, new);
        let changes = vec![mark, removal];
        let made = self.commit_together(context, changes, with).await?;
        made.into_iter().nth(1).map(Entry::new).ok_or_else(nothing_stored)
    }
}

/// 409 for an object that is not the one, or not as, the client thinks.
pub(super) fn check_preconditions(key: &Key, object: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let found = text(object, "uid");
    if let Some(wanted) = options.uid.as_deref().filter(|uid| *uid != found)
        && key.kind.deletion == Deletion::Emptied
    {
        // Namespaces have code of their own for this, and so a text of their own.
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        return Err(Status::conflict(&key.kind, &key.name, &why));
    }
    if let Some(wanted) = options.uid.as_deref().filter(|uid| *uid != found) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({found}). The object might have been deleted and then recreated"
        );
        return Err(conflict_of_kind(key, &why));
    }
    let found = text(object, "resourceVersion");
    if let Some(wanted) = options.revision.as_deref().filter(|revision| *revision != found) {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({found}). The object might have been modified"
        );
        return Err(conflict_of_kind(key, &why));
    }
    Ok(())
}

/// Here upstream names the kind where it names the resource elsewhere.
fn conflict_of_kind(key: &Key, why: &str) -> Status {
    let mut status = Status::conflict(&key.kind, &key.name, why);
    status.message =
        format!("Operation cannot be fulfilled on {} \"{}\": {why}", key.kind.qualified_kind(), key.name);
    if let Some(details) = &mut status.details {
        details.kind = key.kind.kind().into();
    }
    status
}

/// Decides. Pure.
pub(super) fn step(key: &Key, object: &Value, options: &DeleteOptions, now: Timestamp) -> DeleteOutcome {
    if key.kind.deletion == Deletion::Emptied {
        return namespace_step(object, now);
    }
    let grace = grace_of(key, object, options);
    let deleting = is_deleting(object);
    let mut new = object.clone();
    let graceful = match (grace, deleting) {
        (None, _) => false,
        (Some(_), true) => {
            let had = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            let wanted = options.grace_seconds.map(at_least_now).filter(|wanted| *wanted < had);
            match wanted {
                // Marked, and not removed: a crash or another write came between the two.
                _ if had == 0 => false,
                // It may only be hurried.
                None => return DeleteOutcome::Pending,
                Some(wanted) => {
                    let due = read_time(&object["metadata"]["deletionTimestamp"]).unwrap_or(now);
                    set_due(&mut new, later(due, wanted - had), wanted);
                    true
                }
            }
        }
        (Some(grace), false) => {
            set_due(&mut new, later(now, grace), grace);
            bump_generation(&mut new);
            true
        }
    };
    set_finalizers(&mut new, options);
    let held = !finalizers(&new).is_empty();
    tidy(&mut new);
    match (graceful, held) {
        (false, false) => DeleteOutcome::Remove(new),
        (false, true) => {
            if object["metadata"]["deletionGracePeriodSeconds"].is_null() {
                bump_generation(&mut new);
            }
            let due =
                read_time(&object["metadata"]["deletionTimestamp"]).filter(|due| *due < now).unwrap_or(now);
            set_due(&mut new, due, 0);
            DeleteOutcome::Mark(new)
        }
        (true, false) if new["metadata"]["deletionGracePeriodSeconds"].as_i64() == Some(0) => {
            DeleteOutcome::MarkAndRemove(new)
        }
        (true, _) => DeleteOutcome::Mark(new),
    }
}

/// A namespace is emptied by its controller before it is removed.
fn namespace_step(object: &Value, now: Timestamp) -> DeleteOutcome {
    if !is_deleting(object) {
        let mut new = object.clone();
        meta(&mut new).insert("deletionTimestamp".into(), time_text(now).into());
        new["status"]["phase"] = "Terminating".into();
        let spec_finalizers = new["spec"]["finalizers"].as_array().map_or(0, Vec::len);
        if spec_finalizers == 0 && finalizers(&new).is_empty() {
            return DeleteOutcome::Remove(new);
        }
        return DeleteOutcome::Mark(new);
    }
    let spec_finalizers = object["spec"]["finalizers"].as_array().map_or(0, Vec::len);
    if spec_finalizers == 0 && finalizers(object).is_empty() {
        return DeleteOutcome::Remove(object.clone());
    }
    DeleteOutcome::Pending
}

/// How long a pod may take; `None` for kinds that go at once. A pod that was never bound, or has ended, has nobody to wait for.
fn grace_of(key: &Key, pod: &Value, options: &DeleteOptions) -> Option<i64> {
    if key.kind.deletion != Deletion::Graceful {
        return None;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(POD_GRACE);
    let unbound = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let wanted = at_least_now(options.grace_seconds.unwrap_or(own));
    Some(if unbound || ended { 0 } else { wanted })
}

/// A negative period means: as soon as possible, but gracefully.
fn at_least_now(seconds: i64) -> i64 {
    if seconds < 0 { 1 } else { seconds }
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn set_due(object: &mut Value, due: Timestamp, grace: i64) {
    let meta = meta(object);
    meta.insert("deletionTimestamp".into(), time_text(due).into());
    meta.insert("deletionGracePeriodSeconds".into(), grace.into());
}

fn bump_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    if generation > 0 {
        meta(object).insert("generation".into(), generation.saturating_add(1).into());
    }
}

/// The two finalizers by which the garbage collector is asked to act first.
fn set_finalizers(object: &mut Value, options: &DeleteOptions) {
    let had = finalizers(object);
    let has = |name: &str| had.iter().any(|f| f == name);
    let orphan = match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => orphan,
        (None, Some(propagation)) => propagation == Propagation::Orphan,
        (None, None) => has(ORPHAN),
    };
    let foreground = match (options.orphan_dependents, options.propagation) {
        (Some(_), _) => false,
        (None, Some(propagation)) => propagation == Propagation::Foreground,
        (None, None) => has(FOREGROUND) && !orphan,
    };
    if (orphan, foreground) == (has(ORPHAN), has(FOREGROUND)) {
        return;
    }
    let mut list: Vec<String> = had.into_iter().filter(|f| f != ORPHAN && f != FOREGROUND).collect();
    if orphan {
        list.push(ORPHAN.into());
    }
    if foreground {
        list.push(FOREGROUND.into());
    }
    meta(object).insert("finalizers".into(), list.into());
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_goes_when_its_time_is_up() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let pod = |meta: Value| {
            let mut pod = json!({"metadata": {"name": "x", "namespace": "ns", "generation": 1},
                "spec": {"nodeName": "n"}, "status": {"phase": "Running"}});
            pod["metadata"].as_object_mut().unwrap().extend(meta.as_object().unwrap().clone());
            pod
        };
        let due = |grace: i64| json!({"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": grace});
        let cases = [
            ("a first request", pod(json!({})), None, "mark"),
            ("at once", pod(json!({})), Some(0), "mark and remove"),
            ("it is going already", pod(due(30)), None, "pending"),
            ("it may not be slowed down", pod(due(30)), Some(60), "pending"),
            ("it may be hurried", pod(due(30)), Some(5), "mark"),
            ("its node has seen it end", pod(due(30)), Some(0), "mark and remove"),
            ("a write came between mark and removal", pod(due(0)), Some(0), "remove"),
            ("the same, asked without a period", pod(due(0)), None, "remove"),
        ];
        for (case, object, grace_seconds, expected) in cases {
            let options = DeleteOptions { grace_seconds, ..DeleteOptions::default() };
            let got = match step(&Key::new(&kinds::POD, "ns", "x"), &object, &options, now) {
                DeleteOutcome::Pending => "pending",
                DeleteOutcome::Mark(_) => "mark",
                DeleteOutcome::Remove(_) => "remove",
                DeleteOutcome::MarkAndRemove(_) => "mark and remove",
            };
            assert_eq!(got, expected, "case: {case}");
        }
    }
}

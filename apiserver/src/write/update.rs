//! Changed objects: PUT, and what every patch ends in.

use coracle_api::decode::Target;
use coracle_api::kind::{CheckChange, Deletion};
use coracle_api::{Errors, Key, Kind, Path, Status};
use serde_json::Value;

use super::managed::drop_double_owners;
use super::meta::{fill_changed, finalizers, is_deleting, meta, text, tidy};
use super::operation::{Body, Context, Written};
use super::{Failure, Registry, TRIES, decode, managed, stored, unstored};
use crate::admission::attributes::{Attributes, Companion, Extras, Operation};
use crate::entry::Entry;
use crate::store::Verb;

/// 409 for a stale `resourceVersion`.
pub(super) const STALE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A write to one object that is there, or to one of its subresources.
pub(super) struct ObjectWrite<'a> {
    pub context: &'a Context,
    /// The object under the kind that was asked for, which may be a view.
    pub key: &'a Key,
    /// Such as `status`.
    pub sub: Option<&'a str>,
    /// The owners of the fields are known already, because the write is an apply.
    pub tracked: bool,
    /// A `uid` in the new object means only that object; in a patch it is a field like any other.
    pub precise: bool,
    /// The chain of admission has been passed already, in another form.
    pub admitted: bool,
}

impl Registry {
    pub(super) async fn update(
        &self,
        context: &Context,
        key: &Key,
        sub: Option<&str>,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        if sub == Some("scale") {
            return self.update_scale(context, key, body, warnings).await;
        }
        let mut object = decode::object(context, &key.kind, body, warnings)?;
        check_name(key, &object)?;
        if key.kind.namespaced {
            meta(&mut object).insert("namespace".into(), key.namespace.as_str().into());
        }
        let change = ObjectWrite { context, key, sub, tracked: false, precise: true, admitted: false };
        let stored_key = Key { kind: stored(&key.kind), ..key.clone() };
        let found = warnings.len();
        for _ in 0..TRIES {
            warnings.truncate(found);
            let Some(old) = self.entry(&stored_key) else {
                // Whoever names a uid means an object that is gone, not one to be made.
                check_uid(key, text(&object, "uid"), &Value::Null)?;
                if key.kind.strategy.create_on_update && sub.is_none() {
                    return self.create_tree(context, &key.kind, &key.namespace, object, warnings).await;
                }
                return Err(Status::not_found(&key.kind, &key.name));
            };
            let (live, new) = (old.value(), object.clone());
            match self.replace(&change, (&old, &live), new, warnings).await {
                Ok(written) => return Ok(written),
                Err(Failure::Refused(status) | Failure::Unknown(status)) => return Err(*status),
                Err(Failure::Conflict | Failure::Raced) => {}
            }
        }
        Err(Status::conflict(&key.kind, &key.name, STALE))
    }

    /// Puts a whole new object, or a new status, in place of the old, which is given with its tree: everything after decoding.
    pub(super) async fn replace(
        &self,
        change: &ObjectWrite<'_>,
        (old_entry, old): (&Entry, &Value),
        mut new: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Failure> {
        let (context, key, kind) = (change.context, change.key, &change.key.kind);
        if change.precise {
            check_uid(key, text(&new, "uid"), old).map_err(Failure::refused)?;
        }
        check_revision(key, old, &mut new).map_err(Failure::refused)?;
        fill_changed(&mut new, old);
        drop_double_owners(&mut new, warnings);
        let asked = self.asked(context, Operation::Update, key, change.sub.unwrap_or_default(), old);
        if !change.admitted {
            self.mutate(&asked, kind, &mut new, warnings).await.map_err(Failure::refused)?;
        }
        if change.sub.is_none() {
            self.allocate(kind, &mut new, Some(old), context.dry_run).map_err(Failure::refused)?;
        }
        self.replace_prepared(change, &asked, old_entry, new, warnings).await
    }

    async fn replace_prepared(
        &self,
        change: &ObjectWrite<'_>,
        asked: &Attributes<'_>,
        old_entry: &Entry,
        mut new: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Failure> {
        let (context, key, kind) = (change.context, change.key, &change.key.kind);
        let old = asked.old;
        let (prepare, check) = rules(change);
        prepare(kind, &mut new, old);
        if !change.tracked {
            new = managed::track(
                context,
                kind,
                Some(old),
                new,
                change.sub.unwrap_or_default(),
                self.clock().now(),
            );
        } else {
            coracle_api::apply::keep_times(old, &mut new);
        }
        let errors = kind.validate_change(check, &new, old);
        if !errors.is_empty() {
            return Err(Failure::refused(Status::invalid(&stored(kind), &key.name, &errors)));
        }
        warnings.extend(self.warnings(kind, &new, Some(old)));
        tidy(&mut new);
        coracle_api::decode::in_order(Target::of(&stored(kind)).schema, &mut new);
        let mut extras = Extras::default();
        if !change.admitted {
            self.chain.validate(asked, &new, &mut extras).await.map_err(Failure::refused)?;
            warnings.append(&mut extras.warnings);
        }
        let stored_key = Key { kind: stored(kind), ..key.clone() };
        self.store_or_remove(context, &stored_key, old_entry, old, &new, extras.changes).await
    }

    /// Stores what is ready: nothing where nothing changed, a removal where the last finalizer went.
    pub(super) async fn store_or_remove(
        &self,
        context: &Context,
        key: &Key,
        old_entry: &Entry,
        old: &Value,
        new: &Value,
        companions: Vec<Companion>,
    ) -> Result<Written, Failure> {
        if released(key, old, new) {
            // What watches see is the object as it stood; the writer sees what it wrote.
            self.commit(context, key, Some(old_entry), Verb::Delete, old, companions).await?;
            return Ok(Written { gone: true, ..Written::changed(unstored(key, new).object) });
        }
        if old == new {
            return Ok(Written::changed(old_entry.object.clone()));
        }
        let entry = self.commit(context, key, Some(old_entry), Verb::Update, new, companions).await?;
        Ok(Written::changed(entry.object))
    }
}

type Prepare = fn(&Kind, &mut Value, &Value);

/// What a write may touch, and its rules.
fn rules(change: &ObjectWrite<'_>) -> (Prepare, CheckChange) {
    let strategy = change.key.kind.strategy;
    let Some(sub) = change.sub else { return (strategy.prepare_update, strategy.validate_update) };
    let row = change.key.kind.subresources.iter().find(|row| row.name == sub);
    match row.and_then(|row| row.write) {
        Some(change) => (change.prepare, change.validate),
        None => (strategy.prepare_status_update, strategy.validate_status_update),
    }
}

/// Whether a write takes away the last thing that held an object which is on its way out.
fn released(key: &Key, old: &Value, new: &Value) -> bool {
    let held = |object: &Value| {
        let spec = if key.kind.deletion == Deletion::Emptied {
            object["spec"]["finalizers"].as_array().map_or(0, Vec::len)
        } else {
            0
        };
        finalizers(object).len() + spec > 0
    };
    let grace = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    is_deleting(new) && grace == 0 && held(old) && !held(new)
}

/// The name and the namespace inside an object must be those of its URL.
pub(super) fn check_name(key: &Key, object: &Value) -> Result<(), Status> {
    let (name, namespace) = (text(object, "name"), text(object, "namespace"));
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            key.name
        )));
    }
    if name != key.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.name
        )));
    }
    if key.kind.namespaced && !namespace.is_empty() && namespace != key.namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            key.namespace
        )));
    }
    Ok(())
}

/// A `resourceVersion` in the new object must be the old one's. Puts it in where there is none.
fn check_revision(key: &Key, old: &Value, new: &mut Value) -> Result<(), Status> {
    let revision = text(new, "resourceVersion").to_string();
    if revision.is_empty() || revision == "0" {
        if !key.kind.strategy.unconditional_update {
            return Err(unversioned(key));
        }
    } else if revision != text(old, "resourceVersion") {
        return Err(Status::conflict(&key.kind, &key.name, STALE));
    }
    meta(new).insert("resourceVersion".into(), old["metadata"]["resourceVersion"].clone());
    Ok(())
}

/// 409 if a write is meant for a namesake.
pub(super) fn check_uid(key: &Key, wanted: &str, old: &Value) -> Result<(), Status> {
    let found = text(old, "uid");
    if wanted.is_empty() || wanted == found {
        return Ok(());
    }
    let place = if key.namespace.is_empty() { String::new() } else { format!("{}/", key.namespace) };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{place}{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
        key.kind.plural(),
        key.name
    );
    Err(Status::conflict(&key.kind, &key.name, &why))
}

/// 422: this kind is not overwritten blindly. Upstream names the resource where the kind should stand.
fn unversioned(key: &Key) -> Status {
    let mut errors = Errors::new();
    let metadata = Path::root("metadata");
    errors.invalid(&metadata.child("resourceVersion"), 0, "must be specified for an update");
    let mut status = Status::invalid(&key.kind, &key.name, &errors);
    let kind = key.kind.qualified_kind();
    if let Some(rest) = status.message.strip_prefix(&kind) {
        status.message = format!("{}{rest}", key.kind.qualified_resource());
    }
    if let Some(details) = &mut status.details {
        details.kind = key.kind.plural().into();
    }
    status
}

//! Changed objects: PUT, and what every patch ends in.

use coracle_api::{Errors, Key, Status};
use serde_json::Value;

use super::card::Entry;
use super::create::settle_namespace;
use super::meta::{fill_changed, finalizers, is_deleting, meta, text, tidy};
use super::operation::{Body, Context, Written};
use super::{Failure, Registry, TRIES, decode, managed, stored};
use crate::store::Verb;

/// 409 for a stale `resourceVersion`.
const STALE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl Registry {
    pub(super) async fn update(
        &self,
        context: &Context,
        key: &Key,
        sub: Option<&str>,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let mut object = decode::object(context, key.kind, body, warnings)?;
        let inside = text(&object, "name");
        if inside.is_empty() {
            meta(&mut object).insert("name".into(), key.name.as_str().into());
        } else if inside != key.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({inside}) does not match the name on the URL ({})",
                key.name
            )));
        }
        settle_namespace(key.kind, &key.namespace, &mut object)?;
        let place = Key { kind: stored(key.kind), ..key.clone() };
        for _ in 0..TRIES {
            let Some(old) = self.entry(&place) else {
                if key.kind.strategy.create_on_update && sub.is_none() {
                    return self.create_tree(context, key.kind, &key.namespace, object, warnings).await;
                }
                return Err(Status::not_found(key.kind, &key.name));
            };
            match self.replace(context, key, sub, &old, object.clone(), warnings).await {
                Ok(written) => return Ok(written),
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Conflict) => {}
            }
        }
        Err(Status::conflict(key.kind, &key.name, STALE))
    }

    /// Puts a whole new object, or a new status, in place of the old: everything behind decoding.
    pub(super) async fn replace(
        &self,
        context: &Context,
        key: &Key,
        sub: Option<&str>,
        old_entry: &Entry,
        mut new: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Failure> {
        let (kind, old) = (key.kind, old_entry.value());
        check_preconditions(key, &old, &mut new).map_err(Failure::Refused)?;
        fill_changed(&mut new, &old);
        match sub {
            None => (kind.strategy.prepare_update)(&mut new, &old),
            Some(_) => (kind.strategy.prepare_status_update)(&mut new, &old),
        }
        let check = match sub {
            None => kind.strategy.validate_update,
            Some(_) => kind.strategy.validate_status_update,
        };
        let errors = kind.validate_change(check, &new, &old);
        if !errors.is_empty() {
            return Err(Failure::Refused(Status::invalid(kind, &key.name, &errors)));
        }
        warnings.extend((kind.strategy.warnings)(&new, Some(&old)));
        managed::track(context, Some(&old), &mut new, sub.unwrap_or_default(), self.clock().now());
        tidy(&mut new);
        let place = Key { kind: stored(kind), ..key.clone() };
        self.settle(context, &place, old_entry, &old, &new).await
    }

    /// Stores what is ready: nothing where nothing changed, a removal where the last finalizer went.
    pub(super) async fn settle(
        &self,
        context: &Context,
        key: &Key,
        old_entry: &Entry,
        old: &Value,
        new: &Value,
    ) -> Result<Written, Failure> {
        let grace = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if is_deleting(new) && finalizers(new).is_empty() && grace == 0 && !finalizers(old).is_empty() {
            let entry = self.commit(context, key, Some(old_entry), Verb::Delete, new).await?;
            return Ok(Written { gone: true, ..Written::changed(entry.object) });
        }
        if old == new {
            return Ok(Written::changed(old_entry.object.clone()));
        }
        let entry = self.commit(context, key, Some(old_entry), Verb::Update, new).await?;
        Ok(Written::changed(entry.object))
    }
}

/// A `uid` or `resourceVersion` in the new object must be the old one's. Puts in the revision where there is none.
fn check_preconditions(key: &Key, old: &Value, new: &mut Value) -> Result<(), Status> {
    let (uid, old_uid) = (text(new, "uid"), text(old, "uid"));
    if !uid.is_empty() && uid != old_uid {
        let place = if key.namespace.is_empty() { String::new() } else { format!("{}/", key.namespace) };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{place}{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}",
            key.kind.plural, key.name
        );
        return Err(Status::conflict(key.kind, &key.name, &why));
    }
    let revision = text(new, "resourceVersion").to_string();
    if revision.is_empty() || revision == "0" {
        if !key.kind.strategy.unconditional_update {
            return Err(unversioned(key));
        }
    } else if revision != text(old, "resourceVersion") {
        return Err(Status::conflict(key.kind, &key.name, STALE));
    }
    meta(new).insert("resourceVersion".into(), old["metadata"]["resourceVersion"].clone());
    Ok(())
}

/// 422: this kind is not overwritten blindly. Upstream names the resource where the kind should stand.
fn unversioned(key: &Key) -> Status {
    let mut errors = Errors::new();
    let metadata = coracle_api::Path::root("metadata");
    errors.invalid(&metadata.child("resourceVersion"), 0, "must be specified for an update");
    let mut status = Status::invalid(key.kind, &key.name, &errors);
    let kind = key.kind.qualified_kind();
    if let Some(rest) = status.message.strip_prefix(&kind) {
        status.message = format!("{}{rest}", key.kind.qualified_resource());
    }
    if let Some(details) = &mut status.details {
        details.kind = key.kind.plural.into();
    }
    status
}

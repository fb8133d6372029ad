//! Creates: names, metadata and defaults of a new object, then the chain, then the commit.

use coracle_api::decode::Target;
use coracle_api::kind::Exclusive;
use coracle_api::{Key, KindRef, Status};
use serde_json::Value;
use uuid::Uuid;

use super::managed::drop_double_owners;
use super::meta::{fill_new, generate_name, meta, text, tidy};
use super::operation::{Body, Context, Written};
use super::update::STALE;
use super::{Failure, Registry, TRIES, decode, managed, stored};
use crate::admission::attributes::{self as admission, Attributes, Extras};
use crate::entry::Entry;
use crate::store::Verb;

impl Registry {
    pub(super) async fn create(
        &self,
        context: &Context,
        kind: &KindRef,
        namespace: &str,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let object = decode::object(context, kind, body, warnings)?;
        self.create_tree(context, kind, namespace, object, warnings).await
    }

    /// Makes a decoded and defaulted object.
    pub(super) async fn create_tree(
        &self,
        context: &Context,
        kind: &KindRef,
        namespace: &str,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        set_namespace(kind, namespace, &mut object)?;
        if !text(&object, "resourceVersion").is_empty() {
            // Upstream answers 500 without a reason here, although the fault is the client's.
            return Err(Status::failure(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        drop_double_owners(&mut object, warnings);
        let now = self.clock().now();
        let object = managed::track(context, kind, None, object, "", now);
        self.create_tracked(context, kind, namespace, object, warnings).await
    }

    /// Makes an object whose fields have their owners already.
    pub(super) async fn create_tracked(
        &self,
        context: &Context,
        kind: &KindRef,
        namespace: &str,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let key = Key::new(kind, namespace, text(&object, "name"));
        let asked = self.asked(context, admission::Operation::Create, &key, "", &Value::Null);
        self.mutate(&asked, kind, &mut object, warnings).await?;
        // Links may have added owners.
        drop_double_owners(&mut object, warnings);
        let generated = text(&object, "name").is_empty() && !text(&object, "generateName").is_empty();
        let warnings_before = warnings.len();
        // A copy is kept only where it may be needed: a name, a companion or an address can be lost to somebody who was quicker.
        let again =
            generated || self.chain.writes_companions() || kind.claims == Some(Exclusive::ServiceAddresses);
        let mut draft = Some(object);
        for attempt in 1..=TRIES {
            let kept = if again && attempt < TRIES { draft.clone() } else { None };
            let Some(mut object) = std::mem::replace(&mut draft, kept) else { break };
            warnings.truncate(warnings_before);
            fill_new(&mut object, self.clock().now(), &Uuid::new_v4().to_string());
            if generated {
                let prefix = text(&object, "generateName").to_string();
                meta(&mut object).insert("name".into(), generate_name(&prefix, &mut rand::rng()).into());
            }
            let name = text(&object, "name").to_string();
            let key = Key { name, ..key.clone() };
            self.allocate(kind, &mut object, None, context.dry_run)?;
            match self.create_once(&Attributes { key: &key, ..asked }, object, warnings).await {
                Ok(entry) => return Ok(Written { created: true, ..Written::changed(entry.object) }),
                Err(Failure::Refused(status) | Failure::Unknown(status)) => return Err(*status),
                // Only a generated name is tried again, and what was lost to somebody who wrote a companion or took an address.
                Err(Failure::Conflict) if !generated || attempt == TRIES => {
                    return Err(self.taken(&key, generated));
                }
                Err(Failure::Conflict | Failure::Raced) => {}
            }
        }
        Err(Status::conflict(kind, &key.name, STALE))
    }

    /// Prepares, validates and stores.
    async fn create_once(
        &self,
        asked: &Attributes<'_>,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Entry, Failure> {
        let kind = &asked.key.kind;
        let name = &asked.key.name;
        warnings.extend((kind.strategy.early_warnings)(kind, &object));
        (kind.strategy.prepare_create)(kind, &mut object);
        let errors = kind.validate(&object);
        if !errors.is_empty() {
            return Err(Failure::refused(Status::invalid(&stored(kind), name, &errors)));
        }
        warnings.extend(self.warnings(kind, &object, None));
        tidy(&mut object);
        coracle_api::decode::in_order(Target::of(&stored(kind)).schema, &mut object);
        let mut extras = Extras::default();
        self.chain.validate(asked, &object, &mut extras).await.map_err(Failure::refused)?;
        warnings.append(&mut extras.warnings);
        let stored_key = Key { kind: stored(kind), ..asked.key.clone() };
        if self.entry(&stored_key).is_some() {
            return Err(Failure::Conflict);
        }
        self.commit(asked.context, &stored_key, None, Verb::Create, &object, extras.changes).await
    }

    fn taken(&self, key: &Key, generated: bool) -> Status {
        let mut status = Status::already_exists(&key.kind, &key.name);
        let stored_key = Key { kind: stored(&key.kind), ..key.clone() };
        let deleting =
            self.entry(&stored_key).is_some_and(|e| e.value()["metadata"]["deletionTimestamp"].is_string());
        if deleting {
            status.message = format!("object is being deleted: {}", status.message);
        }
        if generated {
            status.message = format!(
                "{}, the server was not able to generate a unique name for the object",
                status.message
            );
        }
        status
    }
}

/// The namespace of the path goes into the object; another one inside is an error.
pub(super) fn set_namespace(kind: &KindRef, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let inside = text(object, "namespace");
    if !inside.is_empty() && inside != namespace && kind.namespaced {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if kind.namespaced {
        meta(object).insert("namespace".into(), namespace.into());
    }
    Ok(())
}

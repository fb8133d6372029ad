//! New objects.

use coracle_api::decode::Target;
use coracle_api::{Key, KindRef, Status};
use serde_json::Value;
use uuid::Uuid;

use super::managed::drop_double_owners;
use super::meta::{fill_new, generate_name, meta, text, tidy};
use super::operation::{Body, Context, Written};
use super::{Failure, Registry, TRIES, decode, managed, stored};
use crate::admission::{self, Admission};
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
        settle_namespace(kind, namespace, &mut object)?;
        if !text(&object, "resourceVersion").is_empty() {
            // Upstream forgot to say whose fault this is.
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
        let admission = Admission { registry: self, kind, namespace };
        admission::await_default(&admission, &object).await;
        admission::admit_create(&admission, &mut object)?;
        let place = Key::new(kind, namespace, text(&object, "name"));
        self.restrict_node(context, "create", &place, "", &object, &Value::Null)?;
        let generated = text(&object, "name").is_empty() && !text(&object, "generateName").is_empty();
        let mut draft = Some(object);
        for attempt in 1.. {
            // Only a generated name is tried again.
            let again = if generated && attempt < TRIES { draft.clone() } else { None };
            let Some(mut object) = std::mem::replace(&mut draft, again) else { break };
            fill_new(&mut object, self.clock().now(), &Uuid::new_v4().to_string());
            if generated {
                let prefix = text(&object, "generateName").to_string();
                meta(&mut object).insert("name".into(), generate_name(&prefix, &mut rand::rng()).into());
            }
            let taken = self.allocate(kind, &mut object, None, context.dry_run)?;
            let outcome = self.create_once(context, kind, namespace, object, warnings).await;
            if outcome.is_err() {
                self.give_back(taken);
            }
            match outcome {
                Ok(entry) => return Ok(Written { created: true, ..Written::changed(entry.object) }),
                Err((Failure::Refused(status), _)) => return Err(*status),
                Err((Failure::Conflict, _)) if generated && attempt < TRIES => warnings.clear(),
                Err((Failure::Conflict, name)) => {
                    return Err(self.taken(&Key::new(kind, namespace, name), generated));
                }
            }
        }
        Err(Status::internal("no name could be generated"))
    }

    /// Prepares, validates and stores; says under which name it failed.
    async fn create_once(
        &self,
        context: &Context,
        kind: &KindRef,
        namespace: &str,
        mut object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Entry, (Failure, String)> {
        let name = text(&object, "name").to_string();
        warnings.extend((kind.strategy.early_warnings)(kind, &object));
        (kind.strategy.prepare_create)(kind, &mut object);
        let errors = kind.validate(&object);
        if !errors.is_empty() {
            return Err((Failure::refused(Status::invalid(&stored(kind), &name, &errors)), name));
        }
        warnings.extend(self.warnings(kind, &object, None));
        tidy(&mut object);
        coracle_api::decode::in_order(Target::of(&stored(kind)).schema, &mut object);
        let key = Key::new(stored(kind), namespace, &name);
        if self.entry(&key).is_some() {
            return Err((Failure::Conflict, name));
        }
        self.commit(context, &key, None, Verb::Create, &object).await.map_err(|failure| (failure, name))
    }

    fn taken(&self, key: &Key, generated: bool) -> Status {
        let mut status = Status::already_exists(&key.kind, &key.name);
        let place = Key { kind: stored(&key.kind), ..key.clone() };
        let deleting =
            self.entry(&place).is_some_and(|e| e.value()["metadata"]["deletionTimestamp"].is_string());
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
pub(super) fn settle_namespace(kind: &KindRef, namespace: &str, object: &mut Value) -> Result<(), Status> {
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

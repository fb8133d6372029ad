//! New objects.

use coracle_api::{Key, KindRef, Status};
use serde_json::Value;
use uuid::Uuid;

use super::meta::{fill_new, generate_name, meta, text, tidy};
use super::operation::{Body, Context, Written};
use super::{Failure, Registry, TRIES, decode, managed, stored};
use crate::admission;
use crate::store::Verb;

impl Registry {
    pub(super) async fn create(
        &self,
        context: &Context,
        kind: KindRef,
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
        kind: KindRef,
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
        let now = self.clock().now();
        admission::admit_create(self, context, kind, namespace, &mut object)?;
        managed::track(context, None, &mut object, "", now);
        let generated = text(&object, "name").is_empty() && !text(&object, "generateName").is_empty();
        fill_new(&mut object, now, &Uuid::new_v4().to_string());
        (kind.strategy.prepare_create)(&mut object);
        for attempt in 1.. {
            if generated {
                let prefix = text(&object, "generateName").to_string();
                meta(&mut object).insert("name".into(), generate_name(&prefix, &mut rand::rng()).into());
            }
            if attempt == 1 {
                validate_new(kind, &object)?;
                warnings.extend((kind.strategy.warnings)(&object, None));
                tidy(&mut object);
            }
            let name = text(&object, "name").to_string();
            let key = Key::new(stored(kind), namespace, &name);
            let taken = self.entry(&key);
            let outcome = match &taken {
                Some(_) => Err(Failure::Conflict),
                None => self.commit(context, &key, None, Verb::Create, &object).await,
            };
            match outcome {
                Ok(entry) => return Ok(Written { created: true, ..Written::changed(entry.object) }),
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Conflict) if generated && attempt < TRIES => {}
                Err(Failure::Conflict) => return Err(self.taken(&key, generated)),
            }
        }
        unreachable!("the loop ends with its last attempt")
    }

    fn taken(&self, key: &Key, generated: bool) -> Status {
        let mut status = Status::already_exists(key.kind, &key.name);
        let deleting =
            self.entry(key).is_some_and(|e| e.value()["metadata"]["deletionTimestamp"].is_string());
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
pub(super) fn settle_namespace(kind: KindRef, namespace: &str, object: &mut Value) -> Result<(), Status> {
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

fn validate_new(kind: KindRef, object: &Value) -> Result<(), Status> {
    let errors = kind.validate(object);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind, text(object, "name"), &errors))
}

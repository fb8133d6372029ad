//! `/scale`: the number of replicas of a workload, in a form that is the same for all.

use coracle_api::decode::{Format, Target};
use coracle_api::{Errors, Key, Path, Status, patch};
use serde_json::{Value, json};

use super::meta::{meta, text};
use super::operation::{Body, Context, PatchForm, Written};
use super::update::{Change, STALE, check_name, check_uid};
use super::{Failure, Registry, TRIES, decode};

/// The `Scale` of an object.
pub fn show(object: &Value) -> Value {
    let from = &object["metadata"];
    let mut metadata = serde_json::Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = from.get(name) {
            metadata.insert(name.into(), value.clone());
        }
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(0);
    let spec = if wanted == 0 { json!({}) } else { json!({"replicas": wanted}) };
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = selector_text(&object["spec"]["selector"]);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

fn selector_text(selector: &Value) -> String {
    coracle_api::selector::from_object(selector).map(|selector| selector.to_string()).unwrap_or_default()
}

impl Registry {
    pub(super) async fn update_scale(
        &self,
        context: &Context,
        key: &Key,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let scale = decode::typed(context, &target()?, body, warnings)?;
        check_name(key, &scale)?;
        for _ in 0..TRIES {
            match self.rescale(context, key, &scale).await? {
                Some(written) => return Ok(written),
                None => continue,
            }
        }
        Err(Status::conflict(key.kind, &key.name, STALE))
    }

    pub(super) async fn patch_scale(
        &self,
        context: &Context,
        key: &Key,
        form: PatchForm,
        body: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let form = match form {
            PatchForm::Json => patch::Kind::Json,
            PatchForm::Merge => patch::Kind::Merge,
            PatchForm::Strategic => patch::Kind::Strategic,
            // An apply of the one field that there is comes to the same as a merge.
            PatchForm::Apply { .. } => {
                let body = Body::Bytes(Format::Yaml, body.to_vec().into());
                return self.update_scale(context, key, body, warnings).await;
            }
        };
        for _ in 0..TRIES {
            let old = self.entry(key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
            let decoded =
                patch::patch(form, &target()?, &show(&old.value()), body, context.field_validation)?;
            *warnings = decoded.warnings;
            let mut scale = decoded.value;
            check_name(key, &scale)?;
            if text(&scale, "resourceVersion") == old.object.revision.to_string() {
                // It only came from the object itself: who asks for no revision gets the latest.
                meta(&mut scale).shift_remove("resourceVersion");
            }
            if let Some(written) = self.rescale(context, key, &scale).await? {
                return Ok(written);
            }
        }
        Err(Status::conflict(key.kind, &key.name, STALE))
    }

    /// Writes the number of a `Scale`; nothing if somebody else wrote in between.
    async fn rescale(&self, context: &Context, key: &Key, scale: &Value) -> Result<Option<Written>, Status> {
        let old = self.entry(key).ok_or_else(|| Status::not_found(key.kind, &key.name))?;
        let value = old.value();
        check_uid(key, text(scale, "uid"), &value)?;
        let revision = text(scale, "resourceVersion");
        if !revision.is_empty() && revision != text(&value, "resourceVersion") {
            return Err(Status::conflict(key.kind, &key.name, STALE));
        }
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if replicas < 0 {
            return Err(negative(key, replicas));
        }
        let mut new = value;
        new["spec"]["replicas"] = replicas.into();
        // The object is changed as by a write to itself, but its fields are owned by way of the scale.
        let now = self.clock().now();
        (key.kind.strategy.prepare_update)(&mut new, &old.value());
        let new = super::managed::track(context, key.kind, Some(&old.value()), new, "scale", now);
        let change = Change { context, key, sub: None, tracked: true };
        match self.replace(&change, &old, new, &mut Vec::new()).await {
            Ok(written) => {
                let shown = show(&written.object.value().map_err(Status::internal)?);
                Ok(Some(Written { shown: Some(shown), ..written }))
            }
            Err(Failure::Refused(status)) => Err(status),
            Err(Failure::Conflict) => Ok(None),
        }
    }
}

fn target() -> Result<Target<'static>, Status> {
    Target::named("autoscaling", "v1", "Scale").ok_or_else(|| Status::internal("no schema for Scale"))
}

fn negative(key: &Key, replicas: i64) -> Status {
    use coracle_api::status::Details;
    let mut errors = Errors::new();
    let spec = Path::root("spec");
    errors.invalid(&spec.child("replicas"), replicas, "must be greater than or equal to 0");
    let mut status = Status::invalid(key.kind, &key.name, &errors);
    let text = errors.0.first().map(ToString::to_string).unwrap_or_default();
    status.message = format!("Scale.autoscaling {:?} is invalid: {text}", key.name);
    status.details = status.details.map(|details| Details {
        group: "autoscaling".into(),
        kind: "Scale".into(),
        ..details
    });
    status
}

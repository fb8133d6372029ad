//! Patches: read, patch, decode again, replace; from the start where somebody wrote in between.

use coracle_api::{Key, Status};
use serde_json::Value;

use super::operation::{Body, Context, PatchForm, Written};
use super::{Failure, Registry, TRIES, decode};

impl Registry {
    pub(super) async fn patch(
        &self,
        context: &Context,
        key: &Key,
        sub: Option<&str>,
        form: PatchForm,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let patch = decode::tree(body)?;
        for _ in 0..TRIES {
            let Some(old) = self.entry(key) else {
                return Err(Status::not_found(key.kind, &key.name));
            };
            let new = patched(&old.value(), &patch, form)?;
            let new = decode::object(context, key.kind, Body::Tree(new), warnings)?;
            match self.replace(context, key, sub, &old, new, warnings).await {
                Ok(written) => return Ok(written),
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Conflict) => {}
            }
        }
        Err(Status::conflict(
            key.kind,
            &key.name,
            "the object has been modified; please apply your changes to the latest version and try again",
        ))
    }
}

fn patched(old: &Value, patch: &Value, form: PatchForm) -> Result<Value, Status> {
    match form {
        PatchForm::Merge | PatchForm::Strategic => {
            let mut new = old.clone();
            merge(&mut new, patch);
            Ok(new)
        }
        PatchForm::Json | PatchForm::Apply { .. } => {
            Err(Status::failure(415, "UnsupportedMediaType", "this form of patch is not read yet"))
        }
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            map.shift_remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

//! Writes to `/scale`: the workload is read as a `Scale`, changed, and written back.

use coracle_api::decode::{Format, Target, gvk};
use coracle_api::document::yaml;
use coracle_api::{Key, Status, patch, scale};
use serde_json::{Value, json};

use super::managed;
use super::meta::{meta, text};
use super::operation::{Body, Context, PatchForm, Written};
use super::update::{ObjectWrite, STALE, check_name, check_uid};
use super::{Failure, Registry, TRIES, decode};
use crate::admission::attributes::{Extras, Operation};
use crate::entry::Entry;

const SUB: &str = "scale";

impl Registry {
    pub(super) async fn update_scale(
        &self,
        context: &Context,
        key: &Key,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let wanted = decode::typed(context, &target()?, body, warnings)?;
        check_name(key, &wanted)?;
        for _ in 0..TRIES {
            let old = self.entry(key).ok_or_else(|| Status::not_found(&key.kind, &key.name))?;
            let live = old.value();
            let new = self.scaled(context, key, &live, wanted.clone())?;
            if let Some(written) = self.rescale(context, key, (&old, &live), new, warnings).await? {
                return Ok(written);
            }
        }
        Err(Status::conflict(&key.kind, &key.name, STALE))
    }

    pub(super) async fn patch_scale(
        &self,
        context: &Context,
        key: &Key,
        form: PatchForm,
        body: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        for _ in 0..TRIES {
            warnings.clear();
            let old = self.entry(key).ok_or_else(|| Status::not_found(&key.kind, &key.name))?;
            let live = old.value();
            let form = match form {
                PatchForm::Json => patch::Kind::Json,
                PatchForm::Merge => patch::Kind::Merge,
                PatchForm::Strategic => patch::Kind::Strategic,
                PatchForm::Apply { force } => {
                    let new = self.applied(context, key, &live, force, body)?;
                    match self.rescale(context, key, (&old, &live), new, warnings).await? {
                        Some(written) => return Ok(written),
                        None => continue,
                    }
                }
            };
            let shown = scale::of(&key.kind, &live);
            let decoded = patch::patch(form, &target()?, &shown, body, context.field_validation)?;
            warnings.extend(decoded.warnings);
            check_name(key, &decoded.value)?;
            let new = self.scaled(context, key, &live, decoded.value)?;
            if let Some(written) = self.rescale(context, key, (&old, &live), new, warnings).await? {
                return Ok(written);
            }
        }
        Err(Status::conflict(&key.kind, &key.name, STALE))
    }

    /// The workload as a `Scale` wants it, its fields owned by way of the subresource.
    fn scaled(&self, context: &Context, key: &Key, old: &Value, mut wanted: Value) -> Result<Value, Status> {
        check_uid(key, text(&wanted, "uid"), old)?;
        let revision = text(&wanted, "resourceVersion");
        if !revision.is_empty() && revision != text(old, "resourceVersion") {
            return Err(Status::conflict(&key.kind, &key.name, STALE));
        }
        meta(&mut wanted).insert("namespace".into(), key.namespace.as_str().into());
        let errors = scale::validate(&wanted);
        if !errors.is_empty() {
            return Err(Status::invalid_named("autoscaling", "Scale", &key.name, &errors));
        }
        let mut new = old.clone();
        scale::apply(&key.kind, &wanted, &mut new);
        let mut new = managed::track(context, &key.kind, Some(old), new, SUB, self.clock().now());
        // Upstream notes no time for what is owned by way of a scale.
        for entry in
            new.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if entry["subresource"] == SUB && entry["operation"] == "Update" {
                entry.as_object_mut().map(|entry| entry.shift_remove("time"));
            }
        }
        Ok(new)
    }

    /// An apply of a `Scale` is one of the workload with nothing but its replicas.
    fn applied(
        &self,
        context: &Context,
        key: &Key,
        old: &Value,
        force: bool,
        body: &[u8],
    ) -> Result<Value, Status> {
        let document = yaml::parse(&String::from_utf8_lossy(body))
            .map_err(|fault| fault.status(|text| Status::bad_request(text)))?;
        let (api_version, kind) = gvk(&document.value).map_err(Status::bad_request)?;
        let (api_version, kind) = (api_version.unwrap_or_default(), kind.unwrap_or_default());
        if (api_version.as_ref(), kind.as_ref()) != ("autoscaling/v1", "Scale") {
            return Err(Status::bad_request(format!("invalid object type: {api_version}, Kind={kind}")));
        }
        let body = Body::Bytes(Format::Yaml, body.to_vec().into());
        let wanted = decode::typed(context, &target()?, body, &mut Vec::new())?;
        check_name(key, &wanted)?;
        let mut config = json!({
            "apiVersion": key.kind.api_version(),
            "kind": key.kind.kind(),
            "metadata": {"name": key.name, "namespace": key.namespace},
        });
        scale::want(&key.kind, wanted["spec"]["replicas"].as_i64().unwrap_or(0), &mut config);
        let now = self.clock().now();
        let config = config.to_string();
        managed::apply(context, &key.kind, SUB, force, Some(old), config.as_bytes(), now)
            .map(|decoded| decoded.value)
    }

    /// Writes the workload; nothing if somebody else wrote in between.
    async fn rescale(
        &self,
        context: &Context,
        key: &Key,
        old: (&Entry, &Value),
        mut new: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Written>, Status> {
        // The chain sees the scale, as upstream's does.
        let before = scale::of(&key.kind, old.1);
        let asked = self.asked(context, Operation::Update, key, SUB, &before);
        let (mut wanted, mut extras) = (scale::of(&key.kind, &new), Extras::default());
        self.admit(&asked, &mut wanted, &mut extras).await?;
        scale::apply(&key.kind, &wanted, &mut new);
        warnings.append(&mut extras.warnings);
        let change = ObjectWrite { context, key, sub: None, tracked: true, precise: false, admitted: true };
        match self.replace(&change, old, new, &mut Vec::new()).await {
            Ok(written) => {
                let shown = scale::of(&key.kind, &written.object.value().map_err(Status::internal)?);
                Ok(Some(Written { shown: Some(shown), ..written }))
            }
            Err(Failure::Refused(status) | Failure::Unknown(status)) => Err(*status),
            Err(Failure::Conflict | Failure::Raced) => Ok(None),
        }
    }
}

fn target() -> Result<Target<'static>, Status> {
    Target::named("autoscaling", "v1", "Scale").ok_or_else(|| Status::internal("no schema for Scale"))
}

//! Patches: read, patch, decode again, replace; from the start where somebody wrote in between.

use bytes::Bytes;
use coracle_api::decode::{Decoded, Target};
use coracle_api::{Key, Status, patch};
use serde_json::Value;

use super::create::set_namespace;
use super::meta::text;
use super::operation::{Body, Context, PatchForm, Written};
use super::update::{ObjectWrite, STALE, check_name};
use super::{Failure, Registry, TRIES, decode, managed, stored};

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
        let body: Bytes = match body {
            Body::Bytes(_, bytes) => bytes,
            Body::Tree(value) => value.to_string().into(),
        };
        if form == PatchForm::Strategic && key.kind.is_defined() {
            return Err(Status::unsupported_body(key.kind.patch_types()));
        }
        if sub == Some("scale") {
            return self.patch_scale(context, key, form, &body, warnings).await;
        }
        let stored_key = Key { kind: stored(&key.kind), ..key.clone() };
        let change = ObjectWrite {
            context,
            key,
            sub,
            tracked: matches!(form, PatchForm::Apply { .. }),
            precise: false,
            admitted: false,
        };
        for _ in 0..TRIES {
            warnings.clear();
            let Some(old) = self.entry(&stored_key) else {
                let PatchForm::Apply { force } = form else {
                    return Err(Status::not_found(&key.kind, &key.name));
                };
                return self.apply_new(&change, force, &body, warnings).await;
            };
            let live = old.value();
            let decoded = self.patched(&change, &live, form, &body)?;
            warnings.extend(decoded.warnings);
            let mut new = decode::stored_form(&key.kind, decoded.value);
            set_namespace(&key.kind, &key.namespace, &mut new)?;
            check_name(key, &new)?;
            match self.replace(&change, (&old, &live), new, warnings).await {
                Ok(written) => return Ok(written),
                Err(Failure::Refused(status) | Failure::Unknown(status)) => return Err(*status),
                Err(Failure::Conflict | Failure::Raced) => {}
            }
        }
        Err(Status::conflict(&key.kind, &key.name, STALE))
    }

    fn patched(
        &self,
        change: &ObjectWrite<'_>,
        old: &Value,
        form: PatchForm,
        body: &[u8],
    ) -> Result<Decoded, Status> {
        let (context, kind) = (change.context, &change.key.kind);
        let live = match kind.view {
            Some(view) => &(view.show)(old.clone()),
            None => old,
        };
        let form = match form {
            PatchForm::Json => patch::Kind::Json,
            PatchForm::Merge => patch::Kind::Merge,
            PatchForm::Strategic => patch::Kind::Strategic,
            PatchForm::Apply { force } => {
                let (sub, now) = (change.sub.unwrap_or_default(), self.clock().now());
                return managed::apply(context, kind, sub, force, Some(live), body, now);
            }
        };
        patch::patch(form, &Target::of(kind), live, body, context.field_validation)
    }

    /// Applying to nothing makes an object.
    async fn apply_new(
        &self,
        change: &ObjectWrite<'_>,
        force: bool,
        body: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let (context, key) = (change.context, change.key);
        if change.sub.is_some() {
            return Err(Status::not_found(&key.kind, &key.name));
        }
        let decoded = managed::apply(context, &key.kind, "", force, None, body, self.clock().now())?;
        warnings.extend(decoded.warnings);
        let mut object = decode::stored_form(&key.kind, decoded.value);
        check_name(key, &object)?;
        let uid = text(&object, "uid");
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Status::conflict(&key.kind, &key.name, &why));
        }
        set_namespace(&key.kind, &key.namespace, &mut object)?;
        self.create_tracked(context, &key.kind, &key.namespace, object, warnings).await
    }
}

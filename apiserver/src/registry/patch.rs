//! Patches: read, patch, decode again, replace; from the start where somebody wrote in between.

use coracle_api::decode::Target;
use coracle_api::{Key, Status, patch};

use super::operation::{Body, Context, PatchForm, Written};
use super::{Failure, Registry, TRIES, decode, stored};

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
        let form = match form {
            PatchForm::Json => patch::Kind::Json,
            PatchForm::Merge => patch::Kind::Merge,
            PatchForm::Strategic => patch::Kind::Strategic,
            PatchForm::Apply { .. } => {
                return Err(Status::failure(415, "UnsupportedMediaType", "apply is not understood yet"));
            }
        };
        let body = match body {
            Body::Bytes(_, bytes) => bytes,
            Body::Tree(value) => value.to_string().into(),
        };
        let kind = key.kind;
        let place = Key { kind: stored(kind), ..key.clone() };
        for _ in 0..TRIES {
            let Some(old) = self.entry(&place) else {
                return Err(Status::not_found(kind, &key.name));
            };
            let shown = kind.view.map_or(old.value(), |view| (view.show)(old.value()));
            let decoded = patch::patch(form, &Target::of(kind), &shown, &body, context.field_validation)?;
            *warnings = decoded.warnings;
            let new = decode::settled(kind, decoded.value);
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

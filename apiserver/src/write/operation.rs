//! What anybody can ask to have written: the same for REST, gRPC and components in the same process.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::decode::Format;
use coracle_api::{Key, KindRef, Object, Revision, Status};
use coracle_client as client;
use serde_json::Value;

use crate::identity::Identity;

/// Who writes, why and how.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// On whose behalf.
    pub user: Arc<Identity>,
    /// Which part of a component acts, for the change log; empty: the user's name says enough.
    pub actor: String,
    /// The revisions that made the writer act.
    pub causes: Vec<Revision>,
    /// Under which name the fields are owned; empty: made from `user_agent`.
    pub field_manager: String,
    /// The client's own name.
    pub user_agent: String,
    /// Answer as if written, but do not write.
    pub dry_run: bool,
    /// What to do about unknown and duplicate fields.
    pub field_validation: FieldValidation,
}

impl Context {
    /// A context for one of the cluster's own components.
    pub fn of(user: impl Into<Arc<Identity>>) -> Context {
        Context { user: user.into(), field_validation: FieldValidation::Ignore, ..Context::default() }
    }
}

pub use coracle_api::decode::FieldValidation;

/// A body as the client sent it, or as a component in the same process built it.
#[derive(Clone, Debug)]
pub enum Body {
    /// Still to be decoded against the kind's schema.
    Bytes(Format, Bytes),
    /// A tree.
    Tree(Value),
}

/// One write.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Makes a new object, or posts to a subresource of the object `sub.0`.
    Create {
        /// The kind of the object, or of the subresource's parent.
        kind: KindRef,
        /// Empty for cluster-scoped kinds.
        namespace: String,
        /// The parent's name and the subresource.
        sub: Option<(String, String)>,
        /// The object.
        body: Body,
    },
    /// Replaces an object, or one of its subresources.
    Update {
        /// Whose.
        key: Key,
        /// Such as `status`.
        sub: Option<String>,
        /// The new object.
        body: Body,
    },
    /// Changes parts of it.
    Patch {
        /// Whose.
        key: Key,
        /// Such as `status`.
        sub: Option<String>,
        /// Its form.
        form: PatchForm,
        /// The patch.
        body: Body,
    },
    /// Deletes an object.
    Delete {
        /// Which.
        key: Key,
        /// How.
        options: DeleteOptions,
    },
}

/// The forms of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/json-patch+json`.
    Json,
    /// `application/apply-patch+yaml`.
    Apply {
        /// Take fields over from other managers.
        force: bool,
    },
}

/// How an object is deleted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteOptions {
    /// Only this one, not a namesake.
    pub uid: Option<String>,
    /// Only if it has not changed since.
    pub revision: Option<String>,
    /// Seconds; `None` for the object's own.
    pub grace_seconds: Option<i64>,
    /// What happens to its dependents; `None` for the kind's default.
    pub propagation: Option<client::Propagation>,
    /// The old form of `propagation`.
    pub orphan_dependents: Option<bool>,
}

/// What a write led to.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it is now; for a finished delete its last state.
    pub object: Arc<Object>,
    /// Whether it is new.
    pub created: bool,
    /// Whether it is gone now; false while finalizers or a grace period hold it.
    pub gone: bool,
    /// What a subresource answers instead of the object, such as a `Scale`.
    pub shown: Option<Value>,
}

impl Written {
    /// An object that was changed.
    pub fn changed(object: Arc<Object>) -> Written {
        Written { object, created: false, gone: false, shown: None }
    }
}

/// How a write ended. A refusal can come with warnings, too.
#[derive(Debug)]
pub struct Answer {
    /// What it led to.
    pub result: Result<Written, Status>,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

impl Answer {
    /// A write that has not happened.
    pub fn refused(status: Status) -> Answer {
        Answer { result: Err(status), warnings: Vec::new() }
    }
}

impl From<client::Op> for Operation {
    fn from(op: client::Op) -> Operation {
        match op {
            client::Op::Create { kind, namespace, sub, object } => Operation::Create {
                kind,
                namespace,
                sub: sub.map(|(name, sub)| (name, sub.to_string())),
                body: Body::Tree(object),
            },
            client::Op::Update { key, sub, object } => {
                Operation::Update { key, sub: sub.map(str::to_string), body: Body::Tree(object) }
            }
            client::Op::Patch { key, sub, form, patch } => Operation::Patch {
                key,
                sub: sub.map(str::to_string),
                form: match form {
                    client::PatchForm::Merge => PatchForm::Merge,
                    client::PatchForm::Strategic => PatchForm::Strategic,
                    client::PatchForm::Json => PatchForm::Json,
                },
                body: Body::Tree(patch),
            },
            client::Op::Delete { key, uid, revision, grace_seconds, propagation } => Operation::Delete {
                key,
                options: DeleteOptions {
                    uid,
                    revision: revision.map(|r| r.to_string()),
                    grace_seconds,
                    propagation,
                    orphan_dependents: None,
                },
            },
        }
    }
}

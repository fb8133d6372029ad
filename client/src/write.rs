//! What a component can write, and short ways to say it with the types of `k8s_openapi`.

use std::sync::Arc;

use coracle_api::{Key, KindRef, Object, Revision, Status};
use serde_json::{Value, json};

use crate::typed::Typed;
use crate::{Client, Error, Interest};

/// One write, who of a component's parts makes it, and the revisions that made it act. They make the change log a graph
/// that `coracle trace` walks.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// What to do.
    pub op: Op,
    /// Why: the revisions whose changes woke the writer. Empty for a person's own act.
    pub causes: Vec<Revision>,
    /// Who, for the change log: `deployment-controller`. Empty: the client's identity says enough.
    pub actor: String,
}

/// What a write does. Defaulting, validation and admission apply to each alike.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Makes a new object; or, with a subresource, posts to it (`binding`, `eviction`) under the parent's name.
    Create {
        /// The kind of the object, or of the subresource's parent.
        kind: KindRef,
        /// Empty for cluster-scoped kinds.
        namespace: String,
        /// The parent's name and the subresource.
        sub: Option<(String, &'static str)>,
        /// The object.
        object: Value,
    },
    /// Replaces an object, or its `status`. A `resourceVersion` inside must match.
    Update {
        /// Whose.
        key: Key,
        /// Such as `status`.
        sub: Option<&'static str>,
        /// The whole new object.
        object: Value,
    },
    /// Changes parts of an object. A `resourceVersion` or `uid` in the patch must match.
    Patch {
        /// Whose.
        key: Key,
        /// Such as `status`.
        sub: Option<&'static str>,
        /// What form the patch has.
        form: PatchForm,
        /// The patch.
        patch: Value,
    },
    /// Deletes an object.
    Delete {
        /// Which.
        key: Key,
        /// Only this one, not a namesake.
        uid: Option<String>,
        /// Only if it has not changed since.
        revision: Option<Revision>,
        /// Seconds; `None` for the object's own.
        grace_seconds: Option<i64>,
        /// What happens to its dependents; `None` for the kind's default.
        propagation: Option<Propagation>,
    },
}

/// The forms of a patch that components use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/json-patch+json`.
    Json,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

impl From<Op> for Write {
    fn from(op: Op) -> Write {
        Write { op, causes: Vec::new(), actor: String::new() }
    }
}

impl Op {
    /// Makes a new object. Its name may be empty where `generateName` is set.
    pub fn create<T: Typed>(object: &T) -> Op {
        let namespace = object.metadata().namespace.clone().unwrap_or_default();
        Op::Create { kind: T::kind(), namespace, sub: None, object: object.to_value() }
    }

    /// Replaces an object; the `resourceVersion` in it must still be the latest.
    pub fn update<T: Typed>(object: &T) -> Op {
        Op::Update { key: object.key(), sub: None, object: object.to_value() }
    }

    /// Replaces an object's status; the `resourceVersion` in it must still be the latest.
    pub fn update_status<T: Typed>(object: &T) -> Op {
        Op::Update { key: object.key(), sub: Some("status"), object: object.to_value() }
    }

    /// Changes parts of an object by a merge patch. With a `resourceVersion` in its metadata it conflicts when somebody wrote first.
    pub fn merge(key: Key, patch: Value) -> Op {
        Op::Patch { key, sub: None, form: PatchForm::Merge, patch }
    }

    /// Changes parts of an object's status by a merge patch.
    pub fn merge_status(key: Key, patch: Value) -> Op {
        Op::Patch { key, sub: Some("status"), form: PatchForm::Merge, patch }
    }

    /// Changes parts of an object by a strategic merge patch.
    pub fn strategic(key: Key, patch: Value) -> Op {
        Op::Patch { key, sub: None, form: PatchForm::Strategic, patch }
    }

    /// Changes parts of an object's status by a strategic merge patch.
    pub fn strategic_status(key: Key, patch: Value) -> Op {
        Op::Patch { key, sub: Some("status"), form: PatchForm::Strategic, patch }
    }

    /// Deletes this very object, not another one of the same name.
    pub fn delete<T: Typed>(object: &T) -> Op {
        Op::Delete {
            key: object.key(),
            uid: object.metadata().uid.clone(),
            revision: None,
            grace_seconds: None,
            propagation: None,
        }
    }

    /// Deletes whatever object has this key.
    pub fn delete_key(key: Key) -> Op {
        Op::Delete { key, uid: None, revision: None, grace_seconds: None, propagation: None }
    }

    /// The same delete with a grace period; other writes stay as they are.
    #[must_use]
    pub fn with_grace(mut self, seconds: i64) -> Op {
        if let Op::Delete { grace_seconds, .. } = &mut self {
            *grace_seconds = Some(seconds);
        }
        self
    }

    /// The same delete with an order for the dependents; other writes stay as they are.
    #[must_use]
    pub fn with_propagation(mut self, how: Propagation) -> Op {
        if let Op::Delete { propagation, .. } = &mut self {
            *propagation = Some(how);
        }
        self
    }

    /// Binds a pod to a node, if it is still the pod with this uid.
    pub fn bind(pod: &Key, uid: &str, node: &str) -> Op {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let sub = Some((pod.name.clone(), "binding"));
        Op::Create { kind: pod.kind.clone(), namespace: pod.namespace.clone(), sub, object }
    }

    /// What is written to; a create with `generateName` has an empty name in it.
    pub fn key(&self) -> Key {
        match self {
            Op::Create { kind, namespace, sub, object } => {
                let name = match sub {
                    Some((parent, _)) => parent.as_str(),
                    None => object["metadata"]["name"].as_str().unwrap_or_default(),
                };
                Key::new(kind, namespace.clone(), name)
            }
            Op::Update { key, .. } | Op::Patch { key, .. } | Op::Delete { key, .. } => key.clone(),
        }
    }

    /// The verb as people know it: `create`, `update`, `patch`, `delete`.
    pub fn verb(&self) -> &'static str {
        match self {
            Op::Create { .. } => "create",
            Op::Update { .. } => "update",
            Op::Patch { .. } => "patch",
            Op::Delete { .. } => "delete",
        }
    }
}

impl PatchForm {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            PatchForm::Merge => "application/merge-patch+json",
            PatchForm::Strategic => "application/strategic-merge-patch+json",
            PatchForm::Json => "application/json-patch+json",
        }
    }

    /// The form that a media type names.
    pub fn from_media_type(text: &str) -> Option<PatchForm> {
        [PatchForm::Merge, PatchForm::Strategic, PatchForm::Json].into_iter().find(|f| f.media_type() == text)
    }
}

impl Propagation {
    /// Kubernetes' word: `Background`, `Foreground`, `Orphan`.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }

    /// The policy that a word names.
    pub fn from_word(text: &str) -> Option<Propagation> {
        use Propagation::{Background, Foreground, Orphan};
        [Background, Foreground, Orphan].into_iter().find(|p| p.as_str() == text)
    }
}

/// Short ways for one object at a time.
impl dyn Client {
    /// One object, decoded.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Error::Malformed`] for an object that does not fit its type.
    pub async fn get_as<T: Typed>(&self, namespace: &str, name: &str) -> Result<Option<T>, Error> {
        match self.get(&Key::new(T::kind(), namespace, name)).await? {
            Some(object) => Ok(Some(decode(&object)?)),
            None => Ok(None),
        }
    }

    /// All objects of a type, decoded.
    ///
    /// # Errors
    /// As [`Client::list`]; [`Error::Malformed`] for an object that does not fit its type.
    pub async fn list_as<T: Typed>(&self) -> Result<Vec<T>, Error> {
        let (objects, _) = self.list(&Interest::all(T::kind())).await?;
        objects.iter().map(|object| decode(object)).collect()
    }

    /// One write; what the server refuses is [`Error::Refused`].
    ///
    /// # Errors
    /// As [`Client::write`].
    pub async fn write_one(&self, write: impl Into<Write> + Send) -> Result<Arc<Object>, Error> {
        let outcome = self.write(vec![write.into()]).await?.pop();
        let outcome = outcome.ok_or_else(|| Error::Malformed("no outcome for the write".into()))?;
        Ok(outcome?)
    }

    /// Makes one object and returns it as the server stored it.
    ///
    /// # Errors
    /// As [`Client::write`].
    pub async fn create<T: Typed>(&self, object: &T) -> Result<T, Error> {
        let stored = self.write_one(Op::create(object)).await?;
        decode(&stored)
    }
}

/// The object as its type.
///
/// # Errors
/// [`Error::Malformed`] where it does not fit.
pub fn decode<T: Typed>(object: &Object) -> Result<T, Error> {
    T::from_json(&object.json).map_err(|error| Error::Malformed(format!("{}: {error}", object.key)))
}

/// What becomes of each item of a batch, in order.
pub type Outcomes = Vec<Result<Arc<Object>, Status>>;

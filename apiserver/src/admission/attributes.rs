//! What a link of the chain knows of a write: upstream's `admission.Attributes`.

use std::borrow::Cow;

use coracle_api::{Key, Kind, Status};
use serde_json::{Value, json};

use crate::entry::Entry;
use crate::identity::Identity;
use crate::state::State;
use crate::write::operation::{Context, DeleteOptions, FieldValidation};

/// What is done. A patch is an update, or a create where an apply makes the object; every item of a collection that is deleted is a
/// delete of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or something posted to a subresource, such as a binding.
    Create,
    /// A changed object, or a changed subresource of one.
    Update,
    /// An object that is to be deleted.
    Delete,
    /// A session with a container.
    Connect,
}

impl Operation {
    /// As admission requests spell it.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// One write on its way through the chain. The object itself is not here: mutating links change it.
#[derive(Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks, after impersonation.
    pub user: &'a Identity,
    /// What is done.
    pub operation: Operation,
    /// To what: the object under the kind that was asked for, which may be a view; the parent where a subresource is meant. The name
    /// is empty where none is known yet, and for the items of a collection.
    pub key: &'a Key,
    /// Such as `status`; empty for the object itself.
    pub subresource: &'a str,
    /// The object, or what the subresource shows of it, as it is now; null where there is nothing.
    pub old: &'a Value,
    /// How it is to be done.
    pub context: &'a Context,
    /// How an object is to be deleted.
    pub delete: Option<&'a DeleteOptions>,
    /// Everything else that lives.
    pub state: &'a State,
}

impl Attributes<'_> {
    /// Whether nothing is to be stored. A link that acts on the world outside must not do so then.
    pub fn is_dry_run(&self) -> bool {
        self.context.dry_run
    }

    /// Group, version and kind of the object in hand, which for some subresources is not the resource's own: a pod's `binding` is a
    /// `Binding`.
    pub fn gvk(&self) -> (Cow<'_, str>, Cow<'_, str>, Cow<'_, str>) {
        let kind = &self.key.kind;
        match kind.subresource(self.subresource).and_then(|row| row.gvk) {
            Some((group, version, kind)) => (group.into(), version.into(), kind.into()),
            None => (kind.group().into(), kind.version().into(), kind.kind().into()),
        }
    }

    /// Whether it is about the objects of a kind themselves, not about a subresource.
    pub fn is_about(&self, kind: &Kind) -> bool {
        self.subresource.is_empty() && *self.key.kind == *kind
    }

    /// The options as their document: `CreateOptions`, `UpdateOptions` or `DeleteOptions`; null for a connection.
    pub fn options(&self) -> Value {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Value::Null,
        };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if let Some(delete) = self.delete {
            for (name, value) in [
                ("gracePeriodSeconds", json!(delete.grace_seconds)),
                ("orphanDependents", json!(delete.orphan_dependents)),
                ("propagationPolicy", json!(delete.propagation.map(|policy| format!("{policy:?}")))),
            ] {
                if !value.is_null() {
                    options[name] = value;
                }
            }
            for (name, value) in [("uid", &delete.uid), ("resourceVersion", &delete.revision)] {
                if let Some(value) = value {
                    options["preconditions"][name] = value.as_str().into();
                }
            }
        } else {
            if !self.context.field_manager.is_empty() {
                options["fieldManager"] = self.context.field_manager.as_str().into();
            }
            options["fieldValidation"] = match self.context.field_validation {
                FieldValidation::Ignore => "Ignore",
                FieldValidation::Warn => "Warn",
                FieldValidation::Strict => "Strict",
            }
            .into();
        }
        if self.is_dry_run() {
            options["dryRun"] = json!(["All"]);
        }
        options
    }

    /// Another object as it is now.
    pub fn find(&self, key: &Key) -> Option<Entry> {
        self.state.get(key)
    }

    /// 403 with upstream's beginning: `pods "a" is forbidden: `. An object whose name is still to be generated is called by the
    /// beginning of it, as `extractResourceName` in `k8s.io/apiserver/pkg/admission/errors.go` does.
    pub fn forbid(&self, object: &Value, why: &str) -> Status {
        let inside = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let names = [self.key.name.as_str(), inside("name"), inside("generateName")];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
        Status::forbidden(&self.key.kind, name, why)
    }
}

/// What links add to a write.
#[derive(Debug, Default)]
pub struct Extras {
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
    /// What is committed together with it.
    pub changes: Vec<Companion>,
}

/// A change of another object that is made together with a write, or neither is: a quota's new count, say. If the other object has
/// changed since it was read, the write is tried again from where it reads.
#[derive(Debug)]
pub struct Companion {
    /// The other object as the link has read it.
    pub read: Entry,
    /// As it is to be.
    pub object: Value,
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;
    use coracle_client::Propagation;

    use super::*;
    use crate::store::Bounds;

    #[test]
    fn options_and_names_are_upstreams() {
        let state = State::new(Bounds::default());
        let user = Identity::new("u", &[]);
        let key = Key::new(&kinds::POD, "a", "b");
        let context = Context { dry_run: true, field_manager: "m".into(), ..Context::of(user.clone()) };
        let delete = DeleteOptions {
            uid: Some("x".into()),
            grace_seconds: Some(0),
            propagation: Some(Propagation::Orphan),
            ..DeleteOptions::default()
        };
        let of = |operation, delete| Attributes {
            user: &user,
            operation,
            key: &key,
            subresource: "",
            old: &Value::Null,
            context: &context,
            delete,
            state: &state,
        };
        assert_eq!(
            of(Operation::Update, None).options(),
            json!({"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "m", "fieldValidation": "Ignore", "dryRun": ["All"]})
        );
        assert_eq!(
            of(Operation::Delete, Some(&delete)).options(),
            json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 0, "propagationPolicy": "Orphan", "preconditions": {"uid": "x"}, "dryRun": ["All"]})
        );
        let unnamed = Key::new(&kinds::POD, "a", "");
        for (key, metadata, name) in [
            (&key, json!({"name": "c", "generateName": "d-"}), "b"),
            (&unnamed, json!({"name": "c", "generateName": "d-"}), "c"),
            (&unnamed, json!({"generateName": "d-"}), "d-"),
            (&unnamed, json!({}), "Unknown"),
        ] {
            let attributes = Attributes { key, ..of(Operation::Create, None) };
            let status = attributes.forbid(&json!({"metadata": metadata}), "no");
            assert_eq!(status.message, format!("pods {name:?} is forbidden: no"));
            assert_eq!(status.details.unwrap_or_default().name, name);
        }
        let binding = Attributes { subresource: "binding", ..of(Operation::Create, None) };
        assert_eq!(binding.gvk(), ("".into(), "v1".into(), "Binding".into()));
    }
}

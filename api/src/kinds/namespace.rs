//! `Namespace`.

use serde_json::{Value, json};

use super::strategy::{PLAIN, keep};
use super::{Borrowed, Named, STATUS, Static, USUAL};
use crate::defaults::map_at;
use crate::field::{Errors, Field, Path};
use crate::kind::{Deletion, Kind, Selectable, Strategy, Subresource, SubresourceWrite};
use crate::names;
use crate::read::text;
use crate::table::{Cell::Text, Column, Table};

/// The row of `Namespace`.
pub static NAMESPACE: Kind = Kind {
    kind: Borrowed("Namespace"),
    plural: Borrowed("namespaces"),
    singular: Borrowed("namespace"),
    short_names: Borrowed("ns"),
    namespaced: false,
    schema: Named("io.k8s.api.core.v1.Namespace"),
    deletion: Deletion::Emptied,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    name_rule: names::dns_label,
    subresources: Borrowed(&[
        Subresource { name: "finalize", verbs: &["update"], write: Some(&FINALIZE), ..Subresource::PLAIN },
        STATUS,
    ]),
    selectable: Borrowed(&[Selectable::text("status.phase", &["/status/phase"])]),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text("Status", "Active, or Terminating.", Text("/status/phase")),
        Column::age(),
    ]),
    ..Table::PLAIN
};

static STRATEGY: Strategy = Strategy {
    default: |_, object| default(object),
    prepare_create: |_, object| prepare_create(object),
    prepare_update: |_, new, old| prepare_update(new, old),
    validate,
    validate_update,
    validate_status_update,
    ..PLAIN
};

/// A write to `/finalize` changes the spec's finalizers and nothing else.
static FINALIZE: SubresourceWrite = SubresourceWrite {
    prepare: |_, new, old| keep(new, old, "status"),
    validate: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        for finalizer in Field::top(new, "spec").get("finalizers").items() {
            errors.all_invalid(&finalizer, finalizer.text(), finalizer_problems(finalizer.text()));
        }
    },
};

/// Names the namespace to those who select namespaces by label.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn default(namespace: &mut Value) {
    let name = text(namespace, "/metadata/name").to_owned();
    if let Some(metadata) = namespace.get_mut("metadata").filter(|_| !name.is_empty())
        && let Some(labels) = map_at(metadata, "labels")
    {
        labels.insert(NAME_LABEL.into(), name.into());
    }
}

fn prepare_create(namespace: &mut Value) {
    // The name may have been generated since defaults were filled in.
    default(namespace);
    namespace["status"] = json!({"phase": "Active"});
    let mut finalizers = namespace["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
        finalizers.push("kubernetes".into());
    }
    namespace["spec"]["finalizers"] = finalizers.into();
}

fn prepare_update(new: &mut Value, old: &Value) {
    keep(new, old, "spec");
    keep(new, old, "status");
}

fn validate(kind: &Kind, namespace: &Value, errors: &mut Errors) {
    kind.check_metadata(namespace, errors);
    let spec = Field::top(namespace, "spec");
    let finalizers = spec.get("finalizers");
    for finalizer in finalizers.items() {
        // Upstream's path leaves out the index here.
        errors.all_invalid(&finalizers, finalizer.text(), finalizer_problems(finalizer.text()));
    }
}

/// What is wrong with a finalizer of the spec.
fn finalizer_problems(name: &str) -> Vec<String> {
    let mut problems = names::qualified_name(name);
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        problems.push("name is neither a standard finalizer name nor is it fully qualified".into());
    }
    problems
}

fn validate_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    validate(kind, new, errors);
    kind.check_metadata_update(new, old, errors);
}

fn validate_status_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    let phase = text(new, "/status/phase");
    let (wanted, detail) = match new.pointer("/metadata/deletionTimestamp") {
        None | Some(Value::Null) => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
        Some(_) => ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty"),
    };
    if phase != wanted {
        errors.invalid(&Path::root("status").child("Phase"), phase, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::NAMESPACE;

    #[test]
    fn a_new_namespace_is_active_and_held() {
        let mut namespace = json!({"metadata": {"name": "a", "labels": {NAME_LABEL: "b", "c": "d"}}});
        prepare_create(&mut namespace);
        assert_eq!(
            namespace,
            json!({
                "metadata": {"name": "a", "labels": {NAME_LABEL: "a", "c": "d"}},
                "status": {"phase": "Active"},
                "spec": {"finalizers": ["kubernetes"]},
            })
        );
    }

    #[test]
    fn finalizers_need_a_domain() {
        let namespace =
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes", "a.b/c", "mine"]}});
        let mut errors = Errors::new();
        validate(&NAMESPACE, &namespace, &mut errors);
        assert_eq!(errors.0.len(), 1);
        assert_eq!(errors.0[0].field, "spec.finalizers");
    }
}

//! `ServiceAccount`.

use super::strategy::PLAIN;
use super::{Borrowed, Named, Static, USUAL};
use crate::kind::{Kind, Strategy, Subresource};
use crate::table::{Cell::Count, Column, Table};

/// The row of `ServiceAccount`.
pub static SERVICE_ACCOUNT: Kind = Kind {
    kind: Borrowed("ServiceAccount"),
    plural: Borrowed("serviceaccounts"),
    singular: Borrowed("serviceaccount"),
    short_names: Borrowed("sa"),
    schema: Named("io.k8s.api.core.v1.ServiceAccount"),
    subresources: Borrowed(&[Subresource {
        name: "token",
        gvk: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        verbs: &["create"],
        ..Subresource::PLAIN
    }]),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text("Secrets", "How many secrets its pods may use.", Count("/secrets")),
        Column::age(),
    ]),
    ..Table::PLAIN
};

static STRATEGY: Strategy = Strategy {
    validate_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        kind.check_metadata(new, errors);
    },
    warnings: |_, new, old| {
        let enforces =
            |account: &serde_json::Value| account["metadata"]["annotations"].get(ENFORCE).is_some();
        let text = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
        let warns = enforces(new) && !old.is_some_and(enforces);
        warns.then(|| format!("metadata.annotations[{ENFORCE}]: {text}")).into_iter().collect()
    },
    delete_answers_object: true,
    ..PLAIN
};

/// Limits the secrets that pods of an account may mount to those that it names.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_old_annotation_is_told_of_once() {
        let plain = json!({"metadata": {}});
        let old = json!({"metadata": {"annotations": {ENFORCE: "true"}}});
        for (new, before, warns) in
            [(&old, None, 1), (&old, Some(&plain), 1), (&old, Some(&old), 0), (&plain, None, 0)]
        {
            assert_eq!(
                (STRATEGY.warnings)(&SERVICE_ACCOUNT, new, before).len(),
                warns,
                "case: {new} after {before:?}"
            );
        }
    }
}

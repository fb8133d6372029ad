//! The kinds that every cluster serves, one file a kind: its row, its defaults, its rules.
//!
//! What several kinds share stands beside them: [`strategy`] for the life of an object around its rules,
//! `crate::table` for printing, `crate::validate` for metadata and pod templates.

use std::borrow::Cow::Borrowed;

use crate::handle::Handle::Static;
use crate::kind::{Kind, KindRef, Subresource};
use crate::names;
use crate::schema::SchemaRef::Named;
use crate::table::Table;

pub mod strategy;

mod configmap;
mod deployment;
mod event;
mod lease;
mod namespace;
mod node;
mod pod;
mod poddisruptionbudget;
mod replicaset;
mod secret;
pub mod service;
mod serviceaccount;
mod workload;

pub use {
    configmap::CONFIG_MAP,
    deployment::DEPLOYMENT,
    event::{EVENT, EVENT_V1},
    lease::LEASE,
    namespace::NAMESPACE,
    node::NODE,
    pod::POD,
    poddisruptionbudget::POD_DISRUPTION_BUDGET,
    replicaset::REPLICA_SET,
    secret::SECRET,
    service::SERVICE,
    serviceaccount::SERVICE_ACCOUNT,
};

/// Every kind, by group and then by name.
static ALL: [&Kind; 12] = [
    &CONFIG_MAP,
    &EVENT,
    &NAMESPACE,
    &NODE,
    &POD,
    &SECRET,
    &SERVICE_ACCOUNT,
    &SERVICE,
    &DEPLOYMENT,
    &REPLICA_SET,
    &LEASE,
    &POD_DISRUPTION_BUDGET,
];

/// Rows that only show objects of another kind ([`Kind::view`]).
static VIEWS: [&Kind; 1] = [&EVENT_V1];

/// Every kind that is kept, the core group first.
pub fn all() -> impl Iterator<Item = KindRef> {
    ALL.iter().copied().map(Static)
}

/// Every kind that can be asked for: those that are kept, and those that only show them in another form.
pub fn served() -> impl Iterator<Item = KindRef> {
    ALL.iter().chain(&VIEWS).copied().map(Static)
}

/// The kind that a path of the API names: `("apps", "v1", "deployments")`.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<KindRef> {
    served().find(|k| (k.group(), k.version(), k.plural()) == (group, version, plural))
}

/// The kind that an object names: `("apps/v1", "Deployment")`.
pub fn by_kind(api_version: &str, kind: &str) -> Option<KindRef> {
    let (group, version) = match api_version.split_once('/') {
        Some(("", _)) => return None,
        Some(parts) => parts,
        None => ("", api_version),
    };
    served().find(|k| (k.kind(), k.group(), k.version()) == (kind, group, version))
}

/// The kind that a person names, by plural, singular or short name in any case, with its group where that is in doubt:
/// `pods`, `Pod`, `po`, `deploy`, `deployments.apps`.
pub fn by_word(word: &str) -> Option<KindRef> {
    let word = word.to_ascii_lowercase();
    let (name, group) =
        word.split_once('.').map_or((word.as_str(), None), |(name, group)| (name, Some(group)));
    let called =
        |k: &Kind| k.plural() == name || k.singular() == name || k.short_names().any(|short| short == name);
    served().find(|k| {
        called(k) && group.is_none_or(|g| g == k.group() || g == format!("{}.{}", k.version(), k.group()))
    })
}

static NO_COLUMNS: Table = Table::of(&[]);

/// What most rows of the core group say: a row tells what differs.
const CORE: Kind = Kind {
    group: Borrowed(""),
    version: Borrowed("v1"),
    kind: Borrowed(""),
    plural: Borrowed(""),
    singular: Borrowed(""),
    short_names: Borrowed(""),
    categories: Borrowed(""),
    namespaced: true,
    schema: Named(""),
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: Borrowed(&[]),
    selectable: Borrowed(&[]),
    table: Static(&NO_COLUMNS),
    strategy: &strategy::PLAIN,
    view: None,
};

/// The verbs of nearly every resource.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// `/status`, as most kinds have it.
const STATUS: Subresource = same("status");

/// `/scale`, read and written as `autoscaling/v1` `Scale`.
const SCALE: Subresource = Subresource {
    name: "scale",
    gvk: Some(("autoscaling", "v1", "Scale")),
    verbs: &["get", "patch", "update"],
    change: None,
};

/// A subresource that shows the whole object.
const fn same(name: &'static str) -> Subresource {
    Subresource { name, gvk: None, verbs: &["get", "patch", "update"], change: None }
}

/// A subresource of the core group with a type of its own.
const fn core(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, gvk: Some(("", "v1", kind)), verbs, change: None }
}

/// The verbs of `/proxy`, which passes everything on.
const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];

#[cfg(test)]
mod robust;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_any_of_its_names() {
        let cases = [
            ("pods", Some("pods")),
            ("Pod", Some("pods")),
            ("po", Some("pods")),
            ("deploy", Some("deployments.apps")),
            ("deployments.apps", Some("deployments.apps")),
            ("deployment.v1.apps", Some("deployments.apps")),
            ("deployments.batch", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(by_word(word).map(|k| k.qualified_resource()).as_deref(), expected, "case: {word}");
        }
    }

    #[test]
    fn every_row_can_be_found_and_is_in_order() {
        for kind in served() {
            assert_eq!(by_resource(kind.group(), kind.version(), kind.plural()), Some(kind.clone()));
            assert_eq!(by_kind(&kind.api_version(), kind.kind()), Some(kind.clone()));
            assert_eq!(by_word(&kind.qualified_resource()), Some(kind.clone()));
            assert!(
                kind.subresources.is_sorted_by_key(|s| s.name),
                "{kind:?}: discovery shows subresources sorted"
            );
            assert!(kind.subresources.iter().all(|s| s.verbs.is_sorted()), "{kind:?}: and their verbs");
        }
    }
}

//! The kinds that every cluster serves, one file a kind: its row, its defaults, its rules.
//!
//! What several kinds share stands beside them: [`strategy`] for the life of an object around its rules,
//! `crate::table` for printing, `crate::validate` for metadata, `crate::podspec` for pods and their templates.

use std::borrow::Cow::{Borrowed, Owned};

use crate::handle::Handle::Static;
use crate::kind::{Deletion, Kind, KindRef, Origin, Subresource};
use crate::names;
use crate::schema::SchemaRef::Named;
use crate::table::Table;

/// Every built-in kind that is kept, a line each: its file and its row, by group and then by name. Declares the files and
/// makes `ROWS` of the rows, which is the first content of every [`Kinds`]. See ADR 47.
macro_rules! rows {
    ($($visible:vis mod $file:ident: $row:ident;)+) => {
        $($visible mod $file;)+

        static ROWS: &[&Kind] = &[$(&$file::$row),+];
    };
}

rows! {
    mod configmap: CONFIG_MAP;
    mod event: EVENT;
    mod namespace: NAMESPACE;
    mod node: NODE;
    mod pod: POD;
    mod secret: SECRET;
    mod serviceaccount: SERVICE_ACCOUNT;
    pub mod service: SERVICE;
    mod deployment: DEPLOYMENT;
    mod replicaset: REPLICA_SET;
    mod lease: LEASE;
    mod poddisruptionbudget: POD_DISRUPTION_BUDGET;
}

// Around the rows.
mod definition;
mod pipeline;
pub mod strategy;
mod table;
mod workload;

// What other code names.
pub use {
    configmap::CONFIG_MAP,
    definition::{Definition, PrinterColumn},
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
    table::{Kinds, Rows, Taken},
};

/// Rows that only show objects of another kind ([`Kind::view`]).
static VIEWS: [&Kind; 1] = [&EVENT_V1];

/// The built-in row of a kind that is kept, by what names it.
pub fn built_in(group: &str, version: &str, plural: &str) -> Option<KindRef> {
    let named = |k: &&&'static Kind| (k.plural(), k.group(), k.version()) == (plural, group, version);
    ROWS.iter().find(named).copied().map(Static)
}

static NO_COLUMNS: Table = Table::PLAIN;

/// What most rows say: a row tells what differs.
pub(crate) const USUAL: Kind = Kind {
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
    scale: None,
    pod_spec: None,
    claims: None,
    deletion: Deletion::AtOnce,
    collected: true,
    origin: Origin::BuiltIn,
};

impl Kind {
    /// A row that knows no more than the names of its resource: what a store holds may belong to a kind that is not defined
    /// yet, or not any more. It equals the row that the definition makes.
    pub fn unknown(group: &str, version: &str, plural: &str) -> Kind {
        let own = |text: &str| Owned(text.to_owned());
        Kind {
            group: own(group),
            version: own(version),
            plural: own(plural),
            origin: Origin::Unknown,
            ..USUAL
        }
    }
}

/// The verbs of nearly every resource.
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// `/status`, as most kinds have it.
const STATUS: Subresource = Subresource { resets: &["spec"], ..whole("status") };

/// `/scale`, read and written as `autoscaling/v1` `Scale`.
const SCALE: Subresource = Subresource { gvk: Some(("autoscaling", "v1", "Scale")), ..whole("scale") };

/// A subresource that shows the whole object.
const fn whole(name: &'static str) -> Subresource {
    Subresource { name, verbs: &["get", "patch", "update"], ..Subresource::PLAIN }
}

/// A subresource of the core group with a type of its own.
const fn core(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, gvk: Some(("", "v1", kind)), verbs, ..Subresource::PLAIN }
}

/// The verbs of `/proxy`, which passes everything on.
const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];

#[cfg(test)]
mod robust;

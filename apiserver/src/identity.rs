//! Identities: the user, groups and further attributes of whoever makes a request, and the names that have a meaning.

use std::collections::BTreeMap;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of all who are known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of all who are not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user without a name.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of all service accounts.
pub const ACCOUNTS: &str = "system:serviceaccounts";
/// The group of all nodes.
pub const NODES: &str = "system:nodes";
/// The group of those who show a bootstrap token.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// What the user names of nodes begin with.
pub const NODE_PREFIX: &str = "system:node:";

/// What components are called in `managedFields` that are none of upstream's.
const COMPONENT: &str = "coracle";

/// An authenticated caller. Every request carries one, and every change in the log names its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `kubernetes-admin`, `system:node:node-1`, `system:serviceaccount:default:builder`.
    pub user: String,
    /// A uid, where the authenticator knows one.
    pub uid: String,
    /// `system:masters`, `system:authenticated`.
    pub groups: Vec<String>,
    /// Whatever else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
    /// Somebody else asks in this user's name.
    pub impersonated: bool,
}

impl Identity {
    /// A user in some groups.
    pub fn new(user: &str, groups: &[&str]) -> Identity {
        Identity {
            user: user.into(),
            groups: groups.iter().map(|g| (*g).to_string()).collect(),
            ..Identity::default()
        }
    }

    /// Whether the caller is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Whether this is one of the cluster's own components.
    pub fn is_component(&self) -> bool {
        ["system:kube-controller-manager", "system:kube-scheduler"].contains(&self.user.as_str())
    }

    /// Which node this is, if it is one.
    pub fn node(&self) -> Option<&str> {
        self.user.strip_prefix(NODE_PREFIX).filter(|name| !name.is_empty() && self.is_in(NODES))
    }
}

/// Namespace and name of the service account that a user name stands for.
pub fn account_of(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// Under which name a component owns fields: upstream's.
pub fn field_manager_of(user: &Identity) -> &'static str {
    match user.user.as_str() {
        "system:kube-controller-manager" => "kube-controller-manager",
        "system:kube-scheduler" => "kube-scheduler",
        _ if user.node().is_some() => "kubelet",
        _ => COMPONENT,
    }
}

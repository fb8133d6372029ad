//! Who asks.

use std::collections::BTreeMap;

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
}

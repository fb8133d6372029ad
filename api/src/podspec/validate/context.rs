//! What the rules for a part of a pod must know of the rest of it.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::volumes;
use crate::field::Field;
use crate::read::{list, text};

/// What rules must know of the pod around the field that they look at. What they look up is found once, for a pod may have
/// as many mounts as volumes.
pub struct Context<'a> {
    /// The whole spec.
    pub spec: Field<'a, 'a>,
    /// The name of the pod; empty in templates.
    pub pod_name: &'a str,
    /// Whether this is a pod; templates may leave open what a pod may not.
    pub is_pod: bool,
    /// The first volume of each name, and whether it breaks no rule: one that does cannot be mounted.
    volumes: HashMap<&'a str, (&'a Value, bool)>,
    /// The names of the pod's resource claims.
    pub claims: BTreeSet<&'a str>,
}

impl<'a> Context<'a> {
    pub fn new(spec: Field<'a, 'a>, pod_name: &'a str, is_pod: bool) -> Context<'a> {
        let mut volumes = HashMap::new();
        for volume in list(spec.value, "/volumes") {
            volumes.entry(text(volume, "/name")).or_insert_with(|| (volume, volumes::is_right(volume)));
        }
        let claims = list(spec.value, "/resourceClaims").iter().map(|claim| text(claim, "/name"));
        let claims = claims.filter(|name| !name.is_empty()).collect();
        Context { spec, pod_name, is_pod, volumes, claims }
    }

    /// The volume of a name, whether it is right or not.
    pub fn volume(&self, name: &str) -> Option<&'a Value> {
        self.volumes.get(name).map(|(volume, _)| *volume)
    }

    /// The volume of a name, if it is right: what a mount may name.
    pub fn mountable(&self, name: &str) -> Option<&'a Value> {
        self.volumes.get(name).filter(|(_, right)| *right).map(|(volume, _)| *volume)
    }

    /// Whether the pod shares the host's users, as it does unless it says otherwise.
    pub fn host_users(&self) -> bool {
        self.spec.raw("hostUsers") != &Value::Bool(false)
    }
}

//! Where writes of nodes meet their rule, `admission::node_restriction`.

use coracle_api::{Key, Status};
use serde_json::Value;

use super::Registry;
use super::operation::Context;
use crate::admission::node_restriction::{Review, admit};

impl Registry {
    /// Whether a node may do this write, now that everything about it is known. Others than nodes may.
    pub(super) fn restrict_node(
        &self,
        context: &Context,
        verb: &str,
        key: &Key,
        sub: &str,
        new: &Value,
        old: &Value,
    ) -> Result<(), Status> {
        let Some(node) = context.user.node() else { return Ok(()) };
        let find = |key: &Key| self.entry(key).map(|entry| entry.value());
        admit(&Review { node, verb, key, sub, new, old, find: &find })
    }
}

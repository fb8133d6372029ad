//! A document of YAML before its aliases are expanded: nodes that may be part of several others. How much each would be
//! once expanded is known without expanding it, so that a document that would be too much is never built.

use std::borrow::Cow;

use crate::document::{DEPTH, Fault, Limits, Raw, budget};

/// A node of a [`Graph`].
pub(super) type Id = usize;

#[derive(Debug)]
enum Node {
    Scalar(Raw<'static>),
    List(Vec<Id>),
    /// Sorted by key.
    Map(Vec<(String, Id)>),
}

/// How large a node is with all that is in it, and how deep.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    values: usize,
    bytes: usize,
    depth: usize,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<(Node, Size)>,
}

/// Upstream's text for aliases that would make a small document huge.
pub(super) fn excessive() -> Fault {
    "yaml: document contains excessive aliasing".into()
}

impl Graph {
    fn add(&mut self, node: Node, size: Size, limits: Limits) -> Result<Id, Fault> {
        // Keys are nodes, too, and count for nothing else.
        if self.nodes.len() >= limits.values.saturating_mul(2) {
            return Err(budget::too_many_values(limits.values));
        }
        self.nodes.push((node, size));
        Ok(self.nodes.len() - 1)
    }

    fn size(&self, parts: impl Iterator<Item = (usize, Id)>) -> Size {
        let mut size = Size { values: 1, bytes: 0, depth: 0 };
        for (key, id) in parts {
            let part = self.nodes[id].1;
            size.values = size.values.saturating_add(part.values);
            size.bytes = size.bytes.saturating_add(key).saturating_add(part.bytes);
            size.depth = size.depth.max(part.depth + 1);
        }
        size
    }

    pub(super) fn scalar(&mut self, value: Raw<'static>, limits: Limits) -> Result<Id, Fault> {
        let bytes = match &value {
            Raw::Text(text) | Raw::Number(text) => text.len(),
            _ => 0,
        };
        self.add(Node::Scalar(value), Size { values: 1, bytes, depth: 0 }, limits)
    }

    pub(super) fn list(&mut self, items: Vec<Id>, limits: Limits) -> Result<Id, Fault> {
        let size = self.size(items.iter().map(|id| (0, *id)));
        self.add(Node::List(items), size, limits)
    }

    pub(super) fn map(&mut self, entries: Vec<(String, Id)>, limits: Limits) -> Result<Id, Fault> {
        let size = self.size(entries.iter().map(|(key, id)| (key.len(), *id)));
        self.add(Node::Map(entries), size, limits)
    }

    /// A node as the key of a map: keys become strings, as upstream's conversion to JSON makes them.
    pub(super) fn key(&self, id: Id) -> Option<String> {
        match &self.nodes[id].0 {
            Node::Scalar(Raw::Text(text) | Raw::Number(text)) => Some(text.clone().into_owned()),
            Node::Scalar(Raw::Bool(value)) => Some(value.to_string()),
            Node::Scalar(Raw::Null) => Some("null".into()),
            _ => None,
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self, id: Id) -> &[Id] {
        match &self.nodes[id].0 {
            Node::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a map; none of anything else.
    pub(super) fn entries(&self, id: Id) -> &[(String, Id)] {
        match &self.nodes[id].0 {
            Node::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The document, with everything in place.
    pub(super) fn expand(&self, root: Id, limits: Limits) -> Result<Raw<'static>, Fault> {
        let size = self.nodes[root].1;
        if size.depth > DEPTH {
            return Err("yaml: exceeded max depth".into());
        }
        if size.values > limits.values && size.values <= self.nodes.len() {
            return Err(budget::too_many_values(limits.values));
        }
        if size.values > limits.values || size.bytes > limits.bytes {
            return Err(excessive());
        }
        Ok(self.raw(root))
    }

    fn raw(&self, id: Id) -> Raw<'static> {
        match &self.nodes[id].0 {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => Raw::List(items.iter().map(|id| self.raw(*id)).collect()),
            Node::Map(entries) => {
                let entry = |(key, id): &(String, Id)| (Cow::Owned(key.clone()), self.raw(*id));
                Raw::Map(entries.iter().map(entry).collect())
            }
        }
    }
}

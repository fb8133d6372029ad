//! The stored objects that authentication and authorization ask for ([`Lookup`]), found in the registry.

use std::sync::Arc;

use coracle_api::selector::{FieldSelector, Term};
use coracle_api::{Key, Object, kinds};

use crate::auth::lookup::Lookup;
use crate::registry::Registry;
use crate::state::list::ListOptions;
use crate::state::selection::Selection;

impl Lookup for Registry {
    fn object(&self, key: &Key) -> Option<Arc<Object>> {
        self.get(key)
    }

    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Object>> {
        let bound = Term { field: "spec.nodeName".into(), value: node.into(), equal: true };
        let all = Selection::all(&kinds::POD, Some(namespace.into()));
        let selection = Selection { fields: FieldSelector(vec![bound]), ..all };
        let listing = self.list(&selection, &ListOptions::default());
        listing.map(|found| found.entries.into_iter().map(|entry| entry.object).collect()).unwrap_or_default()
    }
}

//! Which objects a watch or a list shows, and what a change looks like to it.

use std::sync::Arc;

use coracle_api::selector::{FieldSelector, Selector};
use coracle_api::{Object, Revision, Status};

use crate::{Error, Event, Interest};

/// An interest with its selectors read.
pub struct Selection {
    interest: Interest,
    labels: Selector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the selectors of an interest; those that the real server refuses are refused.
    pub fn of(interest: &Interest) -> Result<Selection, Error> {
        let refused = |why: String| Error::Refused(Status::bad_request(why));
        let labels = Selector::parse(&interest.labels).map_err(refused)?;
        let fields = FieldSelector::parse(&interest.fields).map_err(refused)?;
        let fields = fields.for_kind(&interest.kind).map_err(refused)?;
        Ok(Selection { interest: interest.clone(), labels, fields })
    }

    /// Whether an object is selected.
    pub fn selects(&self, object: &Object) -> bool {
        let Interest { kind, namespace, .. } = &self.interest;
        if *kind != object.key.kind || namespace.as_ref().is_some_and(|ns| *ns != object.key.namespace) {
            return false;
        }
        let value = object.value().unwrap_or_default();
        self.labels.matches(&value["metadata"]["labels"]) && self.fields.matches(kind, &value)
    }
}

/// One change of one object: as it was, as it is. `after` is `None` once it is gone.
#[derive(Clone)]
pub struct Change {
    pub before: Option<Arc<Object>>,
    pub after: Option<Arc<Object>>,
    pub revision: Revision,
}

impl Change {
    /// What a watch shows of it, if anything. An object that leaves the selection is gone for that watch.
    pub fn seen_by(&self, selections: &[Selection]) -> Option<Event> {
        let selected = |object: &&Arc<Object>| selections.iter().any(|selection| selection.selects(object));
        let before = self.before.as_ref().filter(selected);
        let after = self.after.as_ref().filter(selected);
        match (before, after) {
            (None, Some(new)) => Some(Event::Added(new.clone())),
            (Some(_), Some(new)) => Some(Event::Modified(new.clone())),
            (Some(last), None) => {
                Some(Event::Deleted(Arc::new(Object { revision: self.revision, ..Object::clone(last) })))
            }
            (None, None) => None,
        }
    }
}

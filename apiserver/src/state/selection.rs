//! Which objects of a kind somebody wants.

use coracle_api::kind::Selectable;
use coracle_api::selector::{FieldSelector, Selector};
use coracle_api::{KindRef, Status};

use crate::entry::{Entry, stored};

/// Compiled from the texts of a request.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The kind.
    pub kind: KindRef,
    /// One namespace; `None` for all.
    pub namespace: Option<String>,
    /// By label.
    pub labels: Selector,
    /// By field.
    pub fields: FieldSelector,
}

impl Selection {
    /// Everything of a kind, in one namespace or in all.
    pub fn all(kind: impl Into<KindRef>, namespace: Option<String>) -> Selection {
        Selection {
            kind: kind.into(),
            namespace,
            labels: Selector::everything(),
            fields: FieldSelector::default(),
        }
    }

    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400, with upstream's text.
    pub fn parse(
        kind: impl Into<KindRef>,
        namespace: Option<String>,
        labels: &str,
        fields: &str,
    ) -> Result<Selection, Status> {
        let kind = kind.into();
        let stored = stored(&kind);
        let bad = |text: String| Status::bad_request(text);
        let labels = Selector::parse(labels).map_err(bad)?;
        let mut fields = FieldSelector::parse(fields).map_err(bad)?.for_kind(&kind).map_err(bad)?;
        // A view has another name for the same field.
        for term in &mut fields.0 {
            let field = kind.selectable.iter().find(|s| s.field == term.field).map(|s| s.read.first());
            let same = |s: &&Selectable| Some(s.read.first()) == field;
            if let Some(own) = stored.selectable.iter().find(same).filter(|_| kind.view.is_some()) {
                term.field = own.field.clone().into_owned();
            }
        }
        Ok(Selection { kind: stored, namespace, labels, fields })
    }

    /// Whether it leaves anything out beside other namespaces.
    pub fn selects(&self) -> bool {
        !self.labels.is_everything() || !self.fields.0.is_empty()
    }

    /// The namespace and name of the only object that can be wanted, if it is named.
    pub fn ns_name(&self) -> Option<String> {
        let name = self.fields.requires("metadata.name")?;
        match &self.namespace {
            Some(namespace) => Some(format!("{namespace}/{name}")),
            None => (!self.kind.namespaced).then(|| format!("/{name}")),
        }
    }

    /// Whether an object is wanted.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.namespace.as_ref().is_none_or(|n| *n == entry.object.key.namespace)
            && self.fields.0.iter().all(|term| (entry.field(&term.field) == term.value) == term.equal)
            && (self.labels.is_everything() || self.labels.matches_by(|label| entry.summary().label(label)))
    }
}

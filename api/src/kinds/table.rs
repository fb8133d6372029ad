//! The table of kinds of one server or one component, which can change while it is read.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::{ROWS, VIEWS};
use crate::handle::Handle::{Shared, Static};
use crate::kind::{Kind, KindRef};

/// A table of kinds. Cheap to clone; all clones show the same table.
///
/// Its first content are the built-in rows; rows made at run time come and go. Each API server has a table of its own. Readers
/// take a snapshot and wait for nobody.
#[derive(Clone)]
pub struct Kinds(Arc<Table>);

struct Table {
    rows: ArcSwap<Rows>,
    /// Counts the changes of the table.
    changes: watch::Sender<u64>,
}

/// What a table shows at one moment.
pub struct Rows {
    /// Kinds that are kept, in the order in which discovery shows them.
    kept: Vec<KindRef>,
    /// Rows that only show objects of another kind ([`Kind::view`]).
    views: Vec<KindRef>,
    /// All of them, as they compare: by group, plural and version.
    sorted: Vec<KindRef>,
}

/// A row cannot be added: another one has its names.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kind {kind} of {api_version} is defined already, as {resource}")]
pub struct Taken {
    kind: String,
    api_version: String,
    resource: String,
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds::new()
    }
}

impl Kinds {
    /// A table of its own, with the built-in rows.
    pub fn new() -> Kinds {
        let rows = |rows: &[&'static Kind]| rows.iter().copied().map(Static).collect();
        let rows = Rows::new(rows(ROWS), rows(&VIEWS));
        Kinds(Arc::new(Table { rows: ArcSwap::from_pointee(rows), changes: watch::Sender::new(0) }))
    }

    /// What the table shows now.
    pub fn rows(&self) -> Guard<Arc<Rows>> {
        self.0.rows.load()
    }

    /// The same, to be kept.
    pub fn snapshot(&self) -> Arc<Rows> {
        self.0.rows.load_full()
    }

    /// Adds a row, or puts it in the place of the one with the same group, plural and version.
    ///
    /// # Errors
    /// [`Taken`] if the row would change a built-in one, or another row of its group and version has its kind.
    pub fn add(&self, row: impl Into<Arc<Kind>>) -> Result<KindRef, Taken> {
        let row = Shared(row.into());
        let mut outcome = Ok(row.clone());
        self.0.rows.rcu(|rows| match rows.conflict(&row) {
            Some(other) => {
                outcome = Err(Taken {
                    kind: row.kind().into(),
                    api_version: row.api_version(),
                    resource: other.qualified_resource(),
                });
                rows.clone()
            }
            None => {
                outcome = Ok(row.clone());
                Arc::new(rows.with(&row))
            }
        });
        self.tell();
        outcome
    }

    /// Takes a row out that was made at run time; says whether it was there.
    pub fn remove(&self, row: &Kind) -> bool {
        let before = self.0.rows.rcu(|rows| Arc::new(rows.without(row)));
        self.tell();
        before.sorted.iter().any(|known| **known == *row && known.is_defined())
    }

    /// Tells of changes of the table; the number says how many there were.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Every kind that is kept, the core group first.
    pub fn kept(&self) -> Vec<KindRef> {
        self.rows().kept.clone()
    }

    /// Every kind that can be asked for: those that are kept, and those that only show them in another form.
    pub fn served(&self) -> Vec<KindRef> {
        self.rows().served().cloned().collect()
    }

    /// The kind that a path of the API names: `("apps", "v1", "deployments")`.
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<KindRef> {
        self.rows().by_resource(group, version, plural).cloned()
    }

    /// The kind that an object names: `("apps/v1", "Deployment")`.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<KindRef> {
        self.rows().by_kind(api_version, kind).cloned()
    }

    /// The kind that a person names, by plural, singular or short name in any case, with its group where that is in doubt:
    /// `pods`, `Pod`, `po`, `deploy`, `deployments.apps`.
    pub fn by_word(&self, word: &str) -> Option<KindRef> {
        self.rows().by_word(word).cloned()
    }

    fn tell(&self) {
        self.0.changes.send_modify(|changes| *changes += 1);
    }
}

impl Rows {
    fn new(kept: Vec<KindRef>, views: Vec<KindRef>) -> Rows {
        let mut sorted: Vec<KindRef> = kept.iter().chain(&views).cloned().collect();
        sorted.sort_unstable();
        Rows { kept, views, sorted }
    }

    /// The row that keeps a new one out, because it has the same names.
    fn conflict(&self, row: &Kind) -> Option<&KindRef> {
        let same_kind = |known: &KindRef| {
            (known.kind(), known.group(), known.version()) == (row.kind(), row.group(), row.version())
        };
        self.sorted.iter().find(|known| if **known == *row { !known.is_defined() } else { same_kind(known) })
    }

    fn with(&self, row: &KindRef) -> Rows {
        let mut kept = self.kept.clone();
        match kept.iter_mut().find(|known| *known == row) {
            Some(known) => *known = row.clone(),
            None => kept.push(row.clone()),
        }
        Rows::new(kept, self.views.clone())
    }

    fn without(&self, row: &Kind) -> Rows {
        let mut kept = self.kept.clone();
        kept.retain(|known| *known != *row || !known.is_defined());
        Rows::new(kept, self.views.clone())
    }

    /// See [`Kinds::kept`].
    pub fn kept(&self) -> impl Iterator<Item = &KindRef> {
        self.kept.iter()
    }

    /// See [`Kinds::served`].
    pub fn served(&self) -> impl Iterator<Item = &KindRef> {
        self.kept.iter().chain(&self.views)
    }

    /// See [`Kinds::by_resource`].
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&KindRef> {
        let wanted = (group, plural, version);
        let at = self.sorted.binary_search_by(|k| (k.group(), k.plural(), k.version()).cmp(&wanted)).ok()?;
        Some(&self.sorted[at])
    }

    /// See [`Kinds::by_kind`].
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&KindRef> {
        let (group, version) = match api_version.split_once('/') {
            Some(("", _)) => return None,
            Some(parts) => parts,
            None => ("", api_version),
        };
        self.served().find(|k| (k.kind(), k.group(), k.version()) == (kind, group, version))
    }

    /// See [`Kinds::by_word`].
    pub fn by_word(&self, word: &str) -> Option<&KindRef> {
        let word = word.to_ascii_lowercase();
        let (name, group) =
            word.split_once('.').map_or((word.as_str(), None), |(name, group)| (name, Some(group)));
        let called = |k: &Kind| {
            [k.plural(), k.singular()].into_iter().chain(k.short_names()).any(|known| known == name)
        };
        self.served().find(|k| {
            called(k) && group.is_none_or(|g| g == k.group() || g == format!("{}.{}", k.version(), k.group()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Definition, POD};

    fn defined(plural: &str, kind: &str) -> Kind {
        let (plural, kind) = (plural.into(), kind.into());
        let schema = serde_json::json!({"type": "object"});
        let (group, version) = ("e.com".into(), "v1".into());
        let definition = Definition { group, version, kind, plural, schema, ..Definition::default() };
        definition.row().expect("a good definition")
    }

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
        let kinds = Kinds::new();
        for (word, expected) in cases {
            let found = kinds.by_word(word).map(|k| k.qualified_resource());
            assert_eq!(found.as_deref(), expected, "case: {word}");
        }
    }

    #[test]
    fn every_row_can_be_found_and_is_in_order() {
        let kinds = Kinds::new();
        for kind in kinds.served() {
            let found = kinds.by_resource(kind.group(), kind.version(), kind.plural());
            assert_eq!(found.as_ref(), Some(&kind));
            assert_eq!(kinds.by_kind(&kind.api_version(), kind.kind()).as_ref(), Some(&kind));
            assert_eq!(kinds.by_word(&kind.qualified_resource()).as_ref(), Some(&kind));
            assert!(
                kind.subresources.is_sorted_by_key(|s| s.name),
                "{kind:?}: discovery shows subresources sorted"
            );
            assert!(kind.subresources.iter().all(|s| s.verbs.is_sorted()), "{kind:?}: and their verbs");
        }
    }

    #[test]
    fn rows_come_and_go_in_one_table_and_not_in_another() {
        let (kinds, other) = (Kinds::new(), Kinds::new());
        let mut changes = kinds.changes();
        let row = defined;
        let widget = kinds.add(row("widgets", "Widget")).unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(kinds.by_kind("e.com/v1", "Widget"), Some(widget.clone()));
        assert_eq!(kinds.by_word("widgets.e.com"), Some(widget.clone()));
        assert_eq!(other.by_kind("e.com/v1", "Widget"), None, "tables are not shared");
        let taken = kinds.add(row("gadgets", "Widget")).unwrap_err();
        assert_eq!(taken.to_string(), "the kind Widget of e.com/v1 is defined already, as widgets.e.com");
        let count = kinds.kept().len();
        kinds.add(row("widgets", "Widget")).unwrap();
        assert_eq!(kinds.kept().len(), count, "a changed definition takes the place of the old one");
        assert!(kinds.add(Kind::unknown("", "v1", "pods")).is_err(), "built-in rows stay as they are");
        assert!(!kinds.remove(&POD) && kinds.by_word("pods").is_some());
        assert!(kinds.remove(&widget) && !kinds.remove(&widget));
        assert_eq!(kinds.by_resource("e.com", "v1", "widgets"), None);
    }
}

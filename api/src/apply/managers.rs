//! Who owns which fields: `metadata.managedFields`, read, capped and written.

use serde_json::{Map, Value};

use super::set::Set;

/// More managers that update (not apply) than this are merged into one.
const MOST_UPDATERS: usize = 10;
/// The name of that one.
const ANCIENT: &str = "ancient-changes";
/// Fields that nobody owns: the system sets them, or they name the object.
const UNOWNED: &str = "apiVersion kind metadata metadata.name metadata.namespace metadata.creationTimestamp \
    metadata.selfLink metadata.uid metadata.clusterName metadata.generation metadata.managedFields metadata.resourceVersion";

/// One owner. An applier is the same whatever version it applies; an updater is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) applies: bool,
    /// Empty for an applier.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

/// What an owner owns, and since when.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) owner: Owner,
    pub(super) fields: Set,
    pub(super) api_version: String,
    pub(super) time: Option<String>,
}

/// All owners of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managers(pub(super) Vec<Entry>);

impl Managers {
    /// Reads an object's `managedFields`; nothing if any entry is malformed.
    pub(super) fn read(object: &Value) -> Option<Managers> {
        let Some(entries) = object.pointer("/metadata/managedFields").and_then(Value::as_array) else {
            return Some(Managers::default());
        };
        let mut managers = Managers::default();
        for entry in entries {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
            let applies = match text("operation").as_str() {
                "Apply" => true,
                "Update" => false,
                _ => return None,
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() || text("fieldsType") != "FieldsV1" {
                return None;
            }
            let nothing = Value::Object(Map::new());
            let fields = Set::from_value(entry.get("fieldsV1").unwrap_or(&nothing))?;
            let owner = Owner {
                name: text("manager"),
                applies,
                api_version: if applies { String::new() } else { api_version.clone() },
                subresource: text("subresource"),
            };
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            match managers.get_mut(&owner) {
                Some(known) => *known = Entry { owner, fields, api_version, time },
                None => managers.0.push(Entry { owner, fields, api_version, time }),
            }
        }
        Some(managers)
    }

    pub(super) fn get(&self, owner: &Owner) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.owner == *owner)
    }

    pub(super) fn get_mut(&mut self, owner: &Owner) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.owner == *owner)
    }

    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Takes from one owner what nobody may own.
    pub(super) fn strip(&mut self, owner: &Owner) {
        let unowned = Set::of_fields(UNOWNED.split(' '));
        if let Some(entry) = self.get_mut(owner) {
            entry.fields.remove(&unowned);
        }
        self.0.retain(|entry| entry.owner != *owner || !entry.fields.is_empty());
    }

    /// Merges the oldest updaters of a version until no more than ten are left.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(Option<String>, Owner)> = self
            .0
            .iter()
            .filter(|entry| !entry.owner.applies)
            .map(|entry| (entry.time.clone(), entry.owner.clone()))
            .collect();
        let mut left = updaters.len();
        if left <= MOST_UPDATERS {
            return;
        }
        updaters.sort();
        let mut first_of_version: Vec<(String, Owner)> = Vec::new();
        for (time, owner) in updaters {
            if left <= MOST_UPDATERS {
                return;
            }
            let Some(entry) = self.get(&owner).cloned() else { continue };
            let bucket = Owner {
                name: ANCIENT.into(),
                applies: false,
                api_version: entry.api_version.clone(),
                subresource: String::new(),
            };
            let Some((_, first)) = first_of_version.iter().find(|(version, _)| *version == entry.api_version)
            else {
                first_of_version.push((entry.api_version.clone(), owner));
                continue;
            };
            if self.get(&bucket).is_none()
                && let Some(entry) = self.get_mut(&first.clone())
            {
                entry.owner = bucket.clone();
            }
            if owner != bucket {
                self.0.retain(|other| other.owner != owner);
            }
            if let Some(old) = self.get_mut(&bucket) {
                old.fields = old.fields.union(&entry.fields);
                old.time = time;
            }
            left -= 1;
        }
    }

    /// As `managedFields`, sorted as upstream does: appliers first, then by time and name.
    pub(super) fn write(mut self) -> Value {
        self.0.sort_by(|a, b| {
            let key =
                |e: &Entry| (!e.owner.applies, e.time.clone().unwrap_or_default(), e.owner.name.clone());
            key(a).cmp(&key(b)).then_with(|| {
                (&a.api_version, &a.owner.subresource).cmp(&(&b.api_version, &b.owner.subresource))
            })
        });
        self.0.into_iter().map(Entry::write).collect()
    }
}

impl Entry {
    fn write(self) -> Value {
        let Owner { name, applies, subresource, .. } = self.owner;
        let fields = [
            ("manager", Some(name).filter(|name| !name.is_empty()).map(Value::from)),
            ("operation", Some(if applies { "Apply" } else { "Update" }.into())),
            ("apiVersion", Some(self.api_version.into())),
            ("time", self.time.map(Value::from)),
            ("fieldsType", Some("FieldsV1".into())),
            ("fieldsV1", Some(self.fields.to_value())),
            ("subresource", Some(subresource).filter(|name| !name.is_empty()).map(Value::from)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Puts `managedFields` into an object, at its place among the fields of `metadata`; an empty list leaves none.
pub(super) fn put(object: &mut Value, managers: Managers) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.shift_remove("managedFields");
    if !managers.0.is_empty() {
        // It is the last of the fields of ObjectMeta.
        metadata.insert("managedFields".into(), managers.write());
    }
}

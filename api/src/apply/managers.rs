//! Who owns which fields: `metadata.managedFields`, read, capped and written.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        let mut positions: HashMap<Owner, usize> = HashMap::new();
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
            let entry = Entry { owner: owner.clone(), fields, api_version, time };
            match positions.entry(owner) {
                // Of several entries of one owner the last counts, at the place of the first.
                Occupied(position) => managers.0[*position.get()] = entry,
                Vacant(position) => {
                    position.insert(managers.0.len());
                    managers.0.push(entry);
                }
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
        let mut order: Vec<usize> = (0..self.0.len()).filter(|at| !self.0[*at].owner.applies).collect();
        let mut left = order.len();
        if left <= MOST_UPDATERS {
            return;
        }
        order.sort_by(|a, b| {
            (&self.0[*a].time, &self.0[*a].owner).cmp(&(&self.0[*b].time, &self.0[*b].owner))
        });
        let bucket = |api_version: &str| Owner {
            name: ANCIENT.into(),
            applies: false,
            api_version: api_version.into(),
            subresource: String::new(),
        };
        // Where the fields of a version's oldest updaters are gathered, and the first updater of each version.
        let mut buckets: HashMap<String, usize> = HashMap::new();
        for (at, entry) in self.0.iter().enumerate() {
            if entry.owner == bucket(&entry.api_version) {
                buckets.insert(entry.api_version.clone(), at);
            }
        }
        let mut first_of_version: HashMap<String, usize> = HashMap::new();
        let mut gone = vec![false; self.0.len()];
        for at in order {
            if left <= MOST_UPDATERS {
                break;
            }
            let version = self.0[at].api_version.clone();
            let Some(&first) = first_of_version.get(&version) else {
                first_of_version.insert(version, at);
                continue;
            };
            let into = *buckets.entry(version.clone()).or_insert_with(|| {
                self.0[first].owner = bucket(&version);
                first
            });
            if into != at {
                let fields = std::mem::take(&mut self.0[at].fields);
                gone[at] = true;
                self.0[into].fields.add(fields);
            }
            self.0[into].time = self.0[at].time.clone();
            left -= 1;
        }
        let mut gone = gone.into_iter();
        self.0.retain(|_| !gone.next().unwrap_or(false));
    }

    /// As `managedFields`, sorted as upstream does: appliers first, then by time and name.
    pub(super) fn write(mut self) -> Value {
        fn key(entry: &Entry) -> (bool, &str, &str, &str, &str) {
            let Owner { name, applies, subresource, .. } = &entry.owner;
            (!applies, entry.time.as_deref().unwrap_or_default(), name, &entry.api_version, subresource)
        }
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
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

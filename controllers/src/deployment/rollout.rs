//! A Deployment's rollout while it is being planned: its sets as they are and as they will be.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use coracle_client::{Action, NewEvent, Op, Typed};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::limits::Limits;
use super::{hash, progress, revision};
use crate::conditions;
use crate::patch;
use crate::workload::{controller_reference, name};

/// Where a set stands in [`Rollout::sets`].
pub type Index = usize;

/// A plan in the making.
pub struct Rollout<'a> {
    /// Whose.
    pub deployment: &'a Deployment,
    /// How far it may stray.
    pub limits: Limits,
    /// The time.
    pub now: Timestamp,
    /// The Deployment's sets, oldest first.
    pub sets: Vec<PlannedSet>,
    /// Which of them has the Deployment's template.
    pub new: Option<Index>,
    /// The Deployment's conditions so far.
    pub conditions: Vec<DeploymentCondition>,
    /// Names that were taken by other sets.
    pub collisions: Option<i32>,
    /// The Deployment's version, as its annotation will tell.
    pub revision: Option<String>,
    taken: &'a BTreeSet<String>,
}

/// A set as it was and as it will be.
pub struct PlannedSet {
    /// As observed; `None` for one that is to be made.
    pub old: Option<ReplicaSet>,
    /// As planned.
    pub set: ReplicaSet,
    /// Whether it is to be deleted.
    pub delete: bool,
}

impl<'a> Rollout<'a> {
    /// A plan that changes nothing yet.
    pub fn new(
        deployment: &'a Deployment,
        mut sets: Vec<ReplicaSet>,
        taken: &'a BTreeSet<String>,
        now: Timestamp,
    ) -> Rollout<'a> {
        sets.sort_by(by_age);
        let status = deployment.status.as_ref();
        let template = template(deployment);
        let new = sets.iter().position(|set| same_template(set, template));
        let annotations = deployment.metadata.annotations.as_ref();
        Rollout {
            deployment,
            limits: Limits::of(deployment),
            now,
            sets: sets
                .into_iter()
                .map(|set| PlannedSet { old: Some(set.clone()), set, delete: false })
                .collect(),
            new,
            conditions: status.and_then(|status| status.conditions.clone()).unwrap_or_default(),
            collisions: status.and_then(|status| status.collision_count),
            revision: annotations.and_then(|annotations| annotations.get(revision::REVISION)).cloned(),
            taken,
        }
    }

    /// The set with the Deployment's template.
    pub fn new_set(&self) -> Option<&ReplicaSet> {
        self.new.map(|index| &self.sets[index].set)
    }

    /// All sets, the new one included.
    pub fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.sets.iter().map(|planned| &planned.set)
    }

    /// The sets of other versions, oldest first.
    pub fn old(&self) -> impl Iterator<Item = Index> + use<> {
        let new = self.new;
        (0..self.sets.len()).filter(move |index| Some(*index) != new)
    }

    /// The sets that ask for pods.
    pub fn active(&self) -> Vec<Index> {
        (0..self.sets.len()).filter(|index| self.replicas(*index) > 0).collect()
    }

    /// The pods that a set asks for.
    pub fn replicas(&self, index: Index) -> i32 {
        replicas(&self.sets[index].set)
    }

    /// Changes a set's size and notes what the Deployment asks for.
    pub fn scale(&mut self, index: Index, size: i32) {
        let limits = self.limits;
        let set = &mut self.sets[index].set;
        set.spec.get_or_insert_default().replicas = Some(size);
        revision::note_size(set.metadata.annotations.get_or_insert_default(), limits);
    }

    /// Numbers the new set, if it is there, and gives it what the Deployment's own annotations and settings say.
    pub fn sync_revision(&mut self) {
        let Some(index) = self.new else { return };
        let next =
            self.old().map(|old| revision::revision(&self.sets[old].set)).max().unwrap_or(0).max(0) + 1;
        let deployment = self.deployment;
        let set = &mut self.sets[index].set;
        let annotations = set.metadata.annotations.get_or_insert_default();
        revision::copy(deployment.metadata.annotations.as_ref(), annotations);
        revision::renumber(annotations, next);
        self.revision = annotations.get(revision::REVISION).cloned();
        let min_ready = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        let spec = set.spec.get_or_insert_default();
        if spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            spec.min_ready_seconds = min_ready;
        }
        let message = format!("Found new replica set \"{}\"", name(&set.metadata));
        if self.deadline().is_some() && conditions::find(&self.conditions, progress::PROGRESSING).is_none() {
            self.progress("True", "FoundNewReplicaSet", message);
        }
    }

    /// Makes the set with the Deployment's template, of a size that the limits allow.
    pub fn create_new(&mut self) -> Index {
        if let Some(index) = self.new {
            return index;
        }
        let template = template(self.deployment).clone();
        let (hash, name) = self.free_name(&template);
        let next = self.all().map(revision::revision).max().unwrap_or(0).max(0) + 1;
        let set = self.new_replica_set(template, &hash, name.clone());
        let index = self.sets.len();
        self.sets.push(PlannedSet { old: None, set, delete: false });
        self.new = Some(index);
        let annotations = self.sets[index].set.metadata.annotations.get_or_insert_default();
        revision::copy(self.deployment.metadata.annotations.as_ref(), annotations);
        revision::renumber(annotations, next);
        self.revision = Some(next.to_string());
        let size = self.room_for_new(index);
        self.scale(index, size);
        if self.deadline().is_some() {
            self.progress("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""));
        }
        index
    }

    /// How large the new set may be: as large as asked for, as far as all sets together stay within the limits.
    pub fn room_for_new(&self, index: Index) -> i32 {
        let size = self.replicas(index);
        let limits = self.limits;
        if !limits.rolling {
            return limits.replicas;
        }
        let all: i32 = self.all().map(replicas).sum();
        if all >= limits.most() {
            return size;
        }
        size + (limits.most() - all).min(limits.replicas - size)
    }

    /// A name that no other set has; each that is taken counts as a collision and changes the hash.
    fn free_name(&mut self, template: &PodTemplateSpec) -> (String, String) {
        loop {
            let hash = hash::template_hash(template, self.collisions);
            let name = format!("{}-{hash}", name(&self.deployment.metadata));
            if !self.taken.contains(&name) {
                return (hash, name);
            }
            self.collisions = Some(self.collisions.unwrap_or(0) + 1);
        }
    }

    fn new_replica_set(&self, mut template: PodTemplateSpec, hash: &str, name: String) -> ReplicaSet {
        let spec = self.deployment.spec.as_ref();
        let mut selector = spec.map(|spec| spec.selector.clone()).unwrap_or_default();
        selector.match_labels.get_or_insert_default().insert(hash::LABEL.into(), hash.into());
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(hash::LABEL.into(), hash.into());
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: self.deployment.metadata.namespace.clone(),
                labels: Some(labels.clone()),
                annotations: Some(BTreeMap::new()),
                owner_references: Some(vec![controller_reference(self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec.and_then(|spec| spec.min_ready_seconds),
                selector,
                template: Some(template),
            }),
            status: None,
        }
    }

    /// After how many seconds without progress the version counts as stuck; `None`: never.
    pub fn deadline(&self) -> Option<i32> {
        let seconds = self.deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
        seconds.filter(|seconds| *seconds != i32::MAX)
    }

    /// Sets the condition `Progressing`.
    pub fn progress(&mut self, status: &str, reason: &str, message: String) {
        let new = progress::condition(progress::PROGRESSING, status, reason, message, self.now);
        progress::set(&mut self.conditions, new);
    }

    /// What has to be done to the sets, those that come to be first.
    pub fn actions(self) -> Vec<Action> {
        let deployment = self.deployment;
        let (made, known): (Vec<PlannedSet>, Vec<PlannedSet>) =
            self.sets.into_iter().partition(|planned| planned.old.is_none());
        let made = made.into_iter().map(|planned| create(deployment, &planned.set));
        made.chain(known.into_iter().filter_map(|planned| change(deployment, planned))).collect()
    }
}

fn create(deployment: &Deployment, set: &ReplicaSet) -> Action {
    let action = Action::write(Op::create(set));
    match replicas(set) {
        0 => action,
        size => action.with_event(scaled(deployment, name(&set.metadata), 0, size)),
    }
}

fn change(deployment: &Deployment, planned: PlannedSet) -> Option<Action> {
    let old = planned.old?;
    if planned.delete {
        return Some(Action::write(Op::delete(&old)));
    }
    let patch = set_patch(&old, &planned.set)?;
    let action = Action::write(Op::merge(old.key(), patch));
    let (from, to) = (replicas(&old), replicas(&planned.set));
    Some(if from == to {
        action
    } else {
        action.with_event(scaled(deployment, name(&old.metadata), from, to))
    })
}

fn scaled(deployment: &Deployment, set: &str, from: i32, to: i32) -> NewEvent {
    let way = if from < to { "up" } else { "down" };
    let message = format!("Scaled {way} replica set {set} from {from} to {to}");
    NewEvent::normal(deployment, "ScalingReplicaSet", message)
}

/// A merge patch of the few fields that a Deployment changes in its sets.
fn set_patch(old: &ReplicaSet, new: &ReplicaSet) -> Option<Value> {
    let view = |set: &ReplicaSet| {
        let spec = set.spec.as_ref();
        json!({
            "metadata": {"annotations": set.metadata.annotations.clone().unwrap_or_default()},
            "spec": {
                "replicas": replicas(set),
                "minReadySeconds": spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0),
            },
        })
    };
    let mut patch = patch::difference(&view(old), &view(new))?;
    // Sized by what was observed: if somebody else changed it meanwhile, plan again.
    patch["metadata"]["uid"] = json!(old.metadata.uid);
    if patch.get("spec").is_some() {
        patch["metadata"]["resourceVersion"] = json!(old.metadata.resource_version);
    }
    Some(patch)
}

/// The pods that a set asks for.
pub fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// The pods of a set that count as available.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// The same, but no more than the set asks for: surplus pods are about to be deleted and must not be relied on.
pub fn lasting(set: &ReplicaSet) -> i32 {
    available(set).min(replicas(set))
}

/// Whether the set's counts were made before its size last changed.
pub fn is_stale(set: &ReplicaSet) -> bool {
    let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
    observed != 0 && observed < set.metadata.generation.unwrap_or(0)
}

/// Older sets first.
pub fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    let key = |set: &ReplicaSet| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone());
    key(a).cmp(&key(b))
}

/// The Deployment's template.
pub fn template(deployment: &Deployment) -> &PodTemplateSpec {
    static NONE: PodTemplateSpec = PodTemplateSpec { metadata: None, spec: None };
    deployment.spec.as_ref().map_or(&NONE, |spec| &spec.template)
}

/// Whether a set was made from this template: equal but for the hash.
fn same_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(of_set) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return false };
    let labels = |template: &PodTemplateSpec| {
        let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        labels.into_iter().filter(|(key, _)| key != hash::LABEL).collect::<BTreeMap<_, _>>()
    };
    let rest = |template: &PodTemplateSpec| {
        let meta = template.metadata.clone().unwrap_or_default();
        ObjectMeta { labels: None, ..meta }
    };
    of_set.spec == template.spec && labels(of_set) == labels(template) && rest(of_set) == rest(template)
}

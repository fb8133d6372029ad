//! Changing what a pod's containers may use while they run: whether the node has room for it, and what is reported of it. Pure.
//!
//! ```text
//!  asked for (spec) --fits?--> allocated (shown in the status) --engine--> applied (read back from the engine)
//! ```
//!
//! Source: `pkg/kubelet/allocation`, `pkg/kubelet/lifecycle/predicate.go` and `pkg/kubelet/events/resize_events.go`.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use serde_json::{Value, json};

use super::{Observed, Record};
use crate::resources;
use crate::runtime::Limits;
use crate::spec::requests::{insufficient, requests};
use crate::spec::{Role, containers};

/// How far a resize is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All is as it is asked for.
    Done,
    /// The node has no room for it: not now (`Deferred`), or never (`Infeasible`).
    Pending {
        /// Which of the two.
        reason: &'static str,
        /// What is missing.
        message: String,
    },
    /// It is under way.
    Going,
    /// The engine refuses.
    Failed(String),
}

/// How far the resize of a pod is.
pub fn progress(observed: &Observed<'_>) -> Progress {
    // Those that have ended as well: a restart gives them no more than was allocated to them.
    if resizable(observed).any(|container| grows(container, reported(observed, &container.name)))
        && let Some(pending) = pending(observed)
    {
        return pending;
    }
    let running = resizable(observed).filter_map(|container| {
        let record = observed.newest(&container.name).filter(|record| record.state.is_running())?;
        Some((container, record))
    });
    let running: Vec<_> = running.collect();
    let differ = |(container, record): &&(&Container, &Record)| wanted(observed, container, record).is_some();
    let Some((container, _)) = running.iter().find(differ) else { return Progress::Done };
    match observed.refused.get(&container.name) {
        Some(failure) => Progress::Failed(failure.message.clone()),
        None => Progress::Going,
    }
}

/// The containers that may be resized.
fn resizable<'a>(observed: &Observed<'a>) -> impl Iterator<Item = &'a Container> {
    containers(observed.spec()).filter(|(_, role)| *role != Role::Init).map(|(container, _)| container)
}

/// The pod with what was allocated to its containers in place of what they ask for, as long as its node has no room for that:
/// whatever is made of it meanwhile is made of this. `None` if it may have what it asks for.
///
/// Source: `UpdatePodFromAllocation` in `pkg/kubelet/allocation/allocation_manager.go`.
pub fn as_allocated(observed: &Observed<'_>) -> Option<Pod> {
    if !matches!(progress(observed), Progress::Pending { .. }) {
        return None;
    }
    let mut pod = observed.pod.clone();
    let spec = pod.spec.as_mut()?;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let Some(known) = reported(observed, &container.name).filter(|known| has_allocation(known)) else {
            continue;
        };
        let mut resources = known.resources.clone().unwrap_or_default();
        resources.requests = known.allocated_resources.clone();
        container.resources = Some(resources);
    }
    Some(pod)
}

/// Whether a status says what was allocated to its container, which it does once that was made.
fn has_allocation(status: &ContainerStatus) -> bool {
    status.allocated_resources.is_some() || (status.container_id.is_some() && status.resources.is_some())
}

/// What a container is to have; `None` if the engine shows that it has it. Where its spec asks for no limit it may have one: a resize
/// takes none away, so somebody else has set it.
pub fn wanted(observed: &Observed<'_>, container: &Container, record: &Record) -> Option<Limits> {
    let wanted = observed.enforced.of(resources::limits(observed.pod, container, 1));
    (!wanted.hold_in(&record.limits)).then_some(wanted)
}

/// What the status says of a container so far.
fn reported<'a>(observed: &Observed<'a>, name: &str) -> Option<&'a ContainerStatus> {
    let status = observed.pod.status.as_ref()?;
    let lists = [&status.init_container_statuses, &status.container_statuses];
    lists.into_iter().flatten().flatten().find(|one| one.name == name)
}

/// Whether a container asks for more than was allocated to it.
fn grows(container: &Container, reported: Option<&ContainerStatus>) -> bool {
    let Some(known) = reported.filter(|known| has_allocation(known)) else { return false };
    let allocated = |name: &str| known.allocated_resources.as_ref()?.get(name);
    let requested = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    requested.into_iter().flatten().any(|(name, amount)| {
        let parse = |amount: &Amount| amount.0.parse::<Quantity>().ok();
        matches!(name.as_str(), "cpu" | "memory")
            && parse(amount) > allocated(name).and_then(parse).or(Some(Quantity::ZERO))
    })
}

/// Why a pod cannot have what it asks for, in upstream's words.
fn pending(observed: &Observed<'_>) -> Option<Progress> {
    let (requested, room) = (requests(observed.spec()), observed.room);
    let resources = [
        ("cpu", requested.cpu_milli, room.others.cpu_milli, room.all.cpu_milli),
        ("memory", requested.memory, room.others.memory, room.all.memory),
    ];
    // If neither can ever fit, upstream names memory.
    if let Some((name, requested, _, all)) =
        resources.iter().rev().find(|(_, requested, _, all)| requested > all)
    {
        let message =
            format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {all}");
        return Some(Progress::Pending { reason: "Infeasible", message });
    }
    let short = resources.iter().find(|(_, requested, used, all)| requested.saturating_add(*used) > *all);
    short.map(|(name, requested, used, all)| {
        let message = insufficient(name, *requested, *used, *all);
        Progress::Pending { reason: "Deferred", message }
    })
}

/// What is allocated to a container, and what it may really use: the requests of its spec, or of its status as long as
/// the node has no room for them; and the limits that the engine shows while it runs. One that has ended keeps what was allocated,
/// for the next attempt.
pub fn shown(
    observed: &Observed<'_>,
    container: &Container,
    record: Option<&Record>,
) -> (Option<BTreeMap<String, Amount>>, Option<ResourceRequirements>) {
    let requested = container.resources.clone();
    let Some(record) = record else { return (None, requested) };
    let is_pending = matches!(progress(observed), Progress::Pending { .. });
    let old = reported(observed, &container.name).filter(|_| is_pending);
    let mut resources = match old.and_then(|old| old.resources.clone()) {
        Some(before) => Some(before),
        None => requested.clone(),
    };
    let allocated = match old {
        Some(old) => old.allocated_resources.clone(),
        None => requested.and_then(|requested| requested.requests),
    };
    if !record.state.is_running() {
        return (allocated, resources);
    }
    let meant =
        resources::limits(observed.pod, &Container { resources: resources.clone(), ..Default::default() }, 1);
    let applied = &record.limits;
    let mut apply = |name: &str, meant: i64, applied: i64, amount: String| {
        if meant == applied {
            return;
        }
        let limits = resources.get_or_insert_default().limits.get_or_insert_default();
        match applied {
            0 => drop(limits.remove(name)),
            _ => drop(limits.insert(name.into(), Amount(amount))),
        }
    };
    apply("cpu", meant.cpu_milli, applied.cpu_milli, Quantity::milli(applied.cpu_milli).to_string());
    apply("memory", meant.memory, applied.memory, applied.memory.to_string());
    (allocated, resources)
}

/// The text of an event about a resize.
pub fn message(observed: &Observed<'_>, what: &str, error: Option<&str>) -> String {
    let spec: &PodSpec = observed.spec();
    let one = |container: &Container| json!({"name": container.name, "resources": container.resources.clone().unwrap_or_default()});
    let of = |wanted: Role| -> Vec<Value> {
        containers(spec).filter(|(_, role)| *role == wanted).map(|(container, _)| one(container)).collect()
    };
    let mut summary = serde_json::Map::new();
    for (key, list) in [("initContainers", of(Role::Sidecar)), ("containers", of(Role::Main))] {
        if !list.is_empty() {
            summary.insert(key.into(), list.into());
        }
    }
    summary.insert("generation".into(), observed.pod.metadata.generation.unwrap_or_default().into());
    if let Some(error) = error {
        summary.insert("error".into(), error.into());
    }
    format!("Pod resize {what}: {}", Value::Object(summary))
}

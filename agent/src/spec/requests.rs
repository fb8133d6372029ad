//! What a pod asks for in all.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;

use super::{Role, containers};

/// What a pod asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of disk.
    pub storage: i64,
}

/// What a node has for the requests of its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub all: Requests,
    /// What the other pods ask for.
    pub others: Requests,
}

type Amounts = BTreeMap<String, Amount>;

impl Requests {
    fn read(list: Option<&Amounts>) -> Requests {
        let read = |name: &str| list?.get(name)?.0.parse::<Quantity>().ok();
        Requests {
            cpu_milli: read("cpu").map_or(0, |amount| amount.milli_value()),
            memory: read("memory").map_or(0, |amount| amount.value()),
            storage: read("ephemeral-storage").map_or(0, |amount| amount.value()),
        }
    }

    /// The sum of two; it stays at the limit where it would not fit.
    pub fn plus(self, other: Requests) -> Requests {
        self.with(other, i64::saturating_add)
    }

    fn with(self, other: Requests, combine: fn(i64, i64) -> i64) -> Requests {
        Requests {
            cpu_milli: combine(self.cpu_milli, other.cpu_milli),
            memory: combine(self.memory, other.memory),
            storage: combine(self.storage, other.storage),
        }
    }
}

/// What is said of a resource that a node has not enough of, in upstream's words.
pub fn insufficient(name: &str, requested: i64, used: i64, all: i64) -> String {
    format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {all}")
}

/// What a pod asks for.
pub fn requests(spec: &PodSpec) -> Requests {
    sum(spec, requested)
}

/// What was allocated to a pod: less than it asks for, as long as its node has no room for a resize.
pub fn allocated(pod: &Pod) -> Requests {
    let Some(spec) = &pod.spec else { return Requests::default() };
    let status = pod.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    if !conditions.any(|one| one.type_ == "PodResizePending") {
        return requests(spec);
    }
    let statuses: Vec<&ContainerStatus> = status
        .into_iter()
        .flat_map(|status| [&status.init_container_statuses, &status.container_statuses])
        .flatten()
        .flatten()
        .collect();
    sum(spec, |container| {
        let mut known = statuses.iter().filter(|status| status.name == container.name);
        match known.find_map(|status| status.allocated_resources.as_ref()) {
            Some(allocated) => Requests::read(Some(allocated)),
            None => requested(container),
        }
    })
}

fn requested(container: &Container) -> Requests {
    Requests::read(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

/// What the containers of a pod come to together: those that run at once are added, an init container runs alone but for the
/// sidecars before it. What is asked for the pod as a whole stands in for that sum; its overhead is added.
///
/// Source: Kubernetes docs, "Resource sharing within containers" and "Pod-level resource specification".
fn sum(spec: &PodSpec, of: impl Fn(&Container) -> Requests) -> Requests {
    let (mut sidecars, mut peak) = (Requests::default(), Requests::default());
    let mut together = Requests::default();
    for (container, role) in containers(spec) {
        match role {
            Role::Init => peak = peak.with(sidecars.plus(of(container)), i64::max),
            Role::Sidecar => {
                sidecars = sidecars.plus(of(container));
                together = together.plus(of(container));
            }
            Role::Main | Role::Ephemeral => together = together.plus(of(container)),
        }
    }
    let mut all = together.with(peak, i64::max);
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if let Some(list) = whole {
        let whole = Requests::read(Some(list));
        if list.contains_key("cpu") {
            all.cpu_milli = whole.cpu_milli;
        }
        if list.contains_key("memory") {
            all.memory = whole.memory;
        }
    }
    all.plus(Requests::read(spec.overhead.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn one(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn what_runs_at_once_is_added() {
        let side = |cpu: &str| {
            let mut side = one("s", cpu);
            side["restartPolicy"] = json!("Always");
            side
        };
        let cases = [
            ("two containers", json!({"containers": [one("a", "1"), one("b", "500m")]}), 1500),
            (
                "a large init container",
                json!({"initContainers": [one("i", "2")], "containers": [one("a", "1")]}),
                2000,
            ),
            (
                "a sidecar runs beside both",
                json!({"initContainers": [side("100m"), one("i", "2")], "containers": [one("a", "1")]}),
                2100,
            ),
            (
                "one that starts later does not",
                json!({"initContainers": [one("i", "2"), side("100m")], "containers": [one("a", "1")]}),
                2000,
            ),
            (
                "the pod as a whole, and its overhead",
                json!({"containers": [one("a", "1")], "resources": {"requests": {"cpu": "3"}}, "overhead": {"cpu": "250m"}}),
                3250,
            ),
        ];
        for (case, spec, expected) in cases {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(requests(&spec).cpu_milli, expected, "case: {case}");
        }
    }

    #[test]
    fn a_resize_without_room_takes_none() {
        let status = |kind: &str| {
            json!({"conditions": [{"type": kind, "status": "True"}], "containerStatuses": [{"name": "a", "image": "",
                "imageID": "", "ready": true, "restartCount": 0, "allocatedResources": {"cpu": "1"}}]})
        };
        for (kind, expected) in [("PodResizePending", 1000), ("PodResizeInProgress", 8000)] {
            let pod = json!({"spec": {"containers": [one("a", "8")]}, "status": status(kind)});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(allocated(&pod).cpu_milli, expected, "{kind}");
        }
    }
}

//! What a pod asks for and what a node has: exact integers, computed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::Quantity as Exact;
use coracle_api::podspec::host_ports::is_sidecar;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What the scores count for a container that asks for no cpu, so that such pods spread and pack too.
///
/// As upstream's `DefaultMilliCPURequest`.
const UNASKED_CPU: i64 = 100;
/// The same for memory: 200 MiB, as upstream's `DefaultMemoryRequest`.
const UNASKED_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of resources. The pod count is no part of it: every pod counts as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of ephemeral storage.
    pub storage: i64,
    /// Extended resources and huge pages, sorted by name.
    pub extended: Vec<(Arc<str>, i64)>,
}

impl Amounts {
    /// Reads a resource list. `pods` is left out; rounding is up, as a promise must be.
    pub fn read(list: &BTreeMap<String, Quantity>) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => amounts.cpu = exact(quantity).milli_value(),
                "memory" => amounts.memory = exact(quantity).value(),
                "ephemeral-storage" => amounts.storage = exact(quantity).value(),
                "pods" => {}
                _ => amounts.extended.push((name.as_str().into(), exact(quantity).value())),
            }
        }
        amounts
    }

    /// How much there is of an extended resource.
    pub fn extended(&self, name: &str) -> i64 {
        self.extended.iter().find(|(n, _)| &**n == name).map_or(0, |(_, amount)| *amount)
    }

    /// Adds, and stays at the limit where a sum would not fit.
    pub fn add(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes away what [`Amounts::add`] had added.
    pub fn take(&mut self, other: &Amounts) {
        self.combine(other, i64::saturating_sub);
    }

    /// The larger of both, resource by resource.
    pub fn raise(&mut self, other: &Amounts) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Amounts, op: fn(i64, i64) -> i64) {
        self.cpu = op(self.cpu, other.cpu);
        self.memory = op(self.memory, other.memory);
        self.storage = op(self.storage, other.storage);
        for (name, amount) in &other.extended {
            match self.extended.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(i) => self.extended[i].1 = op(self.extended[i].1, *amount),
                Err(i) => self.extended.insert(i, (name.clone(), op(0, *amount))),
            }
        }
    }
}

/// A quantity as it was written; what cannot be read is 0 (the API server has already refused it).
pub fn exact(quantity: &Quantity) -> Exact {
    quantity.0.parse().unwrap_or(Exact::ZERO)
}

/// What a pod asks for while it lives: the containers together, or the step of its initialisation that asks for most (where
/// the sidecars started so far run beside each init container), whichever is more; and its overhead.
///
/// Source: Kubernetes docs, "Sidecar containers: resource sharing within containers".
pub fn requests(spec: &PodSpec) -> Amounts {
    let mut running = Amounts::default();
    for container in &spec.containers {
        running.add(&requests_of(container));
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        let mut step = requests_of(container);
        step.add(&sidecars);
        if is_sidecar(container) {
            running.add(&requests_of(container));
            sidecars = step.clone();
        }
        peak.raise(&step);
    }
    running.raise(&peak);
    // Requests of the pod as a whole stand in for the sum of its containers'.
    if let Some(list) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Amounts::read(list);
        if list.contains_key("cpu") {
            running.cpu = whole.cpu;
        }
        if list.contains_key("memory") {
            running.memory = whole.memory;
        }
    }
    if let Some(overhead) = &spec.overhead {
        running.add(&Amounts::read(overhead));
    }
    running
}

/// Cpu and memory as the scores count them: a container that asks for none counts a little.
pub fn weight(spec: &PodSpec, requests: &Amounts) -> (i64, i64) {
    let silent = |name: &str| {
        let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
        let whole = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        if whole.is_some_and(|list| list.contains_key(name)) {
            return 0;
        }
        let asks = |c: &Container| {
            c.resources.as_ref().and_then(|r| r.requests.as_ref()).is_some_and(|r| r.contains_key(name))
        };
        i64::try_from(spec.containers.iter().chain(sidecars).filter(|c| !asks(c)).count()).unwrap_or(0)
    };
    (
        requests.cpu.saturating_add(silent("cpu").saturating_mul(UNASKED_CPU)),
        requests.memory.saturating_add(silent("memory").saturating_mul(UNASKED_MEMORY)),
    )
}

fn requests_of(container: &Container) -> Amounts {
    container.resources.as_ref().and_then(|r| r.requests.as_ref()).map(Amounts::read).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: &str, sidecar: bool) -> Container {
        serde_json::from_value(serde_json::json!({
            "name": "c",
            "resources": { "requests": { "cpu": cpu } },
            "restartPolicy": if sidecar { Some("Always") } else { None },
        }))
        .expect("a container")
    }

    #[test]
    fn init_containers_and_sidecars() {
        let cases = [
            ("containers add", vec![], vec!["1", "500m"], 1500),
            ("an init container runs alone", vec![("2", false)], vec!["500m"], 2000),
            ("a sidecar runs beside", vec![("600m", true)], vec!["1500m"], 2100),
            (
                "an init container before the sidecar does not",
                vec![("1500m", false), ("1", true)],
                vec!["100m"],
                1500,
            ),
            (
                "an init container behind the sidecar does",
                vec![("1", true), ("1500m", false)],
                vec!["100m"],
                2500,
            ),
        ];
        for (name, init, containers, expected) in cases {
            let spec = PodSpec {
                containers: containers.iter().map(|c| container(c, false)).collect(),
                init_containers: Some(init.iter().map(|(c, s)| container(c, *s)).collect()),
                ..PodSpec::default()
            };
            assert_eq!(requests(&spec).cpu, expected, "case: {name}");
        }
    }

    #[test]
    fn overhead_and_whole_pod_requests() {
        let mut spec = PodSpec { containers: vec![container("1", false)], ..PodSpec::default() };
        spec.overhead = Some(BTreeMap::from([("cpu".into(), Quantity("250m".into()))]));
        assert_eq!(requests(&spec).cpu, 1250);
        spec.resources =
            serde_json::from_value(serde_json::json!({ "requests": { "cpu": "3" } })).expect("resources");
        assert_eq!(requests(&spec).cpu, 3250);
    }

    #[test]
    fn silent_containers_weigh_something() {
        let spec =
            PodSpec { containers: vec![Container::default(), container("1", false)], ..PodSpec::default() };
        let all = requests(&spec);
        assert_eq!(weight(&spec, &all), (1100, 2 * UNASKED_MEMORY));
    }
}

//! What a pod requests and is limited to in all, and the class of quality of service that follows.
//!
//! Source: `k8s.io/component-helpers/resource/helpers.go` and `pkg/apis/core/v1/helper/qos/qos.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::defaults::map_at;
use crate::quantity::Quantity;
use crate::read::{entries, list, text};

/// Resources by name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The resources that a pod as a whole may ask for.
fn is_pod_level(resource: &str) -> bool {
    ["cpu", "memory"].contains(&resource) || resource.starts_with("hugepages-")
}

fn amounts(resources: &Value, kind: &str) -> Amounts {
    let list = format!("/{kind}");
    let all = entries(resources, &list);
    all.filter_map(|(name, value)| Some((name.clone(), Quantity::from_json(value)?))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or_else(|| amount.clone(), |have| have.plus(amount));
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        if to.get(name).is_none_or(|have| have < amount) {
            to.insert(name.clone(), amount.clone());
        }
    }
}

/// Whether an init container stays beside the others: a sidecar.
pub fn is_sidecar(init_container: &Value) -> bool {
    text(init_container, "/restartPolicy") == "Always"
}

/// What the containers of a pod spec ask for together. `kind` is `requests` or `limits`.
///
/// Containers and sidecars run at once and are added; an init container runs alone but for the sidecars started
/// before it, so the larger of both counts.
pub fn of_containers(spec: &Value, kind: &str) -> Amounts {
    let of = |container: &Value| amounts(container, &format!("resources/{kind}"));
    let mut total = Amounts::new();
    for container in list(spec, "/containers") {
        add(&mut total, &of(container));
    }
    // Only the resources that this container itself asks for can raise the peak: for all others the sum of the sidecars
    // has not changed since it was last compared.
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in list(spec, "/initContainers") {
        let mut alone = of(container);
        if is_sidecar(container) {
            add(&mut total, &alone);
            add(&mut sidecars, &alone);
            alone.iter_mut().for_each(|(name, amount)| *amount = sidecars[name].clone());
        } else {
            for (name, amount) in &mut alone {
                *amount = sidecars.get(name).map_or_else(|| amount.clone(), |beside| beside.plus(amount));
            }
        }
        raise(&mut peak, &alone);
    }
    raise(&mut total, &peak);
    total
}

/// What a pod spec asks for: of its containers, or of itself where it says so, and its overhead.
pub fn of_pod(spec: &Value, kind: &str) -> Amounts {
    let mut total = of_containers(spec, kind);
    let own = amounts(spec, &format!("resources/{kind}")).into_iter();
    total.extend(own.filter(|(name, _)| is_pod_level(name)));
    let mut overhead = amounts(spec, "overhead");
    overhead.retain(|name, _| kind == "requests" || total.contains_key(name));
    add(&mut total, &overhead);
    total
}

/// A pod that asks for resources as a whole requests what its containers do, or what it limits.
pub fn default_pod_level(spec: &mut Value) {
    let Some(resources) = spec.get("resources").filter(|r| r.is_object()) else { return };
    let limits = amounts(resources, "limits");
    let wanted = of_containers(spec, "requests");
    let sources = wanted.into_iter().filter(|(_, amount)| !amount.is_zero()).chain(limits);
    let defaults: Vec<_> = sources.filter(|(name, _)| is_pod_level(name)).collect();
    if defaults.is_empty() {
        return;
    }
    let Some(resources) = spec.get_mut("resources") else { return };
    if let Some(requests) = map_at(resources, "requests") {
        for (name, amount) in defaults {
            requests.entry(name).or_insert_with(|| amount.to_string().into());
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`: the order in which pods are evicted from a full node, the last class
/// first.
pub fn qos_class(spec: &Value) -> &'static str {
    let asks = ["requests", "limits"].iter().any(|kind| !amounts(&spec["resources"], kind).is_empty());
    let all: Vec<&Value> = match asks {
        true => vec![spec],
        false => list(spec, "/containers").iter().chain(list(spec, "/initContainers")).collect(),
    };
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut all_limited = true;
    for owner in all {
        let counted = |kind: &str| {
            let mut all = amounts(&owner["resources"], kind);
            all.retain(|name, q| ["cpu", "memory"].contains(&name.as_str()) && *q > Quantity::ZERO);
            all
        };
        let limited = counted("limits");
        all_limited &= limited.len() == 2;
        add(&mut requests, &counted("requests"));
        add(&mut limits, &limited);
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_count_when_they_need_more_than_all_others() {
        let c = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}});
        let cases = [
            ("sum", json!({"containers": [c("1"), c("500m")]}), "1500m"),
            ("small init", json!({"containers": [c("1")], "initContainers": [c("500m")]}), "1"),
            ("large init", json!({"containers": [c("1")], "initContainers": [c("2")]}), "2"),
            ("sidecar", json!({"containers": [c("1")], "initContainers": [sidecar]}), "1100m"),
            (
                "init beside sidecar",
                json!({"containers": [c("1")], "initContainers": [sidecar, c("2")]}),
                "2100m",
            ),
            ("own", json!({"containers": [c("1")], "resources": {"requests": {"cpu": "3"}}}), "3"),
            ("overhead", json!({"containers": [c("1")], "overhead": {"cpu": "10m"}}), "1010m"),
        ];
        for (name, spec, expected) in cases {
            assert_eq!(of_pod(&spec, "requests")["cpu"].to_string(), expected, "case: {name}");
        }
    }

    #[test]
    fn quality_of_service() {
        let both = json!({"cpu": "1", "memory": "1Mi"});
        let one = |requests: Value, limits: Value| json!({"containers": [{"resources": {"requests": requests, "limits": limits}}]});
        let cases = [
            ("nothing", json!({"containers": [{}]}), "BestEffort"),
            ("zero", one(json!({"cpu": "0"}), json!({})), "BestEffort"),
            ("others do not count", one(json!({"ephemeral-storage": "1Gi"}), json!({})), "BestEffort"),
            ("request", one(json!({"cpu": "1"}), json!({})), "Burstable"),
            ("one of two", one(json!({"cpu": "1"}), json!({"cpu": "1"})), "Burstable"),
            ("all", one(both.clone(), both.clone()), "Guaranteed"),
            ("less", one(json!({"cpu": "500m", "memory": "1Mi"}), both), "Burstable"),
        ];
        for (name, spec, expected) in cases {
            assert_eq!(qos_class(&spec), expected, "case: {name}");
        }
    }
}

//! What a running pod may ask for instead of what it has.

use serde_json::Value;

use super::update::{is_static, only, semantically_equal};
use crate::defaults::map_at;
use crate::field::{Errors, Field};
use crate::podspec::resources::{is_sidecar, qos_class};
use crate::podspec::spec_and_annotations;
use crate::read::list;

/// The rules for a write to `/resize`. (new, old)
pub fn validate_resize(new: &Value, old: &Value, errors: &mut Errors) {
    spec_and_annotations(new, errors);
    if is_static(old) {
        return only(errors, "static pods cannot be resized");
    }
    if old["spec"]["os"]["name"] == "windows" {
        return only(errors, "windows pods cannot be resized");
    }
    let (new_spec, old_spec) = (Field::top(new, "spec"), Field::top(old, "spec"));
    let class = old["status"]["qosClass"].as_str().unwrap_or_else(|| qos_class(old_spec.value));
    if class != qos_class(new_spec.value) {
        let shown = new["status"]["qosClass"].clone();
        errors.invalid(&new_spec, shown, "Pod QOS Class may not change as a result of resizing");
    }
    if !node_can_resize(old) {
        errors.forbidden(&new_spec, "Pod running on node without support for resize");
    }
    for list in ["initContainers", "containers"] {
        let (now, before) = (new_spec.get(list), old_spec.get(list));
        for (now, before) in now.items().zip(before.items()) {
            if list == "containers" || is_sidecar(before.value) {
                resources(&now, &before, errors);
            }
        }
    }
    let mut rest = new_spec.value.clone();
    for (list, refusal) in [
        ("containers", "only cpu and memory resources are mutable"),
        ("initContainers", "only cpu and memory resources for sidecar containers are mutable"),
    ] {
        let before = old_spec.raw(list).as_array().into_iter().flatten();
        for (now, before) in rest[list].as_array_mut().into_iter().flatten().zip(before) {
            if list == "containers" || is_sidecar(now) {
                forgive_cpu_and_memory(now, before);
                if !semantically_equal(now, before) {
                    errors.forbidden(&new_spec, refusal);
                }
            } else if !semantically_equal(now, before) {
                errors.forbidden(&new_spec, "resources for non-sidecar init containers are immutable");
            }
        }
    }
    if errors.is_empty() && !semantically_equal(&rest, old_spec.value) {
        errors.forbidden(&new_spec, "only cpu and memory resources are mutable");
    }
}

/// A node that can resize says what its running containers have.
fn node_can_resize(pod: &Value) -> bool {
    let mut statuses = list(pod, "/status/containerStatuses").iter();
    let running = statuses.find(|status| !status["state"]["running"].is_null());
    running.is_none_or(|status| !status["resources"].is_null())
}

fn resources(new: &Field, old: &Field, errors: &mut Errors) {
    let (now, before) = (new.get("resources"), old.get("resources"));
    for list in ["requests", "limits"] {
        if before.get(list).entries().iter().any(|(name, _)| now.raw(list).get(name).is_none()) {
            errors.forbidden(&now.get(list), &format!("resource {list} cannot be removed"));
        }
    }
}

/// Puts back the amounts that may change.
fn forgive_cpu_and_memory(now: &mut Value, before: &Value) {
    for list in ["requests", "limits"] {
        let Some(resources) = now.get_mut("resources") else { continue };
        let Some(was) = before["resources"].get(list).and_then(Value::as_object) else {
            resources.as_object_mut().map(|resources| resources.shift_remove(list));
            continue;
        };
        let Some(amounts) = map_at(resources, list) else { continue };
        for resource in ["cpu", "memory"] {
            match was.get(resource) {
                Some(amount) => drop(amounts.insert(resource.into(), amount.clone())),
                None => drop(amounts.shift_remove(resource)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::POD;
    use crate::kinds::pod::prepare::{prepare_create, prepare_resize};
    use serde_json::json;

    #[test]
    fn only_cpu_and_memory_change_and_the_class_stays() {
        let mut old = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "a",
            "resources": {"requests": {"cpu": "100m", "memory": "10Mi"}, "limits": {"cpu": "200m"}}}]}});
        POD.fill_in(&mut old);
        prepare_create(&mut old);
        let class =
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing";
        let cases = [
            (
                "first limit of memory",
                json!({"requests": {"cpu": "100m", "memory": "10Mi"}, "limits": {"cpu": "200m", "memory": "1Gi"}}),
                vec![],
            ),
            (
                "more",
                json!({"requests": {"cpu": "150m", "memory": "20Mi"}, "limits": {"cpu": "200m"}}),
                vec![],
            ),
            (
                "removed",
                json!({"requests": {"cpu": "100m", "memory": "10Mi"}}),
                vec!["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
            ),
            (
                "guaranteed",
                json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Mi"}}),
                vec![class],
            ),
            (
                "storage",
                json!({"requests": {"cpu": "100m", "memory": "10Mi", "ephemeral-storage": "1Gi"}, "limits": {"cpu": "200m"}}),
                vec!["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
        ];
        for (name, resources, expected) in cases {
            let mut new = old.clone();
            new["spec"]["containers"][0]["resources"] = resources;
            new["spec"]["containers"][0]["image"] = "ignored".into();
            prepare_resize(&mut new, &old);
            let mut errors = Errors::new();
            validate_resize(&new, &old, &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "case: {name}");
            assert_eq!(new["spec"]["containers"][0]["image"], "a", "case: {name}");
        }
    }
}

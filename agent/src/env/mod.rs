//! What variables a container sees. Pure: whatever they refer to is looked up before.

mod expand;
mod facts;
pub mod field;
mod services;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

pub use expand::{expand, expand_all};
pub use facts::{Facts, Lookup};

/// The variables of a container, sorted by name; or why it cannot be made, in upstream's words.
pub fn variables(
    pod: &Pod,
    container: &Container,
    lookup: &Lookup,
    facts: &Facts,
) -> Result<BTreeMap<String, String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
    let services = services::variables(lookup.services.iter().map(AsRef::as_ref), namespace, links);
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match (lookup.config_maps.get(&reference.name), reference.optional == Some(true)) {
                (Some(map), _) => {
                    let data = map.data.iter().flatten();
                    own.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
                }
                (None, true) => {}
                (None, false) => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match (lookup.secrets.get(&reference.name), reference.optional == Some(true)) {
                (Some(secret), _) => {
                    let data = secret.data.iter().flatten();
                    own.extend(data.map(|(key, value)| (format!("{prefix}{key}"), text(&value.0))));
                }
                (None, true) => {}
                (None, false) => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => {
                Some(expand(value, |name| own.get(name).or_else(|| services.get(name)).cloned()))
            }
            (_, Some(source)) => referred(pod, container, namespace, source, lookup, facts)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            own.insert(variable.name.clone(), value);
        }
    }
    let mut all = services;
    all.extend(own);
    Ok(all)
}

/// The value that a reference leads to; `None` for an optional one that leads nowhere.
fn referred(
    pod: &Pod,
    container: &Container,
    namespace: &str,
    source: &EnvVarSource,
    lookup: &Lookup,
    facts: &Facts,
) -> Result<Option<String>, String> {
    if let Some(reference) = &source.field_ref {
        return field::field(pod, &reference.field_path, facts).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
        let spec = pod.spec.as_ref();
        let all = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        let of = match named {
            Some(name) => all.into_iter().find(|one| one.name == name),
            None => Some(container),
        };
        let of = of.ok_or_else(|| format!("container {} not found", named.unwrap_or_default()))?;
        return field::resource(of, selector, facts).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(map) = lookup.config_maps.get(&reference.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(format!("configmap {:?} not found", reference.name))
            };
        };
        return match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                reference.key, reference.name
            )),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(secret) = lookup.secrets.get(&reference.name) else {
            return if optional { Ok(None) } else { Err(format!("secret {:?} not found", reference.name)) };
        };
        return match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(text(&value.0))),
            None if optional => Ok(None),
            None => {
                Err(format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name))
            }
        };
    }
    Ok(Some(String::new()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::json;

    fn lookup() -> Lookup {
        let map = json!({"data": {"A": "m", "B": "m", "E": "$(Z)$$"}, "binaryData": {"X": "MQ=="}});
        let secret = json!({"data": {"B": "cw==", "C": "cw=="}});
        let service = json!({"metadata": {"name": "s", "namespace": "ns"},
                             "spec": {"clusterIP": "10.96.0.2", "ports": [{"port": 80}]}});
        Lookup {
            config_maps: BTreeMap::from([("m".into(), Arc::new(serde_json::from_value(map).unwrap()))]),
            secrets: BTreeMap::from([("s".into(), Arc::new(serde_json::from_value(secret).unwrap()))]),
            services: vec![Arc::new(serde_json::from_value(service).unwrap())],
        }
    }

    fn seen(container: serde_json::Value) -> Result<String, String> {
        let mut container = container;
        container["name"] = json!("c");
        let pod = json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": {"containers": []}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let container: Container = serde_json::from_value(container).unwrap();
        let all = variables(&pod, &container, &lookup(), &Facts::default())?;
        let all = all.into_iter().filter(|(name, _)| !name.starts_with("S_"));
        Ok(all.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn variables_follow_upstreams_order() {
        let cases = [
            (json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]}), "A=1 B=12"),
            (json!({"env": [{"name": "B", "value": "$(A)2"}, {"name": "A", "value": "1"}]}), "A=1 B=$(A)2"),
            (json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}), "A=12"),
            (json!({"env": [{"name": "P", "value": "$(S_SERVICE_PORT)"}]}), "P=80"),
            (
                json!({"envFrom": [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}]}),
                "A=m B=s C=s E=$(Z)$$",
            ),
            (
                json!({"envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "m"}}]}),
                "A=m B=m C=s E=$(Z)$$",
            ),
            (json!({"envFrom": [{"prefix": "q-", "secretRef": {"name": "s"}}]}), "q-B=s q-C=s"),
            (
                json!({"env": [{"name": "Z", "value": "1"}, {"name": "B", "value": "$(F)"},
                    {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "E"}}}, {"name": "G", "value": "$(F)"}]}),
                "B=$(F) F=$(Z)$$ G=$(Z)$$ Z=1",
            ),
            (
                json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": true}}}]}),
                "",
            ),
            (
                json!({"env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
                "N=x",
            ),
        ];
        for (container, expected) in cases {
            assert_eq!(seen(container.clone()).as_deref(), Ok(expected), "container: {container}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |kind: &str, name: &str, key: &str| json!({"env": [{"name": "A", "valueFrom": {kind: {"name": name, "key": key}}}]});
        let cases = [
            (key("configMapKeyRef", "nope", "k"), "configmap \"nope\" not found"),
            (key("secretKeyRef", "nope", "k"), "secret \"nope\" not found"),
            (key("configMapKeyRef", "m", "k"), "couldn't find key k in ConfigMap ns/m"),
            (key("secretKeyRef", "s", "k"), "couldn't find key k in Secret ns/s"),
            (json!({"envFrom": [{"configMapRef": {"name": "nope"}}]}), "configmap \"nope\" not found"),
        ];
        for (container, expected) in cases {
            assert_eq!(seen(container.clone()), Err(expected.to_owned()), "container: {container}");
        }
    }
}

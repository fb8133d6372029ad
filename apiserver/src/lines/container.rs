//! Where a container is: which container is meant, and on which node it runs. Upstream's checks in upstream's order.

use coracle_api::{Key, Status, kinds};
use coracle_client::line::Open;
use serde_json::Value;

use crate::registry::Registry;

/// A container on a node.
#[derive(Debug, PartialEq)]
pub(super) struct ContainerOnNode {
    pub node: String,
    /// Everything about the order but its number and what is wanted.
    pub order: Open,
}

/// Finds a pod's container. `None`: the pod has no node yet.
pub(super) fn find(
    registry: &Registry,
    namespace: &str,
    name: &str,
    container: &str,
) -> Result<Option<ContainerOnNode>, Status> {
    let key = Key::new(&kinds::POD, namespace, name);
    let pod = registry.get(&key).ok_or_else(|| Status::not_found(&kinds::POD, name))?;
    let pod = pod.value().map_err(Status::internal)?;
    let container = choose(name, &pod["spec"], container)?;
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) else {
        return Ok(None);
    };
    if registry.get(&Key::new(&kinds::NODE, "", node)).is_none() {
        // Upstream looks for the node and names the wrong kind.
        return Err(Status::not_found(&kinds::POD, node));
    }
    let order = Open {
        namespace: namespace.into(),
        pod: name.into(),
        uid: pod["metadata"]["uid"].as_str().unwrap_or_default().into(),
        container,
        ..Open::default()
    };
    Ok(Some(ContainerOnNode { node: node.into(), order }))
}

/// The container asked for, or the only one there is.
fn choose(pod: &str, spec: &Value, wanted: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        let containers = spec[list].as_array().into_iter().flatten();
        containers.filter_map(|c| c["name"].as_str()).map(str::to_owned).collect()
    };
    let main = names("containers");
    let all = [names("initContainers"), main.clone(), names("ephemeralContainers")].concat();
    if !wanted.is_empty() {
        if all.iter().any(|name| name == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod}")));
    }
    match main.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(Status::bad_request(format!(
            "a container name must be specified for pod {pod}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_named_or_the_only_one() {
        let one = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
        let two = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]});
        let text = |spec: &Value, wanted: &str| choose("x", spec, wanted).map_err(|status| status.message);
        assert_eq!(text(&one, ""), Ok("a".into()));
        assert_eq!(text(&one, "i"), Ok("i".into()));
        assert_eq!(text(&two, "b"), Ok("b".into()));
        assert_eq!(text(&two, "z"), Err("container z is not valid for pod x".into()));
        let choose_one = "a container name must be specified for pod x, choose one of: [i a b]";
        assert_eq!(text(&two, ""), Err(choose_one.into()));
    }
}

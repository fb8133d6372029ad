//! The network of several nodes that share an engine, before their agents start.

use coracle_api::{Key, Object, kinds};
use coracle_client::{Client, Interest, Op, Write};
use serde_json::Value;

use super::slice;
use crate::error::StartError;
use crate::labels::Mark;
use crate::network::subnet_around;
use crate::runtime::{Error, Runtime};

/// What the server fills in, and what goes with the slice.
const OF_THE_OLD_ONE: [&str; 5] =
    ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"];

/// Finds the cluster's network, or makes it where these nodes have their slices. Where it is elsewhere, because those addresses
/// are somebody else's by now, their Nodes are made anew without one: a `podCIDR` cannot be changed, and one that is not where
/// the pods are would be a lie. The rest of what people gave a Node (labels, taints, a cordon) stays.
///
/// The client is a master's: a node may not delete its own Node.
///
/// # Errors
/// The engine or the API do not do it.
pub async fn prepare_network(
    client: &dyn Client,
    runtime: &dyn Runtime,
    mark: &Mark,
    names: &[String],
) -> Result<(), StartError> {
    let (nodes, _) = client.list(&Interest::all(&kinds::NODE)).await?;
    // Others have their network on another machine.
    let with_slice = nodes.into_iter().filter(|node| names.contains(&node.key.name));
    let with_slice: Vec<_> = with_slice.filter_map(|node| Some((slice::of(&node)?, node))).collect();
    let subnet = with_slice.iter().find_map(|(slice, _)| subnet_around(*slice));
    let network = match runtime.ensure_network(mark, subnet).await {
        Err(error @ Error::SubnetTaken { .. }) => {
            tracing::warn!(%error, "making the network elsewhere");
            runtime.ensure_network(mark, None).await?
        }
        other => other?,
    };
    for (slice, node) in with_slice {
        if !slice.is_slice_of(&network.subnet) {
            tracing::warn!(node = node.key.name, %slice, network = %network.subnet, "making the Node anew");
            make_anew(client, &node).await?;
        }
    }
    Ok(())
}

/// Deletes a Node and makes it again without its slice.
async fn make_anew(client: &dyn Client, node: &Object) -> Result<(), StartError> {
    let mut object = node.value().map_err(|error| coracle_client::Error::Malformed(error.to_string()))?;
    let parts = [("metadata", &OF_THE_OLD_ONE[..]), ("spec", &["podCIDR", "podCIDRs"]), ("", &["status"])];
    for (part, fields) in parts {
        let part = if part.is_empty() { Some(&mut object) } else { object.get_mut(part) };
        if let Some(Value::Object(part)) = part {
            fields.iter().for_each(|field| drop(part.shift_remove(*field)));
        }
    }
    client.write_one(Write::from(Op::delete_key(Key::new(&kinds::NODE, "", &node.key.name)))).await?;
    let op = Op::Create { kind: kinds::NODE.handle(), namespace: String::new(), sub: None, object };
    client.write_one(Write::from(op)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use coracle_client::Clock;
    use coracle_client::fake::Fake;
    use serde_json::json;

    use super::*;
    use crate::runtime::sim::SimRuntime;

    /// A simulated network is 10.0.0.0/8, so a slice of another one is that of a network that is gone.
    #[tokio::test]
    async fn a_node_whose_slice_is_elsewhere_is_made_anew_and_keeps_the_rest() {
        let cluster = Fake::new();
        let runtime = SimRuntime::new(Clock::system(), Duration::ZERO);
        let client: Arc<dyn Client> = Arc::new(cluster.clone());
        let nodes =
            [("here", "10.7.1.0/24"), ("moved", "172.30.1.0/24"), ("of-another-machine", "172.30.2.0/24")];
        for (name, slice) in nodes {
            let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"a": "b"}},
                "spec": {"unschedulable": true, "podCIDR": slice, "podCIDRs": [slice]}, "status": {"phase": "Running"}});
            let op = Op::Create { kind: kinds::NODE.handle(), namespace: String::new(), sub: None, object };
            client.write_one(op).await.unwrap();
        }
        let shown = |name: &str| cluster.peek(&Key::new(&kinds::NODE, "", name)).unwrap().value().unwrap();
        let before: Vec<Value> = nodes.iter().map(|(name, _)| shown(name)).collect();
        let names = ["here".to_owned(), "moved".into()];
        for _ in 0..2 {
            prepare_network(&cluster, &runtime, &Mark::new("c", None), &names).await.unwrap();
            assert_eq!((shown("here"), shown("of-another-machine")), (before[0].clone(), before[2].clone()));
            let moved = shown("moved");
            assert_ne!(moved["metadata"]["uid"], before[1]["metadata"]["uid"]);
            assert_eq!(moved["metadata"]["labels"], json!({"a": "b"}));
            assert_eq!(
                (&moved["spec"], &moved["status"]["phase"]),
                (&json!({"unschedulable": true}), &Value::Null)
            );
        }
    }
}

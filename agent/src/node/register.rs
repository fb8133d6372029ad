//! The Node is made, or brought up to date.

use coracle_api::{Key, kinds};
use coracle_client::{Client, Error, Op};
use serde_json::{Map, Value, json};

use super::as_kubelet::as_kubelet;
use super::slice::{self, Wish};
use super::status;
use crate::config::AgentConfig;
use crate::context::Context;
use crate::error::StartError;
use crate::network::Subnet;
use crate::runtime::{Info, Network};

/// How often the Node is looked at anew because somebody else changed it in between.
const TRIES: usize = 8;

/// Makes the Node if it is not there, or brings its labels up to date. Answers the node's slice of the cluster's network.
///
/// # Errors
/// The engine or the API do not answer, there is no slice left, or the Node has one of another network.
pub async fn register(
    client: &dyn Client,
    config: &AgentConfig,
    network: &Network,
) -> Result<Subnet, StartError> {
    register_with(client, config, network, Wish::Any { first: config.slice, chance: &config.chance }).await
}

/// Registers the node again, whose Node somebody has deleted or made by hand, with the slice that its pods have their
/// addresses from.
///
/// # Errors
/// As at the start; and the slice may be another node's by now.
pub async fn put_back(ctx: &Context) -> Result<(), StartError> {
    let own = ctx.addresses.slice();
    tracing::warn!(node = ctx.config.node, slice = %own, "the Node is gone, or not the agent's; registering it");
    register_with(ctx.client.as_ref(), &ctx.config, &ctx.network, Wish::Only(own)).await.map(drop)
}

async fn register_with(
    client: &dyn Client,
    config: &AgentConfig,
    network: &Network,
    wish: Wish<'_>,
) -> Result<Subnet, StartError> {
    let info = config.runtime.info().await?;
    let key = Key::new(&kinds::NODE, "", &config.node);
    let mut proposals = wish.proposals(network.subnet);
    let mut proposed = proposals.next();
    let mut tries = 0;
    loop {
        let known = client.get(&key).await?;
        let has = known.as_deref().and_then(slice::of);
        if let Some(slice) = has {
            let (is_right, home) = match wish {
                Wish::Any { .. } => (
                    slice.is_slice_of(&network.subnet),
                    format!("the network {} ({}), which was made anew since", network.name, network.subnet),
                ),
                Wish::Only(own) => (slice == own, own.to_string()),
            };
            if !is_right {
                return Err(StartError::SliceElsewhere { node: config.node.clone(), slice, home });
            }
        }
        let Some(slice) = has.or(proposed) else {
            return Err(StartError::NoSlice { node: config.node.clone(), network: network.subnet });
        };
        let op = match &known {
            None => {
                let object = node(config, &info, slice);
                Op::Create { kind: kinds::NODE.handle(), namespace: String::new(), sub: None, object }
            }
            Some(_) => {
                let mut patch = json!({"metadata": {"labels": labels(config, &info)}});
                if has.is_none() {
                    patch["spec"] = slice::written(slice);
                }
                Op::merge(key.clone(), patch)
            }
        };
        match client.write_one(as_kubelet(op)).await {
            Ok(_) => return Ok(slice),
            // A slice that the Node has already is not proposed: another one would not be either, and so that is an error.
            Err(Error::Refused(refusal)) if has.is_none() && slice::is_taken(&refusal) => {
                proposed = proposals.next();
            }
            // It came, went or changed meanwhile.
            Err(Error::Refused(refusal)) if matches!(refusal.code, 404 | 409) && tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn labels(config: &AgentConfig, info: &Info) -> Map<String, Value> {
    let (node, os) = (&config.node, "linux");
    let arch = &info.architecture;
    let usual = [
        ("beta.kubernetes.io/arch", arch.as_str()),
        ("beta.kubernetes.io/os", os),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", node),
        ("kubernetes.io/os", os),
    ];
    let own = config.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    usual.into_iter().chain(own).map(|(key, value)| (key.to_owned(), value.into())).collect()
}

/// The Node as it is made.
fn node(config: &AgentConfig, info: &Info, slice: Subnet) -> Value {
    let taints = config.taints.iter();
    let taints: Vec<Value> =
        taints.map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect})).collect();
    let mut spec = slice::written(slice);
    if !taints.is_empty() {
        spec["taints"] = taints.into();
    }
    let size = status::size(&config.size);
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.node,
            "labels": labels(config, info),
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": spec,
        "status": {"capacity": size, "allocatable": size},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use coracle_api::{Errors, Path, Status};
    use coracle_client::fake::Fake;
    use coracle_client::{Chance, Clock};

    use super::*;
    use crate::runtime::sim::SimRuntime;

    fn config(name: &str, slice: Option<u16>, seed: u64) -> AgentConfig {
        let runtime = SimRuntime::new(Clock::system(), Duration::ZERO);
        let chance = Chance::seeded(seed);
        AgentConfig { slice, chance, ..AgentConfig::new("c", name, Arc::new(runtime), "/nowhere".into()) }
    }

    fn network(subnet: &str) -> Network {
        let (name, subnet): (String, Subnet) = ("coracle-c".into(), subnet.parse().unwrap());
        Network { id: "1".into(), name, subnet, gateway: subnet.first }
    }

    async fn shown(cluster: &Fake, name: &str) -> Value {
        cluster.peek(&Key::new(&kinds::NODE, "", name)).map(|node| node.value().unwrap()).unwrap_or_default()
    }

    /// All want the same one at the same moment, and there is just one for each.
    #[tokio::test]
    async fn no_two_nodes_have_one_slice() {
        let (cluster, network) = (Fake::new(), network("10.88.0.0/21"));
        let names: Vec<String> = (0..8).map(|n| format!("node-{n}")).collect();
        let registered = names.iter().enumerate().map(|(n, name)| {
            let (cluster, network) = (cluster.clone(), network.clone());
            let config = config(name, Some(3), n as u64);
            async move { register(&cluster, &config, &network).await.unwrap().to_string() }
        });
        let got = futures::future::join_all(registered).await;
        let different: BTreeSet<&String> = got.iter().collect();
        assert_eq!(different.len(), names.len(), "{got:?}");
        for (name, slice) in names.iter().zip(&got) {
            let spec = shown(&cluster, name).await["spec"].clone();
            assert_eq!((&spec["podCIDR"], &spec["podCIDRs"]), (&json!(slice), &json!([slice])));
        }
        let late = register(&cluster, &config("late", None, 9), &network).await;
        assert!(matches!(late, Err(StartError::NoSlice { .. })), "{late:?}");
        assert_eq!(shown(&cluster, "late").await, Value::Null, "a node without addresses is not registered");
    }

    #[tokio::test]
    async fn a_node_keeps_its_slice_and_is_told_where_it_cannot() {
        let cluster = Fake::new();
        let client: Arc<dyn Client> = Arc::new(cluster.clone());
        let home = network("10.88.0.0/16");
        assert_eq!(
            register(&cluster, &config("a", Some(4), 1), &home).await.unwrap().to_string(),
            "10.88.4.0/24"
        );
        let again = register(&cluster, &config("a", Some(7), 1), &home).await.unwrap();
        assert_eq!(again.to_string(), "10.88.4.0/24", "its own, whatever it would like");
        // The network was made anew elsewhere.
        let moved = register(&cluster, &config("a", None, 1), &network("10.90.0.0/16")).await;
        let Err(error @ StartError::SliceElsewhere { .. }) = moved else { panic!("{moved:?}") };
        for part in ["10.88.4.0/24", "10.90.0.0/16", "kubectl delete node a"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // A Node that somebody made by hand has none.
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}});
        let op = Op::Create { kind: kinds::NODE.handle(), namespace: String::new(), sub: None, object };
        client.write_one(op).await.unwrap();
        let second = register(&cluster, &config("b", Some(4), 1), &home).await.unwrap();
        assert_ne!(second, again);
        assert_eq!(shown(&cluster, "b").await["spec"]["podCIDR"], json!(second.to_string()));
    }

    /// What cannot be helped by another slice is told, and not asked again without end.
    #[tokio::test]
    async fn a_node_that_may_not_keep_its_slice_fails() {
        let (cluster, home) = (Fake::new(), network("10.88.0.0/16"));
        register(&cluster, &config("a", Some(4), 1), &home).await.unwrap();
        let mut errors = Errors::new();
        errors.invalid(&Path::root("spec").child("podCIDRs"), "10.88.4.0/24", "is another node's");
        let refusal = Status::invalid(&kinds::NODE.handle(), "a", &errors);
        cluster.fail_next_write(Error::Refused(refusal), false);
        let again = register(&cluster, &config("a", Some(4), 1), &home).await;
        assert!(matches!(again, Err(StartError::Api(Error::Refused(_)))), "{again:?}");
    }

    /// Pods keep their addresses for life: a living agent takes no other slice.
    #[tokio::test]
    async fn a_node_that_is_put_back_has_its_slice_or_says_that_it_is_anothers() {
        let (cluster, home) = (Fake::new(), network("10.88.0.0/16"));
        let own = "10.88.4.0/24".parse().unwrap();
        let back = async || register_with(&cluster, &config("a", None, 1), &home, Wish::Only(own)).await;
        assert_eq!(back().await.unwrap(), own);
        let client: Arc<dyn Client> = Arc::new(cluster.clone());
        client.write_one(Op::delete_key(Key::new(&kinds::NODE, "", "a"))).await.unwrap();
        register(&cluster, &config("b", Some(4), 1), &home).await.unwrap();
        assert!(matches!(back().await, Err(StartError::NoSlice { .. })));
        assert_eq!(shown(&cluster, "a").await, Value::Null);
    }
}

//! Which slice of the cluster's network is a node's own.
//!
//! Nobody hands slices out, so the nodes come to an agreement by their Node objects:
//!
//! ```text
//!  announce: write the slice into an annotation of the own Node --> look at all other Nodes
//!    somebody else has it, or has announced it, too --> choose another one by chance, announce again
//!    nobody else ---------------------------------> it is the node's: write spec.podCIDR
//! ```
//!
//! Two nodes never end with one slice: each looks after its announcement is written, so the one that looks later sees what
//! the other has announced. `spec.podCIDR` comes last because the API lets nobody change it.

use std::collections::BTreeSet;

use coracle_api::{Key, Object, kinds};
use coracle_client::{Chance, Client, Interest, Op};
use serde::Deserialize;
use serde_json::json;

use super::as_kubelet::as_kubelet;
use crate::config::AgentConfig;
use crate::error::StartError;
use crate::network::Subnet;

/// The annotation of a Node that announces its slice.
pub const SLICE: &str = "coracle.dev/slice";
/// The length of a slice's prefix.
const PREFIX: u8 = 24;
/// How often another slice is announced before the start as a whole is tried again, after a wait.
const TRIES: usize = 16;
/// From how many free slices one is chosen after a conflict: few, so that slices stay together.
const CHOICE: usize = 16;

/// The part of a Node that is about its slice. The rest is not decoded, since a large cluster has many Nodes.
#[derive(Debug, Default, Deserialize)]
struct Said {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, rename = "podCIDR")]
    pod_cidr: Option<String>,
}

impl Said {
    fn read(node: &Object) -> Said {
        serde_json::from_slice(&node.json).unwrap_or_default()
    }

    fn announced(&self) -> Option<Subnet> {
        self.metadata.annotations.as_ref()?.get(SLICE)?.parse().ok()
    }

    fn taken(&self) -> Option<Subnet> {
        self.spec.pod_cidr.as_deref()?.parse().ok()
    }
}

/// Sees to it that the node has a slice that no other node has. The Node is there already.
///
/// # Errors
/// There is none left, others were always quicker, or the API does not answer.
pub async fn agree(
    client: &dyn Client,
    config: &AgentConfig,
    whole: Subnet,
    chance: &Chance,
) -> Result<Subnet, StartError> {
    let key = Key::new(&kinds::NODE, "", &config.node);
    let own = client.get(&key).await?.map(|node| Said::read(&node)).unwrap_or_default();
    let is_slice = |slice: &Subnet| slice.prefix == PREFIX && whole.contains(slice.first);
    if let Some(slice) = own.taken().filter(is_slice) {
        return Ok(slice);
    }
    let mut announced = own.announced().filter(is_slice);
    let mut wanted = announced.or_else(|| preferred(config, whole));
    for _ in 0..TRIES {
        if let Some(slice) = wanted.filter(|wanted| announced != Some(*wanted)) {
            let patch = json!({"metadata": {"annotations": {SLICE: slice.to_string()}}});
            client.write_one(as_kubelet(Op::merge(key.clone(), patch))).await?;
            announced = wanted;
        }
        let (nodes, _) = client.list(&Interest::all(&kinds::NODE)).await?;
        let others = nodes.iter().filter(|node| node.key.name != config.node);
        let said = others.flat_map(|node| {
            let said = Said::read(node);
            [said.taken(), said.announced()]
        });
        let theirs: BTreeSet<String> = said.flatten().map(|slice| slice.to_string()).collect();
        if let Some(slice) = wanted.filter(|wanted| !theirs.contains(&wanted.to_string())) {
            settle(client, key, &own, slice).await?;
            return Ok(slice);
        }
        // The first free one, unless others are about to take that, too.
        let chance = wanted.map(|_| chance);
        wanted = Some(choose(whole, &theirs, chance)?);
    }
    Err(StartError::SlicesContested)
}

/// The slice that a node tries first, if its configuration names one.
pub fn preferred(config: &AgentConfig, whole: Subnet) -> Option<Subnet> {
    whole.slice(config.slice?)
}

/// Writes `spec.podCIDR`. A Node that has one from before the cluster's network was made anew keeps it: it cannot be changed.
async fn settle(client: &dyn Client, key: Key, own: &Said, slice: Subnet) -> Result<(), StartError> {
    if own.taken().is_none() {
        let text = slice.to_string();
        let patch = json!({"spec": {"podCIDR": text, "podCIDRs": [text]}});
        client.write_one(as_kubelet(Op::merge(key, patch))).await?;
    }
    Ok(())
}

/// The first free slice; or one of the first ones by chance, where others are choosing at the same time.
fn choose(whole: Subnet, taken: &BTreeSet<String>, chance: Option<&Chance>) -> Result<Subnet, StartError> {
    let all = (0..=u16::MAX).map_while(|n| whole.slice(n));
    let free: Vec<Subnet> = all.filter(|slice| !taken.contains(&slice.to_string())).take(CHOICE).collect();
    let count = u64::try_from(free.len()).unwrap_or(1).max(1);
    let at = chance.map_or(0, |chance| chance.next() % count);
    let chosen = usize::try_from(at).ok().and_then(|at| free.get(at).copied());
    chosen.ok_or_else(|| StartError::NoSlice(whole.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use coracle_api::kinds::Kinds;
    use coracle_api::{Revision, Status};
    use coracle_client::fake::Fake;
    use coracle_client::{Clock, Error, Event, Write};
    use futures::stream::BoxStream;
    use serde_json::Value;

    use super::*;
    use crate::runtime::sim::SimRuntime;

    /// A client whose calls take longer or shorter by chance, so that those of several nodes come in every order.
    struct Slow {
        cluster: Fake,
        chance: Chance,
    }

    impl Slow {
        async fn wait(&self) {
            for _ in 0..self.chance.next() % 4 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[async_trait]
    impl Client for Slow {
        fn kinds(&self) -> &Kinds {
            self.cluster.kinds()
        }

        async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
            self.wait().await;
            self.cluster.get(key).await
        }

        async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
            self.wait().await;
            self.cluster.list(interest).await
        }

        async fn watch(
            &self,
            interests: Vec<Interest>,
            since: Revision,
        ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
            self.cluster.watch(interests, since).await
        }

        async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
            self.wait().await;
            self.cluster.write(writes).await
        }

        async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
            self.cluster.report(verdicts).await
        }
    }

    fn whole() -> Subnet {
        "10.88.0.0/16".parse().unwrap()
    }

    async fn add_node(cluster: &Fake, name: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        let op = Op::Create { kind: kinds::NODE.handle(), namespace: String::new(), sub: None, object };
        let client: Arc<dyn Client> = Arc::new(cluster.clone());
        client.write_one(op).await.unwrap();
    }

    fn config(name: &str, slice: Option<u16>) -> AgentConfig {
        let runtime = SimRuntime::new(Clock::system(), Duration::ZERO);
        AgentConfig { slice, ..AgentConfig::new("c", name, Arc::new(runtime), "/nowhere".into()) }
    }

    /// All want the same one at the same moment.
    #[tokio::test(start_paused = true)]
    async fn nodes_that_want_one_slice_agree() {
        for seed in 0..200 {
            let cluster = Fake::new();
            let names: Vec<String> = (0..8).map(|n| format!("node-{n}")).collect();
            for name in &names {
                add_node(&cluster, name).await;
            }
            let agreed = names.iter().enumerate().map(|(n, name)| {
                let (cluster, config) = (cluster.clone(), config(name, Some(3)));
                let chance = Chance::seeded(seed * 100 + n as u64);
                async move {
                    let slow = Slow { cluster, chance: chance.clone() };
                    agree(&slow, &config, whole(), &chance).await.unwrap().to_string()
                }
            });
            let agreed: BTreeSet<String> = futures::future::join_all(agreed).await.into_iter().collect();
            assert_eq!(agreed.len(), names.len(), "seed {seed}: {agreed:?}");
            let (nodes, _) = cluster.list(&Interest::all(&kinds::NODE)).await.unwrap();
            let written: BTreeSet<String> = nodes
                .iter()
                .filter_map(|node| Said::read(node).taken())
                .map(|slice| slice.to_string())
                .collect();
            assert_eq!(written, agreed, "seed {seed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_keeps_its_slice_and_takes_the_first_free_one() {
        let cluster = Fake::new();
        let chance = Chance::seeded(1);
        let agree = async |name: &str, slice| {
            agree(&cluster, &config(name, slice), whole(), &chance).await.unwrap().to_string()
        };
        for name in ["a", "b", "c", "d"] {
            add_node(&cluster, name).await;
        }
        assert_eq!(agree("a", None).await, "10.88.0.0/24");
        assert_eq!(agree("b", None).await, "10.88.1.0/24");
        assert_eq!(agree("a", Some(7)).await, "10.88.0.0/24", "its own");
        assert_eq!(agree("c", Some(7)).await, "10.88.7.0/24");
        let other = agree("d", Some(7)).await;
        assert!(!["10.88.0.0/24", "10.88.1.0/24", "10.88.7.0/24"].contains(&other.as_str()), "{other}");
    }

    #[test]
    fn a_network_without_room_is_told() {
        let small: Subnet = "10.88.0.0/23".parse().unwrap();
        let taken = BTreeSet::from(["10.88.0.0/24".to_owned(), "10.88.1.0/24".to_owned()]);
        assert!(matches!(choose(small, &taken, None), Err(StartError::NoSlice(_))));
    }
}

//! The labels on everything that an agent makes. By them it finds what runs, after a crash too; what has run stands in the
//! pod's status. They are set in the call that makes a thing, so nothing ever exists without them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The cluster that a container, network or volume belongs to.
pub const CLUSTER: &str = "coracle.dev/cluster";
/// The node that made it.
pub const NODE: &str = "coracle.dev/node";
/// The namespace of its pod.
pub const NAMESPACE: &str = "coracle.dev/namespace";
/// The name of its pod.
pub const POD: &str = "coracle.dev/pod";
/// The uid of its pod: names may come again, uids do not.
pub const UID: &str = "coracle.dev/uid";
/// The container's name in the pod's spec; [`SANDBOX`] for the sandbox.
pub const CONTAINER: &str = "coracle.dev/container";
/// How often the container was made before: `restartCount`.
pub const ATTEMPT: &str = "coracle.dev/attempt";
/// The seconds that a restart must wait once this container ends; see `pod::backoff`.
pub const BACKOFF: &str = "coracle.dev/backoff";
/// The image of a container, as the pod's spec named it when the container was made.
pub const IMAGE: &str = "coracle.dev/image";
/// The address of a sandbox, which the pod keeps for life.
pub const ADDRESS: &str = "coracle.dev/address";

/// On the network: which cluster of that name it is; see [`Mark`].
pub const AUTHORITY: &str = "coracle.dev/authority";

/// The container name that marks a sandbox: no container of a pod can be called so.
pub const SANDBOX: &str = "POD";

/// A cluster, and which one of that name: two in different folders must not take each other's containers for their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub cluster: String,
    /// The start of the digest of its authority's certificate, which it keeps for life; empty if it is not known.
    pub authority: String,
}

impl Mark {
    /// The cluster of this name whose authority has this certificate.
    pub fn new(cluster: &str, ca_pem: Option<&str>) -> Mark {
        let digest = ca_pem.map(|pem| Sha256::digest(pem.trim()));
        let hex = |digest: &[u8]| digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Mark { cluster: cluster.into(), authority: digest.map(|d| hex(&d)).unwrap_or_default() }
    }
}

/// Whose things: a cluster's and, within it, a node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name; `None` stands for all nodes of the cluster.
    pub node: Option<String>,
}

impl Owner {
    /// Everything of one node.
    pub fn node(cluster: &str, node: &str) -> Owner {
        Owner { cluster: cluster.into(), node: Some(node.into()) }
    }

    /// The labels that say so.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([(CLUSTER.to_owned(), self.cluster.clone())]);
        labels.extend(self.node.iter().map(|node| (NODE.to_owned(), node.clone())));
        labels
    }

    /// The same, as `key=value` filters.
    pub fn filters(&self) -> Vec<String> {
        self.labels().iter().map(|(key, value)| format!("{key}={value}")).collect()
    }
}

/// Which container of which pod, as its labels say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container's name, or [`SANDBOX`].
    pub container: String,
    /// Counts from 0.
    pub attempt: u32,
    /// Seconds of back-off after its end.
    pub backoff: u64,
}

impl Identity {
    /// The labels of a container of this identity.
    pub fn labels(&self, cluster: &str, node: &str) -> BTreeMap<String, String> {
        let pairs = [
            (CLUSTER, cluster.to_owned()),
            (NODE, node.to_owned()),
            (NAMESPACE, self.namespace.clone()),
            (POD, self.pod.clone()),
            (UID, self.uid.clone()),
            (CONTAINER, self.container.clone()),
            (ATTEMPT, self.attempt.to_string()),
            (BACKOFF, self.backoff.to_string()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads an identity back; `None` for what no agent has made.
    pub fn read(labels: &BTreeMap<String, String>) -> Option<Identity> {
        let text = |key: &str| labels.get(key).cloned();
        Some(Identity {
            namespace: text(NAMESPACE)?,
            pod: text(POD)?,
            uid: text(UID)?,
            container: text(CONTAINER)?,
            attempt: text(ATTEMPT)?.parse().ok()?,
            backoff: text(BACKOFF).and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
        })
    }

    /// A name for people who read `docker ps`; unique, because the uid's start and the attempt are in it.
    pub fn container_name(&self, cluster: &str) -> String {
        let uid = self.uid.get(..8).unwrap_or(&self.uid);
        format!("coracle.{cluster}.{}.{}.{}.{uid}.{}", self.namespace, self.pod, self.container, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_their_labels() {
        let identity = Identity {
            namespace: "shop".into(),
            pod: "web-0".into(),
            uid: "0b3b4ed5-0a35-4cd4-b8f4-9fd8a8ff9ef7".into(),
            container: "app".into(),
            attempt: 3,
            backoff: 20,
        };
        let labels = identity.labels("demo", "node-1");
        assert_eq!(Identity::read(&labels), Some(identity.clone()));
        assert_eq!(identity.container_name("demo"), "coracle.demo.shop.web-0.app.0b3b4ed5.3");
        assert_eq!(Identity::read(&BTreeMap::from([(CLUSTER.into(), "demo".into())])), None);
    }
}

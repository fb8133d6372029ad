//! What variables and files of a pod show that its spec does not say: addresses, ConfigMaps, Secrets, Services.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};

/// Looked up by the node before a container is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The pod's address.
    pub pod_ip: String,
    /// The node's address.
    pub host_ip: String,
    /// The node's processors, in thousandths.
    pub node_cpu_milli: i64,
    /// The node's memory, in bytes.
    pub node_memory: i64,
    /// The node's disk, in bytes.
    pub node_storage: i64,
    /// When the node first saw the pod.
    pub seen: String,
}

/// The objects that a pod refers to, by name; absent where there is none.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// ConfigMaps of the pod's namespace.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets of the pod's namespace.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// Services of the pod's namespace, and the API server's.
    pub services: Vec<Arc<Service>>,
}

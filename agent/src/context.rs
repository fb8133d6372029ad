//! What all pods of a node share.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::backoff::Backoff;
use coracle_client::recorder::{EventRecorder, container_reference, reference};
use coracle_client::{Client, Clock, Interest, Typed};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::config::AgentConfig;
use crate::env::{Facts, Lookup};
use crate::event_type::EventType;
use crate::images::Images;
use crate::network::Addresses;
use crate::objects::Objects;
use crate::pod_requests::NodeRoom;
use crate::runtime::{Error, Network, PodFiles, Runtime};
use crate::tokens::Tokens;

/// What all pods of a node share.
pub struct Context {
    /// The API.
    pub client: Arc<dyn Client>,
    /// How the agent is configured.
    pub config: AgentConfig,
    /// The time.
    pub clock: Clock,
    /// Writes events.
    pub recorder: EventRecorder,
    /// The cluster's network. Its id may change: see [`Context::keep_network`].
    pub network: Network,
    /// The id of the network as it was last seen.
    pub network_id: Mutex<String>,
    /// The node's slice of it.
    pub addresses: Addresses,
    /// The files of its pods.
    pub files: Arc<dyn PodFiles>,
    /// The resource requests of its pods.
    pub requests: NodeRoom,
    /// The ConfigMaps and Secrets that its pods name.
    pub objects: Objects,
    /// Its image pulls: those under way, and those that failed a short while ago.
    pub images: Images,
    /// The tokens of its pods.
    pub tokens: Tokens,
    /// The next turn of those who read what volumes hold.
    pub turns: AtomicU64,
    /// How many containers are made at once: more only queue up inside the engine.
    pub starts: Semaphore,
}

/// See [`Context::starts`].
pub const STARTS_AT_ONCE: usize = 12;

impl Context {
    /// Waits between attempts, from the first to the longest, which vary by chance.
    pub fn backoff(&self, first: Duration, longest: Duration) -> Backoff {
        Backoff::with_chance(first, longest, self.config.chance.clone())
    }

    /// The runtime.
    pub fn runtime(&self) -> &dyn Runtime {
        self.config.runtime.as_ref()
    }

    /// Finds the cluster's network, or makes it again with the addresses that it had: somebody may have removed it
    /// (`docker network prune` does, while no pod runs).
    ///
    /// # Errors
    /// Why pods have no network.
    pub async fn keep_network(&self) -> Result<(), Error> {
        let known = &self.network;
        let found = self.runtime().ensure_network(&self.config.mark(), Some(known.subnet)).await?;
        if (&found.name, found.subnet) != (&known.name, known.subnet) {
            return Err(Error::Refused(format!(
                "the cluster's network is {} ({}) now, but the node's pods have their addresses from {} ({}): remove it \
                 (docker network rm {}), and it is made again as it was",
                found.name, found.subnet, known.name, known.subnet, found.name
            )));
        }
        let before = std::mem::replace(&mut *self.network_id.lock(), found.id.clone());
        if before != found.id {
            let message =
                format!("network {} ({}) was gone; it has been made again", found.name, found.subnet);
            tracing::warn!(node = self.config.node, message);
            self.emit_of_node(EventType::Warning, "NetworkMadeAgain", message).await;
        }
        Ok(())
    }

    /// Emits an event about the node.
    async fn emit_of_node(&self, event_type: EventType, reason: &str, message: String) {
        // Without a Node there is nothing to tell it of; the log has it.
        if let Ok(Some(node)) = self.client.get_as::<Node>("", &self.config.node).await {
            self.recorder.emit(reference(&node), event_type.as_str(), reason, "", message);
        }
    }

    /// The node's address: the machine's, on the cluster's network.
    pub fn host(&self) -> Ipv4Addr {
        self.network.gateway
    }

    /// Emits an event about a pod, or about one of its containers.
    pub fn emit(
        &self,
        pod: &Pod,
        container: Option<&str>,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let about = match container {
            Some(name) => {
                let spec = pod.spec.as_ref();
                let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
                let ephemeral =
                    spec.and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default();
                let list = match name {
                    _ if init.iter().any(|one| one.name == name) => "initContainers",
                    _ if ephemeral.iter().any(|one| one.name == name) => "ephemeralContainers",
                    _ => "containers",
                };
                container_reference(pod, list, name)
            }
            None => reference(pod),
        };
        self.recorder.emit(about, event_type.as_str(), reason, "", message);
    }

    /// What the node knows of a pod.
    pub fn facts(&self, address: Option<Ipv4Addr>, seen: jiff::Timestamp) -> Facts {
        let size = &self.config.size;
        Facts {
            pod_ip: address.map(|address| address.to_string()).unwrap_or_default(),
            host_ip: self.host().to_string(),
            node_cpu_milli: size.cpu_milli,
            node_memory: size.memory,
            node_storage: size.storage,
            seen: seen.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string(),
        }
    }

    /// The ConfigMaps and Secrets that a pod names, read not longer ago than `age`.
    pub async fn named(&self, pod: &Pod, age: Duration) -> Result<Lookup, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (maps, secrets) = crate::spec::references::references(pod);
        let mut lookup = Lookup::default();
        for name in maps {
            let found: Option<ConfigMap> = self.read(namespace, &name, age).await?;
            let found = found.or_else(|| self.own_ca(&name));
            lookup.config_maps.extend(found.map(|found| (name, Arc::new(found))));
        }
        for name in secrets {
            let found: Option<Secret> = self.read(namespace, &name, age).await?;
            lookup.secrets.extend(found.map(|found| (name, Arc::new(found))));
        }
        Ok(lookup)
    }

    async fn read<K: Typed>(&self, namespace: &str, name: &str, age: Duration) -> Result<Option<K>, String> {
        let key = Key::new(K::kind(), namespace, name);
        let object =
            self.objects.get(self.client.as_ref(), &key, age).await.map_err(|error| error.to_string())?;
        object.map(|object| K::from_json(&object.json).map_err(|error| error.to_string())).transpose()
    }

    /// Every object that a pod's containers may refer to, as it is now: Services, too.
    pub async fn look_up(&self, pod: &Pod) -> Result<Lookup, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut lookup = self.named(pod, Duration::ZERO).await?;
        let unreachable = |error: coracle_client::Error| error.to_string();
        let own = Interest { namespace: Some(namespace.into()), ..Interest::all(&kinds::SERVICE) };
        let (services, _) = self.client.list(&own).await.map_err(unreachable)?;
        let decoded =
            services.iter().filter_map(|service| Service::from_json(&service.json).ok()).map(Arc::new);
        lookup.services.extend(decoded);
        if namespace != "default" {
            let found: Option<Service> =
                self.client.get_as("default", "kubernetes").await.map_err(unreachable)?;
            lookup.services.extend(found.map(Arc::new));
        }
        let is_api = |service: &Arc<Service>| service.metadata.name.as_deref() == Some("kubernetes");
        if !lookup.services.iter().any(is_api) {
            lookup.services.extend(self.own_api_service().map(Arc::new));
        }
        Ok(lookup)
    }

    /// The certificate authority that the agent itself trusts, where no controller publishes it.
    fn own_ca(&self, name: &str) -> Option<ConfigMap> {
        let ca = self.config.ca.clone().filter(|_| name == "kube-root-ca.crt")?;
        Some(ConfigMap { data: Some(BTreeMap::from([("ca.crt".into(), ca)])), ..Default::default() })
    }

    fn own_api_service(&self) -> Option<Service> {
        let (ip, port) = self.config.api_server?;
        let service = json!({
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": ip.to_string(), "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
        });
        serde_json::from_value(service).ok()
    }

    /// The key of a pod.
    pub fn key(pod: &Pod) -> Key {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Key::new(&kinds::POD, text(&pod.metadata.namespace), text(&pod.metadata.name))
    }
}

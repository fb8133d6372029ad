//! How a server says that it is there: by a Lease, as upstream's servers do.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Status, kinds};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::SERVER_USER;
use crate::identity::{AUTHENTICATED, Identity, MASTERS};
use crate::registry::Registry;
use crate::write::operation::{Body, Context, DeleteOptions, Operation, PatchForm};

const NAMESPACE: &str = "kube-system";
/// Tells these Leases from others: upstream's label, with a value of our own.
const LABEL: &str = "apiserver.kubernetes.io/identity";
const VALUE: &str = "coracle-apiserver";
/// Where the server is, and which authority it trusts.
const ADDRESS: &str = "coracle.dev/address";
const AUTHORITY: &str = "coracle.dev/authority";
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Servers that have not said so for longer than this are not asked.
const GOOD_FOR: SignedDuration = SignedDuration::from_secs(15);
/// Leases that are older than this are taken away by whoever sees them.
const FORGOTTEN: SignedDuration = SignedDuration::from_secs(600);

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The name of its Lease.
    pub name: String,
    /// `https://10.0.0.5:6443`.
    pub address: String,
    /// The hash of its authority's certificate.
    pub authority: String,
}

impl Announced {
    /// A new server at an address, with its authority's certificate in PEM.
    pub fn new(address: &str, ca: &str) -> Announced {
        let name = format!("apiserver-{}", uuid::Uuid::new_v4().simple());
        let hash = Sha256::digest(ca.as_bytes());
        let authority = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Announced { name, address: address.into(), authority }
    }

    fn key(&self) -> Key {
        Key::new(&kinds::LEASE, NAMESPACE, &self.name)
    }
}

/// The other servers that said lately that they are there.
pub fn others(registry: &Registry, own: &Announced) -> Vec<Announced> {
    let now = registry.clock().now();
    let leases = leases(registry).into_iter();
    leases
        .filter(|(server, renewed)| server.name != own.name && now.duration_since(*renewed) < GOOD_FOR)
        .map(|(server, _)| server)
        .collect()
}

fn leases(registry: &Registry) -> Vec<(Announced, Timestamp)> {
    let all = registry.state.all(&kinds::LEASE, Some(NAMESPACE));
    let ours = all.iter().filter(|lease| lease.summary().label(LABEL) == Some(VALUE));
    ours.filter_map(|entry| {
        let lease = entry.value();
        let note = |name: &str| lease["metadata"]["annotations"][name].as_str().map(str::to_owned);
        let renewed = lease["spec"]["renewTime"].as_str()?.parse().ok()?;
        let name = entry.object.key.name.clone();
        Some((Announced { name, address: note(ADDRESS)?, authority: note(AUTHORITY)? }, renewed))
    })
    .collect()
}

/// Says that a server is there for as long as it is.
pub async fn run(registry: Arc<Registry>, own: Announced, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(status) = renew(&registry, &own).await {
            tracing::warn!(%status, "cannot tell the other servers that this one is there");
        }
        let now = registry.clock().now();
        for (server, renewed) in leases(&registry) {
            if now.duration_since(renewed) > FORGOTTEN {
                let _ = remove(&registry, &server).await;
            }
        }
    }
    let _ = remove(&registry, &own).await;
}

async fn renew(registry: &Arc<Registry>, own: &Announced) -> Result<(), Status> {
    let now = registry.clock().now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let spec =
        json!({"holderIdentity": own.name, "leaseDurationSeconds": GOOD_FOR.as_secs(), "renewTime": now});
    if registry.get(&own.key()).is_some() {
        let body = Body::Tree(json!({"spec": spec}));
        return perform(
            registry,
            Operation::Patch { key: own.key(), sub: None, form: PatchForm::Merge, body },
        )
        .await;
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": own.name,
            "namespace": NAMESPACE,
            "labels": {LABEL: VALUE},
            "annotations": {ADDRESS: own.address, AUTHORITY: own.authority},
        },
        "spec": spec,
    });
    let (kind, namespace) = (kinds::LEASE.handle(), NAMESPACE.to_owned());
    perform(registry, Operation::Create { kind, namespace, sub: None, body: Body::Tree(lease) }).await
}

async fn remove(registry: &Arc<Registry>, server: &Announced) -> Result<(), Status> {
    perform(registry, Operation::Delete { key: server.key(), options: DeleteOptions::default() }).await
}

async fn perform(registry: &Arc<Registry>, operation: Operation) -> Result<(), Status> {
    let user = Identity::new(SERVER_USER, &[MASTERS, AUTHENTICATED]);
    let context = Context { field_manager: "kube-apiserver".into(), ..Context::of(user) };
    registry.perform(context, operation).await.result.map(drop)
}

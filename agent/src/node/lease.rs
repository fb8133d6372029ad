//! The node's lease: it says that the agent lives.

use coracle_api::{Key, kinds};
use coracle_client::{Error, Op};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use super::as_kubelet::as_kubelet;
use crate::context::Context;

/// The namespace of node leases.
const LEASES: &str = "kube-node-lease";

/// Renews the lease, or makes it. `false`: there is neither a lease nor a Node that could own one, so none is made.
pub async fn renew(ctx: &Context) -> Result<bool, Error> {
    let name = &ctx.config.node;
    let key = Key::new(&kinds::LEASE, LEASES, name);
    let now = micro(ctx.clock.now());
    let seconds = ctx.config.timing.lease_duration.as_secs();
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": now});
    match ctx.client.write_one(as_kubelet(Op::merge(key, json!({"spec": spec.clone()})))).await {
        Err(Error::Refused(status)) if status.code == 404 => {}
        other => return other.map(|_| true),
    }
    let owner: Option<Node> = ctx.client.get_as("", name).await?;
    let Some(uid) = owner.and_then(|node| node.metadata.uid) else { return Ok(false) };
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": LEASES,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}],
        },
        "spec": spec,
    });
    let op = Op::Create { kind: kinds::LEASE.handle(), namespace: LEASES.into(), sub: None, object: lease };
    ctx.client.write_one(as_kubelet(op)).await.map(|_| true)
}

fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

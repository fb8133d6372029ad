//! The Node object: registered at start, its status and lease renewed as long as the agent lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::quantity::Quantity;
use coracle_api::{Key, kinds};
use coracle_client::{Error, Op, Write};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Tone};
use crate::error::StartError;
use crate::network::Subnet;
use crate::runtime::{Image, Info};
use crate::times::rfc3339;

/// The version that the node reports: that of the API it speaks.
const KUBELET_VERSION: &str = "v1.36.2";
/// How many images a node lists: upstream's limit.
const IMAGES: usize = 50;
/// How often the status is looked at: upstream's `nodeStatusUpdateFrequency`.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often it is written though nothing has changed: upstream's `nodeStatusReportFrequency`. As often the engine is
/// asked what it is and which images it has.
const WRITE_EVERY: Duration = Duration::from_secs(300);
/// The namespace of node leases.
const LEASES: &str = "kube-node-lease";

/// Makes the Node if it is not there, and says that it is ready.
pub async fn register(ctx: &Context, slice: Subnet) -> Result<(), StartError> {
    let name = &ctx.config.node;
    let info = ctx.runtime().info().await.map_err(|error| Error::Unreachable(error.to_string()))?;
    let key = Key::new(&kinds::NODE, "", name);
    if ctx.client.get(&key).await?.is_none() {
        let op = Op::Create {
            kind: kinds::NODE.handle(),
            namespace: String::new(),
            sub: None,
            object: node(ctx, &info, slice),
        };
        match ctx.client.write_one(by_us(op)).await {
            Ok(_) => {}
            // It appeared meanwhile.
            Err(Error::Refused(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
        give_way(ctx, slice).await?;
    } else {
        let labels: Value = labels(ctx, &info).into();
        ctx.client.write_one(by_us(Op::merge(key, json!({"metadata": {"labels": labels}})))).await?;
    }
    renew_lease(ctx).await?;
    let mut engine = Engine::default();
    let ready = engine.look(ctx).await;
    Ok(write_status(ctx, &mut engine, ready).await?)
}

/// Of two nodes that chose one slice in the same moment, the one with the greater name takes its Node back and chooses
/// again.
async fn give_way(ctx: &Context, slice: Subnet) -> Result<(), StartError> {
    let nodes: Vec<Node> = ctx.client.list_as().await?;
    let of = |node: &Node| node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
    let mut same = nodes.iter().filter(|node| of(node).as_deref() == Some(&slice.to_string()));
    let rival = same.find_map(|node| node.metadata.name.clone().filter(|name| *name < ctx.config.node));
    let Some(rival) = rival else { return Ok(()) };
    let key = Key::new(&kinds::NODE, "", &ctx.config.node);
    ctx.client.write_one(by_us(Op::delete_key(key))).await?;
    Err(StartError::SliceTaken(rival))
}

fn by_us(op: Op) -> Write {
    Write { actor: "kubelet".into(), ..Write::from(op) }
}

/// Renews the lease, and looks at the status now and then, until the node stops.
pub async fn keep_alive(ctx: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(ctx.config.timing.lease_renewal);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut known = Engine::default();
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let look = looked.elapsed() >= LOOK_EVERY;
        if look {
            looked = Instant::now();
            ctx.objects.sweep(ctx.config.timing.refresh * 4);
        }
        let renewed =
            tokio::time::timeout(ctx.config.timing.lease_duration, beat(&ctx, &mut known, look)).await;
        match renewed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = ctx.config.node, %error, "cannot report"),
            Err(_) => tracing::warn!(node = ctx.config.node, "reporting takes too long"),
        }
    }
}

async fn beat(ctx: &Context, known: &mut Engine, look: bool) -> Result<(), Error> {
    renew_lease(ctx).await?;
    if look {
        let ready = known.look(ctx).await;
        write_status(ctx, known, ready).await?;
    }
    Ok(())
}

/// What was last heard of the engine. To ask it is dear: it counts its containers and weighs its images for the answer.
#[derive(Default)]
struct Engine {
    info: Info,
    images: Vec<Image>,
    /// When it was asked; `None`: ask it anew.
    asked: Option<Instant>,
    /// When the status was written.
    written: Option<Instant>,
}

impl Engine {
    /// Asks what it is, if that was long ago or images have come meanwhile. Answers whether it is there.
    async fn look(&mut self, ctx: &Context) -> bool {
        let fresh = self.asked.is_some_and(|asked| asked.elapsed() < WRITE_EVERY);
        if fresh && !ctx.images.have_changed() {
            return ctx.runtime().ping().await.is_ok();
        }
        let Ok(info) = ctx.runtime().info().await else { return false };
        let Ok(images) = ctx.runtime().images().await else { return false };
        *self = Engine { info, images, asked: Some(Instant::now()), written: self.written };
        true
    }
}

fn labels(ctx: &Context, info: &Info) -> Map<String, Value> {
    let (node, os) = (&ctx.config.node, "linux");
    let arch = &info.architecture;
    let usual = [
        ("beta.kubernetes.io/arch", arch.as_str()),
        ("beta.kubernetes.io/os", os),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", node),
        ("kubernetes.io/os", os),
    ];
    let own = ctx.config.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    usual.into_iter().chain(own).map(|(key, value)| (key.to_owned(), value.into())).collect()
}

fn node(ctx: &Context, info: &Info, slice: Subnet) -> Value {
    let taints = ctx.config.taints.iter();
    let taints: Vec<Value> =
        taints.map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect})).collect();
    let mut spec = json!({"podCIDR": slice.to_string(), "podCIDRs": [slice.to_string()]});
    if !taints.is_empty() {
        spec["taints"] = taints.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": ctx.config.node,
            "labels": labels(ctx, info),
            "annotations": {"node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec,
        "status": {"capacity": size(ctx), "allocatable": size(ctx)},
    })
}

fn size(ctx: &Context) -> Value {
    let size = &ctx.config.size;
    let cpu = if size.cpu_milli % 1000 == 0 {
        (size.cpu_milli / 1000).to_string()
    } else {
        format!("{}m", size.cpu_milli)
    };
    let kibi = |bytes: i64| format!("{}Ki", bytes / 1024);
    json!({
        "cpu": cpu,
        "memory": kibi(size.memory),
        "ephemeral-storage": kibi(size.storage),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": size.pods.to_string(),
    })
}

/// A condition's type, word and text while all is well, and which value says so.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// Writes the status if it is another than the API has, or if that was done long ago.
async fn write_status(ctx: &Context, engine: &mut Engine, ready: bool) -> Result<(), Error> {
    let now = ctx.clock.now();
    let known: Option<Node> = ctx.client.get_as("", &ctx.config.node).await?;
    let old = known.as_ref().and_then(|node| node.status.as_ref()?.conditions.clone()).unwrap_or_default();
    let was_ready = old.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let conditions = CONDITIONS.iter().map(|(kind, status, reason, message)| {
        let (status, reason, message) = match *kind {
            "Ready" if !ready => ("False", "KubeletNotReady", "container runtime is down"),
            _ => (*status, *reason, *message),
        };
        let same = old.iter().find(|one| one.type_ == *kind && one.status == status);
        let since = same.and_then(|one| one.last_transition_time.as_ref()).map_or(now, |time| time.0);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": rfc3339(now), "lastTransitionTime": rfc3339(since),
        })
    });
    let mut status = json!({
        "addresses": [
            {"type": "InternalIP", "address": ctx.host().to_string()},
            {"type": "Hostname", "address": ctx.config.node},
        ],
        "capacity": size(ctx),
        "allocatable": size(ctx),
        "conditions": conditions.collect::<Vec<_>>(),
    });
    if ready {
        status["nodeInfo"] = node_info(&engine.info);
        status["images"] = images(engine.images.clone());
    }
    let shown = known.as_ref().and_then(|node| serde_json::to_value(&node.status).ok()).unwrap_or_default();
    let lately = engine.written.is_some_and(|written| written.elapsed() < WRITE_EVERY);
    if lately && tells(&shown, &status) {
        return Ok(());
    }
    let key = Key::new(&kinds::NODE, "", &ctx.config.node);
    ctx.client.write_one(by_us(Op::strategic_status(key, json!({"status": status})))).await?;
    engine.written = Some(Instant::now());
    if ready
        && !was_ready
        && let Some(node) = known
    {
        tell(
            ctx,
            &node,
            Tone::Normal,
            "NodeReady",
            format!("Node {} status is now: NodeReady", ctx.config.node),
        );
    }
    Ok(())
}

/// The amounts of a list, comparable however they are written.
fn amounts(list: Option<&Value>) -> BTreeMap<&str, Option<Quantity>> {
    let list = list.and_then(Value::as_object).into_iter().flatten();
    list.map(|(name, amount)| (name.as_str(), Quantity::from_json(amount))).collect()
}

/// Whether a status tells all of another already, but for when that was last so.
fn tells(shown: &Value, wanted: &Value) -> bool {
    match (shown, wanted) {
        (Value::Object(shown), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            key == "lastHeartbeatTime"
                || match key.as_str() {
                    // Others may have added theirs.
                    "conditions" => value.as_array().into_iter().flatten().all(|one| {
                        let theirs = shown.get(key).and_then(Value::as_array).into_iter().flatten();
                        theirs.filter(|other| other["type"] == one["type"]).any(|other| tells(other, one))
                    }),
                    // 2097152Ki is shown as 2Gi.
                    "capacity" | "allocatable" => amounts(shown.get(key)) == amounts(Some(value)),
                    // What is empty may be left out.
                    _ => shown
                        .get(key)
                        .map_or(*value == "" || *value == json!([]), |shown| tells(shown, value)),
                }
        }),
        (Value::Array(shown), Value::Array(wanted)) => {
            shown.len() == wanted.len()
                && shown.iter().zip(wanted).all(|(shown, wanted)| tells(shown, wanted))
        }
        _ => shown == wanted,
    }
}

fn tell(ctx: &Context, node: &Node, tone: Tone, reason: &str, message: String) {
    match tone {
        Tone::Normal => ctx.recorder.normal(node, reason, message),
        Tone::Warning => ctx.recorder.warning(node, reason, message),
    }
}

fn node_info(info: &Info) -> Value {
    json!({
        "machineID": info.machine_id,
        "systemUUID": info.machine_id,
        "bootID": info.boot_id,
        "kernelVersion": info.kernel,
        "osImage": info.os_image,
        "containerRuntimeVersion": info.version,
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": info.operating_system,
        "architecture": info.architecture,
    })
}

fn images(mut images: Vec<Image>) -> Value {
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    images.truncate(IMAGES);
    let listed = images.into_iter().map(|image| {
        let names: Vec<String> = image.digests.into_iter().chain(image.names).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    listed.collect()
}

/// Renews the lease, or makes it.
async fn renew_lease(ctx: &Context) -> Result<(), Error> {
    let name = &ctx.config.node;
    let key = Key::new(&kinds::LEASE, LEASES, name);
    let now = micro(ctx.clock.now());
    let seconds = ctx.config.timing.lease_duration.as_secs();
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": now});
    match ctx.client.write_one(by_us(Op::merge(key, json!({"spec": spec.clone()})))).await {
        Err(Error::Refused(status)) if status.code == 404 => {}
        other => return other.map(|_| ()),
    }
    let owner: Option<Node> = ctx.client.get_as("", name).await?;
    let uid = owner.and_then(|node| node.metadata.uid).unwrap_or_default();
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
    ctx.client.write_one(by_us(op)).await.map(|_| ())
}

fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_when_it_tells_something_new() {
        let condition = |kind: &str, status: &str, at: &str| json!({"type": kind, "status": status, "lastHeartbeatTime": at});
        let status = |ready: &str, at: &str| {
            json!({"capacity": {"cpu": "2", "memory": "2048Mi"}, "conditions": [condition("Ready", ready, at)], "nodeInfo": {"machineID": ""},
                "images": [{"names": ["a"]}]})
        };
        let mut shown = status("True", "then");
        shown["conditions"]
            .as_array_mut()
            .unwrap()
            .insert(0, condition("NetworkUnavailable", "False", "then"));
        shown["daemonEndpoints"] = json!({});
        shown["nodeInfo"] = json!({});
        shown["capacity"]["memory"] = "2Gi".into();
        assert!(tells(&shown, &status("True", "now")), "only the time is another");
        assert!(!tells(&shown, &status("False", "now")));
        assert!(!tells(&shown, &json!({"images": [{"names": ["a"]}, {"names": ["b"]}]})));
        assert!(!tells(&shown, &json!({"capacity": {"cpu": "3"}})));
        assert!(!tells(&json!({}), &status("True", "now")), "it was never written");
        // The control plane has given the node up meanwhile.
        let unknown = status("Unknown", "then");
        assert!(!tells(&unknown, &status("True", "now")));
    }
}

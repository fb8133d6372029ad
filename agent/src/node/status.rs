//! The node's status: what it has, what its engine is, and whether that answers.

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_api::quantity::Quantity;
use coracle_api::{Key, kinds};
use coracle_client::{Error, Op};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::as_kubelet::as_kubelet;
use crate::config::Size;
use crate::context::Context;
use crate::runtime::{Image, Info};
use crate::times::rfc3339;

/// The version that the node reports: that of the API it speaks.
const KUBELET_VERSION: &str = "v1.36.2";
/// How many images a node lists: upstream's limit.
const IMAGES: usize = 50;
/// How often it is written though nothing has changed: upstream's `nodeStatusReportFrequency`. As often the engine is
/// asked what it is and which images it has.
const WRITE_EVERY: Duration = Duration::from_secs(300);

/// What the engine has last said of itself. It is not asked more often than needed: for its answer it counts all containers and
/// adds up all images.
#[derive(Default)]
pub struct EngineInfo {
    info: Info,
    images: Vec<Image>,
    /// When it was asked; `None`: ask it anew.
    read_at: Option<Instant>,
    /// When the status was written.
    written: Option<Instant>,
}

impl EngineInfo {
    /// Asks what it is, if that was long ago or images have come meanwhile, and whether pods have their network.
    pub async fn refresh(&mut self, ctx: &Context) -> Health {
        if !self.is_there(ctx).await {
            return Health::NoEngine;
        }
        match ctx.keep_network().await {
            Ok(()) => Health::Ready,
            Err(why) => Health::NoNetwork(why.to_string()),
        }
    }

    async fn is_there(&mut self, ctx: &Context) -> bool {
        let fresh = self.read_at.is_some_and(|read_at| read_at.elapsed() < WRITE_EVERY);
        if fresh && !ctx.images.have_changed() {
            return ctx.runtime().ping().await.is_ok();
        }
        let Ok(info) = ctx.runtime().info().await else { return false };
        let Ok(images) = ctx.runtime().images().await else { return false };
        *self = EngineInfo { info, images, read_at: Some(Instant::now()), written: self.written };
        true
    }
}

/// Whether pods can run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// They can.
    Ready,
    /// The engine does not answer.
    NoEngine,
    /// There is no network for them, for this reason.
    NoNetwork(String),
}

impl Health {
    /// What the condition `Ready` says, in upstream's words; `None`: all is well.
    ///
    /// Source: `networkErrors` in `pkg/kubelet/runtime.go`, `NewCondition` of `ReadyCondition` in `pkg/kubelet/nodestatus/setters.go`.
    fn complaint(&self) -> Option<String> {
        match self {
            Health::Ready => None,
            Health::NoEngine => Some("container runtime is down".into()),
            Health::NoNetwork(why) => Some(format!(
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{why}"
            )),
        }
    }
}

/// What the node declares to have.
pub fn size(size: &Size) -> Value {
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

/// Type, status, reason and message of each condition while all is well.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// Writes the status if it is another than the API has, or if that was done long ago.
pub async fn write(ctx: &Context, engine: &mut EngineInfo, health: &Health) -> Result<(), Error> {
    let complaint = health.complaint();
    let now = ctx.clock.now();
    let known: Option<Node> = ctx.client.get_as("", &ctx.config.node).await?;
    let old = known.as_ref().and_then(|node| node.status.as_ref()?.conditions.clone()).unwrap_or_default();
    let was_ready = old.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let conditions = CONDITIONS.iter().map(|(kind, status, reason, message)| {
        let (status, reason, message) = match &complaint {
            Some(why) if *kind == "Ready" => ("False", "KubeletNotReady", why.as_str()),
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
        "capacity": size(&ctx.config.size),
        "allocatable": size(&ctx.config.size),
        "conditions": conditions.collect::<Vec<_>>(),
    });
    if *health != Health::NoEngine {
        status["nodeInfo"] = node_info(&engine.info);
        status["images"] = images(engine.images.clone());
    }
    let shown = known.as_ref().and_then(|node| serde_json::to_value(&node.status).ok()).unwrap_or_default();
    let lately = engine.written.is_some_and(|written| written.elapsed() < WRITE_EVERY);
    if lately && covers(&shown, &status) {
        return Ok(());
    }
    // A patch adds to this list unless it says that the rest goes. Conditions are added to, since others have theirs there.
    if let Some(addresses) = status["addresses"].as_array_mut() {
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    let key = Key::new(&kinds::NODE, "", &ctx.config.node);
    ctx.client.write_one(as_kubelet(Op::strategic_status(key, json!({"status": status})))).await?;
    engine.written = Some(Instant::now());
    let is_ready = complaint.is_none();
    if is_ready != was_ready
        && let Some(node) = known
    {
        let reason = if is_ready { "NodeReady" } else { "NodeNotReady" };
        ctx.recorder.normal(&node, reason, format!("Node {} status is now: {reason}", ctx.config.node));
    }
    Ok(())
}

/// The amounts of a list, comparable however they are written.
fn amounts(list: Option<&Value>) -> BTreeMap<&str, Option<Quantity>> {
    let list = list.and_then(Value::as_object).into_iter().flatten();
    list.map(|(name, amount)| (name.as_str(), Quantity::from_json(amount))).collect()
}

/// Whether a status says already all that another one says, apart from the times of heartbeats.
fn covers(shown: &Value, wanted: &Value) -> bool {
    match (shown, wanted) {
        (Value::Object(shown), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            key == "lastHeartbeatTime"
                || match key.as_str() {
                    // Others may have added theirs.
                    "conditions" => value.as_array().into_iter().flatten().all(|one| {
                        let theirs = shown.get(key).and_then(Value::as_array).into_iter().flatten();
                        theirs.filter(|other| other["type"] == one["type"]).any(|other| covers(other, one))
                    }),
                    // 2097152Ki is shown as 2Gi.
                    "capacity" | "allocatable" => amounts(shown.get(key)) == amounts(Some(value)),
                    // What is empty may be left out.
                    _ => shown
                        .get(key)
                        .map_or(*value == "" || *value == json!([]), |shown| covers(shown, value)),
                }
        }),
        (Value::Array(shown), Value::Array(wanted)) => {
            shown.len() == wanted.len()
                && shown.iter().zip(wanted).all(|(shown, wanted)| covers(shown, wanted))
        }
        _ => shown == wanted,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_when_it_says_something_new() {
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
        assert!(covers(&shown, &status("True", "now")), "only the time is another");
        assert!(!covers(&shown, &status("False", "now")));
        assert!(!covers(&shown, &json!({"images": [{"names": ["a"]}, {"names": ["b"]}]})));
        assert!(!covers(&shown, &json!({"capacity": {"cpu": "3"}})));
        assert!(!covers(&json!({}), &status("True", "now")), "it was never written");
        // The control plane has given the node up meanwhile.
        let unknown = status("Unknown", "then");
        assert!(!covers(&unknown, &status("True", "now")));
    }
}

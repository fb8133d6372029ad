//! The Node object: registered at start, and again when somebody has deleted it; its status and lease are renewed as long as
//! the agent lives.

mod as_kubelet;
mod lease;
mod slice;
mod status;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::{Chance, Client, Error, Op};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::context::Context;
use crate::error::StartError;
use crate::network::Subnet;
use crate::runtime::Info;
use as_kubelet::as_kubelet;
use status::EngineInfo;

/// How often the status is looked at: upstream's `nodeStatusUpdateFrequency`.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Makes the Node if it is not there, or brings its labels up to date. Answers the node's slice of the cluster's network.
///
/// # Errors
/// The engine or the API do not answer, or there is no slice left.
pub async fn register(
    client: &dyn Client,
    config: &AgentConfig,
    whole: Subnet,
    chance: &Chance,
) -> Result<Subnet, StartError> {
    register_with(client, config, whole, chance, slice::preferred(config, whole)).await
}

/// The same, where the Node that is made announces this slice.
async fn register_with(
    client: &dyn Client,
    config: &AgentConfig,
    whole: Subnet,
    chance: &Chance,
    announced: Option<Subnet>,
) -> Result<Subnet, StartError> {
    let info = config.runtime.info().await?;
    let key = Key::new(&kinds::NODE, "", &config.node);
    if client.get(&key).await?.is_some() {
        let labels: Value = labels(config, &info).into();
        client.write_one(as_kubelet(Op::merge(key, json!({"metadata": {"labels": labels}})))).await?;
    } else {
        let object = node(config, &info, announced);
        let op = Op::Create { kind: kinds::NODE.handle(), namespace: String::new(), sub: None, object };
        match client.write_one(as_kubelet(op)).await {
            Ok(_) => {}
            // It appeared meanwhile.
            Err(Error::Refused(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    slice::agree(client, config, whole, chance).await
}

/// Says for the first time that the node is there and ready.
///
/// # Errors
/// The API does not answer, or refuses.
pub async fn report_first(ctx: &Context) -> Result<(), StartError> {
    report(ctx, &mut EngineInfo::default(), true).await
}

/// Renews the lease, and looks at the status now and then, until the node stops.
pub async fn keep_alive(ctx: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(ctx.config.timing.lease_renewal);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut known = EngineInfo::default();
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let look = looked.elapsed() >= LOOK_EVERY;
        if look {
            looked = Instant::now();
            ctx.objects.sweep(ctx.config.timing.refresh * 4);
        }
        let renewed =
            tokio::time::timeout(ctx.config.timing.lease_duration, report(&ctx, &mut known, look)).await;
        match renewed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = ctx.config.node, %error, "cannot report"),
            Err(_) => tracing::warn!(node = ctx.config.node, "reporting takes too long"),
        }
    }
}

/// Renews the lease, and puts the Node back if it is gone. `look`: the status, too.
async fn report(ctx: &Context, known: &mut EngineInfo, look: bool) -> Result<(), StartError> {
    let may_be_gone = !lease::renew(ctx).await?;
    let key = Key::new(&kinds::NODE, "", &ctx.config.node);
    let gone = (look || may_be_gone) && ctx.client.get(&key).await?.is_none();
    if gone {
        put_back(ctx).await?;
        lease::renew(ctx).await?;
    }
    if look || gone {
        let ready = known.refresh(ctx).await;
        status::write(ctx, known, ready).await?;
    }
    Ok(())
}

/// Registers the node again, whose Node somebody has deleted, with the slice that its pods have their addresses from.
async fn put_back(ctx: &Context) -> Result<(), StartError> {
    let node = &ctx.config.node;
    let whole = Subnet { first: ctx.network.subnet, prefix: ctx.network.prefix };
    let own = ctx.addresses.slice();
    tracing::warn!(node, slice = %own, "the Node is gone; registering it again");
    let chance = &ctx.config.chance;
    let agreed = register_with(ctx.client.as_ref(), &ctx.config, whole, chance, Some(own)).await?;
    if agreed != own {
        // Only a start gives pods other addresses.
        tracing::error!(node, %own, %agreed, "another node has taken the slice of this one: restart its agent");
    }
    Ok(())
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

/// The Node as it is made, with the slice that it announces.
fn node(config: &AgentConfig, info: &Info, slice: Option<Subnet>) -> Value {
    let taints = config.taints.iter();
    let taints: Vec<Value> =
        taints.map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect})).collect();
    let mut annotations = json!({
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    });
    if let Some(slice) = slice {
        annotations[slice::SLICE] = slice.to_string().into();
    }
    let mut spec = json!({});
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
            "annotations": annotations,
        },
        "spec": spec,
        "status": {"capacity": size, "allocatable": size},
    })
}

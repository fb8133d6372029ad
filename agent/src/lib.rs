//! Coracle's node agent: runs the pods that are bound to its node.
//!
//! Watched: pods of the node; ConfigMaps, Secrets and Services that they refer to. Written: the status of those pods,
//! their events, the Node and its lease.
//!
//! ```text
//!  pods --watch--> manager --one each--> worker --step (pure)--> actions --> runtime (docker, sim)
//!                     ^                    ^  '--> status --> API               |
//!                     '------- events -----+--- probes <------------------------'
//! ```
//!
//! The files stand in layers; each needs only its own and those below it:
//!
//! ```text
//!  lib                                                           wires
//!  manager, gc, node, streams, pod/{worker, start, stop}, probe  effects
//!  pod/{step, status, phase, resize, ...}                        decisions about a pod: pure
//!  context, config, images, objects, tokens, pod_requests        what all pods of the node share
//!  env, volumes, resources, security                             what containers get: pure
//!  runtime (docker, sim, disk), helper, image                    the engine
//!  spec, labels, times, network, event_type, error               data and facts
//! ```
//!
//! `demo_app` and `pause` are programs that run inside containers; they need nothing of the rest.
//!
//! Labels on containers say what runs, the status of a pod says what has run: by these an agent that was killed finds its pods
//! again and goes on.

pub mod config;
mod context;
mod env;
mod error;
mod event_type;
mod gc;
pub mod helper;
mod image;
mod images;
pub mod labels;
mod manager;
pub mod network;
mod node;
mod objects;
mod pod;
mod pod_requests;
mod probe;
mod resources;
pub mod runtime;
mod security;
mod spec;
mod streams;
mod times;
mod tokens;
mod volumes;

pub mod demo_app;
pub mod pause;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use coracle_client::backoff::Backoff;
use coracle_client::deadline::InTime;
use coracle_client::recorder::EventRecorder;
use coracle_client::{Client, Clock};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use config::{AgentConfig, Size, Timing};
pub use error::StartError;
pub use image::{DEMO_IMAGES, PAUSE_IMAGE};
pub use runtime::{docker, sim};

use context::{Context, STARTS_AT_ONCE};
use network::Addresses;
pub use node::prepare_network;
use node::slice;

/// Waits between attempts to start: the first, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Starts the agent of one node. It tries until the API and the engine answer, runs until `stop`, and leaves its
/// containers running.
pub fn start(
    client: Arc<dyn Client>,
    config: AgentConfig,
    clock: Clock,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        // No call to the API is waited for without an end.
        let client: Arc<dyn Client> = Arc::new(InTime::new(client));
        let mut backoff = Backoff::with_chance(FIRST_WAIT, LONGEST_WAIT, config.chance.clone());
        let ctx = loop {
            let begun = stop.run_until_cancelled(begin(client.clone(), config.clone(), clock.clone())).await;
            match begun {
                None => return,
                Some(Ok(ctx)) => break Arc::new(ctx),
                Some(Err(error)) => {
                    tracing::warn!(node = config.node, %error, "cannot start; trying again");
                    if stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await.is_none() {
                        return;
                    }
                }
            }
        };
        tracing::info!(node = ctx.config.node, slice = %ctx.addresses.slice(), "node is up");
        tokio::join!(
            node::keep_alive(ctx.clone(), stop.clone()),
            manager::run(ctx.clone(), stop.clone()),
            serve_streams(ctx, stop)
        );
    })
}

async fn serve_streams(ctx: Arc<Context>, stop: CancellationToken) {
    if let Some(lines) = ctx.config.lines.clone() {
        streams::serve(ctx, lines, stop).await;
    }
}

/// Everything before the first pod: the network, the images, the node's slice, its registration.
async fn begin(client: Arc<dyn Client>, config: AgentConfig, clock: Clock) -> Result<Context, StartError> {
    let slice = slice::of_node(client.as_ref(), &config.node).await?;
    // Where it is gone it is made again where the node has its addresses from.
    let subnet = slice.and_then(network::subnet_around);
    let network = config.runtime.ensure_network(&config.mark(), subnet).await?;
    if config.sandbox_image == PAUSE_IMAGE {
        image::ensure(config.runtime.as_ref()).await?;
    }
    let slice = node::register(client.as_ref(), &config, &network).await?;
    let chance = config.chance.clone();
    let recorder = EventRecorder::with_chance(client.clone(), clock.clone(), chance, "kubelet", &config.node);
    let owner = labels::Owner::node(&config.cluster, &config.node);
    let files = config.runtime.open_files(&config.root, &owner).await?;
    let ctx = Context {
        client,
        clock,
        recorder,
        network_id: Mutex::new(network.id.clone()),
        network,
        addresses: Addresses::new(slice),
        files,
        requests: pod_requests::NodeRoom::new(&config.size),
        objects: objects::Objects::default(),
        images: images::Images::default(),
        tokens: tokens::Tokens::default(),
        turns: AtomicU64::new(0),
        starts: Semaphore::new(STARTS_AT_ONCE),
        config,
    };
    node::report_first(&ctx).await?;
    Ok(ctx)
}

/// Removes everything that the agents of a cluster (or of one node of it) have made on an engine: containers, volumes,
/// the network, and the files of their pods below `roots`.
///
/// # Errors
/// What cannot be removed.
pub async fn cleanup(
    runtime: &dyn runtime::Runtime,
    mark: &labels::Mark,
    node: Option<&str>,
    roots: &[PathBuf],
) -> Result<runtime::Removed, runtime::Error> {
    let owner = labels::Owner { cluster: mark.cluster.clone(), node: node.map(str::to_owned) };
    // The files are removed even where the engine refuses something; its error is answered afterwards.
    let removed = runtime.clean_up(&owner, &mark.authority).await;
    runtime.remove_files(&owner, roots).await?;
    removed
}

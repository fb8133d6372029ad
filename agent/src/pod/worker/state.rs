//! What a worker knows: of its pod, of what runs, and of what it is doing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::backoff::Backoff;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::pod::admission::Refusal;
use crate::pod::memory::End;
use crate::pod::reporter::Wanted;
use crate::pod::start::Started;
use crate::pod::{Busy, Failure, Health, Observed, Record, Sandbox};
use crate::probe::Purpose;
use crate::probe::task::ProbeResult;
use crate::spec::ephemeral;

/// One pod's worker.
pub struct Worker {
    pub(super) ctx: Arc<Context>,
    pub(super) pod: Arc<Pod>,
    pub(super) accepted: Timestamp,
    pub(super) ephemeral: Vec<k8s_openapi::api::core::v1::Container>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) containers: BTreeMap<String, Vec<Record>>,
    pub(super) busy: BTreeMap<String, Busy>,
    pub(super) tasks: BTreeMap<String, Task>,
    /// The tasks of the worker. They end with it: a killed node does nothing more.
    pub(super) work: JoinSet<Done>,
    pub(super) failures: BTreeMap<String, Failure>,
    pub(super) health: BTreeMap<String, Health>,
    /// The probes that are asked, by container id. Each is a task of `work`.
    pub(super) probes: BTreeMap<(String, Purpose), AbortHandle>,
    /// What the engine has refused to grant, by container name.
    pub(super) refused: BTreeMap<String, Failure>,
    /// How containers ended, as events of the engine say, by id.
    pub(super) ends: BTreeMap<String, End>,
    /// Containers that somebody else has sent a signal.
    pub(super) signalled: BTreeSet<String>,
    /// For what an event was emitted that is emitted only once.
    pub(super) emitted: BTreeSet<String>,
    /// Containers that are being removed, by id.
    pub(super) removing: BTreeSet<String>,
    /// Waits between attempts to remove a container, by id, where the first has failed.
    pub(super) removals: BTreeMap<String, Backoff>,
    pub(super) refreshing: bool,
    pub(super) refreshed: Option<Refreshed>,
    pub(super) measuring: Measuring,
    /// Why the node refuses the pod, if it does.
    pub(super) refusal: Option<Refusal>,
    /// Whether nothing will be started any more.
    pub(super) ending: bool,
    pub(super) gone: bool,
    pub(super) serials: u64,
    pub(super) wanted: Option<watch::Sender<Wanted>>,
    pub(super) results: mpsc::Sender<ProbeResult>,
}

/// What came of a task of the worker.
pub(super) enum Done {
    Sandbox(Result<Started, Failure>),
    Started {
        name: String,
        outcome: Result<String, Failure>,
    },
    Resized {
        name: String,
        id: String,
        outcome: Result<(), Failure>,
    },
    Stopped {
        name: String,
        id: String,
        serial: u64,
    },
    Removed {
        name: String,
        id: String,
        failed: bool,
    },
    /// A probe is not asked any more: it has come to its end, or it panicked.
    ProbeEnded {
        key: (String, Purpose),
        result: Result<(), ()>,
    },
    /// Nothing more is written into the API: the pod is gone, or it panicked.
    ReporterEnded {
        result: Result<(), ()>,
    },
    Refreshed(Option<Refreshed>),
    Measured(Measured),
    Panicked {
        name: String,
        serial: u64,
    },
}

/// A fingerprint of what the files of a pod's volumes were made of when they were last compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refreshed {
    pub(super) fingerprint: u64,
    pub(super) at: Instant,
}

/// A task that is under way.
pub(super) struct Task {
    pub(super) cancel: CancellationToken,
    pub(super) serial: u64,
    pub(super) stop: Option<Stopping>,
}

/// The stop of one container, known by its id: that an earlier attempt has ended must not end this one's stop.
pub(super) struct Stopping {
    pub(super) id: String,
    pub(super) ended: CancellationToken,
    pub(super) deadline: watch::Sender<Instant>,
}

/// When a pod's volumes are measured, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Measuring {
    pub(super) under_way: bool,
    pub(super) not_before: Option<Instant>,
    /// Why the pod is evicted.
    pub(super) exceeded: Option<String>,
}

/// What a measurement has found.
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) exceeded: Option<String>,
}

impl Worker {
    pub(super) fn new(
        ctx: Arc<Context>,
        pod: Arc<Pod>,
        refusal: Option<Refusal>,
        results: mpsc::Sender<ProbeResult>,
    ) -> Worker {
        let (wanted, _) = watch::channel(Wanted::default());
        let since = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        Worker {
            accepted: since.unwrap_or_else(|| ctx.clock.now()),
            ephemeral: pod.spec.as_ref().map(ephemeral).unwrap_or_default(),
            sandbox: None,
            address: None,
            containers: BTreeMap::new(),
            busy: BTreeMap::new(),
            tasks: BTreeMap::new(),
            work: JoinSet::new(),
            failures: BTreeMap::new(),
            health: BTreeMap::new(),
            probes: BTreeMap::new(),
            refused: BTreeMap::new(),
            ends: BTreeMap::new(),
            signalled: BTreeSet::new(),
            emitted: BTreeSet::new(),
            removing: BTreeSet::new(),
            removals: BTreeMap::new(),
            refreshing: false,
            refreshed: None,
            measuring: Measuring::default(),
            refusal,
            ending: false,
            gone: false,
            serials: 0,
            wanted: Some(wanted),
            results,
            ctx,
            pod,
        }
    }

    pub(super) fn observed(&self) -> Observed<'_> {
        Observed {
            pod: &self.pod,
            ephemeral: &self.ephemeral,
            sandbox: self.sandbox.as_ref(),
            containers: &self.containers,
            busy: &self.busy,
            failures: &self.failures,
            enforced: self.ctx.runtime().enforced(),
            refused: &self.refused,
            room: self.ctx.requests.room(self.pod.metadata.uid.as_deref().unwrap_or_default()),
            refusal: self.refusal.as_ref(),
            evicted: self.measuring.exceeded.as_deref(),
            health: &self.health,
            address: self.address,
            host: self.ctx.host(),
            accepted: self.accepted,
            now: self.ctx.clock.now(),
        }
    }
}

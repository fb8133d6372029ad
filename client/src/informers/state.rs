//! What the informers know of each kind, and how far they are.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::{KindRef, Revision};
use tokio::time::Instant;

use super::store::Sink;
use crate::Interest;
use crate::backoff::Backoff;

/// All of it. Whoever waits is woken by its changes.
#[derive(Default)]
pub(super) struct State {
    pub kinds: BTreeMap<KindRef, Registered>,
    /// Every change up to here is in the stores of all kinds that are followed.
    pub revision: Revision,
    /// Why no kind is followed at the moment.
    pub lost: Option<String>,
    /// Whether nobody fills the stores any more.
    pub ended: bool,
}

/// One kind.
pub(super) struct Registered {
    pub interest: Interest,
    /// Its stores: a typed one, one of metadata, or both.
    pub sinks: Sinks,
    /// The same stores, to be handed out under their types.
    pub stores: Vec<Arc<dyn Any + Send + Sync>>,
    /// The revision of the latest list, from which a watch goes on; `None` if it has to be listed (again).
    pub listed: Option<Revision>,
    /// Whether every store has been filled once.
    pub filled: bool,
    /// Why the server does not let it be listed or watched.
    pub refused: Option<Refusal>,
    /// How long to wait between two refusals.
    pub backoff: Backoff,
}

/// The server said no: waiting alone will not help.
pub(super) struct Refusal {
    /// The whole sentence.
    pub reason: String,
    /// When to ask again.
    pub again: Instant,
}

/// The stores of one kind.
pub(super) type Sinks = Vec<Arc<dyn Sink>>;

/// What a part of the process has asked for.
pub(super) type Needs = BTreeMap<KindRef, Need>;

/// How much a part of the process depends on a kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// What the server refuses to show counts as not being there.
    IfServed,
    /// Without it there is nothing to decide.
    Always,
}

impl Registered {
    /// Whether the stores show it and its changes.
    fn is_followed(&self) -> bool {
        self.filled && self.refused.is_none()
    }

    /// Whether it is to be listed now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.listed.is_none() && self.refused.as_ref().is_none_or(|refused| refused.again <= now)
    }

    /// Notes a refusal. Returns whether its reason is a new one.
    pub fn refuse(&mut self, reason: String) -> bool {
        let is_new = self.refused.as_ref().is_none_or(|known| known.reason != reason);
        let again = Instant::now() + self.backoff.next_wait();
        self.listed = None;
        self.refused = Some(Refusal { reason, again });
        is_new
    }

    /// Notes that it is watched.
    pub fn admit(&mut self) {
        self.refused = None;
        self.backoff.reset();
    }
}

impl State {
    /// Whether the stores that somebody needs show their kinds. A kind that is not served any more is needed by nobody.
    pub fn has(&self, needs: &Needs) -> bool {
        self.needed(needs)
            .all(|(known, need)| known.is_followed() || (need == Need::IfServed && known.refused.is_some()))
    }

    /// Why somebody cannot have what it needs.
    pub fn refusal(&self, needs: &Needs) -> Option<&str> {
        let mut always = self.needed(needs).filter(|(_, need)| *need == Need::Always);
        always.find_map(|(known, _)| known.refused.as_ref()).map(|refused| refused.reason.as_str())
    }

    fn needed(&self, needs: &Needs) -> impl Iterator<Item = (&Registered, Need)> {
        needs.iter().filter_map(|(kind, need)| Some((self.kinds.get(kind)?, *need)))
    }

    /// What the stores do not show, and why.
    pub fn troubles(&self) -> Vec<String> {
        let ended = self.ended.then(|| "the informers have stopped".to_owned());
        let missing = self.kinds.iter().filter(|(_, known)| !known.is_followed());
        let missing = missing.map(|(kind, known)| match &known.refused {
            Some(refused) => refused.reason.clone(),
            None => format!("{} are not listed yet", kind.qualified_resource()),
        });
        ended.into_iter().chain(self.lost.clone()).chain(missing).collect()
    }

    /// When the first of the kinds that were refused is to be asked for again.
    pub fn next_attempt(&self) -> Option<Instant> {
        self.kinds.values().filter_map(|known| Some(known.refused.as_ref()?.again)).min()
    }

    /// Everything has to be listed again, and where it stands then is where it stands: the server may have been put back to
    /// an earlier time.
    pub fn list_again(&mut self) {
        self.kinds.values_mut().for_each(|known| known.listed = None);
        self.revision = Revision::default();
    }
}

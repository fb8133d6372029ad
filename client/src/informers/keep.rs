//! The task that fills the stores and keeps them up to date.

use std::collections::BTreeMap;

use coracle_api::{KindRef, Revision};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::state::{Sinks, State};
use super::store::Step;
use super::{FIRST_WAIT, Informers, LONGEST_WAIT};
use crate::backoff::Backoff;
use crate::deadline::{ANSWER, in_time};
use crate::{Error, Event, Interest};

type Events = BoxStream<'static, Result<Event, Error>>;

/// What is watched: for each kind the revision of its list and its stores.
type Follows = BTreeMap<KindRef, (Revision, Sinks)>;

impl Informers {
    /// Lists and watches, for ever.
    pub(super) async fn keep(&self) {
        let mut backoff = Backoff::with_chance(FIRST_WAIT, LONGEST_WAIT, self.shared.chance.clone());
        loop {
            let broken = match self.list_unlisted().await {
                Ok(()) => self.follow(&mut backoff).await,
                Err(error) => Err(error),
            };
            match broken {
                // Kinds have come or gone, or are to be asked for again.
                Ok(()) => continue,
                Err(Error::Expired { since }) => {
                    tracing::info!(%since, "watch expired; listing again");
                    self.shared.state.send_modify(State::list_again);
                }
                Err(error) => self.note_loss(&error),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Remembers why nothing is followed, and says so where the reason is a new one.
    fn note_loss(&self, error: &Error) {
        let reason = error.to_string();
        let is_new = self.shared.state.send_if_modified(|state| {
            let is_new = state.lost.as_ref() != Some(&reason);
            state.lost = Some(reason);
            is_new
        });
        // Servers are restarted, and connections break.
        if is_new {
            tracing::info!(%error, "lost sight of the cluster; trying again");
        }
    }

    /// Remembers that the server does not show a kind, and says so where the reason is a new one.
    fn note_refusal(&self, kind: &KindRef, verb: &str, error: &Error) {
        let reason = format!("cannot {verb} {}: {error}", kind.qualified_resource());
        let mut is_new = false;
        self.shared.state.send_modify(|state| {
            if let Some(known) = state.kinds.get_mut(kind) {
                is_new = known.refuse(reason);
            }
        });
        if is_new {
            tracing::warn!(kind = kind.qualified_resource(), verb, %error, "cannot follow; trying again");
        }
    }

    /// The watch is there: its kinds are followed.
    fn note_watched(&self, follows: &Follows) {
        let mut recovered = false;
        self.shared.state.send_modify(|state| {
            recovered = state.lost.take().is_some();
            for kind in follows.keys() {
                if let Some(known) = state.kinds.get_mut(kind) {
                    recovered |= known.refused.is_some();
                    known.admit();
                }
            }
        });
        if recovered {
            tracing::info!("following the cluster again");
        }
    }

    /// Lists every kind that has not been listed, or not since it expired. One that the server refuses to show is left out, and
    /// asked for again after a while; the others do not wait for it.
    async fn list_unlisted(&self) -> Result<(), Error> {
        loop {
            let unlisted = {
                let (state, now) = (self.shared.state.borrow(), Instant::now());
                let due = state.kinds.values().find(|known| known.is_due(now));
                due.map(|known| (known.interest.clone(), known.sinks.clone()))
            };
            let Some((interest, sinks)) = unlisted else { break };
            let (objects, revision) = match in_time(ANSWER, self.shared.client.list(&interest)).await {
                Ok(listed) => listed,
                Err(error) if is_refusal(&error) => {
                    self.note_refusal(&interest.kind, "list", &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let since = self.revision();
            if revision < since {
                // The others' stores are ahead of this server: from here no watch would be complete.
                return Err(Error::Expired { since });
            }
            sinks.iter().for_each(|sink| sink.replace(&objects, revision));
            self.shared.state.send_modify(|state| {
                // A store that was added meanwhile has not got these objects: the kind is listed once more for it.
                if let Some(known) = state.kinds.get_mut(&interest.kind)
                    && known.sinks.len() == sinks.len()
                {
                    (known.listed, known.filled) = (Some(revision), true);
                }
            });
        }
        // All stores are complete up to the oldest list; the watch starts there.
        self.shared.state.send_modify(|state| {
            let oldest = state.kinds.values().filter_map(|known| known.listed).min();
            state.revision = state.revision.max(oldest.unwrap_or_default());
        });
        Ok(())
    }

    /// Follows one watch for all kinds that are listed. `Ok` when there are others to follow.
    async fn follow(&self, backoff: &mut Backoff) -> Result<(), Error> {
        let (interests, follows) = self.listed();
        let Some(mut events) = self.watch(interests).await? else { return Ok(()) };
        self.note_watched(&follows);
        let attempt = self.shared.state.borrow().next_attempt();
        loop {
            let event = tokio::select! {
                biased;
                () = self.shared.added.notified() => {
                    if self.is_changed(&follows) { return Ok(()) }
                    continue;
                }
                () = until(attempt) => return Ok(()),
                event = events.next() => event,
            };
            let event = event.unwrap_or_else(|| Err(Error::Unreachable("the watch ended".into())))?;
            backoff.reset();
            let (object, step) = match &event {
                Event::Added(object) | Event::Modified(object) => (Some(object), Step::Put),
                Event::Deleted(object) => (Some(object), Step::Drop),
                Event::Bookmark(_) => (None, Step::Drop),
            };
            let sink = object.and_then(|object| Some((object, follows.get(&object.key.kind)?)));
            // The watch starts where the oldest list ends; the younger ones have these changes already.
            if let Some((object, (listed, sinks))) = sink
                && object.revision > *listed
            {
                sinks.iter().for_each(|sink| sink.apply(step, object));
            }
            self.shared.state.send_if_modified(|state| {
                let moved = event.revision() > state.revision;
                state.revision = state.revision.max(event.revision());
                moved
            });
        }
    }

    /// Watches these. `None` if the server refused: then it is known which of them it does not show.
    async fn watch(&self, interests: Vec<Interest>) -> Result<Option<Events>, Error> {
        if interests.is_empty() {
            return Ok(Some(futures::stream::pending().boxed()));
        }
        let since = self.revision();
        let client = &self.shared.client;
        let refused = match in_time(ANSWER, client.watch(interests.clone(), since)).await {
            Err(error) if is_refusal(&error) => error,
            watched => return watched.map(Some),
        };
        // One refusal for all: each is asked for by itself.
        let mut found = false;
        for interest in interests {
            match in_time(ANSWER, client.watch(vec![interest.clone()], since)).await {
                Ok(_) => {}
                Err(error) if is_refusal(&error) => {
                    self.note_refusal(&interest.kind, "watch", &error);
                    found = true;
                }
                Err(error) => return Err(error),
            }
        }
        if found { Ok(None) } else { Err(refused) }
    }

    /// Whether other kinds are to be watched than these, or one has yet to be listed.
    fn is_changed(&self, follows: &Follows) -> bool {
        let (state, now) = (self.shared.state.borrow(), Instant::now());
        let listed = state.kinds.iter().filter(|(_, known)| known.listed.is_some()).map(|(kind, _)| kind);
        !listed.eq(follows.keys()) || state.kinds.values().any(|known| known.is_due(now))
    }

    /// What to watch, and where its changes go.
    fn listed(&self) -> (Vec<Interest>, Follows) {
        let state = self.shared.state.borrow();
        let listed = state.kinds.values().filter_map(|known| {
            let kind = known.interest.kind.clone();
            Some((known.interest.clone(), (kind, (known.listed?, known.sinks.clone()))))
        });
        listed.unzip()
    }
}

/// Whether the server has said no, or what nobody understands: asking again at once would not help.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Refused(_) | Error::Malformed(_))
}

/// Waits until then; for ever without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! The client for components in the server's own process: it calls the registry and passes on what that holds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::{Key, Object, Revision, Status, kinds};
use coracle_client::{Client, Error, Event, Interest, Write};
use futures::future::{FutureExt, join_all};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::Value;

use crate::auth::node;
use crate::identity::Identity;
use crate::registry::Registry;
use crate::registry::operation::{Context, Operation};
use crate::state::list::ListOptions;
use crate::state::selection::Selection;
use crate::state::watch::{self, Expired, Watcher};
use crate::verdicts::Verdicts;

/// How often a watch without events says how far it is, for those who wait for a revision.
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);

/// The registry on behalf of one identity. Cheap to clone.
#[derive(Clone)]
pub struct LocalClient {
    registry: Arc<Registry>,
    verdicts: Arc<Verdicts>,
    user: Identity,
    user_agent: String,
}

impl LocalClient {
    /// A client for `user`. The first word of `user_agent`, as in `kube-scheduler/v1`, becomes the manager of its fields.
    pub fn new(
        registry: Arc<Registry>,
        verdicts: Arc<Verdicts>,
        user: Identity,
        user_agent: impl Into<String>,
    ) -> LocalClient {
        LocalClient { registry, verdicts, user, user_agent: user_agent.into() }
    }

    async fn write_one(&self, write: Write) -> Result<Arc<Object>, Status> {
        let context = Context {
            causes: write.causes,
            actor: write.actor,
            user_agent: self.user_agent.clone(),
            ..Context::of(self.user.clone())
        };
        let answer = self.registry.perform(&context, Operation::from(write.op)).await;
        answer.result.map(|written| written.object)
    }
}

#[async_trait]
impl Client for LocalClient {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        if key.kind == kinds::SECRET {
            node::may_read_secret(&self.registry, &self.user, &key.namespace, &key.name)?;
        }
        Ok(self.registry.get(key))
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        may_read_many(&self.user, interest)?;
        let listing = self.registry.list(&selection(interest)?, &ListOptions::default())?;
        let objects = listing.entries.into_iter().map(|entry| entry.object).collect();
        Ok((objects, listing.revision))
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        interests.iter().try_for_each(|interest| may_read_many(&self.user, interest))?;
        let selections = interests.iter().map(selection).collect::<Result<Vec<_>, Status>>()?;
        // A revision that does not come is one from before the restore of a backup.
        self.registry.reach(since).await.map_err(|_| Error::Expired { since })?;
        let watcher = self.registry.watch(selections, since).map_err(gone)?;
        let steps = stream::unfold(Some(Follow { watcher, shown: since }), |follow| async {
            let mut follow = follow?;
            match follow.next().await {
                Ok(events) => Some((events, Some(follow))),
                Err(expired) => Some((vec![Err(gone(expired))], None)),
            }
        });
        Ok(steps.map(stream::iter).flatten().boxed())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
        Ok(join_all(writes.into_iter().map(|write| self.write_one(write))).await)
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        self.verdicts.report(verdicts);
        Ok(())
    }
}

/// Secrets are read one by one by nodes, as pods name them.
fn may_read_many(user: &Identity, interest: &Interest) -> Result<(), Status> {
    if node::node_of(user).is_some() && interest.kind == kinds::SECRET {
        return Err(Status::forbidden(&interest.kind, "", "nodes read secrets one by one"));
    }
    Ok(())
}

fn selection(interest: &Interest) -> Result<Selection, Status> {
    Selection::parse(&interest.kind, interest.namespace.clone(), &interest.labels, &interest.fields)
}

fn gone(expired: Expired) -> Error {
    Error::Expired { since: expired.since }
}

/// A watch that says how far it is, even where nothing of interest happens.
struct Follow {
    watcher: Watcher,
    shown: Revision,
}

impl Follow {
    /// The next events, with a bookmark behind them; or only that.
    async fn next(&mut self) -> Result<Vec<Result<Event, Error>>, Expired> {
        loop {
            let waited = tokio::time::timeout(BOOKMARK_EVERY, self.watcher.next()).await;
            let events = match waited {
                Ok(events) => events?,
                // A look that does not wait: other kinds' changes ring no bell, but they count as seen.
                Err(_) => self.watcher.next().now_or_never().transpose()?.unwrap_or_default(),
            };
            let seen = self.watcher.seen();
            if events.is_empty() && seen == self.shown {
                continue;
            }
            self.shown = seen;
            let mut steps: Vec<_> = events.into_iter().map(|event| Ok(step(event))).collect();
            steps.push(Ok(Event::Bookmark(seen)));
            return Ok(steps);
        }
    }
}

fn step(event: watch::Event) -> Event {
    match event {
        watch::Event::Added(entry) => Event::Added(entry.object),
        watch::Event::Modified(entry) => Event::Modified(entry.object),
        watch::Event::Deleted(entry) => Event::Deleted(entry.object),
    }
}

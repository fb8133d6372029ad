//! The client for components in the server's own process: it asks whether its user may, calls the registry and passes on what that
//! holds. The bus over the network is this client behind gRPC.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::kinds::Kinds;
use coracle_api::{Key, Object, Revision, Status};
use coracle_client::{Client, Error, Event, Interest, Op, Write};
use futures::future::{FutureExt, join_all};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::Value;

use crate::auth::attributes::Attributes;
use crate::auth::authorize::Authorizer;
use crate::identity::Identity;
use crate::registry::Registry;
use crate::state::list::ListOptions;
use crate::state::selection::Selection;
use crate::state::watch::{self, Expired, Watcher};
use crate::verdicts::Verdicts;
use crate::write::operation::{Context, Operation};

/// How often a watch without events says how far it is, for those who wait for a revision.
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);
/// How an agent names itself, as upstream's does in its events.
const KUBELET: &str = "kubelet";
/// Where verdicts are read; who reports them must be allowed to post here.
const VERDICTS: &str = "/coracle/v1/verdicts";

/// The registry on behalf of one identity. Cheap to clone.
#[derive(Clone)]
pub struct LocalClient {
    registry: Arc<Registry>,
    verdicts: Arc<Verdicts>,
    authorizer: Authorizer,
    user: Arc<Identity>,
    user_agent: String,
}

impl LocalClient {
    /// A client for `user`. The first word of `user_agent`, as in `kube-scheduler/v1`, becomes the manager of its fields.
    pub fn new(
        registry: Arc<Registry>,
        verdicts: Arc<Verdicts>,
        authorizer: Authorizer,
        user: impl Into<Arc<Identity>>,
        user_agent: impl Into<String>,
    ) -> LocalClient {
        LocalClient { registry, verdicts, authorizer, user: user.into(), user_agent: user_agent.into() }
    }

    fn may(&self, attributes: &Attributes) -> Result<(), Status> {
        self.authorizer.may(&self.user, attributes)
    }

    async fn write_one(&self, write: Write) -> Result<Arc<Object>, Status> {
        self.may(&attributes_of_write(&write.op))?;
        let (mut causes, now) = (write.causes, self.registry.revision());
        // What has not happened has made nobody act.
        causes.retain(|cause| *cause <= now || self.user.is_component());
        let context = Context {
            causes,
            actor: actor(&self.user, write.actor),
            user_agent: self.user_agent.clone(),
            ..Context::of(self.user.clone())
        };
        let answer = self.registry.perform(context, Operation::from(write.op)).await;
        answer.result.map(|written| written.object)
    }
}

#[async_trait]
impl Client for LocalClient {
    fn kinds(&self) -> &Kinds {
        self.registry.kinds()
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        self.may(&Attributes::on("get", key, ""))?;
        Ok(self.registry.get(key))
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        let selection = selection(interest)?;
        self.may(&attributes_of_read("list", interest, &selection))?;
        let listing = self.registry.list(&selection, &ListOptions::default())?;
        let objects = listing.entries.into_iter().map(|entry| entry.object).collect();
        Ok((objects, listing.revision))
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let selections = interests.iter().map(selection).collect::<Result<Vec<_>, Status>>()?;
        let attributes = interests
            .iter()
            .zip(&selections)
            .map(|(interest, selection)| attributes_of_read("watch", interest, selection));
        attributes.into_iter().try_for_each(|attributes| self.may(&attributes))?;
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
        let [write] = match <[Write; 1]>::try_from(writes) {
            Ok(one) => one,
            // Preparing many takes processors: a task for each lets all of them take part.
            Err(many) => {
                let each = many.into_iter().map(|write| {
                    let client = self.clone();
                    tokio::spawn(async move { client.write_one(write).await })
                });
                let lost =
                    |error| Err(Status::internal(format!("the write did not come to its end: {error}")));
                return Ok(join_all(each).await.into_iter().map(|done| done.unwrap_or_else(lost)).collect());
            }
        };
        Ok(vec![self.write_one(write).await])
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        self.may(&Attributes::plain("post", VERDICTS))?;
        self.verdicts.report(verdicts);
        Ok(())
    }
}

/// Who is named in the change log. The cluster's components name the part of them that acts, and agents the node that they act
/// for; for everybody else it is the user: nobody writes in another's name.
fn actor(user: &Identity, part: String) -> String {
    match user.node() {
        Some(node) if part == KUBELET => format!("{KUBELET}, {node}"),
        _ if user.is_component() => part,
        _ => user.user.clone(),
    }
}

/// What a list or a watch is about. The fields are those of the selection that is served.
fn attributes_of_read(verb: &str, interest: &Interest, selection: &Selection) -> Attributes {
    Attributes {
        namespace: interest.namespace.clone().unwrap_or_default(),
        name: selection.fields.requires("metadata.name").unwrap_or_default().to_owned(),
        fields: selection.fields.clone(),
        ..Attributes::many(verb, &interest.kind)
    }
}

/// What a write is about.
fn attributes_of_write(op: &Op) -> Attributes {
    match op {
        // A new object's name is not looked at, as it is not in REST, where it stands in the body.
        Op::Create { kind, namespace, sub: None, .. } => {
            Attributes { namespace: namespace.clone(), ..Attributes::many("create", kind) }
        }
        Op::Create { kind, namespace, sub: Some((name, sub)), .. } => {
            Attributes::on("create", &Key::new(kind, namespace.as_str(), name.as_str()), sub)
        }
        Op::Update { key, sub, .. } => Attributes::on("update", key, sub.unwrap_or_default()),
        Op::Patch { key, sub, .. } => Attributes::on("patch", key, sub.unwrap_or_default()),
        Op::Delete { key, .. } => Attributes::on("delete", key, ""),
    }
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
    /// The next events, with a bookmark after them; or only that.
    async fn next(&mut self) -> Result<Vec<Result<Event, Error>>, Expired> {
        loop {
            let waited = tokio::time::timeout(BOOKMARK_EVERY, self.watcher.next()).await;
            let events = match waited {
                Ok(events) => events?,
                // A look that does not wait: nobody is woken for other kinds' changes, but they count as seen.
                Err(_) => self.watcher.next().now_or_never().transpose()?.unwrap_or_default(),
            };
            let seen = self.watcher.seen();
            if events.is_empty() && seen == self.shown {
                continue;
            }
            self.shown = seen;
            let mut steps: Vec<_> = events.into_iter().map(|event| Ok(event_out(event))).collect();
            steps.push(Ok(Event::Bookmark(seen)));
            return Ok(steps);
        }
    }
}

fn event_out(event: watch::Event) -> Event {
    match event {
        watch::Event::Added(entry) => Event::Added(entry.object),
        watch::Event::Modified(entry) => Event::Modified(entry.object),
        watch::Event::Deleted(entry) => Event::Deleted(entry.object),
    }
}

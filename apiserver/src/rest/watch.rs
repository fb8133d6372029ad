//! Watches: a line of JSON for each change, for as long as the client listens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use coracle_api::decode::Target;
use coracle_api::{KindRef, Revision, Status};
use futures::stream;
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::app::{App, Asked};
use super::options::{ListQuery, read_revision};
use super::shape;
use crate::entry::encoding::framed;
use crate::http::negotiation::{Offer, Shape, negotiate};
use crate::http::path;
use crate::http::reply::Reply;
use crate::large::LARGE;
use crate::state::list::ListOptions;
use crate::state::refusals::expired;
use crate::state::selection::Selection;
use crate::state::watch::{Event, Watcher};

/// How often a client that wants bookmarks hears that nothing happened. Upstream's interval.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends between one and two of these, so that clients do not all come back at once.
const LIFE: Duration = Duration::from_secs(1800);
/// The annotation that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What is to be sent next. Events become bytes only when the client takes them: a slow one holds on to objects that others
/// hold, too, not to copies.
enum Ready {
    Event(Event),
    /// How far the watch is, and whether these are the initial events' end.
    Bookmark(Revision, bool),
    Error(Status),
}

struct Stream {
    app: Arc<App>,
    kind: KindRef,
    shape: Shape,
    /// Whether the next event is the first: only that one carries a table's column definitions.
    headed: bool,
    /// How the watch is to begin, while the revision is waited for from which it is to.
    beginning: Option<Beginning>,
    watcher: Option<Watcher>,
    ready: VecDeque<Ready>,
    bookmarks: Option<tokio::time::Interval>,
    end: Instant,
    asked: Arc<Asked>,
}

/// Where a watch begins.
struct Beginning {
    selection: Selection,
    /// The revision that the client names; none: now.
    wanted: Option<Revision>,
    /// Whether what is there already comes first.
    initial: bool,
    /// Whether a bookmark with the annotation `k8s.io/initial-events-end` follows the initial events.
    tell_end: bool,
}

/// Begins a watch.
pub fn start(
    app: &Arc<App>,
    asked: &Asked,
    target: &path::Target,
    selection: Selection,
    options: &ListQuery,
) -> Result<Reply, Status> {
    let media = negotiate(&asked.accept, Offer::Lists, true)?;
    let shape = match media.shape {
        Shape::PartialList(version) => Shape::Partial(version),
        other => other,
    };
    if let Shape::Table(_) = shape {
        shape::form(app, asked, "")?;
    }
    let wanted = read_revision(&options.revision).map_err(|text| Status::failure(500, "", text))?;
    let from_now = wanted.is_none_or(|revision| revision.0 == 0);
    let initial = options.initial_events.unwrap_or(from_now);
    let life = match options.timeout_seconds {
        None | Some(0) => LIFE.mul_f64(1.0 + rand::rng().random::<f64>()),
        // A time that is over before it has begun ends the watch at once.
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(100 * 365 * 24 * 3600)),
    };
    let now = Instant::now();
    let bookmarks = options.bookmarks.then(|| {
        let mut ticks = interval_at(now + BOOKMARKS, BOOKMARKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let asked = Asked {
        method: asked.method.clone(),
        query: asked.query.clone(),
        accept: String::new(),
        content_type: String::new(),
        user_agent: String::new(),
        user: asked.user.clone(),
        body: Bytes::new(),
    };
    let wanted = wanted.filter(|_| !from_now);
    let beginning = Beginning {
        selection,
        wanted,
        initial,
        tell_end: options.initial_events.is_some() && options.bookmarks,
    };
    let mut stream = Stream {
        app: app.clone(),
        kind: target.kind.clone(),
        shape,
        headed: true,
        beginning: None,
        watcher: None,
        ready: VecDeque::new(),
        bookmarks,
        end: now + life,
        asked: Arc::new(asked),
    };
    if wanted.is_some_and(|wanted| wanted > app.registry.revision()) {
        stream.beginning = Some(beginning);
    } else {
        stream.begin(beginning);
    }
    Ok(Reply {
        code: 200,
        content_type: "application/json".into(),
        body: Body::from_stream(stream::unfold(stream, step)),
        warnings: Vec::new(),
        retry_after: None,
        location: None,
    })
}

async fn step(mut stream: Stream) -> Option<(Result<Bytes, std::convert::Infallible>, Stream)> {
    loop {
        if let Some(ready) = stream.ready.pop_front() {
            let bytes = stream.bytes(ready).await;
            return Some((Ok(bytes), stream));
        }
        if let Some(Beginning { wanted: Some(wanted), .. }) = stream.beginning {
            let reached = tokio::select! {
                reached = stream.app.registry.reach(wanted) => reached,
                () = sleep_until(stream.end) => return None,
                () = stream.app.stop.cancelled() => return None,
            };
            match (reached, stream.beginning.take()) {
                (Ok(()), Some(beginning)) => stream.begin(beginning),
                // After the answer's head there is no other place for a failure.
                (reached, _) => stream.ready.extend(reached.err().map(Ready::Error)),
            }
            continue;
        }
        let watcher = stream.watcher.as_mut()?;
        let bookmark = async {
            match &mut stream.bookmarks {
                Some(ticks) => drop(ticks.tick().await),
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            news = watcher.next() => Some(news),
            () = bookmark => None,
            () = sleep_until(stream.end) => return None,
            () = stream.app.stop.cancelled() => return None,
        };
        match news {
            Some(Ok(events)) => stream.ready.extend(events.into_iter().map(Ready::Event)),
            Some(Err(gone)) => {
                stream.ready.push_back(Ready::Error(expired(gone.since, gone.floor)));
                stream.watcher = None;
            }
            None => {
                let seen = stream.watcher.as_ref().map(Watcher::seen).unwrap_or_default();
                stream.ready.push_back(Ready::Bookmark(seen, false));
            }
        }
    }
}

impl Stream {
    fn begin(&mut self, beginning: Beginning) {
        let Beginning { selection, wanted, initial, tell_end } = beginning;
        let registry = &self.app.registry;
        let mut since = wanted.unwrap_or_else(|| registry.revision());
        if initial {
            let listing = match registry.list(&selection, &ListOptions::default()) {
                Ok(listing) => listing,
                Err(status) => return self.ready.push_back(Ready::Error(status)),
            };
            since = listing.revision;
            for entry in listing.entries {
                self.ready.push_back(Ready::Event(Event::Added(entry)));
            }
            if tell_end {
                self.ready.push_back(Ready::Bookmark(since, true));
            }
        }
        match registry.watch(vec![selection], since) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(gone) => self.ready.push_back(Ready::Error(expired(gone.since, gone.floor))),
        }
    }

    async fn bytes(&mut self, ready: Ready) -> Bytes {
        match ready {
            Ready::Event(event) if self.shape == Shape::Whole && self.kind.view.is_none() => {
                event.line().cloned().unwrap_or_else(|| line(event.word(), &event.object().json))
            }
            Ready::Event(event) => {
                let event_size = event.object().json.len();
                let shown = self.shown();
                let print = move || {
                    let shown = shown.printed(event.object().value().unwrap_or_default());
                    line(event.word(), &shown)
                };
                if event_size < LARGE {
                    return print();
                }
                let printed = self.app.registry.large().run(&self.asked.user, async move { print() }).await;
                printed.unwrap_or_else(|status| self.failure(&status))
            }
            Ready::Bookmark(revision, initial_end) => self.bookmark(revision, initial_end),
            Ready::Error(status) => self.failure(&status),
        }
    }

    /// Ends the watch, and says why: a client that misses an event must list again.
    fn failure(&mut self, status: &Status) -> Bytes {
        self.watcher = None;
        self.ready.clear();
        line("ERROR", &serde_json::to_vec(status).unwrap_or_default())
    }

    /// How the next object is to be shown.
    fn shown(&mut self) -> Line {
        let shown = shape::Shown::of(&self.app, &self.asked, &self.kind, &self.shape).ok();
        // Only the first table of a watch has its columns described.
        let headed = std::mem::replace(&mut self.headed, false) || !matches!(self.shape, Shape::Table(_));
        Line { shown, headed }
    }

    fn bookmark(&mut self, revision: Revision, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({ INITIAL_END: "true" });
        }
        let mut object =
            json!({"kind": self.kind.kind(), "apiVersion": self.kind.api_version(), "metadata": metadata});
        if let Value::Object(zero) = zero(&self.kind)
            && let Some(map) = object.as_object_mut()
        {
            map.extend(zero);
        }
        let shown = match &self.shape {
            Shape::Whole => object,
            _ => return line("BOOKMARK", &self.shown().printed(object)),
        };
        line("BOOKMARK", shown.to_string().as_bytes())
    }
}

/// How one line of a watch is to be printed, on whatever thread.
struct Line {
    shown: Option<shape::Shown>,
    headed: bool,
}

impl Line {
    fn printed(&self, value: Value) -> Vec<u8> {
        let tree = self.shown.as_ref().and_then(|shown| shown.tree(value).ok());
        let mut tree = tree.unwrap_or(Value::Null);
        if !self.headed {
            tree["columnDefinitions"] = Value::Null;
        }
        tree.to_string().into_bytes()
    }
}

/// What an object of this kind holds that nobody has filled in, beside its metadata.
fn zero(kind: &KindRef) -> Value {
    let mut zero = coracle_api::decode::zero(Target::of(kind).schema);
    if let Some(map) = zero.as_object_mut() {
        map.retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion" | "metadata"));
    }
    zero
}

fn line(word: &str, json: &[u8]) -> Bytes {
    framed(word, &[json]).line
}

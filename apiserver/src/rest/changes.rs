//! `/coracle/v1/...`: what only Coracle tells, the change log first of all.

use std::sync::Arc;

use coracle_api::{Key, Revision, Status, kinds};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::app::{App, Asked};
use super::difference::difference;
use crate::http::negotiation::Media;
use crate::http::query::Query;
use crate::http::reply::Reply;

/// The most changes in one answer, unless `limit` says less.
const MOST: usize = 5000;
/// The most bytes of objects that are compared for one answer: about half a second's work.
pub(super) const MOST_COMPARED: usize = 16 << 20;

/// `/coracle/v1/verdicts/NAMESPACE/POD`: why a pod is where it is. The scheduler leaves its word with the server that it has dialled,
/// which may have been another one before.
pub async fn verdict(app: &App, asked: &Asked, namespace: &str, pod: &str) -> Result<Reply, Status> {
    let key = Key::new(&kinds::POD, namespace, pod);
    let known = app.peers.verdicts(&key).await.into_iter().chain(app.verdicts.get(&key));
    let time = |verdict: &Value| verdict["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let verdict = known.max_by_key(time).ok_or_else(|| {
        Status::failure(404, "NotFound", format!("no verdict on pod {namespace}/{pod} is known"))
    })?;
    Ok(Reply::value(200, &verdict, &media(asked)))
}

/// `/coracle/v1/changes`. Comparing thousands of objects field by field is large work, whoever asks and however few are found.
pub async fn list(app: &Arc<App>, asked: &Asked) -> Result<Reply, Status> {
    let (query, media) = (asked.query.clone(), media(asked));
    let compares = query.flag("fields");
    let (here, registry) = (app.clone(), &app.registry);
    let answer = move || Ok(Reply::value(200, &changes(&here, &query)?, &media));
    if !compares {
        return answer();
    }
    registry.large().run(&asked.user, async move { answer() }).await?
}

fn media(asked: &Asked) -> Media {
    Media { pretty: asked.pretty(), ..Media::JSON }
}

/// The log, oldest first. `kind` takes any of a kind's names; `namespace`, `name`, `revision`, `since`, `limit` narrow it down;
/// `fields=true` adds which fields became different. After an answer's last change there may be more, until an answer has none.
fn changes(app: &App, query: &Query) -> Result<Value, Status> {
    let number = |name: &str| -> Result<Option<u64>, Status> {
        Ok(query.int(name)?.and_then(|number| u64::try_from(number).ok()))
    };
    let kind = match query.get("kind") {
        Some(word) => {
            let bad = || Status::bad_request(format!("unknown kind {word:?}"));
            Some(app.registry.kinds().by_word(word).ok_or_else(bad)?)
        }
        None => None,
    };
    let (exact, since) = (number("revision")?.map(Revision), number("since")?.map(Revision));
    let limit = number("limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(MOST).min(MOST);
    let with_fields = query.flag("fields");
    let wanted = |name: &str, found: &str| query.get(name).is_none_or(|wanted| wanted == found);
    let (floor, changes) = match exact {
        Some(revision) => {
            let (floor, change) = app.registry.change_at(kind.as_deref(), revision);
            (floor, change.into_iter().collect())
        }
        None => app.registry.changes(kind.as_deref(), since.unwrap_or_default()),
    };
    let mut left = MOST_COMPARED;
    let items: Vec<Value> = changes
        .iter()
        .filter(|change| {
            let key = &change.entry.object.key;
            wanted("namespace", &key.namespace) && wanted("name", &key.name)
        })
        .take(limit)
        .take_while(|change| {
            let before = change.before.as_ref().filter(|_| with_fields);
            let size = before.map_or(0, |before| before.object.json.len() + change.entry.object.json.len());
            let first = left == MOST_COMPARED;
            let fits = size <= left;
            left = left.saturating_sub(size.max(1));
            // At least one change is always returned: else a client that asks for the next page would never get any further.
            fits || first
        })
        .map(|change| {
            let key = &change.entry.object.key;
            let mut item = json!({
                "revision": change.revision.0,
                "time": change.time.to_string(),
                "actor": change.actor,
                "causes": change.causes,
                "verb": change.verb.word(),
                "key": {
                    "apiVersion": key.kind.api_version(),
                    "kind": key.kind.kind(),
                    "resource": key.kind.qualified_resource(),
                    "namespace": key.namespace,
                    "name": key.name,
                },
                "uid": change.entry.summary().uid,
            });
            if let Some(before) = change.before.as_ref().filter(|_| with_fields) {
                item["fields"] = difference(&before.value(), &change.entry.value()).into();
            }
            item
        })
        .collect();
    Ok(json!({"floor": floor.0, "revision": app.registry.revision().0, "items": items}))
}

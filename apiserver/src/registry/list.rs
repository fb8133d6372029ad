//! Lists: of the present, of a page at one revision, of the past.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use coracle_api::{Revision, Status};
use serde::{Deserialize, Serialize};

use super::Registry;
use super::card::Entry;
use super::selection::Selection;

/// What a list asks for beside the selection.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// The most items; 0: all.
    pub limit: usize,
    /// Where the page before ended.
    pub continue_token: String,
    /// The oldest or the exact revision that will do.
    pub revision: Option<Revision>,
    /// Whether `revision` is meant exactly.
    pub exact: bool,
}

/// A list, or a page of one.
#[derive(Debug)]
pub struct Listing {
    /// All items were true together at this revision.
    pub revision: Revision,
    /// In order of their places.
    pub entries: Vec<Entry>,
    /// Where to go on; empty at the end.
    pub continue_token: String,
    /// How many are left; unknown with a selector.
    pub remaining: Option<usize>,
}

/// Upstream's form: clients do not look inside, but people do.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Registry {
    /// The objects of a selection.
    ///
    /// # Errors
    /// 400 for a bad token, 410 for a revision that is no longer kept, 504 for one from the future.
    pub fn list(&self, selection: &Selection, options: &ListOptions) -> Result<Listing, Status> {
        let (mut wanted, mut behind) = (None, None);
        if options.exact {
            wanted = options.revision;
        }
        if !options.continue_token.is_empty() {
            let token = read_token(&options.continue_token)?;
            // A negative revision means: go on from here, but with what is there now.
            wanted = (token.rv > 0).then_some(Revision(token.rv.unsigned_abs()));
            let name = token.start.trim_end_matches('\0');
            behind = Some(match &selection.namespace {
                Some(namespace) => format!("{namespace}/{name}"),
                None if selection.kind.namespaced => name.to_string(),
                None => format!("/{name}"),
            });
        }
        let state = self.state.read();
        if let Some(revision) = options.revision.filter(|r| *r > state.revision) {
            return Err(too_large(revision, state.revision));
        }
        let Some(shelf) = state.shelves.get(selection.kind) else {
            return Err(Status::not_found(selection.kind, ""));
        };
        let revision = wanted.unwrap_or(state.revision);
        if revision > state.revision {
            return Err(too_large(revision, state.revision));
        }
        if revision < state.floor {
            return Err(if options.continue_token.is_empty() {
                expired(revision, state.floor)
            } else {
                let start = behind.as_deref().unwrap_or_default();
                expired_page(&token(state.revision, start, selection, true))
            });
        }
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let changed_since = shelf.since(revision).next().is_some();
        let (entries, more) = if changed_since {
            let objects = shelf.at(revision);
            let prefix = selection.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
            let range = objects
                .iter()
                .filter(|(place, _)| place.starts_with(&prefix))
                .filter(|(place, _)| behind.as_ref().is_none_or(|b| *place > b))
                .map(|(_, entry)| entry);
            page(range, selection, limit)
        } else if let (Some(name), Some(namespace), None) = (
            selection.fields.requires("metadata.name"),
            selection.namespace.as_ref().or((!selection.kind.namespaced).then_some(&String::new())),
            &behind,
        ) {
            page(shelf.objects.get(&format!("{namespace}/{name}")).into_iter(), selection, limit)
        } else {
            let range = shelf.range(selection.namespace.as_deref(), behind.as_deref());
            page(range.map(|(_, entry)| entry), selection, limit)
        };
        drop(state);
        let mut listing = Listing { revision, entries, continue_token: String::new(), remaining: None };
        if more > 0 {
            let last = listing.entries.last().map(|e| super::card::place(&e.object.key)).unwrap_or_default();
            listing.continue_token = token(revision, &last, selection, false);
            listing.remaining = (!selection.selects()).then_some(more);
        }
        Ok(listing)
    }
}

/// The first `limit` of the wanted, and how many more there are.
fn page<'a>(
    range: impl Iterator<Item = &'a Entry>,
    selection: &Selection,
    limit: usize,
) -> (Vec<Entry>, usize) {
    let mut wanted = range.filter(|entry| selection.matches(entry));
    let entries: Vec<Entry> = wanted.by_ref().take(limit).cloned().collect();
    (entries, wanted.count())
}

fn token(revision: Revision, place: &str, selection: &Selection, inconsistent: bool) -> String {
    let start = match &selection.namespace {
        Some(namespace) => place.strip_prefix(&format!("{namespace}/")).unwrap_or(place),
        None => place.strip_prefix('/').unwrap_or(place),
    };
    let rv = if inconsistent { -1 } else { i64::try_from(revision.0).unwrap_or(i64::MAX) };
    let token = Token { v: TOKEN_VERSION.into(), rv, start: format!("{start}\0") };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn read_token(text: &str) -> Result<Token, Status> {
    let bad = |why: String| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
        };
        bad(format!("illegal base64 data at input byte {at}"))
    })?;
    let given = String::from_utf8_lossy(&bytes);
    let node = coracle_api::decode::json::parse(&given)
        .map_err(|error| bad(error.trim_start_matches("json: ").into()))?;
    let token: Token = serde_json::from_value(node.into_value()).map_err(|e| bad(e.to_string()))?;
    if token.v != TOKEN_VERSION {
        return Err(bad(format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.start.is_empty() || token.rv == 0 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
    }
    Ok(token)
}

/// 504: the revision has not happened yet. Upstream waits a little for it; here nothing can be behind.
pub fn too_large(wanted: Revision, current: Revision) -> Status {
    use coracle_api::status::{Cause, Details};
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        ..Cause::default()
    };
    Status::failure(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {wanted}, current: {current}"),
    )
    .with_details(Details { causes: vec![cause], retry_after_seconds: 1, ..Details::default() })
}

/// 410: the revision is no longer kept.
pub fn expired(wanted: Revision, floor: Revision) -> Status {
    Status::failure(410, "Expired", format!("too old resource version: {wanted} ({floor})"))
}

fn expired_page(token: &str) -> Status {
    let mut status = Status::failure(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.metadata = serde_json::json!({ "continue": token });
    status
}

//! Lists: of the present, of a page at one revision, of the past.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use coracle_api::{Revision, Status};
use serde::{Deserialize, Serialize};

use super::refusals::{expired, too_large};
use super::selection::Selection;
use super::shelf::Span;
use super::{Inner, State};
use crate::entry::{Entry, ns_name};

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

impl ListOptions {
    /// The revision that must have happened: the one asked for, or that of the page before, which another server may have shown.
    pub fn needed(&self) -> Revision {
        let page = read_token(&self.continue_token).ok().and_then(|token| u64::try_from(token.rv).ok());
        Revision(page.unwrap_or_default()).max(self.revision.unwrap_or_default())
    }
}

/// A list, or a page of one.
#[derive(Debug)]
pub struct Listing {
    /// All items were true together at this revision.
    pub revision: Revision,
    /// In order of namespace and name, as one text.
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

impl State {
    /// The objects of a selection.
    ///
    /// # Errors
    /// 400 for a bad token, 410 for a revision that is no longer kept, 504 for one from the future.
    pub fn list(&self, selection: &Selection, options: &ListOptions) -> Result<Listing, Status> {
        let start = Start::of(selection, options)?;
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        // Under the lock entries are only picked up; what is in them is looked at when others may write again.
        let Found { revision, mut entries, mut more } = self.inner.read().find(
            selection,
            &start,
            if selection.selects() { usize::MAX } else { limit },
        )?;
        if selection.selects() {
            let mut matching = entries.into_iter().filter(|entry| selection.matches(entry));
            entries = matching.by_ref().take(limit).collect();
            more = usize::from(matching.next().is_some());
        }
        let mut listing = Listing { revision, entries, continue_token: String::new(), remaining: None };
        if more > 0 {
            let last = listing.entries.last().map(|e| ns_name(&e.object.key)).unwrap_or_default();
            listing.continue_token = token(revision, &last, selection, false);
            listing.remaining = (!selection.selects()).then_some(more);
        }
        Ok(listing)
    }
}

/// Where a list begins.
struct Start {
    /// At least this revision.
    least: Option<Revision>,
    /// Exactly this one.
    exact: Option<Revision>,
    /// Only what stands after this namespace and name: the end of the page before.
    behind: Option<String>,
}

impl Start {
    fn of(selection: &Selection, options: &ListOptions) -> Result<Start, Status> {
        let exact = options.revision.filter(|_| options.exact);
        if options.continue_token.is_empty() {
            return Ok(Start { least: options.revision, exact, behind: None });
        }
        let token = read_token(&options.continue_token)?;
        // A negative revision means: go on from here, but with what is there now.
        let exact = (token.rv > 0).then_some(Revision(token.rv.unsigned_abs()));
        let name = token.start.trim_end_matches('\0');
        let behind = match &selection.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None if selection.kind.namespaced => name.to_string(),
            None => format!("/{name}"),
        };
        Ok(Start { least: options.revision, exact, behind: Some(behind) })
    }
}

/// What stands where a list looks.
struct Found {
    revision: Revision,
    /// Some of these may not be selected.
    entries: Vec<Entry>,
    /// How many more there are.
    more: usize,
}

impl Inner {
    fn find(&self, selection: &Selection, start: &Start, limit: usize) -> Result<Found, Status> {
        let future = [start.least, start.exact].into_iter().flatten().find(|r| *r > self.revision);
        if let Some(revision) = future {
            return Err(too_large(revision, self.revision));
        }
        let Some(shelf) = self.shelves.get(&selection.kind) else {
            return Err(Status::not_found(&selection.kind, ""));
        };
        let (revision, floor) = (start.exact.unwrap_or(self.revision), shelf.feed().floor());
        if revision < floor {
            return Err(match &start.behind {
                None => expired(revision, floor),
                Some(behind) => expired_page(&token(self.revision, behind, selection, true)),
            });
        }
        let undone = shelf.undone(revision);
        if let Some(ns_name) = selection.ns_name().filter(|_| undone.is_empty() && start.behind.is_none()) {
            return Ok(Found {
                revision,
                entries: shelf.get(&ns_name).cloned().into_iter().collect(),
                more: 0,
            });
        }
        let span = Span { namespace: selection.namespace.as_deref(), behind: start.behind.as_deref() };
        let mut all = shelf.entries_in(span, selection, &undone);
        let entries = all.by_ref().take(limit).cloned().collect();
        Ok(Found { revision, entries, more: all.count() })
    }
}

fn token(revision: Revision, ns_name: &str, selection: &Selection, inconsistent: bool) -> String {
    let start = match &selection.namespace {
        Some(namespace) => ns_name.strip_prefix(&format!("{namespace}/")).unwrap_or(ns_name),
        None => ns_name.strip_prefix('/').unwrap_or(ns_name),
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
    let node = coracle_api::document::json::parse(&given)
        .map_err(|error| bad(error.to_string().trim_start_matches("json: ").into()))?;
    let token: Token = serde_json::from_value(node.into_value()).map_err(|e| bad(e.to_string()))?;
    if token.v != TOKEN_VERSION {
        return Err(bad(format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.start.is_empty() || token.rv == 0 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
    }
    Ok(token)
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

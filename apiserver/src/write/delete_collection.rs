//! Deletion of every object of a selection.

use std::sync::Arc;

use coracle_api::{Key, Status};
use futures::{StreamExt, stream};

use super::Registry;
use super::operation::{Context, DeleteOptions};
use crate::state::list::{ListOptions, Listing};
use crate::state::selection::Selection;

/// How many are deleted at a time: they share the disk's syncs.
const AT_ONCE: usize = 64;

impl Registry {
    /// Deletes what a list shows, or a page of it, each object for itself, and answers with that list and texts for `Warning:` headers.
    /// Like every write it goes on to its end, whoever stops waiting.
    ///
    /// # Errors
    /// What [`Registry::list`] says, and the first delete that was refused.
    pub async fn delete_collection(
        self: &Arc<Self>,
        context: &Context,
        selection: &Selection,
        page: &ListOptions,
        options: &DeleteOptions,
    ) -> (Result<Listing, Status>, Vec<String>) {
        let listing = match self.list(selection, page) {
            Ok(listing) => listing,
            Err(status) => return (Err(status), Vec::new()),
        };
        let keys: Vec<Key> = listing.entries.iter().map(|entry| entry.object.key.clone()).collect();
        let (registry, context, options) = (self.clone(), context.clone(), options.clone());
        let outcome =
            self.writes.run(None, async move { registry.delete_all(&context, keys, &options).await }).await;
        match outcome {
            Ok((None, warnings)) => (Ok(listing), warnings),
            Ok((Some(refusal), warnings)) => (Err(refusal), warnings),
            Err(status) => (Err(status), Vec::new()),
        }
    }

    /// The first refusal, if there was one, and the warnings of all.
    async fn delete_all(
        &self,
        context: &Context,
        keys: Vec<Key>,
        options: &DeleteOptions,
    ) -> (Option<Status>, Vec<String>) {
        let deletes = keys.into_iter().map(|key| async move {
            let mut warnings = Vec::new();
            let outcome = self.delete_item(context, &key, options, &mut warnings).await;
            (outcome, warnings)
        });
        let mut outcomes = stream::iter(deletes).buffered(AT_ONCE);
        let mut all = Vec::new();
        while let Some((outcome, mut warnings)) = outcomes.next().await {
            all.append(&mut warnings);
            match outcome {
                // Somebody else has deleted it, which is what the client wanted.
                Err(status) if status.code != 404 => return (Some(status), all),
                _ => {}
            }
        }
        (None, all)
    }
}

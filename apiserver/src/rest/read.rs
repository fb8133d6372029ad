//! GET: one object or a list, as it is stored or as a table.

use std::sync::Arc;

use axum::body::Body;
use coracle_api::table::{Form, Include};
use coracle_api::{KindRef, Revision, Status};
use serde_json::{Value, json};

use super::app::{App, Asked};
use super::items::Items;
use super::options::{ListQuery, read_revision};
use super::shape::{form, key, media, print, shaped, wrong_shape};
use super::watch;
use crate::entry::Entry;
use crate::http::negotiation::{Media, Offer, Shape};
use crate::http::path::Target;
use crate::http::reply::{Reply, no_method};
use crate::state::list::Listing;
use crate::state::selection::Selection;

/// `GET` of an object.
pub async fn get(app: &App, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let media = media(asked, Offer::Objects)?;
    let key = key(target);
    let wanted =
        read_revision(asked.query.text("resourceVersion")).map_err(|text| Status::failure(500, "", text))?;
    app.registry.reach(wanted.unwrap_or_default()).await?;
    let mut object = app.registry.get(&key);
    if object.is_none() && app.registry.catch_up().await {
        object = app.registry.get(&key);
    }
    let object = object.ok_or_else(|| Status::not_found(&target.kind, &key.name))?;
    shaped(app, asked, &target.kind, 200, &object, &media).await
}

/// `GET` of a subresource.
pub async fn get_sub(app: &Arc<App>, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let media = media(asked, Offer::Objects)?;
    let key = key(target);
    let object = app.registry.get(&key).ok_or_else(|| Status::not_found(&target.kind, &key.name))?;
    match target.sub.as_deref() {
        Some("status" | "ephemeralcontainers" | "resize") => {
            shaped(app, asked, &target.kind, 200, &object, &media).await
        }
        Some("scale") => {
            let scale = coracle_api::scale::of(&target.kind, &object.value().map_err(Status::internal)?);
            match &media.shape {
                Shape::Table(version) => {
                    let api_version = format!("meta.k8s.io/{version}");
                    let form = form(app, asked, &api_version)?;
                    Ok(Reply::value(200, &coracle_api::scale::TABLE.print_one(&scale, form), &media))
                }
                _ => Ok(Reply::value(200, &scale, &media)),
            }
        }
        _ => Err(no_method()),
    }
}

/// `GET` of a collection: a list or a watch.
pub async fn list(app: &Arc<App>, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    // The router's part of the negotiation comes first, the rest after the options.
    let whole = media(asked, Offer::Lists);
    if let Err(status) = &whole
        && status.details.is_some()
    {
        return Err(status.clone());
    }
    let options = ListQuery::read(&asked.query, target.watch)?;
    let mut selection =
        Selection::parse(&target.kind, target.namespace.clone(), &options.labels, &options.fields)?;
    if let Some(name) = &target.name {
        if !options.fields.is_empty() && selection.fields.requires("metadata.name") != Some(name) {
            return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        let term =
            coracle_api::selector::Term { field: "metadata.name".into(), value: name.clone(), equal: true };
        selection.fields.0.push(term);
    }
    if options.watch {
        return watch::start(app, asked, target, selection, &options);
    }
    let media = whole?;
    let options = options.options()?;
    app.registry.reach(options.needed()).await?;
    let listing = app.registry.list(&selection, &options)?;
    render(app, asked, &target.kind, listing, media).await
}

/// A list in the form that the client wants.
pub async fn render(
    app: &App,
    asked: &Asked,
    kind: &KindRef,
    listing: Listing,
    media: Media,
) -> Result<Reply, Status> {
    let metadata = list_metadata(listing.revision, &listing.continue_token, listing.remaining);
    let whole = media.shape == Shape::Whole && kind.view.is_none();
    // Only what is sent as it is can be sent piece by piece.
    if whole && !media.yaml && !media.pretty {
        return Ok(Reply::pieces(Body::new(Items::new(kind, &metadata, listing.entries))));
    }
    let api_version = match &media.shape {
        Shape::Table(version) | Shape::PartialList(version) => format!("meta.k8s.io/{version}"),
        _ => String::new(),
    };
    let include = match &media.shape {
        Shape::Table(_) => form(app, asked, "")?.include,
        _ => Include::None,
    };
    let size: usize = listing.entries.iter().map(|entry| entry.object.json.len()).sum();
    let (kind, now) = (kind.clone(), app.registry.clock().now());
    let shown = move || {
        let form = Form { api_version: &api_version, include, headed: true, now };
        shown_list(&kind, listing.entries, metadata, form, &media)
    };
    print(app, asked, size, shown).await
}

/// All that is in a list, in the form that the client wants.
fn shown_list(
    kind: &KindRef,
    entries: Vec<Entry>,
    metadata: Value,
    form: Form,
    media: &Media,
) -> Result<Reply, Status> {
    let api_version = form.api_version;
    match &media.shape {
        Shape::Whole if kind.view.is_none() => {
            Ok(Reply::json(200, Items::new(kind, &metadata, entries).whole(), media))
        }
        Shape::Table(_) => {
            let values: Vec<Value> = entries.iter().map(Entry::value).collect();
            Ok(Reply::value(200, &kind.table.print(&values, metadata, form), media))
        }
        Shape::PartialList(_) => {
            let items: Vec<Value> = entries
                .iter()
                .map(|entry| coracle_api::table::partial_metadata(&entry.value(), api_version))
                .collect();
            // An empty list of this type alone is null, by an oversight of upstream's.
            let items = if items.is_empty() { Value::Null } else { items.into() };
            let list = json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": api_version,
                "metadata": metadata,
                "items": items,
            });
            Ok(Reply::value(200, &list, media))
        }
        Shape::Partial(_) => Err(wrong_shape("PartialObjectMetadata", "a list", kind, "List")),
        _ => {
            let show = |entry: &Entry| match kind.view {
                Some(view) => (view.show)(entry.value()),
                None => entry.value(),
            };
            let mut items: Vec<Value> = entries.iter().map(show).collect();
            for item in &mut items {
                if let Some(map) = item.as_object_mut() {
                    map.shift_remove("kind");
                    map.shift_remove("apiVersion");
                }
            }
            let list = json!({
                "kind": format!("{}List", kind.kind()),
                "apiVersion": kind.api_version(),
                "metadata": metadata,
                "items": items,
            });
            Ok(Reply::value(200, &list, media))
        }
    }
}

fn list_metadata(revision: Revision, token: &str, remaining: Option<usize>) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if !token.is_empty() {
        metadata["continue"] = token.into();
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

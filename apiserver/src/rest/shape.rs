//! An object in the form that the client wants.

use coracle_api::table::{Form, Include};
use coracle_api::{Key, KindRef, Object, Status};
use serde_json::Value;

use super::app::{App, Asked};
use crate::entry::stored;
use crate::http::accept::{Media, Offer, Shape, negotiate};
use crate::http::path::Target;
use crate::http::reply::Reply;

/// The key of what a target names.
pub fn key(target: &Target) -> Key {
    let name = target.name.clone().unwrap_or_default();
    Key::new(stored(&target.kind), target.namespace.clone().unwrap_or_default(), name)
}

/// The negotiated form of an answer.
pub fn media(asked: &Asked, offer: Offer) -> Result<Media, Status> {
    let media = negotiate(&asked.accept, offer, false)?;
    Ok(Media { pretty: media.pretty || asked.pretty(), ..media })
}

/// An object in the form that the client wants.
pub fn shaped(
    app: &App,
    asked: &Asked,
    kind: &KindRef,
    code: u16,
    object: &Object,
    media: &Media,
) -> Result<Reply, Status> {
    if media.shape == Shape::Whole && kind.view.is_none() {
        return Ok(Reply::json(code, object.json.clone(), media));
    }
    let value = object.value().map_err(Status::internal)?;
    Ok(Reply::value(code, &shape_one(app, asked, kind, value, &media.shape)?, media))
}

/// A tree in the form that the client wants.
pub fn shape_one(
    app: &App,
    asked: &Asked,
    kind: &KindRef,
    value: Value,
    shape: &Shape,
) -> Result<Value, Status> {
    match shape {
        Shape::Table(version) => {
            let api_version = format!("meta.k8s.io/{version}");
            let form = form(app, asked, &api_version)?;
            Ok(kind.table.print_one(&value, form))
        }
        Shape::Partial(version) => {
            Ok(coracle_api::table::partial_metadata(&value, &format!("meta.k8s.io/{version}")))
        }
        Shape::PartialList(_) => Err(wrong_shape("PartialObjectMetadataList", "not a list", kind, "")),
        _ => Ok(kind.view.map_or(value.clone(), |view| (view.show)(value))),
    }
}

/// How tables are to be made.
pub fn form<'a>(app: &App, asked: &Asked, api_version: &'a str) -> Result<Form<'a>, Status> {
    let include = Include::parse(asked.query.text("includeObject")).map_err(Status::bad_request)?;
    Ok(Form { api_version, include, headed: true, now: app.registry.clock().now() })
}

/// 406: the shape asked for is not one of what is asked for.
pub fn wrong_shape(asked: &str, is: &str, kind: &KindRef, suffix: &str) -> Status {
    let package = match kind.group().split('.').next().unwrap_or_default() {
        "" => "core",
        first => first,
    };
    let text = format!(
        "you requested {asked}, but the requested object is {is} (*{package}.{}{suffix})",
        kind.kind()
    );
    Status::failure(406, "NotAcceptable", text)
}

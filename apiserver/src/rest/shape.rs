//! An object in the form that the client wants.

use coracle_api::table::{Form, Include};
use coracle_api::{Key, KindRef, Object, Status};
use jiff::Timestamp;
use serde_json::Value;

use super::app::{App, Asked};
use crate::entry::stored;
use crate::http::negotiation::{Media, Offer, Shape, negotiate};
use crate::http::path::Target;
use crate::http::reply::Reply;
use crate::large::LARGE;

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

/// An answer that is printed from so many bytes: here, or on the threads for large work.
pub async fn print(
    app: &App,
    asked: &Asked,
    size: usize,
    reply: impl FnOnce() -> Result<Reply, Status> + Send + 'static,
) -> Result<Reply, Status> {
    if size < LARGE {
        return reply();
    }
    app.registry.large().run(&asked.user, async move { reply() }).await?
}

/// An object in the form that the client wants.
pub async fn shaped(
    app: &App,
    asked: &Asked,
    kind: &KindRef,
    code: u16,
    object: &Object,
    media: &Media,
) -> Result<Reply, Status> {
    let whole = media.shape == Shape::Whole && kind.view.is_none();
    if whole && !media.yaml && !media.pretty {
        // As it is stored: nothing has to be printed.
        return Ok(Reply::json(code, object.json.clone(), media));
    }
    let (object, media) = (object.clone(), media.clone());
    let shown = Shown::of(app, asked, kind, &media.shape)?;
    print(app, asked, object.json.len(), move || {
        if whole {
            return Ok(Reply::json(code, object.json, &media));
        }
        let value = object.value().map_err(Status::internal)?;
        Ok(Reply::value(code, &shown.tree(value)?, &media))
    })
    .await
}

/// How a client wants objects, with all that is needed to print one: it may be done on another thread.
#[derive(Clone)]
pub struct Shown {
    kind: KindRef,
    shape: Shape,
    include: Include,
    now: Timestamp,
}

impl Shown {
    /// As it is asked for now.
    pub fn of(app: &App, asked: &Asked, kind: &KindRef, shape: &Shape) -> Result<Shown, Status> {
        let include = match shape {
            Shape::Table(_) => form(app, asked, "")?.include,
            _ => Include::None,
        };
        Ok(Shown { kind: kind.clone(), shape: shape.clone(), include, now: app.registry.clock().now() })
    }

    /// A tree in the form that the client wants.
    pub fn tree(&self, value: Value) -> Result<Value, Status> {
        let Shown { kind, include, now, .. } = self;
        match &self.shape {
            Shape::Table(version) => {
                let api_version = format!("meta.k8s.io/{version}");
                let form = Form { api_version: &api_version, include: *include, headed: true, now: *now };
                Ok(kind.table.print_one(&value, form))
            }
            Shape::Partial(version) => {
                Ok(coracle_api::table::partial_metadata(&value, &format!("meta.k8s.io/{version}")))
            }
            Shape::PartialList(_) => Err(wrong_shape("PartialObjectMetadataList", "not a list", kind, "")),
            _ => Ok(match kind.view {
                Some(view) => (view.show)(value),
                None => value,
            }),
        }
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

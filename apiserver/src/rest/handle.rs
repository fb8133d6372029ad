//! From a request to its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use coracle_api::Status;
use coracle_api::status::Details;
use http::header::HOST;
use http::request::Parts;
use http::{Method, Request, Response, Version};

use super::app::{App, Asked};
use super::{changes, health, read, socket, write};
use crate::auth::attributes::Attributes;
use crate::connections::Class;
use crate::discovery;
use crate::http::connection::{Connection, Peer};
use crate::http::negotiation::{self, Media, Offer, negotiate};
use crate::http::path::{self, Location, Route, Target};
use crate::http::query::Query;
use crate::http::reply::{self, Reply};
use crate::http::upgrade::{self, Wish};
use crate::identity::{ANONYMOUS, Identity};
use crate::lines;

/// How long an answer may take to begin: upstream's `--request-timeout`. Only a disk that has stopped takes so long.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Answers a request. It carries its [`Connection`] among its extensions.
pub async fn handle(app: &Arc<App>, request: Request<Body>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let method = parts.method.clone();
    if parts.version == Version::HTTP_11 && !parts.headers.contains_key(HOST) {
        // RFC 9112, section 3.2; in the words of Go's server.
        return Reply::text(400, "400 Bad Request: missing required Host header").into_response();
    }
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let response = match Asked::read(&method, query, &parts.headers) {
        Err(status) => Reply::status(&status, &Media::JSON).into_response(),
        Ok(mut asked) => {
            let plain = Media { pretty: asked.pretty(), ..negotiation::of_error(&asked.accept) };
            let answer = answer(app, &mut asked, &mut parts, body).await;
            answer.unwrap_or_else(|status| Reply::status(&status, &plain).into_response())
        }
    };
    app.metrics.count(&method, response.status().as_u16());
    response
}

async fn answer(
    app: &Arc<App>,
    asked: &mut Asked,
    parts: &mut Parts,
    body: Body,
) -> Result<Response<Body>, Status> {
    let location = path::read(app.registry.kinds(), parts.uri.path());
    asked.user = who(app, parts, location.as_ref().ok().map(|location| &location.route))?;
    let location = location?;
    asked.user = may(app, std::mem::take(&mut asked.user), parts, &location, &asked.query)?;
    match &location.route {
        // Sessions with containers have no body: what the client sends is read as frames, later.
        Route::Resource(target) if lines::serve::serves(target) => {
            let streams = lines::session::App {
                registry: app.registry.clone(),
                lines: app.lines.clone(),
                peers: app.peers.clone(),
                stop: app.stop.clone(),
                user: asked.user.clone(),
            };
            return lines::serve::answer(&streams, target, &asked.query, parts).await;
        }
        Route::Issuer => {
            return discovery::issuer::answer(&location.path, &asked.accept, app.authenticator.accounts());
        }
        _ => {}
    }
    let wants_socket = upgrade::wish(&parts.headers) == Wish::Socket;
    let socket = if wants_socket && is_watch(asked, &location) {
        match upgrade::socket(parts, &socket::PROTOCOLS).await {
            Ok(socket) => Some(socket),
            Err(refusal) => return Ok(refusal),
        }
    } else {
        None
    };
    // Held to the end of the request. What takes no body is not sent one: nobody reads it.
    let held;
    if takes_body(&asked.method, &location.route) {
        let room = parts.extensions.get::<Connection>().map(|connection| connection.room.clone());
        held = room.unwrap_or_default().read(body, app.body_time).await?;
        asked.body = held.bytes.clone();
    }
    // A write goes on to its end by itself: only the waiting for it ends here.
    let answer = tokio::time::timeout(ANSWER_TIME, dispatch(app, asked, &location)).await;
    let reply = answer.unwrap_or_else(|_| Err(too_slow()))?;
    Ok(match socket {
        Some(socket) if reply.code == 200 => socket::answer(socket, reply.body, app.stop.clone()),
        _ => reply.into_response(),
    })
}

/// Whether a body is read at all.
fn takes_body(method: &Method, route: &Route) -> bool {
    matches!(route, Route::Resource(_) | Route::Bindings(_))
        && matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}

/// Whether events are asked for.
fn is_watch(asked: &Asked, location: &Location) -> bool {
    matches!(location.route, Route::Resource(_))
        && Attributes::of(&asked.method, location, &asked.query).verb == "watch"
}

/// 504: whether a write has happened is not known.
fn too_slow() -> Status {
    let why = "request did not complete within requested timeout - context deadline exceeded";
    Status::failure(504, "Timeout", format!("Timeout: {why}")).with_details(Details::default())
}

/// Who asks, before anything else is looked at.
fn who(app: &App, parts: &Parts, route: Option<&Route>) -> Result<Arc<Identity>, Status> {
    let connection = parts.extensions.get::<Connection>();
    let (peer, slot) = connection.map_or((&Peer::Unknown, None), |it| (&it.peer, it.slot.as_ref()));
    let user = app.authenticator.identify(peer, &parts.headers, route)?;
    // By its certificate it would be known since the handshake.
    if let (Peer::Unknown, Some(slot), true) = (peer, slot, user.user != ANONYMOUS) {
        // It has a slot already, and keeps it.
        let _ = slot.set_class(Class::Known);
    }
    Ok(user)
}

/// In whose name the request is made, and whether all that it is about is allowed.
fn may(
    app: &App,
    user: Arc<Identity>,
    parts: &Parts,
    location: &Location,
    query: &Query,
) -> Result<Arc<Identity>, Status> {
    let user = app.authorizer.impersonate(user, &parts.headers)?;
    if !app.authenticator.is_open(&location.route) {
        let needed = Attributes::needed(&parts.method, location, query);
        needed.iter().try_for_each(|asked| app.authorizer.may(&user, asked))?;
    }
    Ok(user)
}

async fn dispatch(app: &Arc<App>, asked: &Asked, location: &Location) -> Result<Reply, Status> {
    let read = |offer| {
        negotiate(&asked.accept, offer, false)
            .map(|media| Media { pretty: media.pretty || asked.pretty(), ..media })
    };
    // Upstream's documents about itself answer most methods alike.
    let get_only = || if asked.method == Method::GET { Ok(()) } else { Err(reply::no_method()) };
    match &location.route {
        Route::NoPage | Route::NoGroup(_) => Ok(Reply::no_page()),
        Route::NoResource(_) | Route::NoVersion | Route::Issuer => Err(reply::no_resource()),
        Route::Root => Ok(Reply::value(
            200,
            &discovery::root(app.registry.kinds()),
            &Media { pretty: true, ..Media::JSON },
        )),
        Route::Version => {
            get_only()?;
            read(Offer::JsonOnly)?;
            Ok(Reply::json(200, discovery::version(), &Media { pretty: true, ..Media::JSON }))
        }
        Route::Health(check, one) => Ok(health::check(app, asked, check, one.as_deref())),
        Route::Metrics => Ok(app.metrics.page(&app.registry)),
        Route::OpenApi => Ok(discovery::openapi(
            &app.openapi.documents(app.registry.kinds()),
            &asked.accept,
            &asked.query,
            &location.path,
        )),
        Route::CoreVersions => {
            get_only()?;
            let media = read(Offer::Discovery)?;
            Ok(discovery::core_versions(app.registry.kinds(), &media))
        }
        Route::Groups => Ok(discovery::groups(app.registry.kinds(), &read(Offer::Discovery)?)),
        Route::Group(group) => Ok(discovery::group(app.registry.kinds(), group, &read(Offer::Plain)?)),
        Route::GroupVersion { group, version } => {
            get_only()?;
            Ok(discovery::resources(app.registry.kinds(), group, version, &read(Offer::Plain)?))
        }
        Route::Changes => changes::list(app, asked).await,
        Route::Verdict { namespace, pod } => changes::verdict(app, asked, namespace, pod).await,
        Route::Bindings(namespace) if asked.method == Method::POST => {
            write::bind(app, asked, namespace.clone()).await
        }
        Route::Bindings(_) => Err(reply::no_method()),
        Route::Resource(target) => resource(app, asked, target).await,
    }
}

async fn resource(app: &Arc<App>, asked: &Asked, target: &Target) -> Result<Reply, Status> {
    let across = target.kind.namespaced && target.namespace.is_none();
    let method = asked.method.as_str();
    if let Some(verb) = collection_verb(method, target)
        && !target.kind.verbs.contains(&verb)
    {
        return Err(reply::no_method());
    }
    match (method, &target.name, &target.sub) {
        ("GET", None, _) => read::list(app, asked, target).await,
        ("GET", Some(_), _) if target.watch => read::list(app, asked, target).await,
        _ if target.watch => Err(reply::no_method()),
        ("GET", Some(_), None) => read::get(app, asked, target).await,
        ("POST", None, _) if !across => write::create(app, asked, target).await,
        ("DELETE", None, _) if !across => write::delete_collection(app, asked, target).await,
        ("PUT", Some(_), None) => write::update(app, asked, target).await,
        ("PATCH", Some(_), None) => write::patch(app, asked, target).await,
        ("DELETE", Some(_), None) => write::delete(app, asked, target).await,
        (_, Some(_), Some(sub)) => {
            let verb = match method {
                "GET" => "get",
                "POST" => "create",
                "PUT" => "update",
                "PATCH" => "patch",
                "DELETE" => "delete",
                _ => return Err(reply::no_method()),
            };
            let row = target.kind.subresources.iter().find(|s| s.name == sub);
            if !row.is_some_and(|row| row.verbs.contains(&verb)) {
                return Err(reply::no_method());
            }
            match verb {
                "get" => read::get_sub(app, asked, target).await,
                "create" => write::create(app, asked, target).await,
                "update" => write::update(app, asked, target).await,
                "patch" => write::patch(app, asked, target).await,
                _ => Err(reply::no_method()),
            }
        }
        _ => Err(reply::no_method()),
    }
}

/// The verb that a request to a resource itself comes to, where not every resource has it.
fn collection_verb(method: &str, target: &Target) -> Option<&'static str> {
    match (method, &target.name, &target.sub) {
        ("DELETE", None, _) => Some("deletecollection"),
        ("POST", None, _) => Some("create"),
        ("GET", None, _) => Some("list"),
        _ => None,
    }
}

//! The face for people and their tools: HTTPS, as Kubernetes speaks it.
//!
//! ```text
//!  request -> path -> who -> accept, query -> read | watch | write -> Reply -> response
//! ```

pub mod accept;
pub mod path;
pub mod query;
pub mod reply;

mod changes;
mod difference;
pub mod health;
mod items;
mod read;
mod watch;
mod write;
mod yaml;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use coracle_api::Status;
use coracle_api::status::Details;
use http::request::Parts;
use http::{Method, header};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, authorize, node, oidc};
use crate::discovery;
use crate::identity::Identity;
use crate::lines::{self, Lines};
use crate::registry::Registry;
use crate::verdicts::Verdicts;
use accept::{Media, Offer, negotiate};
use path::Route;
use query::Query;
use reply::Reply;

/// Upstream's limit for a request's body.
const BODY_MAX: usize = 3 << 20;

/// A body from which on it takes its turn, see [`App::large`]: a hundred times the usual.
const BODY_LARGE: usize = 128 << 10;
/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(60);

/// How long an answer may take to begin: upstream's `--request-timeout`. Only a disk that has stopped takes so long.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// What every handler may use.
pub struct App {
    /// Everything that is served.
    pub registry: Arc<Registry>,
    /// What the scheduler says of pods.
    pub verdicts: Arc<Verdicts>,
    /// Tells who asks.
    pub authenticator: Authenticator,
    /// The way to containers.
    pub lines: Lines,
    /// The server is going down: long answers end.
    pub stop: CancellationToken,
    /// What the requests so far came to.
    pub metrics: health::Metrics,
    /// Whose turn it is with a large body: its reader keeps a processor for a while, and the others answer meanwhile.
    pub large: Semaphore,
}

/// What is known of a client before it asks.
#[derive(Clone)]
pub struct Connection {
    /// Whom its certificate names.
    pub certificate: Option<Identity>,
}

/// A request, taken apart.
pub struct Asked {
    /// `GET`.
    pub method: Method,
    /// Behind the question mark.
    pub query: Query,
    /// `Accept`, as sent.
    pub accept: String,
    /// `Content-Type`, as sent.
    pub content_type: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// Who asks.
    pub user: Identity,
    /// What was sent.
    pub body: Bytes,
}

/// Everything that is served over HTTP.
pub fn router(app: App) -> Router {
    Router::new().fallback(handle).with_state(Arc::new(app))
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let method = parts.method.clone();
    if let Some(response) = special(&app, &mut parts).await {
        app.metrics.count(&method, response.status().as_u16());
        return response;
    }
    let reply = answer(&app, parts, body).await;
    app.metrics.count(&method, reply.code);
    reply.into_response()
}

/// Answers what is no document of the API: conversations with containers, and what is known of the tokens' issuer. What
/// such a request sends is not read beforehand.
async fn special(app: &App, parts: &mut Parts) -> Option<Response> {
    let certificate = parts.extensions.get::<Connection>().and_then(|c| c.certificate.clone());
    let path = parts.uri.path().to_owned();
    let answer = if let Some(document) = oidc::answer(&path, &parts.headers, app.authenticator.accounts()) {
        identify(app, certificate.as_ref(), parts).and(document)
    } else {
        let Route::Resource(target) = path::parse(&path) else { return None };
        if !lines::http::serves(&target) {
            return None;
        }
        let streams = lines::http::App {
            registry: app.registry.clone(),
            lines: app.lines.clone(),
            stop: app.stop.clone(),
        };
        match identify(app, certificate.as_ref(), parts) {
            Ok(_) => lines::http::answer(&streams, &target, parts).await,
            Err(status) => Err(status),
        }
    };
    Some(answer.unwrap_or_else(|status| Reply::status(&status, &Media::JSON).into_response()))
}

async fn answer(app: &Arc<App>, parts: Parts, body: Body) -> Reply {
    let header = |name| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_string();
    let mut asked = Asked {
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        accept: header(header::ACCEPT),
        content_type: header(header::CONTENT_TYPE),
        user_agent: header(header::USER_AGENT),
        user: Identity::default(),
        body: Bytes::new(),
        method: parts.method.clone(),
    };
    let plain = Media { pretty: pretty(&asked), ..accept::of_error(&asked.accept) };
    let certificate = parts.extensions.get::<Connection>().and_then(|c| c.certificate.as_ref());
    match identify(app, certificate, &parts) {
        Ok(user) => asked.user = user,
        Err(status) => return Reply::status(&status, &plain),
    }
    if matches!(asked.method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
        match read_body(body).await {
            Ok(bytes) => asked.body = bytes,
            Err(status) => return Reply::status(&status, &plain),
        }
    }
    let route = path::parse(parts.uri.path());
    let answer = async {
        let _turn = if asked.body.len() > BODY_LARGE { app.large.acquire().await.ok() } else { None };
        dispatch(app, &asked, route).await
    };
    let answer = tokio::time::timeout(ANSWER_TIME, answer).await;
    answer.unwrap_or_else(|_| Err(too_slow())).unwrap_or_else(|status| Reply::status(&status, &plain))
}

/// 504: whether a write has happened is not known.
fn too_slow() -> Status {
    let why = "request did not complete within requested timeout - context deadline exceeded";
    Status::failure(504, "Timeout", format!("Timeout: {why}")).with_details(Details::default())
}

/// Who asks, and whether they may: before anything else is looked at.
fn identify(app: &App, certificate: Option<&Identity>, parts: &Parts) -> Result<Identity, Status> {
    let uri = &parts.uri;
    let user = app.authenticator.identify(certificate, &parts.headers, uri.path())?;
    if app.authenticator.is_open(uri.path()) {
        return Ok(user);
    }
    let about = authorize::attributes(&parts.method, uri.path(), uri.query().unwrap_or_default());
    authorize::authorize(&user, &about)?;
    node::may_read(&app.registry, &user, &about)?;
    Ok(user)
}

async fn read_body(body: Body) -> Result<Bytes, Status> {
    match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            if source.is_some_and(|s| s.is::<http_body_util::LengthLimitError>()) {
                let text = format!("Request entity too large: limit is {BODY_MAX}");
                return Err(Status::failure(413, "RequestEntityTooLarge", text));
            }
            Err(Status::bad_request(format!("the body could not be read: {error}")))
        }
        Err(_) => Err(Status::failure(408, "Timeout", "the body did not come in time")),
    }
}

async fn dispatch(app: &Arc<App>, asked: &Asked, route: Route) -> Result<Reply, Status> {
    let read = |offer| {
        negotiate(&asked.accept, offer, false)
            .map(|media| Media { pretty: media.pretty || pretty(asked), ..media })
    };
    // Upstream's documents about itself answer most methods alike.
    let get_only = || if asked.method == Method::GET { Ok(()) } else { Err(reply::no_method()) };
    match route {
        Route::NoPage => Ok(Reply::no_page()),
        Route::NoResource => Err(reply::no_resource()),
        Route::Root => Ok(Reply::value(200, &discovery::root(), &Media { pretty: true, ..Media::JSON })),
        Route::Version => {
            get_only()?;
            read(Offer::JsonOnly)?;
            Ok(Reply::json(200, discovery::version(), &Media { pretty: true, ..Media::JSON }))
        }
        Route::Health(check, one) => Ok(health::check(app, asked, &check, one.as_deref())),
        Route::Metrics => Ok(app.metrics.page(app)),
        Route::OpenApi(path) => Ok(discovery::openapi(asked, &path)),
        Route::CoreVersions => {
            get_only()?;
            let media = read(Offer::Discovery)?;
            Ok(discovery::core_versions(&media))
        }
        Route::Groups => Ok(discovery::groups(&read(Offer::Discovery)?)),
        Route::Group(group) => Ok(discovery::group(&group, &read(Offer::Plain)?)),
        Route::Version_ { group, version } => {
            get_only()?;
            Ok(discovery::resources(&group, &version, &read(Offer::Plain)?))
        }
        Route::Coracle(parts) => changes::answer(app, asked, &parts),
        Route::Bindings(namespace) if asked.method == Method::POST => {
            write::bind(app, asked, namespace).await
        }
        Route::Bindings(_) => Err(reply::no_method()),
        Route::Resource(target) => resource(app, asked, target).await,
    }
}

async fn resource(app: &Arc<App>, asked: &Asked, target: path::Target) -> Result<Reply, Status> {
    let across = target.kind.namespaced && target.namespace.is_none();
    let method = asked.method.as_str();
    if let Some(verb) = collection_verb(method, &target)
        && !target.kind.verbs.contains(&verb)
    {
        return Err(reply::no_method());
    }
    match (method, &target.name, &target.sub) {
        ("GET", None, _) => read::list(app, asked, &target).await,
        ("GET", Some(_), _) if target.watch => read::list(app, asked, &target).await,
        ("GET", Some(_), None) => read::get(app, asked, &target).await,
        ("POST", None, _) if !across => write::create(app, asked, &target).await,
        ("DELETE", None, _) if !across => write::delete_collection(app, asked, &target).await,
        ("PUT", Some(_), None) => write::update(app, asked, &target).await,
        ("PATCH", Some(_), None) => write::patch(app, asked, &target).await,
        ("DELETE", Some(_), None) => write::delete(app, asked, &target).await,
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
                "get" => read::get_sub(app, asked, &target).await,
                "create" => write::create(app, asked, &target).await,
                "update" => write::update(app, asked, &target).await,
                "patch" => write::patch(app, asked, &target).await,
                _ => Err(reply::no_method()),
            }
        }
        _ => Err(reply::no_method()),
    }
}

/// The verb that a request to a resource itself comes to, where not every resource has it.
fn collection_verb(method: &str, target: &path::Target) -> Option<&'static str> {
    match (method, &target.name, &target.sub) {
        ("DELETE", None, _) => Some("deletecollection"),
        ("POST", None, _) => Some("create"),
        ("GET", None, _) => Some("list"),
        _ => None,
    }
}

/// Whether a person is reading: who says so, or uses a browser, curl or wget.
fn pretty(asked: &Asked) -> bool {
    match asked.query.get("pretty") {
        Some("") | None => {
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| asked.user_agent.starts_with(agent))
        }
        Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

#[cfg(test)]
mod tests;

//! `pods/exec` and `pods/attach`: a session's channels over a WebSocket.

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::{IntoResponse, Response};
use coracle_api::{Key, Status, kinds};
use coracle_client::line::{Attach, Duplex, Exec, Frame, What};
use http::header::UPGRADE;
use http::request::Parts;
use serde_json::{Value, json};

use super::http::App;
use super::place::{self, Place};
use super::socket::{PROTOCOLS, Protocol, serve};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::write::operation::Context;

/// Answers `.../pods/NAME/exec` and `.../attach`.
pub(super) async fn answer(
    app: &App,
    namespace: &str,
    name: &str,
    sub: &str,
    query: &Query,
    parts: &mut Parts,
) -> Result<Response, Status> {
    let place = place::find(&app.registry, namespace, name, query.text("container"))?
        .ok_or_else(|| Status::bad_request(format!("pod {name} does not have a host assigned")))?;
    let upgrade = parts.headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_socket = upgrade.eq_ignore_ascii_case("websocket");
    if !is_socket && !upgrade.to_ascii_lowercase().starts_with("spdy/") {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let flag = |name: &str| query.flag(name);
    let (stdin, stdout, tty) = (flag("stdin"), flag("stdout"), flag("tty"));
    // A terminal has one output only.
    let stderr = flag("stderr") && !tty;
    let what = if sub == "exec" {
        let command = query.all("command").into_iter().map(str::to_owned).collect();
        What::Exec(Exec { command, stdin, stdout, stderr, tty })
    } else {
        What::Attach(Attach { stdin, stdout, stderr, tty })
    };
    let asked = admitted_as(sub, query, [stdin, stdout, stderr, tty]);
    let pod = Key::new(&kinds::POD, namespace, name);
    app.registry.admit_connection(&Context::of(app.user.clone()), &pod, sub, asked).await?;
    let session = match begin(app, place, what).await {
        Ok(session) => session,
        // In plain text, as a kubelet says it: clients show it as it is.
        Err(status) => return Ok(Reply::text(status.code, status.message).into_response()),
    };
    if !is_socket {
        let why = "SPDY is not served here; clients speak WebSocket (kubectl since 1.30)";
        return Err(Status::bad_request(why));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols(PROTOCOLS),
        Err(refusal) => return Ok(refusal.into_response()),
    };
    let protocol = upgrade.selected_protocol().and_then(|p| p.to_str().ok()).unwrap_or_default();
    let protocol = Protocol::named(protocol);
    let stop = app.stop.clone();
    Ok(upgrade.on_upgrade(move |socket| async move {
        stop.run_until_cancelled(serve(socket, protocol, session)).await;
    }))
}

/// The request as the chain of admission sees it: a `PodExecOptions` or a `PodAttachOptions`.
fn admitted_as(sub: &str, query: &Query, [stdin, stdout, stderr, tty]: [bool; 4]) -> Value {
    let kind = if sub == "exec" { "PodExecOptions" } else { "PodAttachOptions" };
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for (name, set) in [("stdin", stdin), ("stdout", stdout), ("stderr", stderr), ("tty", tty)] {
        if set {
            options[name] = true.into();
        }
    }
    if let Some(container) = query.get("container") {
        options["container"] = container.into();
    }
    if sub == "exec" {
        options["command"] = query.all("command").into();
    }
    options
}

/// Opens a session and waits until the agent has found the container.
pub(super) async fn begin(app: &App, place: Place, what: What) -> Result<Duplex, Status> {
    let order = coracle_client::line::Open { what: Some(what), ..place.order };
    let mut session = app.lines.open(&place.node, order).await.map_err(Status::internal)?;
    match session.receive.recv().await {
        Some(Frame::Accepted) => Ok(session),
        Some(Frame::Closed(Some(status))) => Err(*status),
        _ => Err(Status::internal(format!("the agent of node {:?} broke off", place.node))),
    }
}

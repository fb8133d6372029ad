//! `pods/exec` and `pods/attach`: a session's channels over a WebSocket.

use axum::response::Response;
use coracle_api::{Key, Status, kinds};
use coracle_client::line::{Attach, Exec, What};
use http::request::Parts;
use serde_json::{Value, json};

use super::container;
use super::session::{App, begin};
use super::socket::{PROTOCOLS, Protocol, serve};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::upgrade::{self, Wish};
use crate::write::operation::Context;

/// What clients are told whose session would have begun if they spoke WebSocket.
const NO_SPDY: &str = "SPDY is not served here; clients speak WebSocket (kubectl since 1.30)";

/// Answers `.../pods/NAME/exec` and `.../attach`.
pub(super) async fn answer(
    app: &App,
    namespace: &str,
    name: &str,
    sub: &str,
    query: &Query,
    parts: &mut Parts,
) -> Result<Response, Status> {
    let found = container::find(&app.registry, namespace, name, query.text("container"))?
        .ok_or_else(|| Status::bad_request(format!("pod {name} does not have a host assigned")))?;
    // Everything about the upgrade is settled before the container hears of it: a command must not run whose output
    // cannot be sent.
    let socket = match upgrade::wish(&parts.headers) {
        Wish::Nothing => return Err(Status::bad_request("Upgrade request required")),
        Wish::Spdy => None,
        Wish::Socket => match upgrade::socket(parts, &PROTOCOLS).await {
            Ok(socket) => Some(socket),
            Err(refusal) => return Ok(refusal),
        },
    };
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
    let options = admitted_as(sub, query, [stdin, stdout, stderr, tty]);
    let pod = Key::new(&kinds::POD, namespace, name);
    app.registry.admit_connection(&Context::of(app.user.clone()), &pod, sub, options).await?;
    if !(stdin || stdout || stderr) {
        return refused(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let Some(socket) = socket else {
        // Clients whose WebSocket was refused ask again over SPDY and show this answer only, so the reason for the refusal goes
        // before the protocol. Nothing may run meanwhile: an attachment without streams only finds the container.
        return match begin(app, found, What::Attach(Attach::default())).await {
            Ok(_) => Err(Status::bad_request(NO_SPDY)),
            Err(status) => refused(status),
        };
    };
    let session = match begin(app, found, what).await {
        Ok(session) => session,
        Err(status) => return refused(status),
    };
    let protocol = Protocol::named(socket.protocol);
    let stop = app.stop.clone();
    Ok(socket.run(move |socket| async move {
        stop.run_until_cancelled(serve(socket, protocol, session)).await;
    }))
}

/// In plain text, as a kubelet says it: clients show it as it is. But they try to read a `Status` from it first, and what YAML takes
/// for a mapping, such as `cause: effect`, becomes an empty one to them, which they show as nothing. So that comes as a `Status`.
fn refused(status: Status) -> Result<Response, Status> {
    if status.message.contains(": ") {
        return Err(status);
    }
    Ok(Reply::text(status.code, status.message).into_response())
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

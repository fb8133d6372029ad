//! `pods/log`: a session's output as the body of an answer.

use axum::body::Body;
use bytes::Bytes;
use coracle_api::Status;
use coracle_client::line::{Duplex, Frame, What};
use futures::stream;

use super::http::App;
use super::place;
use super::remote::begin;
use crate::http::query::Query;
use crate::http::reply::Reply;

/// Answers `GET .../pods/NAME/log`.
pub(super) async fn answer(app: &App, namespace: &str, name: &str, query: &Query) -> Result<Reply, Status> {
    let logs = super::options::read(name, query)?;
    let Some(place) = place::find(&app.registry, namespace, name, query.text("container"))? else {
        // A pod without a node has written nothing.
        return Ok(Reply { code: 204, ..text(Body::empty()) });
    };
    let session = begin(app, place, What::Logs(logs)).await?;
    Ok(text(Body::from_stream(stream::unfold(session, next))))
}

fn text(body: Body) -> Reply {
    Reply { body, content_type: "text/plain".into(), ..Reply::text(200, "") }
}

/// The next bytes of a log. A log that breaks off cannot say so any more, so it ends.
async fn next(mut session: Duplex) -> Option<(Result<Bytes, std::io::Error>, Duplex)> {
    loop {
        match session.receive.recv().await? {
            Frame::Data { data, .. } => return Some((Ok(data), session)),
            Frame::Closed(_) => return None,
            Frame::Accepted => {}
        }
    }
}

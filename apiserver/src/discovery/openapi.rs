//! `/openapi/...`: the documents that `kubectl explain`, `apply` and generators of clients read.

use std::sync::Arc;

use axum::body::Body;
use coracle_api::kinds::{Kinds, Rows};
use coracle_api::openapi::Documents;
use parking_lot::Mutex;

use crate::http::negotiation::Media;
use crate::http::query::Query;
use crate::http::reply::Reply;

/// The documents about all kinds, each made when it is first asked for, and all anew when the table has changed.
#[derive(Default)]
pub struct OpenApi(Mutex<Option<(Arc<Rows>, Arc<Documents>)>>);

impl OpenApi {
    /// The documents about the kinds that the table shows now.
    pub fn documents(&self, kinds: &Kinds) -> Arc<Documents> {
        let rows = kinds.snapshot();
        let mut made = self.0.lock();
        match &*made {
            Some((of, documents)) if Arc::ptr_eq(of, &rows) => documents.clone(),
            _ => {
                let documents = Documents::new(rows.served().cloned());
                *made = Some((rows, documents.clone()));
                documents
            }
        }
    }
}

/// Answers a path below `/openapi`.
pub fn openapi(documents: &Documents, accept: &str, query: &Query, path: &str) -> Reply {
    match path {
        "/openapi/v2" if accept.contains("proto-openapi") => Reply {
            content_type: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf".into(),
            body: Body::from(documents.v2_protobuf()),
            ..Reply::text(200, "")
        },
        "/openapi/v2" => Reply::json(200, documents.v2(), &Media::JSON),
        "/openapi/v3" => Reply { body: Body::from(documents.index()), ..Reply::text(200, "") },
        _ if !path.starts_with("/openapi/v3/") => Reply::no_page(),
        _ => {
            let document =
                path.strip_prefix("/openapi/v3/").and_then(|path| Some((path, documents.document(path)?)));
            let Some((path, document)) = document else { return Reply::text(404, "") };
            let stale = query.get("hash").is_some_and(|hash| hash != documents.hash());
            if stale {
                let hash = documents.hash();
                return Reply {
                    location: Some(format!("/openapi/v3/{path}?hash={hash}")),
                    ..Reply::text(301, "")
                };
            }
            Reply {
                content_type: "application/json".into(),
                body: Body::from(document),
                ..Reply::text(200, "")
            }
        }
    }
}

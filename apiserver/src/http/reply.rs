//! Answers to requests: code, body and headers, in the form that every handler returns.

use std::collections::HashSet;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use coracle_api::status::Details;
use coracle_api::{Kind, Status};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::negotiation::Media;

/// An answer.
pub struct Reply {
    /// The HTTP status.
    pub code: u16,
    /// The `Content-Type`.
    pub content_type: String,
    /// The bytes.
    pub body: Body,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
    /// Seconds for a `Retry-After` header.
    pub retry_after: Option<i32>,
    /// Where to ask instead: the `Location` header.
    pub location: Option<String>,
}

impl Reply {
    /// Text.
    pub fn text(code: u16, text: impl Into<String>) -> Reply {
        Reply {
            code,
            content_type: "text/plain; charset=utf-8".into(),
            body: Body::from(text.into()),
            warnings: Vec::new(),
            retry_after: None,
            location: None,
        }
    }

    /// The page for a path that names nothing.
    pub fn no_page() -> Reply {
        Reply::text(404, "404 page not found\n")
    }

    /// A document that is JSON already, without a newline at its end.
    pub fn json(code: u16, json: impl Into<Bytes>, media: &Media) -> Reply {
        let json: Bytes = json.into();
        let (content_type, body) = if media.yaml {
            ("application/yaml", Body::from(to_yaml(&json)))
        } else if media.pretty {
            ("application/json", Body::from(prettied(&json)))
        } else {
            // The only owner of its bytes need not have them copied for the sake of the newline.
            let mut bytes = json.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            bytes.extend_from_slice(b"\n");
            ("application/json", Body::from(bytes.freeze()))
        };
        Reply {
            code,
            content_type: content_type.into(),
            body,
            warnings: Vec::new(),
            retry_after: None,
            location: None,
        }
    }

    /// A document of JSON that is sent piece by piece.
    pub fn pieces(body: Body) -> Reply {
        Reply {
            code: 200,
            content_type: "application/json".into(),
            body,
            warnings: Vec::new(),
            retry_after: None,
            location: None,
        }
    }

    /// A tree.
    pub fn value(code: u16, value: &Value, media: &Media) -> Reply {
        Reply::json(code, value.to_string(), media)
    }

    /// A failure, or a delete's success.
    pub fn status(status: &Status, media: &Media) -> Reply {
        let code = if status.code == 0 { 200 } else { status.code };
        let retry_after =
            status.details.as_ref().map(|d| d.retry_after_seconds).filter(|seconds| *seconds > 0);
        let json = serde_json::to_vec(status).unwrap_or_default();
        Reply { retry_after, ..Reply::json(code, json, media) }
    }

    /// The same answer with warnings.
    #[must_use]
    pub fn warning(mut self, warnings: Vec<String>) -> Reply {
        self.warnings = warnings;
        self
    }

    /// As HTTP.
    pub fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&self.content_type) {
            headers.insert(header::CONTENT_TYPE, value);
        }
        if self.content_type.starts_with("text/plain") {
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if let Some(location) = self.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for text in bounded(&self.warnings) {
            if let Ok(value) = HeaderValue::from_bytes(warning(&text).as_bytes()) {
                headers.append(header::WARNING, value);
            }
        }
        response
    }
}

/// The warnings that are sent: each once, and in all no more than clients' header buffers bear. Where the whole is too
/// much, long ones are cut first.
///
/// Source: `k8s.io/apiserver/pkg/endpoints/filters/warning.go`, which sends any number of short ones: clients made with
/// hyper (the crate `kube`, say) hang up at more than 100 headers.
fn bounded(warnings: &[String]) -> Vec<String> {
    const ALL: usize = 4096;
    const ONE: usize = 256;
    const MOST: usize = 80;
    let mut seen = HashSet::new();
    let each = warnings.iter().filter(|text| !text.is_empty() && seen.insert(text.as_str()));
    let mut texts: Vec<String> = each.cloned().collect();
    if texts.iter().map(|text| text.chars().count()).sum::<usize>() > ALL {
        for text in &mut texts {
            *text = text.chars().take(ONE).collect();
        }
    }
    let mut sent = 0;
    texts.retain(|text| {
        sent += text.chars().count();
        sent <= ALL
    });
    texts.truncate(MOST);
    texts
}

/// `299 - "text"`, quoted and on one line.
fn warning(text: &str) -> String {
    let mut out = String::from("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Indented JSON, without a newline at its end: the same bytes with blanks between them.
pub fn prettied(json: &[u8]) -> Vec<u8> {
    let Ok(value) = serde_json::from_slice::<Value>(json) else { return json.to_vec() };
    serde_json::to_vec_pretty(&value).unwrap_or_else(|_| json.to_vec())
}

fn to_yaml(json: &[u8]) -> String {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    coracle_api::document::yaml::write(&value)
}

/// 404 under a known API version.
pub fn no_resource() -> Status {
    Status::failure(404, "NotFound", "the server could not find the requested resource")
        .with_details(Details::default())
}

/// 405.
pub fn no_method() -> Status {
    Status::failure(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
    .with_details(Details::default())
}

/// The success that a delete answers which leaves nothing to show.
pub fn deleted(kind: &Kind, name: &str, uid: &str) -> Status {
    Status::success(Details { uid: uid.into(), ..Details::of(kind, name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_fit_what_clients_read() {
        let texts = |count: usize, length: usize| -> Vec<String> {
            (0..count).map(|n| format!("{n:05}{}", "x".repeat(length - 5))).collect()
        };
        let few = texts(3, 300);
        assert_eq!(bounded(&[few.clone(), few.clone(), vec![String::new()]].concat()), few);
        let long = bounded(&texts(100, 300));
        assert!(long.len() == 16 && long.iter().all(|text| text.len() == 256));
        assert_eq!(bounded(&texts(5000, 5)).len(), 80);
    }
}

//! Upgrades of a connection, checked before anything else happens: a request that cannot become a session must not have begun one.

use std::future::Future;

use axum::extract::FromRequestParts;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::connection::Connection;
use super::reply::Reply;
use crate::connections::Request;

/// What a request wants its connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: an answer is enough.
    Nothing,
    /// A WebSocket.
    Socket,
    /// SPDY, which clients before kubectl 1.30 speak.
    Spdy,
}

/// Reads what a request wants.
pub fn wish(headers: &HeaderMap) -> Wish {
    if !words(headers, &CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return Wish::Nothing;
    }
    match words(headers, &UPGRADE).first().map(|word| word.to_ascii_lowercase()) {
        Some(word) if word == "websocket" => Wish::Socket,
        Some(word) if word.starts_with("spdy/") => Wish::Spdy,
        _ => Wish::Nothing,
    }
}

/// A WebSocket that can be had, with nothing done yet.
pub struct Socket {
    upgrade: WebSocketUpgrade,
    /// The protocol that was chosen.
    pub protocol: &'static str,
    /// The connection's slot, which the session holds as the requests before it did.
    held: Option<Request>,
}

impl Socket {
    /// Answers, and then runs the session.
    pub fn run<F, Fut>(self, session: F) -> Response
    where
        F: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let held = self.held;
        self.upgrade.on_upgrade(move |socket| async move {
            session(socket).await;
            drop(held);
        })
    }
}

/// Accepts a WebSocket in one of these protocols, the best first. A client that names no protocol gets the one that is called `""`, if
/// there is such a one.
///
/// # Errors
/// What to answer instead. Nothing has happened then.
pub async fn socket(parts: &mut Parts, protocols: &'static [&'static str]) -> Result<Socket, Response> {
    let offered: Vec<String> =
        words(&parts.headers, &SEC_WEBSOCKET_PROTOCOL).into_iter().map(str::to_owned).collect();
    let chosen = match offered.is_empty() {
        true => protocols.iter().find(|known| known.is_empty()),
        false => protocols.iter().find(|known| offered.iter().any(|word| word == *known)),
    };
    let Some(chosen) = chosen else {
        let text = format!("requested protocol(s) are not supported: {offered:?}; supports {protocols:?}");
        return Err(Reply::text(403, text).into_response());
    };
    let connection = parts.extensions.get::<Connection>();
    let held = connection.and_then(|connection| connection.slot.as_ref()).map(|slot| slot.request());
    let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) if chosen.is_empty() => upgrade,
        Ok(upgrade) => upgrade.protocols([*chosen]),
        Err(refusal) => return Err(refusal.into_response()),
    };
    Ok(Socket { upgrade, protocol: chosen, held })
}

/// The words of a header that is a list; what is no text says nothing.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_wish_stands_in_two_headers() {
        let cases = [
            ("Upgrade", "websocket", Wish::Socket),
            ("keep-alive, Upgrade", "WebSocket", Wish::Socket),
            ("upgrade", "SPDY/3.1", Wish::Spdy),
            ("keep-alive", "websocket", Wish::Nothing),
            ("Upgrade", "h2c", Wish::Nothing),
            ("", "", Wish::Nothing),
        ];
        for (connection, upgrade, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_str(connection).unwrap());
            headers.insert(UPGRADE, HeaderValue::from_str(upgrade).unwrap());
            assert_eq!(wish(&headers), expected, "case: {connection}, {upgrade}");
        }
    }
}

//! Whether a request is answered with 2xx or 3xx. Written over a bare connection: the bytes are part of what people
//! see in their servers' logs, and errors have the texts of Go.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::dial::{connect, dial_error, port};
use super::outcome::Outcome;
use super::request_uri::request_uri;
use super::tls;

/// How much of an answer is read: upstream's limit for the body, and room for the head.
const ANSWER: u64 = 10 * 1024 + 16 * 1024;
/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether over TLS, whose certificate is not looked at.
    pub https: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// With its query, as [`request_uri`] makes it: nothing else may stand in a request.
    path: String,
    /// Further headers, in the order given.
    pub headers: Vec<(String, String)>,
}

/// An answer.
struct Answer {
    code: u16,
    location: Option<String>,
    body: String,
}

impl Target {
    /// What an action asks of a container.
    pub fn of(get: &HTTPGetAction, container: &Container, address: Ipv4Addr) -> Result<Target, String> {
        let headers = get.http_headers.iter().flatten();
        Ok(Target {
            https: get.scheme.as_deref() == Some("HTTPS"),
            host: get.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| address.to_string()),
            port: port(&get.port, container)?,
            path: request_uri(get.path.as_deref().unwrap_or_default()),
            headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
        })
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }

    fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }

    /// The request's bytes: `Host`, then `User-Agent`, then the others by name, as Go writes them; or why Go would not send
    /// them.
    fn request(&self) -> Result<String, String> {
        let mut host = None;
        let mut agent = Some("kube-probe/1.36".to_owned());
        let mut accept = vec!["*/*".to_owned()];
        let mut others: Vec<(String, String)> = Vec::new();
        let mut accept_given = false;
        for (name, value) in &self.headers {
            if !is_header_name(name) {
                return Err(format!("net/http: invalid header field name {name:?}"));
            }
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(format!("net/http: invalid header field value for {name:?}"));
            }
            match canonical(name).as_str() {
                "Host" => host = host.or(Some(value.clone()).filter(|value| !value.is_empty())),
                // They say where a request ends, and this one ends with its head.
                "Content-Length" | "Transfer-Encoding" | "Trailer" => {}
                "User-Agent" => agent = Some(value.clone()).filter(|value| !value.is_empty()),
                "Accept" => {
                    if !std::mem::replace(&mut accept_given, true) {
                        accept.clear();
                    }
                    accept.extend(Some(value.clone()).filter(|value| !value.is_empty()));
                }
                other => others.push((other.to_owned(), value.clone())),
            }
        }
        others.extend(accept.into_iter().map(|value| ("Accept".to_owned(), value)));
        others.sort_by(|a, b| a.0.cmp(&b.0));
        let host = host.unwrap_or_else(|| self.authority());
        if !is_host(&host) {
            return Err("http: invalid Host header".into());
        }
        let mut text = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n", self.path);
        if let Some(agent) = agent {
            text.push_str(&format!("User-Agent: {agent}\r\n"));
        }
        for (name, value) in others {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("Connection: close\r\n\r\n");
        Ok(text)
    }

    /// Where a redirect leads, if that is on the same host.
    fn redirected(&self, location: &str) -> Option<Target> {
        let mut next = self.clone();
        let (scheme, rest) = match location.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None if location.starts_with("//") => (None, &location[2..]),
            None => {
                next.path = request_uri(&if location.starts_with('/') {
                    location.to_owned()
                } else {
                    let folder = self
                        .path
                        .split('?')
                        .next()
                        .unwrap_or("/")
                        .rsplit_once('/')
                        .map_or("", |(folder, _)| folder);
                    format!("{folder}/{location}")
                });
                return Some(next);
            }
        };
        next.https = scheme.map_or(self.https, |scheme| scheme == "https");
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, if next.https { 443 } else { 80 }),
        };
        next.path = request_uri(location);
        next.port = port;
        (host.trim_matches(['[', ']']) == self.host).then_some(next)
    }
}

/// Whether a text may be the name of a header: a token, in HTTP's words.
fn is_header_name(text: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(of_token)
}

/// Whether a text may stand after `Host:`.
fn is_host(text: &str) -> bool {
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"!$%&()*+,-.:;=@[]'_~".contains(&byte);
    text.bytes().all(of_host)
}

/// A header's name as Go writes it: `X-Many`.
fn canonical(name: &str) -> String {
    let part = |part: &str| {
        let mut chars = part.chars();
        chars.next().map_or(String::new(), |first| {
            first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect::<String>()
        })
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

/// Asks, following redirects on the same host.
pub async fn probe(target: &Target, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    let mut target = target.clone();
    for _ in 0..=REDIRECTS {
        let answer = match tokio::time::timeout_at(deadline, ask(&target, timeout)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Outcome::Failure(format!("Get {:?}: {why}", target.url())),
            Err(_) => {
                return Outcome::Failure(format!(
                    "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                    target.url()
                ));
            }
        };
        let redirect = matches!(answer.code, 301 | 302 | 303 | 307 | 308);
        let next =
            answer.location.as_deref().filter(|_| redirect).and_then(|location| target.redirected(location));
        if let Some(next) = next {
            target = next;
            continue;
        }
        return match answer.code {
            200..300 => Outcome::Success,
            300..400 => {
                Outcome::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
            }
            code => Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
        };
    }
    Outcome::Failure(format!("Get {:?}: stopped after {REDIRECTS} redirects", target.path))
}

async fn ask(target: &Target, timeout: Duration) -> Result<Answer, String> {
    let request = target.request()?;
    let connected = connect(&target.host, target.port, timeout).await;
    let stream = connected.map_err(|error| dial_error(&target.host, target.port, &error))?;
    if !target.https {
        return exchange(stream, &request).await;
    }
    let config = tls::unchecked().map_err(|error| error.to_string())?;
    match tls::handshake(Arc::new(config), &target.host, stream).await {
        Ok(stream) => exchange(stream, &request).await,
        Err(error) if tls::is_plain_text(&error) => {
            Err("http: server gave HTTP response to HTTPS client".into())
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<Answer, String> {
    let in_go_words = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        _ => error.to_string(),
    };
    stream.write_all(request.as_bytes()).await.map_err(in_go_words)?;
    let mut bytes = Vec::new();
    let read = (&mut stream).take(ANSWER).read_to_end(&mut bytes).await;
    // Some servers reset the connection after a whole answer.
    match (parse(&bytes), read) {
        (Some(answer), _) => Ok(answer),
        (None, Err(error)) => Err(in_go_words(error)),
        (None, Ok(_)) if bytes.is_empty() => Err("EOF".into()),
        (None, Ok(_)) => {
            Err("net/http: HTTP/1.x transport connection broken: malformed HTTP response".into())
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| (at, 4));
    let end = end.or_else(|| bytes.windows(2).position(|two| two == b"\n\n").map(|at| (at, 2)));
    let (head, body) = match end {
        Some((at, gap)) => (&bytes[..at], &bytes[at + gap..]),
        None => return None,
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next()?;
    let code = status.strip_prefix("HTTP/")?.split_whitespace().nth(1)?.parse().ok()?;
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let location = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"));
    let location = location.map(|(_, value)| value.trim().to_owned());
    Some(Answer { code, location, body: String::from_utf8_lossy(body).into_owned() })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use proptest::prelude::*;

    use super::*;

    fn target(headers: &[(&str, &str)]) -> Target {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Target { https: false, host: "10.88.0.2".into(), port: 8080, path: "/a/b?c=d".into(), headers }
    }

    #[test]
    fn requests_are_gos() {
        let cases: [(&[(&str, &str)], &str); 3] = [
            (&[], "Host: 10.88.0.2:8080|User-Agent: kube-probe/1.36|Accept: */*|Connection: close"),
            (&[("accept", ""), ("User-Agent", "x")], "Host: 10.88.0.2:8080|User-Agent: x|Connection: close"),
            (
                &[
                    ("X-One", "1"),
                    ("X-Many", "a"),
                    ("x-many", "b"),
                    ("Host", "name.example"),
                    ("Accept", "text/plain"),
                ],
                "Host: name.example|User-Agent: kube-probe/1.36|Accept: text/plain|X-Many: a|X-Many: b|X-One: 1|Connection: close",
            ),
        ];
        for (headers, expected) in cases {
            let request = target(headers).request().unwrap();
            let lines: Vec<&str> = request.trim_end().lines().skip(1).collect();
            assert_eq!(lines.join("|"), expected, "headers: {headers:?}");
        }
    }

    #[test]
    fn headers_that_would_be_more_than_one_are_refused() {
        let cases = [
            (("X-B", "1\r\nX-Evil: 2"), "net/http: invalid header field value for \"X-B\""),
            (("X-B", "a\0"), "net/http: invalid header field value for \"X-B\""),
            (("X B", "1"), "net/http: invalid header field name \"X B\""),
            (("", "1"), "net/http: invalid header field name \"\""),
            (("Host", "a\nb"), "net/http: invalid header field value for \"Host\""),
            (("Host", "a b"), "http: invalid Host header"),
        ];
        for (header, expected) in cases {
            assert_eq!(target(&[header]).request(), Err(expected.into()), "header: {header:?}");
        }
        let host = Target { host: "x\r\ny".into(), ..target(&[]) };
        assert_eq!(host.request(), Err("http: invalid Host header".into()));
        let framing = [("Content-Length", "5"), ("transfer-encoding", "chunked"), ("Trailer", "X")];
        assert_eq!(target(&framing).request(), target(&[]).request());
    }

    proptest! {
        /// Whatever is asked for, what is sent is one GET with nothing after it.
        #[test]
        fn what_is_sent_is_one_get(
            path in prop_oneof![any::<String>(), "[ /?#%:a\r\n]{0,12}"],
            name in "[A-Za-z-]{1,6}[ \r\n:]?",
            value in prop_oneof![any::<String>(), "[ :a\r\n]{0,8}"],
            location in "(http://10.88.0.2:8080)?[ /?#%:a\r\n]{0,12}",
        ) {
            let get = HTTPGetAction { path: Some(path), port: IntOrString::Int(80), ..Default::default() };
            let mut asked = Target::of(&get, &Container::default(), Ipv4Addr::LOCALHOST).unwrap();
            asked.headers.push((name, value));
            for target in [asked.redirected(&location), Some(asked)].into_iter().flatten() {
                let Ok(request) = target.request() else { continue };
                prop_assert_eq!(request.find("\r\n\r\n"), Some(request.len() - 4));
                let mut lines = request.trim_end_matches("\r\n").split("\r\n");
                let words: Vec<&str> = lines.next().unwrap().split(' ').collect();
                prop_assert!(matches!(words[..], ["GET", uri, "HTTP/1.1"] if uri.starts_with('/')), "{:?}", words);
                prop_assert!(words[1].bytes().all(|byte| byte.is_ascii_graphic()));
                for line in lines {
                    let (name, value) = line.split_once(": ").unwrap();
                    prop_assert!(is_header_name(name) && !value.contains(['\r', '\n', '\0']), "{:?}", line);
                }
            }
        }
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let cases = [
            ("/x", Some("http://10.88.0.2:8080/x")),
            ("x", Some("http://10.88.0.2:8080/a/x")),
            ("http://10.88.0.2:9090/y", Some("http://10.88.0.2:9090/y")),
            ("https://10.88.0.2/y", Some("https://10.88.0.2:443/y")),
            ("http://other.example/", None),
            ("//other.example/", None),
        ];
        for (location, expected) in cases {
            let next = target(&[]).redirected(location).map(|next| next.url());
            assert_eq!(next.as_deref(), expected, "location: {location}");
        }
    }

    #[test]
    fn answers_are_read() {
        let answer = parse(b"HTTP/1.0 301 Moved\r\nLocation: /d/\r\n\r\nbody").unwrap();
        assert_eq!(
            (answer.code, answer.location.as_deref(), answer.body.as_str()),
            (301, Some("/d/"), "body")
        );
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_none());
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_none());
    }
}

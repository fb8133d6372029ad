//! From a URL's path to what it names: the only place where a path is taken apart.
//!
//! The path is divided at its slashes first, and each segment is decoded afterwards, so an encoded slash never divides. What could
//! be read in two ways (an encoded slash, `.` and `..`, broken codes, bytes that are no text) is refused, not guessed. Authorization,
//! dispatch and whatever else asks about a request take the [`Location`] that is read here; none of them sees the path itself.
//!
//! Kubernetes decodes first and divides afterwards (Go's `URL.Path`), everywhere alike. Here `%2F` is a 400 instead: no client needs
//! it, and what is refused cannot be misread.

use coracle_api::kinds::{Kinds, Rows};
use coracle_api::{KindRef, Status};

/// Where the description of the tokens' issuer is.
pub const ISSUER_CONFIGURATION: &str = "/.well-known/openid-configuration";
/// Where the issuer's keys are.
pub const ISSUER_KEYS: &str = "/openid/v1/jwks";

/// A path that has been read.
#[derive(Debug, PartialEq)]
pub struct Location {
    /// The path, decoded. No segment of it holds a slash, so it can be compared with other paths.
    pub path: String,
    /// What it names.
    pub route: Route,
}

/// What a path names.
#[derive(Debug, PartialEq)]
pub enum Route {
    /// `/`
    Root,
    /// `/version`
    Version,
    /// `/healthz`, `/livez`, `/readyz`, and one check below; an empty check where the path ends in a slash.
    Health(String, Option<String>),
    /// `/metrics`
    Metrics,
    /// `/openapi/...`
    OpenApi,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1` (with an empty group), `/apis/GROUP/VERSION`
    GroupVersion {
        /// Its group.
        group: String,
        /// Its version.
        version: String,
    },
    /// Where service account tokens come from: [`ISSUER_CONFIGURATION`], [`ISSUER_KEYS`].
    Issuer,
    /// Objects.
    Resource(Target),
    /// `/api/v1/namespaces/NAMESPACE/bindings`
    Bindings(String),
    /// `/coracle/v1/changes`
    Changes,
    /// `/coracle/v1/verdicts/NAMESPACE/POD`
    Verdict {
        /// The pod's namespace.
        namespace: String,
        /// The pod.
        pod: String,
    },
    /// A path under an API version that names no resource which is served: a `Status`.
    NoResource(Named),
    /// An API version that is not served, or a path of Coracle's own that names nothing: a `Status`.
    NoVersion,
    /// A resource of a group that is not served: a page of text.
    NoGroup(Named),
    /// Any other path: a page of text.
    NoPage,
}

/// The words of a path under an API version, whether anything of that name is served or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// API group; empty for the core.
    pub group: String,
    /// API version.
    pub version: String,
    /// `pods`.
    pub resource: String,
    /// `None`: all namespaces, or none at all.
    pub namespace: Option<String>,
    /// `None`: a collection.
    pub name: Option<String>,
    /// A subresource of the object.
    pub sub: Option<String>,
    /// The segments after the subresource.
    pub rest: Vec<String>,
    /// The old form of a watch: `/api/v1/watch/...`.
    pub watch: bool,
}

/// What a path under an API version names.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The kind asked for; may be a view of another.
    pub kind: KindRef,
    /// `None`: all namespaces, or the kind has none.
    pub namespace: Option<String>,
    /// `None`: a collection.
    pub name: Option<String>,
    /// A subresource of the object.
    pub sub: Option<String>,
    /// Everything after the subresource, for proxies.
    pub rest: String,
    /// The old form of a watch: `/api/v1/watch/...`.
    pub watch: bool,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// `%` without two hexadecimal digits.
    #[error("a % is not followed by two hexadecimal digits")]
    Code,
    /// The decoded bytes are no text.
    #[error("a segment is not UTF-8")]
    Text,
    /// `%2F`: is it part of a name, or does it end one?
    #[error("a segment holds an encoded slash; no name in Kubernetes does")]
    Slash,
    /// `.` and `..`: some programs on the way leave them out, others do not.
    #[error("a segment is . or ..; no name in Kubernetes is")]
    Dots,
    /// Control characters end texts early, or hide in logs.
    #[error("a segment holds a control character")]
    Control,
}

impl From<Unreadable> for Status {
    fn from(why: Unreadable) -> Status {
        Status::bad_request(format!("the path of the request cannot be read: {why}"))
    }
}

/// Reads a path, by the kinds that are served now.
///
/// # Errors
/// [`Unreadable`], for what could be understood in more than one way.
pub fn read(kinds: &Kinds, path: &str) -> Result<Location, Unreadable> {
    let Some(rest) = path.strip_prefix('/') else {
        return Ok(Location { path: path.to_owned(), route: Route::NoPage });
    };
    let segments = rest.split('/').map(decode).collect::<Result<Vec<String>, Unreadable>>()?;
    let route = route(&kinds.rows(), &segments.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(Location { path: format!("/{}", segments.join("/")), route })
}

fn route(rows: &Rows, segments: &[&str]) -> Route {
    let slash = segments.len() > 1 && segments.last().is_some_and(|last| last.is_empty());
    match *segments {
        [check @ ("healthz" | "livez" | "readyz")] => return Route::Health(check.into(), None),
        [check @ ("healthz" | "livez" | "readyz"), one] => {
            return Route::Health(check.into(), Some(one.into()));
        }
        ["openapi", ..] => return Route::OpenApi,
        _ => {}
    }
    // One slash at the end does not matter; elsewhere there must be something between two of them.
    let parts = if slash { &segments[..segments.len() - 1] } else { segments };
    if parts.len() > 1 && parts.iter().any(|part| part.is_empty()) {
        return Route::NoPage;
    }
    match *parts {
        [""] | ["index.html"] => Route::Root,
        ["version"] => Route::Version,
        ["metrics"] => Route::Metrics,
        [".well-known", "openid-configuration"] | ["openid", "v1", "jwks"] if !slash => Route::Issuer,
        ["api"] => Route::CoreVersions,
        ["apis"] => Route::Groups,
        ["apis", group] if known(rows, group) => Route::Group(group.into()),
        ["api", "v1"] => Route::GroupVersion { group: String::new(), version: "v1".into() },
        ["api", _] => Route::NoVersion,
        ["apis", group, version] if known(rows, group) => {
            if serves(rows, group, version) {
                Route::GroupVersion { group: group.into(), version: version.into() }
            } else {
                Route::NoVersion
            }
        }
        ["api", version, ref rest @ ..] => resource(rows, "", version, rest, slash),
        ["apis", group, version, ref rest @ ..] if !rest.is_empty() => {
            resource(rows, group, version, rest, slash)
        }
        ["coracle", "v1", "changes"] => Route::Changes,
        ["coracle", "v1", "verdicts", namespace, pod] => {
            Route::Verdict { namespace: namespace.into(), pod: pod.into() }
        }
        ["coracle", "v1", ..] => Route::NoVersion,
        _ => Route::NoPage,
    }
}

fn known(rows: &Rows, group: &str) -> bool {
    !group.is_empty() && rows.served().any(|kind| kind.group() == group)
}

fn serves(rows: &Rows, group: &str, version: &str) -> bool {
    rows.served().any(|kind| kind.group() == group && kind.version() == version)
}

/// A path after its API version.
fn resource(rows: &Rows, group: &str, version: &str, parts: &[&str], slash: bool) -> Route {
    let named = name(group, version, parts);
    if !group.is_empty() && !known(rows, group) {
        return Route::NoGroup(named);
    }
    // Posting a binding here is posting it to the pod that it names.
    if let (true, "bindings", Some(namespace), None, false) = (
        group.is_empty() && version == "v1",
        named.resource.as_str(),
        &named.namespace,
        &named.name,
        named.watch,
    ) {
        return Route::Bindings(namespace.clone());
    }
    match served(rows, &named, slash) {
        Some(target) => Route::Resource(target),
        None => Route::NoResource(named),
    }
}

/// Which word of a path is what.
fn name(group: &str, version: &str, parts: &[&str]) -> Named {
    let (watch, parts) = match parts {
        ["watch", rest @ ..] => (true, rest),
        parts => (false, parts),
    };
    let (namespace, resource, rest) = match *parts {
        // A namespace is an object like any other, and its subresources hide kinds of the same name.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, "namespaces", &parts[1..]),
        ["namespaces", namespace, resource, ref rest @ ..] => (Some(namespace), resource, rest),
        [resource, ref rest @ ..] => (None, resource, rest),
        [] => (None, "", parts),
    };
    let word = |at: usize| rest.get(at).map(|word| (*word).to_owned());
    Named {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
        namespace: namespace.map(str::to_owned),
        name: word(0),
        sub: word(1),
        rest: rest.iter().skip(2).map(|word| (*word).to_owned()).collect(),
        watch,
    }
}

/// The objects that such a path leads to, if they are served.
fn served(rows: &Rows, named: &Named, slash: bool) -> Option<Target> {
    let kind = rows.by_resource(&named.group, &named.version, &named.resource)?.clone();
    // Objects are watched, not what hangs on them.
    if named.watch && named.sub.is_some() {
        return None;
    }
    // A slash after an object's name would be an object without one.
    if slash && named.name.is_some() && named.sub.is_none() {
        return None;
    }
    let fits = match named.namespace {
        Some(_) => kind.namespaced,
        None => !kind.namespaced || named.name.is_none(),
    };
    let sub_served =
        named.sub.as_ref().is_none_or(|sub| kind.subresources.iter().any(|row| row.name == *sub));
    let deep = !named.rest.is_empty() && named.sub.as_deref() != Some("proxy");
    (fits && sub_served && !deep).then(|| Target {
        kind,
        namespace: named.namespace.clone(),
        name: named.name.clone(),
        sub: named.sub.clone(),
        rest: named.rest.join("/"),
        watch: named.watch,
    })
}

/// Undoes the percent encoding of one segment.
fn decode(segment: &str) -> Result<String, Unreadable> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        out.push(match byte {
            b'%' => {
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let code = high.zip(low).ok_or(Unreadable::Code)?;
                u8::try_from(code.0 * 16 + code.1).map_err(|_| Unreadable::Code)?
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(out).map_err(|_| Unreadable::Text)?;
    match text.as_str() {
        "." | ".." => Err(Unreadable::Dots),
        text if text.contains('/') => Err(Unreadable::Slash),
        text if text.contains(char::is_control) => Err(Unreadable::Control),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(path: &str) -> String {
        match read(&Kinds::new(), path) {
            Err(why) => format!("{why:?}"),
            Ok(Location { route: Route::Resource(t), .. }) => format!(
                "{} ns={:?} name={:?} sub={:?}",
                t.kind.qualified_resource(),
                t.namespace.as_deref(),
                t.name.as_deref(),
                t.sub.as_deref()
            ),
            Ok(Location { route: Route::NoResource(_), .. }) => "NoResource".into(),
            Ok(Location { route: Route::NoGroup(_), .. }) => "NoGroup".into(),
            Ok(Location { route, .. }) => format!("{route:?}"),
        }
    }

    #[test]
    fn paths_name_what_upstream_says() {
        let cases = [
            ("/api/v1/pods", "pods ns=None name=None sub=None"),
            ("/api/v1/pods/", "pods ns=None name=None sub=None"),
            ("/api/v1/namespaces/a/pods", "pods ns=Some(\"a\") name=None sub=None"),
            ("/api/v1/namespaces/a/pods/x", "pods ns=Some(\"a\") name=Some(\"x\") sub=None"),
            ("/api/v1/namespaces/a/pods/x/log", "pods ns=Some(\"a\") name=Some(\"x\") sub=Some(\"log\")"),
            ("/api/v1/namespaces/a", "namespaces ns=None name=Some(\"a\") sub=None"),
            ("/api/v1/namespaces/a/status", "namespaces ns=None name=Some(\"a\") sub=Some(\"status\")"),
            ("/api/v1/namespaces", "namespaces ns=None name=None sub=None"),
            ("/apis/apps/v1/deployments", "deployments.apps ns=None name=None sub=None"),
            ("/api/v1/namespaces/a/bindings", "Bindings(\"a\")"),
            ("/api/v1/namespaces/a/nodes", "NoResource"),
            ("/api/v1/pods/x", "NoResource"),
            ("/api/v1/namespaces/a/pods/x/", "NoResource"),
            ("/api/v1/things", "NoResource"),
            ("/api/v1/namespaces/a/pods/x/nope", "NoResource"),
            ("/apis/apps/v1beta1/deployments", "NoResource"),
            ("/api/v2/pods", "NoResource"),
            ("/api/v1/watch/namespaces/a/pods/x", "pods ns=Some(\"a\") name=Some(\"x\") sub=None"),
            ("/api/v1/watch/namespaces/a/pods/x/log", "NoResource"),
            ("/api/v1/watch/namespaces/a/bindings", "NoResource"),
            ("/api/v2", "NoVersion"),
            ("/apis/nope.example/v1/things", "NoGroup"),
            ("/apis/nope.example/v1", "NoPage"),
            ("//api/v1", "NoPage"),
            ("/api/v1/namespaces//pods", "NoPage"),
            ("/api//v1/secrets", "NoPage"),
            ("/api/v1/secrets//", "NoPage"),
            ("/healthz/", "Health(\"healthz\", Some(\"\"))"),
            ("/version/", "Version"),
            ("", "NoPage"),
            ("*", "NoPage"),
            ("/api/v1/%73ecrets", "secrets ns=None name=None sub=None"),
            (
                "/api/v1/namespaces/a/configmaps/a%2Eb",
                "configmaps ns=Some(\"a\") name=Some(\"a.b\") sub=None",
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(shown(path), expected, "case: {path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let cases = [
            ("/api/v1%2Fsecrets", "Slash"),
            ("/api/v1%2fnamespaces%2fdefault%2fpods%2fx%2fexec", "Slash"),
            ("/api/v1/namespaces/a/configmaps/a%2Fb", "Slash"),
            ("/api/v1/namespaces/../secrets", "Dots"),
            ("/api/v1/./secrets", "Dots"),
            ("/api/v1/%2e%2E/secrets", "Dots"),
            ("/api/v1/secrets%00", "Control"),
            ("/api/v1/sec%0Arets", "Control"),
            ("/api/v1/sec%rets", "Code"),
            ("/api/v1/secrets%2", "Code"),
            ("/api/v1/secrets%+1", "Code"),
            ("/api/v1/%ff", "Text"),
            ("/api/v1/%c0%afsecrets", "Text"),
        ];
        for (path, expected) in cases {
            assert_eq!(shown(path), expected, "case: {path}");
        }
    }

    proptest! {
        /// However a path's characters are written, it names the same or is refused.
        #[test]
        fn encoding_changes_nothing(
            words in prop::collection::vec("[a-z.-]{1,6}", 0..5),
            how in prop::collection::vec(0u8..3, 64),
        ) {
            let plain = format!("/api/v1/{}", words.join("/"));
            let encoded: String = plain.chars().zip(how.iter().cycle()).map(|(c, how)| match (c, how) {
                ('/', _) | (_, 0) => c.to_string(),
                (c, 1) => format!("%{:02x}", u32::from(c)),
                (c, _) => format!("%{:02X}", u32::from(c)),
            }).collect();
            prop_assert_eq!(read(&Kinds::new(), &plain), read(&Kinds::new(), &encoded));
        }

        /// Any text at all is read or refused; what is read has as many segments as the text has slashes.
        #[test]
        fn segments_are_what_slashes_divide(path in "(/|%2[fF]|%|%4|[a-z.%]|\\PC){0,24}") {
            if let Ok(location) = read(&Kinds::new(), &path) {
                prop_assert_eq!(location.path.matches('/').count(), path.matches('/').count());
            }
        }
    }
}

//! From a URL's path to what it names.

use coracle_api::{KindRef, kinds};

/// What a path names.
#[derive(Debug, PartialEq)]
pub enum Route {
    /// `/`
    Root,
    /// `/version`
    Version,
    /// `/healthz`, `/livez`, `/readyz`, and one check below.
    Health(String, Option<String>),
    /// `/metrics`
    Metrics,
    /// `/openapi/...`
    OpenApi(String),
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1` (with an empty group), `/apis/GROUP/VERSION`
    Version_ {
        /// Its group.
        group: String,
        /// Its version.
        version: String,
    },
    /// Objects.
    Resource(Target),
    /// `/api/v1/namespaces/NAMESPACE/bindings`
    Bindings(String),
    /// `/coracle/v1/...`
    Coracle(Vec<String>),
    /// A path under a known API version that names nothing: a `Status`.
    NoResource,
    /// Any other path: a page of text.
    NoPage,
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
    /// Everything behind the subresource, for proxies.
    pub rest: String,
    /// The old form of a watch: `/api/v1/watch/...`.
    pub watch: bool,
}

/// Reads a path.
pub fn parse(path: &str) -> Route {
    // As Go does: first decoded, then divided, so that an encoded slash divides, too.
    let path = decode(path);
    let Some(rest) = path.strip_prefix('/') else { return Route::NoPage };
    let mut parts: Vec<&str> = rest.split('/').collect();
    // One slash at the end does not matter, except below the health checks.
    let slash = parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty());
    if slash {
        parts.pop();
    }
    match parts[..] {
        [""] | ["index.html"] => Route::Root,
        ["version"] => Route::Version,
        ["metrics"] => Route::Metrics,
        [check @ ("healthz" | "livez" | "readyz")] if !slash => Route::Health(check.into(), None),
        [check @ ("healthz" | "livez" | "readyz"), name] if !slash => {
            Route::Health(check.into(), Some(name.into()))
        }
        ["openapi", ..] => Route::OpenApi(path),
        ["api"] => Route::CoreVersions,
        ["apis"] => Route::Groups,
        ["apis", group] if known(group) => Route::Group(group.into()),
        ["api", "v1"] => Route::Version_ { group: String::new(), version: "v1".into() },
        ["api", version, ..] if version != "v1" => Route::NoResource,
        ["apis", group, version] if known(group) => {
            if serves(group, version) {
                Route::Version_ { group: group.into(), version: version.into() }
            } else {
                Route::NoResource
            }
        }
        ["api", "v1", ref rest @ ..] => resource("", "v1", rest, slash),
        ["apis", group, version, ref rest @ ..] if known(group) => resource(group, version, rest, slash),
        ["coracle", "v1", ref rest @ ..] => Route::Coracle(rest.iter().map(|s| (*s).to_string()).collect()),
        _ => Route::NoPage,
    }
}

fn known(group: &str) -> bool {
    !group.is_empty() && kinds::served().any(|kind| kind.group() == group)
}

fn serves(group: &str, version: &str) -> bool {
    kinds::served().any(|kind| kind.group() == group && kind.version() == version)
}

fn resource(group: &str, version: &str, parts: &[&str], slash: bool) -> Route {
    let (watch, parts) = match parts {
        ["watch", rest @ ..] => (true, rest),
        parts => (false, parts),
    };
    let find = |plural: &str| kinds::by_resource(group, version, plural);
    let (namespace, plural, rest) = match *parts {
        // A namespace is an object like any other, and its subresources hide kinds of the same name.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, "namespaces", &parts[1..]),
        // Posting a binding here is posting it to the pod that it names.
        ["namespaces", namespace, "bindings"] if group.is_empty() && !watch => {
            return Route::Bindings(namespace.into());
        }
        ["namespaces", namespace, plural, ref rest @ ..] => (Some(namespace), plural, rest),
        [plural, ref rest @ ..] => (None, plural, rest),
        [] => return Route::NoResource,
    };
    let Some(kind) = find(plural) else { return Route::NoResource };
    if rest.iter().any(|part| part.is_empty()) || slash && !rest.is_empty() && rest.len() < 2 {
        return Route::NoResource;
    }
    let fits = match namespace {
        Some(namespace) => kind.namespaced && !namespace.is_empty(),
        None => !kind.namespaced || rest.is_empty(),
    };
    let sub = rest.get(1).map(|sub| (*sub).to_string());
    let served = sub.as_ref().is_none_or(|sub| kind.subresources.iter().any(|s| s.name == *sub));
    let deep = rest.len() > 2 && sub.as_deref() != Some("proxy");
    if !fits || !served || deep {
        return Route::NoResource;
    }
    Route::Resource(Target {
        kind,
        namespace: namespace.map(str::to_string),
        name: rest.first().map(|name| (*name).to_string()),
        sub,
        rest: rest.get(2..).unwrap_or_default().join("/"),
        watch,
    })
}

/// Undoes percent encoding; what is no valid code stays as it is.
pub fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(route: Route) -> String {
        match route {
            Route::Resource(t) => format!(
                "{} ns={:?} name={:?} sub={:?}",
                t.kind.qualified_resource(),
                t.namespace.as_deref(),
                t.name.as_deref(),
                t.sub.as_deref()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_name_what_upstream_says() {
        let cases = [
            ("/api/v1/pods", "pods ns=None name=None sub=None"),
            ("/api/v1/namespaces/a/pods", "pods ns=Some(\"a\") name=None sub=None"),
            ("/api/v1/namespaces/a/pods/x", "pods ns=Some(\"a\") name=Some(\"x\") sub=None"),
            ("/api/v1/namespaces/a/pods/x/log", "pods ns=Some(\"a\") name=Some(\"x\") sub=Some(\"log\")"),
            ("/api/v1/namespaces/a", "namespaces ns=None name=Some(\"a\") sub=None"),
            ("/api/v1/namespaces/a/status", "namespaces ns=None name=Some(\"a\") sub=Some(\"status\")"),
            ("/api/v1/namespaces", "namespaces ns=None name=None sub=None"),
            ("/apis/apps/v1/deployments", "deployments.apps ns=None name=None sub=None"),
            ("/api/v1/namespaces/a/nodes", "NoResource"),
            ("/api/v1/pods/x", "NoResource"),
            ("/api/v1/things", "NoResource"),
            ("/api/v1/namespaces/a/pods/x/nope", "NoResource"),
            ("/apis/apps/v1beta1/deployments", "NoResource"),
            ("/apis/nope.example/v1/things", "NoPage"),
            ("//api/v1", "NoPage"),
            ("/healthz/", "NoPage"),
            ("/api/v1/namespaces/a/configmaps/a%2Fb", "NoResource"),
            (
                "/api/v1/namespaces/a/configmaps/a%2Eb",
                "configmaps ns=Some(\"a\") name=Some(\"a.b\") sub=None",
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(shown(parse(path)), expected, "case: {path}");
        }
    }
}

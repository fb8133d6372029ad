//! Who may do what. Until RBAC comes, the rule is that of a cluster in which nobody has been granted anything: masters may
//! do everything, the cluster's components what they are for, everybody else may only look at what is open to all.

use coracle_api::Status;
use coracle_api::status::Details;
use http::Method;

use super::{ACCOUNTS, ANONYMOUS, AUTHENTICATED, MASTERS, node, oidc};
use crate::identity::Identity;

/// What a request is about, read off its method, path and query before anything else is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for plain paths the method.
    pub verb: String,
    /// The path, for requests that are not about a resource; else empty.
    pub path: String,
    /// API group.
    pub group: String,
    /// `pods`; empty for plain paths.
    pub resource: String,
    /// `log`.
    pub subresource: String,
    /// Empty for cluster-scoped requests.
    pub namespace: String,
    /// The object, where one is named.
    pub name: String,
}

/// Reads a request as upstream's `RequestInfoFactory` does.
pub fn attributes(method: &Method, path: &str, query: &str) -> Attributes {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, mut rest) = match parts.as_slice() {
        ["api", _version, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _version, rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => {
            let verb = method.as_str().to_ascii_lowercase();
            return Attributes { verb, path: path.into(), ..Attributes::default() };
        }
    };
    let mut verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    if let ["watch", behind @ ..] = rest {
        (verb, rest) = ("watch", behind);
    }
    let mut namespace = "";
    if let ["namespaces", name, behind @ ..] = rest {
        namespace = name;
        // `namespaces/x/status` is about the namespace itself; so is `namespaces/x`.
        if !behind.is_empty() && !matches!(behind[0], "status" | "finalize") {
            rest = behind;
        }
    }
    let part = |at: usize| rest.get(at).copied().unwrap_or_default();
    let mut name = part(1).to_owned();
    if name.is_empty() {
        let parameters = || form_urlencoded(query);
        match verb {
            "get" | "watch" => {
                let on = |(key, value): &(String, String)| key == "watch" && value != "false" && value != "0";
                verb = if verb == "watch" || parameters().iter().any(on) { "watch" } else { "list" };
                let fields = parameters().into_iter().find(|(key, _)| key == "fieldSelector");
                name = fields.and_then(|(_, text)| named_by(&text)).unwrap_or_default();
            }
            "delete" => verb = "deletecollection",
            _ => {}
        }
    }
    Attributes {
        verb: verb.into(),
        path: String::new(),
        group: group.into(),
        resource: part(0).into(),
        subresource: part(2).into(),
        namespace: namespace.into(),
        name,
    }
}

/// The name in `metadata.name=x`.
fn named_by(fields: &str) -> Option<String> {
    let terms = fields.split(',');
    let mut names = terms.filter_map(|term| term.strip_prefix("metadata.name="));
    names.next().map(|name| name.trim_start_matches('=').to_owned())
}

fn form_urlencoded(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

/// Percent-decoding; what is not well formed stays as it is.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether the user may.
///
/// # Errors
/// 403, with upstream's text.
pub fn authorize(user: &Identity, request: &Attributes) -> Result<(), Status> {
    if allowed(user, request) { Ok(()) } else { Err(forbidden(user, request)) }
}

fn allowed(user: &Identity, request: &Attributes) -> bool {
    if user.is_in(MASTERS) || is_component(user) {
        return true;
    }
    if request.resource.is_empty() {
        return request.verb == "get" && open_path(user, &request.path);
    }
    if node::node_of(user).is_some() {
        // What a node may write depends on the object: the registry asks `node::may_write`.
        return node::may_ask(request);
    }
    let reviews = ["selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    user.is_in(AUTHENTICATED) && request.verb == "create" && reviews.contains(&request.resource.as_str())
}

/// Whether somebody is a master, a component or a node: those who may use the bus.
pub fn is_part_of_cluster(user: &Identity) -> bool {
    user.is_in(MASTERS) || is_component(user) || node::node_of(user).is_some()
}

fn is_component(user: &Identity) -> bool {
    ["system:kube-controller-manager", "system:kube-scheduler"].contains(&user.user.as_str())
}

/// Upstream's `system:public-info-viewer` for everybody, `system:discovery` for those who are known.
fn open_path(user: &Identity, path: &str) -> bool {
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = ["/api", "/apis", "/openapi"];
    let below = |root: &&str| path == *root || path.strip_prefix(*root).is_some_and(|p| p.starts_with('/'));
    let tokens = user.is_in(ACCOUNTS) && [oidc::CONFIGURATION, oidc::KEYS].contains(&path);
    tokens || public.contains(&path) || (user.user != ANONYMOUS && discovery.iter().any(below))
}

fn forbidden(user: &Identity, request: &Attributes) -> Status {
    if request.resource.is_empty() {
        let why = format!("forbidden: User {:?} cannot {} path {:?}", user.user, request.verb, request.path);
        return Status::failure(403, "Forbidden", why).with_details(Details::default());
    }
    let resource = match request.subresource.as_str() {
        "" => request.resource.clone(),
        sub => format!("{}/{sub}", request.resource),
    };
    let why = cannot(&user.user, &request.verb, &resource, &request.group, &request.namespace);
    let qualified = if request.group.is_empty() {
        request.resource.clone()
    } else {
        format!("{}.{}", request.resource, request.group)
    };
    let named = if request.name.is_empty() { String::new() } else { format!(" {:?}", request.name) };
    let details = Details {
        name: request.name.clone(),
        group: request.group.clone(),
        kind: request.resource.clone(),
        ..Details::default()
    };
    Status::failure(403, "Forbidden", format!("{qualified}{named} is forbidden: {why}")).with_details(details)
}

/// `User "bob" cannot list resource "pods" in API group "" in the namespace "a"`.
pub(super) fn cannot(user: &str, verb: &str, resource: &str, group: &str, namespace: &str) -> String {
    let place = match namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let a = attributes(&method.parse().unwrap(), path, query);
        if a.resource.is_empty() {
            return format!("{} {}", a.verb, a.path);
        }
        [a.verb, a.group, a.resource, a.subresource, a.namespace, a.name].join("|")
    }

    #[test]
    fn requests_are_read_as_upstream_does() {
        let cases = [
            ("GET", "/version", "get /version"),
            ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
            ("GET", "/api/v1/pods", "list||pods|||"),
            ("GET", "/api/v1/pods?watch=1", "watch||pods|||"),
            ("GET", "/api/v1/pods?watch=false", "list||pods|||"),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch||pods||a|"),
            ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx", "list||pods||a|x"),
            ("GET", "/api/v1/namespaces/a/pods/x/log", "get||pods|log|a|x"),
            ("POST", "/apis/apps/v1/namespaces/a/deployments", "create|apps|deployments||a|"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection|apps|deployments||a|"),
            ("GET", "/api/v1/namespaces/a", "get||namespaces||a|a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update||namespaces|finalize|a|a"),
            ("PATCH", "/api/v1/nodes/n/status", "patch||nodes|status||n"),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(read(method, uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn refusals_have_upstreams_texts() {
        let bob = Identity::new("bob", &[AUTHENTICATED]);
        let ask = |user: &Identity, method: &str, path: &str| {
            authorize(user, &attributes(&method.parse().unwrap(), path, "")).map_err(|s| s.message)
        };
        let texts = [
            (
                "/api/v1/namespaces/a/configmaps/x",
                r#"configmaps "x" is forbidden: User "bob" cannot get resource "configmaps" in API group "" in the namespace "a""#,
            ),
            (
                "/apis/apps/v1/deployments",
                r#"deployments.apps is forbidden: User "bob" cannot list resource "deployments" in API group "apps" at the cluster scope"#,
            ),
            ("/metrics", r#"forbidden: User "bob" cannot get path "/metrics""#),
        ];
        for (path, text) in texts {
            assert_eq!(ask(&bob, "GET", path), Err(text.to_owned()));
        }
        assert_eq!(ask(&bob, "GET", "/apis/apps/v1"), Ok(()));
        let nobody = Identity::new(ANONYMOUS, &["system:unauthenticated"]);
        assert_eq!(ask(&nobody, "GET", "/healthz"), Ok(()));
        assert!(ask(&nobody, "GET", "/api").is_err());
        let admin = Identity::new("kubernetes-admin", &[MASTERS, AUTHENTICATED]);
        assert_eq!(ask(&admin, "DELETE", "/api/v1/namespaces/a/pods"), Ok(()));
    }
}

//! What a request is about: the one description that every decision on rights is made of.
//!
//! Source: `RequestInfoFactory` in `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use coracle_api::selector::FieldSelector;
use coracle_api::{Key, Kind};
use http::Method;

use crate::http::path::{Location, Route};
use crate::http::query::Query;

/// Subresources that open a stream into a container. A WebSocket opens them with GET, and the right to `get` alone must
/// not be enough.
const STREAMS: [&str; 3] = ["exec", "attach", "portforward"];

/// What somebody wants to do, to what.
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
    /// To which fields a list or a watch keeps itself.
    pub fields: FieldSelector,
}

impl Attributes {
    /// Reads a request.
    pub fn of(method: &Method, location: &Location, query: &Query) -> Attributes {
        match &location.route {
            Route::Resource(target) => Words {
                group: target.kind.group(),
                resource: target.kind.plural(),
                namespace: target.namespace.as_deref(),
                name: target.name.as_deref(),
                sub: target.sub.as_deref(),
                watch: target.watch,
            }
            .to_attributes(method, query),
            Route::NoResource(named) | Route::NoGroup(named) if !named.resource.is_empty() => Words {
                group: &named.group,
                resource: &named.resource,
                namespace: named.namespace.as_deref(),
                name: named.name.as_deref(),
                sub: named.sub.as_deref(),
                watch: named.watch,
            }
            .to_attributes(method, query),
            Route::Bindings(namespace) => Words {
                group: "",
                resource: "bindings",
                namespace: Some(namespace),
                name: None,
                sub: None,
                watch: false,
            }
            .to_attributes(method, query),
            Route::Verdict { namespace, pod } => Words {
                group: "",
                resource: "pods",
                namespace: Some(namespace),
                name: Some(pod),
                sub: Some("verdict"),
                watch: false,
            }
            .to_attributes(method, query),
            _ => Attributes::plain(&method.as_str().to_ascii_lowercase(), &location.path),
        }
    }

    /// Everything that a request needs the right to: what it is about and, where it opens a stream, to create that.
    ///
    /// Source: the gate `AuthorizePodWebsocketUpgradeCreatePermission`.
    pub fn needed(method: &Method, location: &Location, query: &Query) -> Vec<Attributes> {
        let first = Attributes::of(method, location, query);
        let opens = first.verb == "get" && STREAMS.contains(&first.subresource.as_str());
        let second = opens.then(|| Attributes { verb: "create".into(), ..first.clone() });
        std::iter::once(first).chain(second).collect()
    }

    /// A request to a path that is no resource's.
    pub fn plain(verb: &str, path: &str) -> Attributes {
        Attributes { verb: verb.into(), path: path.into(), ..Attributes::default() }
    }

    /// A request to an object, or to one of its subresources; without a name, to its collection.
    pub fn on(verb: &str, key: &Key, sub: &str) -> Attributes {
        Attributes {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            subresource: sub.into(),
            ..Attributes::many(verb, &key.kind)
        }
    }

    /// A request to all objects of a kind.
    pub fn many(verb: &str, kind: &Kind) -> Attributes {
        Attributes {
            verb: verb.into(),
            group: kind.group().into(),
            resource: kind.plural().into(),
            ..Attributes::default()
        }
    }

    /// `pods/log`.
    pub fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

/// The words of a path.
struct Words<'a> {
    group: &'a str,
    resource: &'a str,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    sub: Option<&'a str>,
    watch: bool,
}

impl Words<'_> {
    fn to_attributes(&self, method: &Method, query: &Query) -> Attributes {
        let text = |word: Option<&str>| word.unwrap_or_default().to_owned();
        // Upstream says of a namespace that it lies in itself.
        let in_itself = self.resource == "namespaces" && self.group.is_empty();
        let mut attributes = Attributes {
            verb: verb(method).into(),
            group: self.group.into(),
            resource: self.resource.into(),
            subresource: text(self.sub),
            namespace: text(self.namespace.or(self.name.filter(|_| in_itself))),
            name: text(self.name),
            ..Attributes::default()
        };
        let many = attributes.name.is_empty();
        attributes.verb = match attributes.verb.as_str() {
            "get" if self.watch => "watch".into(),
            "get" if many && query.flag("watch") => "watch".into(),
            "get" if many => "list".into(),
            "delete" if many => "deletecollection".into(),
            _ => return attributes,
        };
        // A selector that cannot be read names no field here. The handler of the request refuses it later.
        attributes.fields = FieldSelector::parse(query.text("fieldSelector")).unwrap_or_default();
        if many && attributes.verb != "deletecollection" {
            attributes.name = attributes.fields.requires("metadata.name").unwrap_or_default().to_owned();
        }
        attributes
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path;

    fn read(method: &str, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let location = path::read(&coracle_api::kinds::Kinds::new(), path).unwrap();
        let a = Attributes::of(&method.parse().unwrap(), &location, &Query::parse(query));
        if a.resource.is_empty() {
            return format!("{} {}", a.verb, a.path);
        }
        [a.verb, a.group, a.resource, a.subresource, a.namespace, a.name].join("|")
    }

    #[test]
    fn requests_are_read_as_upstream_does() {
        let cases = [
            ("GET", "/version", "get /version"),
            ("GET", "/logs/", "get /logs/"),
            ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
            ("GET", "/api/v1/watch", "get /api/v1/watch"),
            ("GET", "/coracle/v1/changes", "get /coracle/v1/changes"),
            ("GET", "/coracle/v1/verdicts/a/x", "get||pods|verdict|a|x"),
            ("GET", "/api/v1/pods", "list||pods|||"),
            ("HEAD", "/api/v1/pods", "list||pods|||"),
            ("OPTIONS", "/api/v1/pods", "||pods|||"),
            ("GET", "/api/v1/pods?watch=1", "watch||pods|||"),
            ("GET", "/api/v1/pods?watch", "watch||pods|||"),
            ("GET", "/api/v1/pods?watch=false", "list||pods|||"),
            // What is served decides: the first of two, and `False` is false.
            ("GET", "/api/v1/pods?watch=False", "list||pods|||"),
            ("GET", "/api/v1/pods?watch=0&watch=1", "list||pods|||"),
            ("GET", "/api/v1/namespaces/a/pods/x?watch=1", "get||pods||a|x"),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch||pods||a|"),
            ("GET", "/api/v1/watch/namespaces/a/pods/x", "watch||pods||a|x"),
            ("DELETE", "/api/v1/watch/namespaces/a/pods/x", "delete||pods||a|x"),
            ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx", "list||pods||a|x"),
            ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name==x", "list||pods||a|x"),
            ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name!=x", "list||pods||a|"),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name=x",
                "deletecollection||pods||a|",
            ),
            ("GET", "/api/v1/namespaces/a/pods/x/log", "get||pods|log|a|x"),
            ("POST", "/apis/apps/v1/namespaces/a/deployments", "create|apps|deployments||a|"),
            ("POST", "/api/v1/namespaces/a/bindings", "create||bindings||a|"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection|apps|deployments||a|"),
            ("GET", "/api/v1/namespaces/a", "get||namespaces||a|a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update||namespaces|finalize|a|a"),
            ("PATCH", "/api/v1/nodes/n/status", "patch||nodes|status||n"),
            ("GET", "/api/v1/things", "list||things|||"),
            ("GET", "/api/v1/pods/x/exec", "get||pods|exec||x"),
            ("GET", "/apis/nope.example/v1/namespaces/a/things/x", "get|nope.example|things||a|x"),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(read(method, uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn a_stream_needs_the_right_to_create_however_it_is_opened() {
        let needed = |method: &str, path: &str| -> Vec<String> {
            let location = path::read(&coracle_api::kinds::Kinds::new(), path).unwrap();
            let needed = Attributes::needed(&method.parse().unwrap(), &location, &Query::default());
            needed.into_iter().map(|a| format!("{} {}", a.verb, a.full_resource())).collect()
        };
        let pod = "/api/v1/namespaces/a/pods/x";
        assert_eq!(needed("GET", &format!("{pod}/exec")), ["get pods/exec", "create pods/exec"]);
        assert_eq!(needed("POST", &format!("{pod}/attach")), ["create pods/attach"]);
        assert_eq!(needed("GET", &format!("{pod}/log")), ["get pods/log"]);
    }
}

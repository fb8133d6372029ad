use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::{Key, Kind, Object, Revision, Status, kinds};
use coracle_client::Clock;
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::attributes::Attributes;
use super::authenticate::{Authenticator, certified};
use super::authorize::Authorizer;
use super::lookup::Lookup;
use crate::http::connection::Peer;
use crate::http::path;
use crate::http::query::Query;
use crate::identity::{ANONYMOUS, AUTHENTICATED, Identity, MASTERS, NODES, UNAUTHENTICATED};
use crate::pki::Pki;
use crate::pki::token::{Bound, Private};

/// A few objects in place of a registry.
#[derive(Default)]
struct Objects(Mutex<HashMap<Key, Value>>);

impl Objects {
    fn put(&self, kind: &'static Kind, namespace: &str, name: &str, value: Value) {
        self.0.lock().insert(Key::new(kind, namespace, name), value);
    }

    fn put_uid(&self, kind: &'static Kind, namespace: &str, name: &str, uid: &str) {
        self.put(kind, namespace, name, json!({"metadata": {"name": name, "uid": uid}}));
    }

    fn remove(&self, kind: &'static Kind, namespace: &str, name: &str) {
        self.0.lock().remove(&Key::new(kind, namespace, name));
    }
}

fn object(key: &Key, value: &Value) -> Arc<Object> {
    Arc::new(Object { key: key.clone(), revision: Revision(1), json: value.to_string().into() })
}

impl Lookup for Objects {
    fn object(&self, key: &Key) -> Option<Arc<Object>> {
        self.0.lock().get(key).map(|value| object(key, value))
    }

    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Object>> {
        let known = self.0.lock();
        let here = known.iter().filter(|(key, value)| {
            key.kind == kinds::POD && key.namespace == namespace && value["spec"]["nodeName"] == node
        });
        here.map(|(key, value)| object(key, value)).collect()
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

struct Bench {
    _dir: tempfile::TempDir,
    pki: Pki,
    objects: Arc<Objects>,
    authenticator: Authenticator,
    authorizer: Authorizer,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), Clock::system()).unwrap();
    let objects = Arc::new(Objects::default());
    let authenticator = Authenticator::new(pki.accounts().clone(), objects.clone(), true);
    let authorizer = Authorizer::new(objects.clone());
    Bench { _dir: dir, pki, objects, authenticator, authorizer }
}

impl Bench {
    fn admin(&self) -> Arc<Identity> {
        let pem = self.pki.credentials("", "kubernetes-admin", Some(MASTERS)).unwrap().certificate;
        let peer = certified(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        let Peer::Known(admin) = peer else { panic!("{peer:?}") };
        admin
    }

    fn who(&self, peer: &Peer, headers: &HeaderMap) -> Result<String, u16> {
        let user = self.authenticator.identify(peer, headers, None);
        user.map(|user| user.user.clone()).map_err(|status| status.code)
    }

    fn may(&self, user: &Identity, method: &str, uri: &str) -> Result<(), Status> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let method: Method = method.parse().unwrap();
        let needed = Attributes::needed(
            &method,
            &path::read(&coracle_api::kinds::Kinds::new(), path).unwrap(),
            &Query::parse(query),
        );
        needed.iter().try_for_each(|asked| self.authorizer.may(user, asked))
    }
}

#[test]
fn certificates_tokens_and_nothing() {
    let bench = bench();
    let admin = bench.admin();
    assert_eq!(*admin, Identity::new("kubernetes-admin", &[MASTERS, AUTHENTICATED]));
    let known = Peer::Known(admin);
    let who = |peer: &Peer, text: &str| bench.who(peer, &headers(&[("authorization", text)]));
    assert_eq!(who(&known, "Bearer nonsense"), Ok("kubernetes-admin".into()));
    assert_eq!(who(&Peer::Unknown, "Bearer nonsense"), Err(401));
    assert_eq!(who(&Peer::Unknown, "Basic dTpw"), Ok(ANONYMOUS.into()));
    assert_eq!(
        who(&Peer::Unknown, "Bearer  nonsense"),
        Ok(ANONYMOUS.into()),
        "a second blank: no token is seen"
    );
    assert_eq!(who(&Peer::Unknown, ""), Ok(ANONYMOUS.into()));
    assert_eq!(who(&Peer::Unreadable, ""), Err(401));
}

#[test]
fn credentials_that_cannot_be_read_are_not_passed_over() {
    let bench = bench();
    let known = Peer::Known(bench.admin());
    let mut broken = HeaderMap::new();
    broken.append("authorization", HeaderValue::from_bytes(b"Bearer \xff").unwrap());
    let twice = headers(&[("authorization", "Basic dTpw"), ("authorization", "Bearer x")]);
    for headers in [&broken, &twice] {
        assert_eq!(bench.who(&Peer::Unknown, headers), Err(401));
        assert_eq!(bench.who(&known, headers), Err(401));
    }
}

#[test]
fn a_certificate_names_one_user_or_nobody() {
    use rcgen::string::BmpString;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
    let key = KeyPair::generate().unwrap();
    let peer = |parts: Vec<(DnType, DnValue)>| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind, value);
        }
        certified(params.self_signed(&key).unwrap().der())
    };
    let text = |text: &str| DnValue::Utf8String(text.into());
    let wide = |text: &str| DnValue::BmpString(BmpString::try_from(text).unwrap());
    let (name, group) = (DnType::CommonName, DnType::OrganizationName);
    let bob = Peer::Known(Identity::new("bob", &["devs", AUTHENTICATED]).into());
    assert_eq!(peer(vec![(name.clone(), text("bob")), (group.clone(), text("devs"))]), bob);
    let unreadable = [
        ("no subject", vec![]),
        ("no name", vec![(group.clone(), text("devs"))]),
        ("an empty name", vec![(name.clone(), text(""))]),
        (
            "two names",
            vec![(name.clone(), text("bob")), (DnType::CustomDnType(vec![2, 5, 4, 3]), text("eve"))],
        ),
        ("a name in UTF-16", vec![(name.clone(), wide("bob"))]),
        ("a group in UTF-16", vec![(name.clone(), text("bob")), (group, wide("devs"))]),
    ];
    for (case, parts) in unreadable {
        assert_eq!(peer(parts), Peer::Unreadable, "case: {case}");
    }
    assert_eq!(certified(&CertificateDer::from(vec![1, 2, 3])), Peer::Unreadable);
}

#[test]
fn without_credentials_only_some_paths_are_open() {
    let bench = bench();
    let closed = Authenticator::new(bench.pki.accounts().clone(), bench.objects.clone(), false);
    let open = ["/healthz", "/livez", "/readyz", "/livez/ping", "/readyz/", "/version", "/version/"];
    let shut = ["/", "/api", "/apis/apps/v1", "/metrics", "/healthzzz", "/version/x", "/openapi/v3", "/nope"];
    let told = |authenticator: &Authenticator, path: &str, token: &str| {
        let route = path::read(&coracle_api::kinds::Kinds::new(), path).unwrap().route;
        let headers = headers(&[("authorization", token)]);
        let outcome = authenticator.identify(&Peer::Unknown, &headers, Some(&route));
        outcome.map(|user| user.user.clone()).map_err(|status| (status.code, status.message))
    };
    let is_open = |authenticator: &Authenticator, path: &str| {
        authenticator.is_open(&path::read(&coracle_api::kinds::Kinds::new(), path).unwrap().route)
    };
    let unauthorized = Err((401, "Unauthorized".to_owned()));
    for path in open {
        assert_eq!(told(&closed, path, ""), Ok(ANONYMOUS.into()), "{path}");
        assert_eq!(told(&closed, path, "Bearer nonsense"), unauthorized, "{path}");
        assert!(is_open(&closed, path) && !is_open(&bench.authenticator, path), "{path}");
    }
    for path in shut {
        assert_eq!(told(&closed, path, ""), unauthorized, "{path}");
        assert_eq!(told(&closed, path, "Basic dTpw"), unauthorized, "{path}");
        assert_eq!(told(&bench.authenticator, path, ""), Ok(ANONYMOUS.into()), "{path}");
        assert!(!is_open(&closed, path), "{path}");
    }
}

#[test]
fn masters_impersonate_and_others_do_not() {
    let bench = bench();
    let admin = bench.admin();
    let as_bob = headers(&[
        ("impersonate-user", "bob"),
        ("impersonate-group", "devs"),
        ("impersonate-extra-acme.example%2fteam", "red"),
    ]);
    let bob = bench.authorizer.impersonate(admin.clone(), &as_bob).unwrap();
    assert_eq!((bob.user.as_str(), &bob.groups), ("bob", &vec!["devs".to_owned(), AUTHENTICATED.into()]));
    assert_eq!(bob.extra["acme.example/team"], ["red"]);

    let account = headers(&[("impersonate-user", "system:serviceaccount:ci:builder")]);
    let account = bench.authorizer.impersonate(admin.clone(), &account).unwrap();
    assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:ci", AUTHENTICATED]);

    // A name that is not ASCII is a name: the request goes on as that user, never as the one who asks.
    let umlaut =
        bench.authorizer.impersonate(admin.clone(), &headers(&[("impersonate-user", "böb")])).unwrap();
    assert_eq!((umlaut.user.as_str(), umlaut.is_in(MASTERS)), ("böb", false));
    let empty = bench.authorizer.impersonate(admin, &headers(&[("impersonate-user", "")]));
    assert_eq!(empty.unwrap_err().code, 400);

    let nobody = Arc::new(Identity::new(ANONYMOUS, &[UNAUTHENTICATED]));
    let nobody = bench.authorizer.impersonate(nobody, &as_bob).unwrap_err();
    assert_eq!(
        nobody.message,
        r#"users "bob" is forbidden: User "system:anonymous" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );
}

#[test]
fn a_nodes_certificate_names_the_node_whatever_it_asked_for() {
    let bench = bench();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wish = rcgen::CertificateParams::new(vec!["kubernetes".into()]).unwrap();
    wish.distinguished_name.push(rcgen::DnType::OrganizationName, MASTERS);
    let request = wish.serialize_request(&key).unwrap().pem().unwrap();
    let pem = bench.pki.sign_node("n1", &request).unwrap();
    let peer = certified(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    assert_eq!(peer, Peer::Known(Identity::new("system:node:n1", &[NODES, AUTHENTICATED]).into()));
}

#[test]
fn tokens_die_with_what_they_are_bound_to() {
    let bench = bench();
    let bound = |name: &str, uid: &str| Bound { name: name.into(), uid: uid.into() };
    let about = |pod: Option<Bound>, secret: Option<Bound>, node: Option<Bound>| Private {
        namespace: "ci".into(),
        node,
        pod,
        secret,
        serviceaccount: bound("builder", "a"),
    };
    let tokens = [
        ("the account alone", about(None, None, None), "accounts"),
        ("a pod", about(Some(bound("p", "p1")), None, Some(bound("n", "gone"))), "pods"),
        ("a secret", about(None, Some(bound("s", "s1")), None), "secrets"),
        ("a node", about(None, None, Some(bound("n", "n1"))), "nodes"),
    ];
    let put_all = || {
        bench.objects.put_uid(&kinds::SERVICE_ACCOUNT, "ci", "builder", "a");
        bench.objects.put_uid(&kinds::POD, "ci", "p", "p1");
        bench.objects.put_uid(&kinds::SECRET, "ci", "s", "s1");
        bench.objects.put_uid(&kinds::NODE, "", "n", "n1");
    };
    for (case, about, lives_by) in tokens {
        let (token, _) = bench.pki.accounts().issue(&[], 600, about).unwrap();
        let headers = headers(&[("authorization", &format!("bearer {token}"))]);
        let good = || bench.who(&Peer::Unknown, &headers);
        assert_eq!(good(), Err(401), "{case}: nothing is there yet");
        put_all();
        assert_eq!(good(), Ok("system:serviceaccount:ci:builder".into()), "{case}");
        let rows: [(&str, &'static Kind, &str, &str); 4] = [
            ("accounts", &kinds::SERVICE_ACCOUNT, "ci", "builder"),
            ("pods", &kinds::POD, "ci", "p"),
            ("secrets", &kinds::SECRET, "ci", "s"),
            ("nodes", &kinds::NODE, "", "n"),
        ];
        for (row, kind, namespace, name) in rows {
            let expected = if row == "accounts" || row == lives_by {
                Err(401)
            } else {
                Ok("system:serviceaccount:ci:builder".into())
            };
            bench.objects.put_uid(kind, namespace, name, "another");
            assert_eq!(good(), expected, "{case}, and a namesake among {row}");
            bench.objects.remove(kind, namespace, name);
            assert_eq!(good(), expected, "{case}, and {row} gone");
            put_all();
        }
        // An object that is being deleted still counts.
        let leaving = json!({"metadata": {"uid": "p1", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        bench.objects.put(&kinds::POD, "ci", "p", leaving);
        assert!(good().is_ok(), "{case}");
        bench.objects.0.lock().clear();
    }
}

#[test]
fn refusals_have_upstreams_texts() {
    let bench = bench();
    let bob = Identity::new("bob", &[AUTHENTICATED]);
    let ask = |user: &Identity, method: &str, uri: &str| {
        bench.may(user, method, uri).map_err(|status| status.message)
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
        ("/logs/", r#"forbidden: User "bob" cannot get path "/logs/""#),
        (
            "/api/v1/namespaces/a/pods/p/exec",
            r#"pods "p" is forbidden: User "bob" cannot get resource "pods/exec" in API group "" in the namespace "a""#,
        ),
    ];
    for (path, text) in texts {
        assert_eq!(ask(&bob, "GET", path), Err(text.to_owned()));
    }
    assert_eq!(ask(&bob, "GET", "/apis/apps/v1"), Ok(()));
    assert_eq!(ask(&bob, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"), Ok(()));
    let nobody = Arc::new(Identity::new(ANONYMOUS, &[UNAUTHENTICATED]));
    assert_eq!(ask(&nobody, "GET", "/healthz"), Ok(()));
    assert!(ask(&nobody, "GET", "/api").is_err());
    let admin = Identity::new("kubernetes-admin", &[MASTERS, AUTHENTICATED]);
    assert_eq!(ask(&admin, "DELETE", "/api/v1/namespaces/a/pods"), Ok(()));
}

#[test]
fn a_node_asks_for_its_own() {
    let bench = bench();
    let node = Identity::new("system:node:n1", &[NODES, AUTHENTICATED]);
    let pod = |node: &str, secret: &str| {
        json!({"metadata": {"name": "p"}, "spec": {
            "nodeName": node, "serviceAccountName": "builder",
            "imagePullSecrets": [{"name": secret}], "volumes": [{"configMap": {"name": "c"}}],
        }})
    };
    bench.objects.put(&kinds::POD, "a", "mine", pod("n1", "s"));
    bench.objects.put(&kinds::POD, "a", "other", pod("n2", "t"));
    let unrelated = "no relationship found between node 'n1' and this object";
    let by_name = "can only list/watch pods with spec.nodeName field selector";
    let read_one = "can only get individual resources of this type";
    let cases = [
        ("GET", "/api/v1/namespaces/a/pods/mine", Ok(())),
        ("GET", "/api/v1/namespaces/a/pods/other", Err(unrelated)),
        ("GET", "/api/v1/pods", Err(by_name)),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn2", Err(by_name)),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName!%3Dn1", Err(by_name)),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1", Ok(())),
        ("GET", "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dother", Err(unrelated)),
        ("POST", "/api/v1/namespaces/a/pods", Ok(())),
        ("PATCH", "/api/v1/namespaces/a/pods/mine/status", Ok(())),
        ("PATCH", "/api/v1/namespaces/a/pods/mine", Err("")),
        ("DELETE", "/api/v1/namespaces/a/pods", Err("")),
        ("POST", "/api/v1/namespaces/a/pods/mine/exec", Err("")),
        ("GET", "/api/v1/namespaces/a/pods/mine/attach", Err("")),
        ("GET", "/api/v1/namespaces/a/pods/mine/log", Err("")),
        ("POST", "/api/v1/namespaces/a/pods/mine/binding", Err("")),
        ("POST", "/api/v1/namespaces/a/pods/mine/eviction", Ok(())),
        ("GET", "/api/v1/namespaces/a/secrets/s", Ok(())),
        ("GET", "/api/v1/namespaces/a/secrets/t", Err(unrelated)),
        ("GET", "/api/v1/namespaces/b/secrets/s", Err(unrelated)),
        ("GET", "/api/v1/namespaces/a/secrets", Err("No Object name found")),
        ("GET", "/api/v1/secrets", Err("can only read namespaced object of this type")),
        ("GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Ds", Ok(())),
        ("GET", "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dt", Err(unrelated)),
        ("POST", "/api/v1/namespaces/a/secrets", Err("can only read resources of this type")),
        ("GET", "/api/v1/namespaces/a/configmaps/c", Ok(())),
        ("GET", "/api/v1/namespaces/a/configmaps/d", Err(unrelated)),
        ("GET", "/api/v1/namespaces/a/persistentvolumeclaims/d", Err(unrelated)),
        ("GET", "/api/v1/namespaces/a/persistentvolumeclaims", Err(read_one)),
        ("GET", "/apis/storage.k8s.io/v1/volumeattachments", Err(read_one)),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/builder/token", Ok(())),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/default/token", Err(unrelated)),
        ("GET", "/api/v1/nodes/n1", Ok(())),
        ("GET", "/api/v1/nodes/n2", Err("node 'n1' cannot read 'n2', only its own Node object")),
        ("GET", "/api/v1/nodes", Err("node 'n1' cannot read all nodes, only its own Node object")),
        ("GET", "/api/v1/nodes?watch=1", Err("node 'n1' cannot read all nodes, only its own Node object")),
        ("DELETE", "/api/v1/nodes/n1", Err("")),
        ("GET", "/api/v1/namespaces/a/services", Ok(())),
        ("POST", "/api/v1/namespaces/a/services", Err("")),
        ("POST", "/api/v1/namespaces/a/events", Ok(())),
        ("GET", "/api/v1/namespaces/a/events", Err("")),
        ("GET", "/api/v1/namespaces", Err("")),
        (
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases",
            Err("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", Ok(())),
        (
            "PATCH",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
            Err("can only access node lease with the same name as the requesting node"),
        ),
        ("GET", "/coracle/v1/changes", Err("forbidden")),
        ("GET", "/coracle/v1/verdicts/a/mine", Err("")),
    ];
    for (method, uri, expected) in cases {
        let got = bench.may(&node, method, uri).map_err(|status| status.message);
        match (&got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(text), Err("")) => assert!(text.ends_with(['"', 'e']), "{method} {uri}: {text}"),
            (Err(text), Err(why)) => assert!(text.contains(why), "{method} {uri}: {text}"),
            _ => panic!("{method} {uri}: {got:?}, not {expected:?}"),
        }
    }
    // What a pod gave is gone with it, although it was remembered.
    bench.objects.remove(&kinds::POD, "a", "mine");
    assert!(bench.may(&node, "GET", "/api/v1/namespaces/a/secrets/s").is_err());
    // A node by name alone is none.
    let alone = Identity::new("system:node:n1", &[AUTHENTICATED]);
    assert!(bench.may(&alone, "GET", "/api/v1/nodes/n1").is_err());
}

use coracle_client::Clock;
use http::HeaderValue;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::pki::Pki;
use crate::pki::token::{Bound, Private};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

struct Bench {
    _dir: tempfile::TempDir,
    pki: Pki,
    authenticator: Authenticator,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), Clock::system()).unwrap();
    let authenticator = Authenticator::new(pki.accounts().clone(), true);
    Bench { _dir: dir, pki, authenticator }
}

impl Bench {
    fn admin(&self) -> Identity {
        let pem = self.pki.credentials("", "kubernetes-admin", Some(MASTERS)).unwrap().certificate;
        certified(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
    }
}

#[test]
fn certificates_tokens_and_nothing() {
    let bench = bench();
    let admin = bench.admin();
    assert_eq!(admin, Identity::new("kubernetes-admin", &[MASTERS, AUTHENTICATED]));
    let who = |certificate: Option<&Identity>, authorization: &str| {
        let headers = headers(&[("authorization", authorization)]);
        bench
            .authenticator
            .identify(certificate, &headers, "/api")
            .map(|user| user.user)
            .map_err(|status| status.code)
    };
    assert_eq!(who(Some(&admin), "Bearer nonsense"), Ok("kubernetes-admin".into()));
    assert_eq!(who(None, "Bearer nonsense"), Err(401));
    assert_eq!(who(None, "Basic dTpw"), Ok(ANONYMOUS.into()));
    assert_eq!(who(None, ""), Ok(ANONYMOUS.into()));
    let bound = Bound { name: "builder".into(), uid: "u".into() };
    let about =
        Private { namespace: "ci".into(), node: None, pod: None, secret: None, serviceaccount: bound };
    let (token, _) = bench.pki.accounts().issue(&[], 600, about).unwrap();
    assert_eq!(who(None, &format!("bearer {token}")), Ok("system:serviceaccount:ci:builder".into()));
}

#[test]
fn without_credentials_only_some_paths_are_open() {
    let bench = bench();
    let closed = Authenticator::new(bench.pki.accounts().clone(), false);
    let open = ["/healthz", "/livez", "/readyz", "/livez/ping", "/readyz/", "/version", "/version/"];
    let shut = ["/", "/api", "/apis/apps/v1", "/metrics", "/healthzzz", "/version/x", "/openapi/v3", "/nope"];
    let told = |authenticator: &Authenticator, path: &str, token: &str| {
        let outcome = authenticator.identify(None, &headers(&[("authorization", token)]), path);
        outcome.map(|user| user.user).map_err(|status| (status.code, status.message))
    };
    let unauthorized = Err((401, "Unauthorized".to_owned()));
    for path in open {
        assert_eq!(told(&closed, path, ""), Ok(ANONYMOUS.into()), "{path}");
        assert_eq!(told(&closed, path, "Bearer nonsense"), unauthorized, "{path}");
        assert!(closed.is_open(path) && !bench.authenticator.is_open(path), "{path}");
    }
    for path in shut {
        assert_eq!(told(&closed, path, ""), unauthorized, "{path}");
        assert_eq!(told(&closed, path, "Basic dTpw"), unauthorized, "{path}");
        assert_eq!(told(&bench.authenticator, path, ""), Ok(ANONYMOUS.into()), "{path}");
        assert!(!closed.is_open(path), "{path}");
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
    let bob = bench.authenticator.identify(Some(&admin), &as_bob, "/api").unwrap();
    assert_eq!((bob.user.as_str(), bob.groups), ("bob", vec!["devs".to_owned(), AUTHENTICATED.into()]));
    assert_eq!(bob.extra["acme.example/team"], ["red"]);

    let account = headers(&[("impersonate-user", "system:serviceaccount:ci:builder")]);
    let account = bench.authenticator.identify(Some(&admin), &account, "/api").unwrap();
    assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:ci", AUTHENTICATED]);

    let nobody = bench.authenticator.identify(None, &as_bob, "/api").unwrap_err();
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
    let user = certified(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    assert_eq!(user, Identity::new("system:node:n1", &[node::NODES, AUTHENTICATED]));
    assert_eq!(node::node_of(&user), Some("n1"));
}

#[test]
fn nodes_do_not_enter_containers_or_collect_secrets() {
    let node = Identity::new("system:node:n1", &[node::NODES, AUTHENTICATED]);
    let may = |method: &str, path: &str| {
        let request = authorize::attributes(&method.parse().unwrap(), path, "");
        authorize::authorize(&node, &request).is_ok()
    };
    assert!(may("GET", "/api/v1/pods") && may("GET", "/api/v1/namespaces/a/secrets/s"));
    assert!(!may("POST", "/api/v1/namespaces/a/pods/x/exec"));
    assert!(!may("GET", "/api/v1/namespaces/a/pods/x/attach"));
    assert!(!may("GET", "/api/v1/namespaces/a/secrets") && !may("GET", "/api/v1/secrets"));
}

#[test]
fn the_issuers_documents_are_served_as_what_they_are() {
    let bench = bench();
    let ask = |path: &str, accept: &str| {
        let answer = oidc::answer(path, &headers(&[("accept", accept)]), bench.pki.accounts())?;
        Some(answer.map(|response| response.headers()["content-type"].clone()).map_err(|status| status.code))
    };
    assert_eq!(ask(oidc::CONFIGURATION, "application/json").unwrap().unwrap(), "application/json");
    assert_eq!(ask(oidc::KEYS, "application/json"), Some(Err(406)));
    assert_eq!(ask(oidc::KEYS, "*/*").unwrap().unwrap(), "application/jwk-set+json");
    assert!(ask("/openid", "*/*").is_none());
}

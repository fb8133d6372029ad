//! Who makes a request: a client certificate, a bearer token, or nothing.
//!
//! A credential that cannot be read refuses the request: if it were ignored, its bearer would come in as somebody else.

use std::sync::Arc;

use coracle_api::{Key, Kind, Status, kinds};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use rustls_pki_types::CertificateDer;

use super::lookup::Lookup;
use crate::http::connection::Peer;
use crate::http::path::Route;
use crate::identity::{ACCOUNTS, ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use crate::pki::token::{AccountTokens, Bound, Claims};

/// Tells who makes a request.
pub struct Authenticator {
    accounts: Arc<AccountTokens>,
    objects: Arc<dyn Lookup>,
    anonymous: bool,
}

impl Authenticator {
    /// Trusts what these tokens' maker made, as long as the objects that a token is bound to are there. Certificates are checked
    /// before, in TLS. `anonymous` lets everybody in as [`ANONYMOUS`]; without it only those who ask whether the server is well, and
    /// which it is.
    pub fn new(accounts: Arc<AccountTokens>, objects: Arc<dyn Lookup>, anonymous: bool) -> Authenticator {
        Authenticator { accounts, objects, anonymous }
    }

    /// The maker of the tokens that it trusts.
    pub fn accounts(&self) -> &AccountTokens {
        &self.accounts
    }

    /// Who asks, given the connection's certificate and the headers. A certificate beats a bad token; Basic authentication is not
    /// known and counts as nothing.
    ///
    /// # Errors
    /// 401 for credentials that are bad or cannot be read, and for none where they are needed.
    pub fn identify(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        route: Option<&Route>,
    ) -> Result<Arc<Identity>, Status> {
        let token = bearer(headers)?;
        match (peer, token) {
            (Peer::Unreadable, _) => Err(unauthorized()),
            (Peer::Known(user), _) => Ok(user.clone()),
            (Peer::Unknown, Some(token)) => self.account(token).map(Arc::new).ok_or_else(unauthorized),
            (Peer::Unknown, None) if self.anonymous || route.is_some_and(|route| self.is_open(route)) => {
                Ok(Identity::new(ANONYMOUS, &[UNAUTHENTICATED]).into())
            }
            (Peer::Unknown, None) => Err(unauthorized()),
        }
    }

    /// Whether anybody may read it where anonymous requests are not let in elsewhere: what load balancers and probes ask.
    pub fn is_open(&self, route: &Route) -> bool {
        matches!(route, Route::Health(..) | Route::Version) && !self.anonymous
    }

    fn account(&self, token: &str) -> Option<Identity> {
        let claims = self.accounts.check(token)?;
        self.is_alive(&claims).then(|| named(&claims))
    }

    /// Whether the account of a token and what the token is bound to are still there: the same ones, not namesakes. An
    /// object that is being deleted still counts.
    fn is_alive(&self, claims: &Claims) -> bool {
        let about = &claims.kubernetes;
        let is_there = |kind: &'static Kind, namespace: &str, bound: &Bound| {
            let found = self.objects.object(&Key::new(kind, namespace, bound.name.as_str()));
            let uid =
                found.and_then(|object| Some(object.value().ok()?["metadata"]["uid"].as_str()?.to_owned()));
            !bound.uid.is_empty() && uid.as_ref() == Some(&bound.uid)
        };
        let namespace = about.namespace.as_str();
        // A pod's token names the pod's node, too, but lives with the pod.
        let node = about.node.as_ref().filter(|_| about.pod.is_none());
        is_there(&kinds::SERVICE_ACCOUNT, namespace, &about.serviceaccount)
            && about.pod.as_ref().is_none_or(|pod| is_there(&kinds::POD, namespace, pod))
            && about.secret.as_ref().is_none_or(|secret| is_there(&kinds::SECRET, namespace, secret))
            && node.is_none_or(|node| is_there(&kinds::NODE, "", node))
    }
}

/// Whom a token names.
fn named(claims: &Claims) -> Identity {
    let about = &claims.kubernetes;
    let mut user = Identity::new(&claims.sub, &[ACCOUNTS]);
    user.groups.push(format!("{ACCOUNTS}:{}", about.namespace));
    user.groups.push(AUTHENTICATED.into());
    user.uid = about.serviceaccount.uid.clone();
    let mut extra = |name: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()]);
    };
    extra("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &about.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &about.node {
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    user
}

/// Whom a client certificate names: the common name is the user, the organisations are the groups. It must have been verified.
pub fn certified(certificate: &CertificateDer<'_>) -> Peer {
    subject(certificate).map_or(Peer::Unreadable, |user| Peer::Known(user.into()))
}

fn subject(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let mut names = subject.iter_common_name();
    let user = names.next()?.as_str().ok()?;
    let groups = subject.iter_organization().map(|group| group.as_str().ok()).collect::<Option<Vec<_>>>()?;
    // Of two names, programs choose differently.
    let clear = rest.is_empty() && !user.is_empty() && names.next().is_none();
    let mut user = Identity::new(user, &groups);
    user.groups.push(AUTHENTICATED.into());
    clear.then_some(user)
}

/// The token in `Authorization`, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(unauthorized());
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| unauthorized())?;
    // One blank is between them; after a second one upstream looks for no token either.
    let mut words = text.trim().split(' ');
    let scheme = words.next().unwrap_or_default();
    let token = words.next().filter(|token| !token.is_empty());
    Ok(token.filter(|_| scheme.eq_ignore_ascii_case("bearer")))
}

fn unauthorized() -> Status {
    Status::failure(401, "Unauthorized", "Unauthorized")
}

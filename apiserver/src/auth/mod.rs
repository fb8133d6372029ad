//! Who asks, and whether they may.
//!
//! ```text
//!  client certificate --+
//!  bearer token --------+--> Identity --impersonation--> Identity --authorize--> 403, or go on
//!  nothing -------------+      (bad token: 401; nothing: 401 too, unless anonymous requests are let in)
//! ```

pub mod authorize;
pub mod node;
pub mod oidc;

use std::sync::Arc;

use coracle_api::Status;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use rustls_pki_types::CertificateDer;

use crate::identity::Identity;
use crate::pki::token::AccountTokens;
use authorize::Attributes;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of all who are known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The user without a name.
pub const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of all service accounts.
pub const ACCOUNTS: &str = "system:serviceaccounts";

/// Tells who makes a request.
pub struct Authenticator {
    accounts: Arc<AccountTokens>,
    anonymous: bool,
}

impl Authenticator {
    /// Trusts what these tokens' maker made. Certificates are checked before, in TLS. `anonymous` lets everybody in as
    /// [`ANONYMOUS`]; without it only those who ask whether the server is well, and which it is.
    pub fn new(accounts: Arc<AccountTokens>, anonymous: bool) -> Authenticator {
        Authenticator { accounts, anonymous }
    }

    /// The maker of the tokens that it trusts.
    pub fn accounts(&self) -> &AccountTokens {
        &self.accounts
    }

    /// Who asks for a path, given the connection's verified client certificate, if it has one, and the headers. A certificate beats
    /// a bad token; Basic authentication is not known and counts as nothing.
    ///
    /// # Errors
    /// 401 for a bad bearer token, and for no credentials where they are needed; 403 for impersonation by somebody who may not.
    pub fn identify(
        &self,
        certificate: Option<&Identity>,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Identity, Status> {
        let user = match (certificate, bearer(headers)) {
            (Some(user), _) => user.clone(),
            (None, Some(token)) => self.account(token).ok_or_else(unauthorized)?,
            (None, None) if self.anonymous || self.is_open(path) => {
                Identity::new(ANONYMOUS, &[UNAUTHENTICATED])
            }
            (None, None) => return Err(unauthorized()),
        };
        impersonate(user, headers)
    }

    /// Whether anybody may read it where anonymous requests are not let in elsewhere: what load balancers and probes ask.
    pub fn is_open(&self, path: &str) -> bool {
        let below = |root: &str| {
            path.strip_prefix(root).is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'/', ..]))
        };
        let open = ["/healthz", "/livez", "/readyz"].into_iter().any(below)
            || ["/version", "/version/"].contains(&path);
        open && !self.anonymous
    }

    fn account(&self, token: &str) -> Option<Identity> {
        let claims = self.accounts.check(token)?;
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
        Some(user)
    }
}

/// Whom a client certificate names: the common name is the user, the organisations are the groups. It must have been verified.
pub fn certified(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    let mut user = Identity::new(user, &groups.collect::<Vec<_>>());
    user.groups.push(AUTHENTICATED.into());
    Some(user)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn unauthorized() -> Status {
    Status::failure(401, "Unauthorized", "Unauthorized")
}

/// Makes a master somebody else for one request, as the `Impersonate-` headers say.
fn impersonate(user: Identity, headers: &HeaderMap) -> Result<Identity, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let name = text("impersonate-user");
    let uid = text("impersonate-uid");
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let extra: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(header, value)| {
            let field = header.as_str().strip_prefix("impersonate-extra-")?;
            Some((authorize::decode(field), value.to_str().ok()?.to_owned()))
        })
        .collect();
    if name.is_empty() {
        if uid.is_empty() && groups.is_empty() && extra.is_empty() {
            return Ok(user);
        }
        return Err(Status::internal("requested impersonation of a uid, group or extra without a user"));
    }
    if !user.is_in(MASTERS) {
        let request = impersonation(&name);
        return authorize::authorize(&user, &request).map(|()| user);
    }
    let mut other = Identity { user: name, uid, groups, impersonated: true, ..Identity::default() };
    for (field, value) in extra {
        other.extra.entry(field).or_default().push(value);
    }
    if let Some((namespace, _)) =
        other.user.strip_prefix("system:serviceaccount:").and_then(|n| n.split_once(':'))
        && other.groups.is_empty()
    {
        other.groups = vec![ACCOUNTS.into(), format!("{ACCOUNTS}:{namespace}")];
    }
    let group = if other.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !other.is_in(group) && !other.is_in(UNAUTHENTICATED) {
        other.groups.push(group.into());
    }
    Ok(other)
}

/// The right that impersonation needs.
fn impersonation(name: &str) -> Attributes {
    let account = name.strip_prefix("system:serviceaccount:").and_then(|n| n.split_once(':'));
    let (resource, namespace, name) = match account {
        Some((namespace, name)) => ("serviceaccounts", namespace, name),
        None => ("users", "", name),
    };
    Attributes {
        verb: "impersonate".into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

#[cfg(test)]
mod tests;

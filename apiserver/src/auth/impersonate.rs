//! Asking in somebody else's name, as the `Impersonate-` headers say.
//!
//! A header that cannot be read, that is empty, that comes twice or that nobody knows refuses the request. If it were
//! ignored, the request would run with all the rights of a caller who asked for fewer.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use coracle_api::Status;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::attributes::Attributes;
use crate::identity::{ACCOUNTS, ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED, account_of};

const PREFIX: &str = "impersonate-";
const EXTRA: &str = "impersonate-extra-";
/// Where the rights to uids and extra fields are granted.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Whom a request wants to be, and which rights that needs.
pub struct Wish {
    /// The user to become.
    pub user: Identity,
    /// What the one who asks must be allowed.
    pub needs: Vec<Attributes>,
}

/// Whether a header is one of these.
pub fn is_meant(name: &HeaderName) -> bool {
    name.as_str().starts_with(PREFIX)
}

/// Reads the headers. `None`: nobody is impersonated.
///
/// # Errors
/// 400 for headers that cannot be read; 500, as upstream, for a group, uid or extra field without a user.
pub fn read(headers: &HeaderMap) -> Result<Option<Wish>, Status> {
    let mut given = Given::default();
    for (name, value) in headers {
        if name.as_str().starts_with(PREFIX) {
            given.take(name, value)?;
        }
    }
    if given.user.is_none() && given.uid.is_none() && given.groups.is_empty() && given.extra.is_empty() {
        return Ok(None);
    }
    let Some(user) = given.user.clone() else {
        return Err(Status::internal("requested impersonation of a uid, group or extra without a user"));
    };
    let needs = needs(&user, &given);
    Ok(Some(Wish { user: become_user(user, given), needs }))
}

#[derive(Default)]
struct Given {
    user: Option<String>,
    uid: Option<String>,
    groups: Vec<String>,
    extra: Vec<(String, String)>,
}

impl Given {
    fn take(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Status> {
        let header = name.as_str();
        let bad = |why: &str| Status::bad_request(format!("the header {header} {why}"));
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("is not UTF-8"))?.to_owned();
        if text.is_empty() {
            return Err(bad("is empty"));
        }
        match header {
            "impersonate-user" if self.user.is_none() => self.user = Some(text),
            "impersonate-uid" if self.uid.is_none() => self.uid = Some(text),
            "impersonate-user" | "impersonate-uid" => return Err(bad("is given twice")),
            "impersonate-group" => self.groups.push(text),
            _ => {
                let field = header.strip_prefix(EXTRA).ok_or_else(|| bad("is not known"))?;
                let field = decode(field).filter(|field| !field.is_empty());
                self.extra.push((field.ok_or_else(|| bad("names no field"))?, text));
            }
        }
        Ok(())
    }
}

/// Header names cannot hold every character, so the names of extra fields are percent-encoded in them.
fn decode(field: &str) -> Option<String> {
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        out.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            byte => byte,
        });
    }
    Some(String::from_utf8(out).ok()?.to_lowercase())
}

fn become_user(user: String, given: Given) -> Identity {
    let uid = given.uid.unwrap_or_default();
    let mut other = Identity { user, uid, groups: given.groups, impersonated: true, ..Identity::default() };
    for (field, value) in given.extra {
        other.extra.entry(field).or_default().push(value);
    }
    if other.groups.is_empty()
        && let Some((namespace, _)) = account_of(&other.user)
    {
        other.groups = vec![ACCOUNTS.into(), format!("{ACCOUNTS}:{namespace}")];
    }
    let group = if other.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !other.is_in(group) && !other.is_in(UNAUTHENTICATED) {
        other.groups.push(group.into());
    }
    other
}

/// The rights that a wish needs, in upstream's order.
fn needs(user: &str, given: &Given) -> Vec<Attributes> {
    let to = |group: &str, resource: &str, sub: &str, namespace: &str, name: &str| Attributes {
        verb: "impersonate".into(),
        group: group.into(),
        resource: resource.into(),
        subresource: sub.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    };
    let mut needs = vec![match account_of(user) {
        Some((namespace, name)) => to("", "serviceaccounts", "", namespace, name),
        None => to("", "users", "", "", user),
    }];
    needs.extend(given.groups.iter().map(|group| to("", "groups", "", "", group)));
    needs.extend(given.extra.iter().map(|(field, value)| to(AUTHENTICATION, "userextras", field, "", value)));
    needs.extend(given.uid.iter().map(|uid| to(AUTHENTICATION, "uids", "", "", uid)));
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(pairs: &[(&'static str, &[u8])]) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let wish = read(&headers).map_err(|status| status.code)?;
        Ok(wish.map_or_else(String::new, |wish| {
            let needs = wish.needs.iter().map(|need| format!("{} {}", need.full_resource(), need.name));
            format!(
                "{} {:?} needs {}",
                wish.user.user,
                wish.user.groups,
                needs.collect::<Vec<_>>().join(", ")
            )
        }))
    }

    #[test]
    fn what_cannot_be_read_refuses_the_request() {
        let bob: (&str, &[u8]) = ("impersonate-user", b"bob");
        let refused: [(&str, &[(&'static str, &[u8])]); 13] = [
            ("not UTF-8", &[("impersonate-user", b"b\xf6b")]),
            ("empty", &[("impersonate-user", b"")]),
            ("twice", &[bob, ("impersonate-user", b"eve")]),
            ("twice the same", &[bob, bob]),
            ("a uid twice", &[bob, ("impersonate-uid", b"1"), ("impersonate-uid", b"2")]),
            ("an empty uid", &[bob, ("impersonate-uid", b"")]),
            ("an empty group", &[bob, ("impersonate-group", b"")]),
            ("a group that is no text", &[bob, ("impersonate-group", b"\xff")]),
            ("an extra field that is no text", &[bob, ("impersonate-extra-a", b"\xff")]),
            ("an extra field without a name", &[bob, ("impersonate-extra-", b"x")]),
            ("an extra field with a broken name", &[bob, ("impersonate-extra-a%2", b"x")]),
            ("an unknown header", &[bob, ("impersonate-groups", b"x")]),
            ("an unknown header alone", &[("impersonate-role", b"x")]),
        ];
        for (name, headers) in refused {
            assert_eq!(outcome(headers), Err(400), "case: {name}");
        }
        assert_eq!(outcome(&[("impersonate-group", b"g")]), Err(500));
    }

    #[test]
    fn each_part_of_a_wish_needs_a_right() {
        assert_eq!(outcome(&[("x-impersonate-user", b"bob")]), Ok(String::new()));
        let cases: [(&[(&'static str, &[u8])], &str); 4] = [
            (&[("impersonate-user", b"bob")], r#"bob ["system:authenticated"] needs users bob"#),
            // A name may hold any characters.
            (&[("impersonate-user", "bö".as_bytes())], r#"bö ["system:authenticated"] needs users bö"#),
            (
                &[("impersonate-user", b"system:serviceaccount:ci:b")],
                r#"system:serviceaccount:ci:b ["system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"] needs serviceaccounts b"#,
            ),
            (
                &[
                    ("impersonate-user", b"bob"),
                    ("impersonate-uid", b"7"),
                    ("impersonate-group", b"g"),
                    ("impersonate-extra-acme.example%2fteam", b"red"),
                ],
                r#"bob ["g", "system:authenticated"] needs users bob, groups g, userextras/acme.example/team red, uids 7"#,
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(outcome(headers), Ok(expected.to_owned()));
        }
    }
}

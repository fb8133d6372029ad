//! Who may do what: the one place where it is decided. Until RBAC comes, the rule is that of a cluster in which nobody has been granted
//! anything: members of `system:masters` and the cluster's own components may do everything, a node what `node.rs` lists, and
//! everybody what is open to all: paths such as `/version`, and for those who are known the question who they are.

use std::sync::Arc;

use coracle_api::Status;
use coracle_api::status::Details;
use http::HeaderMap;

use super::attributes::Attributes;
use super::impersonate;
use super::lookup::Lookup;
use super::node::NodeRules;
use crate::http::path::{ISSUER_CONFIGURATION, ISSUER_KEYS};
use crate::identity::{ACCOUNTS, ANONYMOUS, AUTHENTICATED, BOOTSTRAPPERS, Identity, MASTERS};

/// Decides on rights. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer {
    nodes: Arc<NodeRules>,
}

/// What is decided; a refusal may say more than that nothing allows it.
enum Decision {
    Allowed,
    Refused(Option<String>),
}

impl From<bool> for Decision {
    fn from(allowed: bool) -> Decision {
        if allowed { Decision::Allowed } else { Decision::Refused(None) }
    }
}

impl Authorizer {
    /// Decides by what is stored.
    pub fn new(objects: Arc<dyn Lookup>) -> Authorizer {
        Authorizer { nodes: Arc::new(NodeRules::new(objects)) }
    }

    /// Whether a user may do something. Every face asks this before anything else happens.
    ///
    /// # Errors
    /// 403, with upstream's text.
    pub fn may(&self, user: &Identity, attributes: &Attributes) -> Result<(), Status> {
        match self.decide(user, attributes) {
            Decision::Allowed => Ok(()),
            Decision::Refused(why) => Err(forbidden(user, attributes, why.as_deref())),
        }
    }

    /// Who asks, once the `Impersonate-` headers have been followed.
    ///
    /// # Errors
    /// 400 for headers that cannot be read; 403 where the user may not be somebody else.
    pub fn impersonate(&self, user: Arc<Identity>, headers: &HeaderMap) -> Result<Arc<Identity>, Status> {
        let Some(wish) = impersonate::read(headers)? else { return Ok(user) };
        wish.needs.iter().try_for_each(|need| self.may(&user, need))?;
        Ok(wish.user.into())
    }

    fn decide(&self, user: &Identity, attributes: &Attributes) -> Decision {
        if user.is_in(MASTERS) || user.is_component() {
            return Decision::Allowed;
        }
        if attributes.resource.is_empty() {
            return (attributes.verb == "get" && is_open_path(user, &attributes.path)).into();
        }
        if may_everybody(user, attributes) {
            return Decision::Allowed;
        }
        match user.node() {
            Some(node) => match self.nodes.may(node, attributes) {
                Ok(()) => Decision::Allowed,
                Err(why) => Decision::Refused(why),
            },
            None => Decision::Refused(None),
        }
    }
}

/// What all who are known may ask about themselves (upstream's `system:basic-user`), and how a new node comes to its certificate.
fn may_everybody(user: &Identity, attributes: &Attributes) -> bool {
    let reviews = ["selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    let of_oneself = user.is_in(AUTHENTICATED) && reviews.contains(&attributes.resource.as_str());
    let to_join =
        user.is_in(BOOTSTRAPPERS) && attributes.full_resource() == "certificatesigningrequests/nodeclient";
    attributes.verb == "create" && (of_oneself || to_join)
}

/// Upstream's `system:public-info-viewer` for everybody, `system:discovery` for those who are known.
fn is_open_path(user: &Identity, path: &str) -> bool {
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = ["/api", "/apis", "/openapi"];
    let below = |root: &&str| path == *root || path.strip_prefix(*root).is_some_and(|p| p.starts_with('/'));
    let tokens = user.is_in(ACCOUNTS) && [ISSUER_CONFIGURATION, ISSUER_KEYS].contains(&path);
    tokens || public.contains(&path) || (user.user != ANONYMOUS && discovery.iter().any(below))
}

fn forbidden(user: &Identity, attributes: &Attributes, reason: Option<&str>) -> Status {
    if attributes.resource.is_empty() {
        let why =
            format!("forbidden: User {:?} cannot {} path {:?}", user.user, attributes.verb, attributes.path);
        return Status::failure(403, "Forbidden", why).with_details(Details::default());
    }
    let mut why = cannot(&user.user, attributes);
    if let Some(reason) = reason {
        why = format!("{why}: {reason}");
    }
    let qualified = if attributes.group.is_empty() {
        attributes.resource.clone()
    } else {
        format!("{}.{}", attributes.resource, attributes.group)
    };
    let named = if attributes.name.is_empty() { String::new() } else { format!(" {:?}", attributes.name) };
    let details = Details {
        name: attributes.name.clone(),
        group: attributes.group.clone(),
        kind: attributes.resource.clone(),
        ..Details::default()
    };
    Status::failure(403, "Forbidden", format!("{qualified}{named} is forbidden: {why}")).with_details(details)
}

/// `User "bob" cannot list resource "pods" in API group "" in the namespace "a"`.
fn cannot(user: &str, attributes: &Attributes) -> String {
    let scope = match attributes.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let (verb, resource, group) = (&attributes.verb, attributes.full_resource(), &attributes.group);
    format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}")
}

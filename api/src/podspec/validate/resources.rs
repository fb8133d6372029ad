//! What containers and pods ask for: names of resources, amounts, and claims.

use std::collections::{BTreeSet, HashSet};

use super::context::Context;
use crate::field::{Errors, Fault, Field};
use crate::internal;
use crate::names::{self, is_one_of};
use crate::podspec::resources::of_containers;
use crate::quantity::Quantity;
use crate::validate::rules::{Rule::*, check};

/// Resources that have a name of their own, beside those that come in whole pieces. Others have a domain.
const STANDARD: &str = "cpu memory ephemeral-storage requests.cpu requests.memory requests.ephemeral-storage limits.cpu \
    limits.memory limits.ephemeral-storage storage requests.storage";

/// Resources that come in whole pieces.
const COUNTED: &str = "pods resourcequotas services replicationcontrollers secrets configmaps persistentvolumeclaims \
    services.nodeports services.loadbalancers";

fn is_huge_page(resource: &str) -> bool {
    resource.starts_with("hugepages-")
}

fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

/// Whether a resource is one that nodes advertise under a domain of their own.
fn is_extended(resource: &str) -> bool {
    !is_native(resource)
        && !resource.starts_with("requests.")
        && names::qualified_name(&format!("requests.{resource}")).is_empty()
}

fn may_overcommit(resource: &str) -> bool {
    is_native(resource) && !is_huge_page(resource)
}

/// The rule that every resource's name follows; whether it is right so far.
fn name(field: &Field, resource: &str, errors: &mut Errors) -> bool {
    let problems = names::qualified_name(resource);
    let right = problems.is_empty();
    errors.all_invalid(field, resource, problems);
    let standard = is_one_of(resource, STANDARD) || is_one_of(resource, COUNTED);
    let known = resource.contains('/') || standard || is_huge_page(resource);
    if right && !known {
        errors.invalid(field, resource, "must be a standard resource type or fully qualified");
    }
    right && known
}

fn container_name(field: &Field, resource: &str, errors: &mut Errors) {
    name(field, resource, errors);
    if !resource.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&resource) && !is_huge_page(resource) {
            errors.invalid(field, resource, "must be a standard resource for containers");
        }
    } else if !is_native(resource) && !is_extended(resource) {
        errors.invalid(field, resource, "doesn't follow extended resource name standard");
    }
}

fn pod_name(field: &Field, resource: &str, errors: &mut Errors) {
    let supported = ["cpu", "memory"].contains(&resource) || is_huge_page(resource);
    if name(field, resource, errors) && !supported {
        errors.not_supported(field, resource, "cpu hugepages- memory");
    }
}

/// An amount of a resource: not negative, and whole where it comes in pieces.
pub fn amount(field: &Field, resource: &str, errors: &mut Errors) {
    let Some(quantity) = Quantity::from_json(field.value) else { return };
    if quantity.is_negative() {
        errors.invalid(field, quantity.to_string(), "must be greater than or equal to 0");
    }
    let counted = is_one_of(resource, COUNTED) || is_extended(resource);
    if counted && quantity.milli_value() % 1000 != 0 {
        errors.invalid(field, quantity.to_string(), "must be an integer");
    }
}

fn huge_page_multiple(field: &Field, resource: &str, errors: &mut Errors) {
    let size = resource.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    let Some(quantity) = Quantity::from_json(field.value) else { return };
    let size = size.map_or(0, |size| size.value());
    if size <= 0 || quantity.value() % size != 0 {
        let detail = format!("{quantity} is not positive integer multiple of {resource}");
        errors.invalid(field, quantity.to_string(), &detail);
    }
}

/// `resources` of a container.
pub fn of_container(resources: &Field, context: &Context, errors: &mut Errors) {
    requirements(resources, container_name, errors);
    claim_names(&resources.get("claims"), context, errors);
}

/// Limits are looked at first, then requests, each against its limit.
fn requirements(resources: &Field, name: fn(&Field, &str, &mut Errors), errors: &mut Errors) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (resource, limit) in limits.entries() {
        name(&limit, resource, errors);
        amount(&limit, resource, errors);
        if is_huge_page(resource) {
            huge_page_multiple(&limit, resource, errors);
        }
    }
    for (resource, request) in requests.entries() {
        name(&request, resource, errors);
        amount(&request, resource, errors);
        within_limit(&requests, &limits, resource, errors);
        if is_huge_page(resource) {
            huge_page_multiple(&request, resource, errors);
        }
    }
    let names: Vec<&str> =
        limits.entries().iter().chain(&requests.entries()).map(|(name, _)| *name).collect();
    let has_any = |names: &[&str], wanted: fn(&str) -> bool| names.iter().any(|name| wanted(name));
    if has_any(&names, is_huge_page) && !has_any(&names, |name| ["cpu", "memory"].contains(&name)) {
        errors.forbidden(resources, "HugePages require cpu or memory");
    }
}

fn within_limit(requests: &Field, limits: &Field, resource: &str, errors: &mut Errors) {
    let amount_in = |list: &Field| Quantity::from_json(list.raw(resource));
    let Some(request) = amount_in(requests) else { return };
    match amount_in(limits) {
        Some(limit) if request != limit && !may_overcommit(resource) => {
            let detail = format!("must be equal to {resource} limit of {limit}");
            errors.invalid(requests, request.to_string(), &detail);
        }
        Some(limit) if request > limit => {
            let detail = format!("must be less than or equal to {resource} limit of {limit}");
            errors.invalid(requests, request.to_string(), &detail);
        }
        None if !may_overcommit(resource) => {
            errors.required(limits, "Limit must be set for non overcommitable resources");
        }
        _ => {}
    }
}

/// What a runtime takes for itself. Upstream looks at it as the limits of a container, and its paths show that.
pub fn overhead(overhead: &Field, errors: &mut Errors) {
    let limits = serde_json::json!({"limits": overhead.value});
    requirements(&Field::new(overhead, &limits), container_name, errors);
}

/// `resources` of the pod as a whole: at least what its containers request, at most what each may use.
pub fn pod_level(spec: &Field, errors: &mut Errors) {
    let resources = spec.get("resources");
    if !resources.is_set() {
        return;
    }
    if resources.get("claims").is_set() {
        errors.forbidden(&resources.get("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(&resources, pod_name, errors);
    let requests = resources.get("requests");
    for (resource, wanted) in of_containers(spec.value, "requests") {
        let supported = ["cpu", "memory"].contains(&resource.as_str()) || is_huge_page(&resource);
        let own = Quantity::from_json(requests.raw(&resource)).unwrap_or(Quantity::ZERO);
        if supported && wanted > own {
            let detail = format!("must be greater than or equal to aggregate container requests of {wanted}");
            errors.invalid(&requests.key(&resource), own.to_string(), &detail);
        }
    }
    for container in spec.get("containers").items() {
        for (resource, limit) in container.get("resources").get("limits").entries() {
            let most = resources.raw("limits").get(resource).and_then(Quantity::from_json);
            let limit = Quantity::from_json(limit.value);
            if let Some((limit, most)) = limit.zip(most).filter(|(limit, most)| limit > most) {
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.invalid(&container.key(resource).child("limits"), limit.to_string(), &detail);
            }
        }
    }
}

/// `resourceClaims` of the pod: named once, and from exactly one source.
pub fn claims(claims: &Field, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for claim in claims.items() {
        let name = claim.get("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else if taken.insert(name.text()) {
            Name(names::dns_label).check(&name, errors);
        } else {
            errors.duplicate(&name, name.text());
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let detail = match claim.among(&sources).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        };
        if !detail.is_empty() {
            errors.invalid(&claim, internal::show("PodResourceClaim", claim.value), detail);
        }
        let table = [("*resourceClaimName *resourceClaimTemplateName", Name(names::dns_subdomain))];
        check(&claim, &table, errors);
    }
}

/// The claims that a container uses must be the pod's, and may overlap nowhere.
fn claim_names(claims: &Field, context: &Context, errors: &mut Errors) {
    let mut taken: HashSet<String> = HashSet::new();
    // The claims of which a part is taken.
    let mut in_part: HashSet<&str> = HashSet::new();
    for claim in claims.items() {
        let (name, request) = (claim.str("name"), claim.get("request"));
        if name.is_empty() {
            errors.required(&claim, "");
            continue;
        }
        if taken.contains(name) {
            errors.duplicate(&claim, name);
        } else if request.is_empty() {
            if in_part.contains(name) {
                errors.duplicate(&claim, name);
            }
            taken.insert(name.to_owned());
        } else {
            Name(names::dns_label).check(&request, errors);
            let key = format!("{name}/{}", request.text());
            if taken.contains(&key) {
                errors.duplicate(&claim, key.clone());
            }
            in_part.insert(name);
            taken.insert(key);
        }
        if !context.claims.contains(name) && !errors.is_full() {
            let names = context.claims.iter().copied().collect::<Vec<_>>().join(", ");
            let which = if names.is_empty() { " which is empty".into() } else { format!(": {names}") };
            let body =
                format!("Not found: {name:?}: must be one of the names in pod.spec.resourceClaims{which}");
            errors.other(&claim, Fault::NotFound, body);
        }
    }
}

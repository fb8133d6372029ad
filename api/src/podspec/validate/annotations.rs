//! Annotations that mean something to pods, most of them older than the field that replaced them.

use std::collections::HashSet;

use serde_json::Value;

use super::paths::descending_path;
use super::scheduling;
use crate::document::json;
use crate::field::{Errors, Field};
use crate::podspec::visit_containers;

const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The annotation that once said which seccomp profile a pod gets.
pub(crate) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// The same for one container, in front of its name.
pub(crate) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// The annotation that says which AppArmor profile a container gets, in front of the container's name.
pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The rules for the annotations of a pod or a template.
pub fn annotations(annotations: &Field, spec: &Field, errors: &mut Errors) {
    let mirror = annotations.get(MIRROR);
    if mirror.is_set() && !spec.has("nodeName") {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&annotations.key(MIRROR), mirror.text(), detail);
    }
    tolerations_in(annotations, errors);
    let cost = annotations.get(DELETION_COST);
    if cost.is_set() && !is_deletion_cost(cost.text()) {
        errors.invalid(&annotations.key(DELETION_COST), cost.text(), "must be a 32bit integer");
    }
    let pod = annotations.get(SECCOMP_POD);
    if pod.is_set() {
        seccomp_profile(&pod, errors);
    }
    for (key, value) in annotations.entries() {
        if key.starts_with(SECCOMP_CONTAINER) {
            seccomp_profile(&Field::new(&annotations.child(key), value.value), errors);
        }
    }
    let mut containers: HashSet<String> = HashSet::new();
    visit_containers(spec, |container| containers.extend([container.str("name").to_owned()]));
    for (key, value) in annotations.entries() {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        if !containers.contains(container) {
            errors.invalid(&value, container, "container not found");
        }
        if !is_app_armor_profile(value.text()) {
            errors.wrong(&value, &format!("invalid AppArmor profile name: {:?}", value.text()));
        }
    }
}

/// Tolerations used to be set by an annotation, as JSON.
fn tolerations_in(annotations: &Field, errors: &mut Errors) {
    let text = annotations.str(TOLERATIONS);
    if text.is_empty() {
        return;
    }
    match json::parse(text) {
        Ok(list) => {
            let list = list.into_value();
            scheduling::tolerations(&Field::new(&annotations.child(TOLERATIONS), &list), errors);
        }
        Err(fault) => errors.invalid(annotations, TOLERATIONS, &fault.to_string()),
    }
}

/// A number of 32 bits, written in the one way that it prints.
fn is_deletion_cost(text: &str) -> bool {
    text.parse::<i32>().is_ok_and(|number| number.to_string() == text)
}

fn seccomp_profile(profile: &Field, errors: &mut Errors) {
    match profile.text() {
        "runtime/default" | "docker/default" | "unconfined" => {}
        text => match text.strip_prefix("localhost/") {
            Some(path) => descending_path(&Field::new(profile, &Value::from(path)), errors),
            None => errors.invalid(profile, text, "must be a valid seccomp profile"),
        },
    }
}

fn is_app_armor_profile(text: &str) -> bool {
    ["", "runtime/default", "unconfined"].contains(&text) || text.starts_with("localhost/")
}

/// Where an annotation and its field are both there, they must say the same.
pub fn match_fields(annotations: &Value, spec: &Field, errors: &mut Errors) {
    seccomp_matches(annotations, spec, errors);
    if spec.get("os").str("name") == "windows" {
        return;
    }
    let of_pod = spec.raw("securityContext").get("appArmorProfile");
    visit_containers(spec, |container| {
        let key = format!("{APP_ARMOR}{}", container.str("name"));
        let Some(annotation) = annotations.get(&key).and_then(Value::as_str) else { return };
        let Some(profile) = container.raw("securityContext").get("appArmorProfile").or(of_pod) else {
            return;
        };
        let context = container.child("securityContext");
        same_profile(annotation, &Field::new(&context.child("appArmorProfile"), profile), "apparmor", errors);
    });
}

fn seccomp_matches(annotations: &Value, spec: &Field, errors: &mut Errors) {
    let mut check = |owner: &Field, key: &str| {
        let annotation = annotations.get(key).and_then(Value::as_str);
        let context = owner.get("securityContext");
        let profile = context.get("seccompProfile");
        if let Some(annotation) = annotation.filter(|_| profile.is_set()) {
            same_profile(annotation, &profile, "seccomp", errors);
        }
    };
    check(spec, SECCOMP_POD);
    visit_containers(spec, |container| {
        check(container, &format!("{SECCOMP_CONTAINER}{}", container.str("name")));
    });
}

fn same_profile(annotation: &str, profile: &Field, of: &str, errors: &mut Errors) {
    let docker = of == "seccomp" && annotation == "docker/default";
    let same_type = match profile.str("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || docker,
        "Localhost" => annotation.starts_with("localhost/"),
        _ => true,
    };
    let local = profile.get("localhostProfile");
    if !same_type {
        let detail = format!("{of} type in annotation and field must match");
        errors.forbidden(&profile.get("type"), &detail);
    } else if profile.str("type") == "Localhost"
        && (!local.is_set() || annotation.strip_prefix("localhost/") != Some(local.text()))
    {
        errors.forbidden(&local, &format!("{of} profile in annotation and field must match"));
    }
}

/// Some annotations stay as they were when the pod was made.
pub fn annotation_updates(new: &Value, old: &Value, errors: &mut Errors) {
    let (new_meta, old_meta) = (Field::top(new, "metadata"), Field::top(old, "metadata"));
    let (now, before) = (new_meta.get("annotations"), old_meta.get("annotations"));
    let mut frozen = |key: &str, at: &Field, how: &str| {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(at, &format!("may not {how} AppArmor annotations"));
        }
        if key == MIRROR {
            errors.forbidden(at, &format!("may not {how} mirror pod annotation"));
        }
    };
    for (key, value) in before.entries().iter().filter(|(key, value)| now.raw(key) != value.value) {
        frozen(key, value, "remove or update");
    }
    for (key, value) in now.entries().iter().filter(|(key, _)| before.raw(key).is_null()) {
        frozen(key, value, "add");
    }
    annotations(&now, &Field::top(new, "spec"), errors);
}

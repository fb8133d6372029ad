//! Environment variables, and where their values come from.

use super::context::Context;
use super::downward::{VARIABLE_FIELDS, field_ref, resource_ref};
use super::paths::local_path;
use crate::field::{Errors, Field};
use crate::names::{config_key, dns_subdomain, env_var_name};
use crate::validate::rules::{Rule::*, check};

const ONE_SOURCE: &str = "may not have more than one field specified at a time";

/// `env`.
pub fn variables(variables: &Field, context: &Context, errors: &mut Errors) {
    for variable in variables.items() {
        check(&variable, &[("name", NeededName(env_var_name))], errors);
        let from = variable.get("valueFrom");
        if !from.is_set() {
            continue;
        }
        let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
        for source in from.among(&sources) {
            match source.path().name() {
                "fieldRef" => field_ref(&source, VARIABLE_FIELDS, errors),
                "resourceFieldRef" => resource_ref(&source, false, errors),
                "fileKeyRef" => file_ref(&source, context, errors),
                _ => {
                    check(&source, &[("name", Name(dns_subdomain)), ("key", NeededName(config_key))], errors)
                }
            }
        }
        let detail = match from.among(&sources).count() {
            0 => {
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            }
            _ if variable.has("value") => "may not be specified when `value` is not empty",
            1 => continue,
            _ => ONE_SOURCE,
        };
        errors.invalid(&from, "", detail);
    }
}

/// `envFrom`.
pub fn sources(sources: &Field, errors: &mut Errors) {
    for source in sources.items() {
        check(&source, &[("prefix?", Name(env_var_name))], errors);
        let kinds = ["configMapRef", "secretRef"];
        for reference in source.among(&kinds) {
            check(&reference, &[("name", NeededName(dns_subdomain))], errors);
        }
        // Upstream's paths leave out the index here.
        match source.among(&kinds).count() {
            0 => errors.invalid(sources, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(sources, "", ONE_SOURCE),
        }
    }
}

fn file_ref(reference: &Field, context: &Context, errors: &mut Errors) {
    check(reference, &[("key", NeededName(env_var_name)), ("volumeName", Needed)], errors);
    let volume = reference.get("volumeName");
    match context.volume(volume.text()) {
        _ if volume.is_empty() => {}
        None => errors.not_found(&volume, volume.text()),
        Some(source) if source.get("emptyDir").is_none() => {
            errors.wrong(&volume, "referenced volume must be of type emptyDir");
        }
        Some(_) => {}
    }
    check(reference, &[("path", Needed), ("path", Is(local_path))], errors);
}

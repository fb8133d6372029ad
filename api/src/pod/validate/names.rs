//! What a pod is called, and how it finds others by name.

use crate::field::{Errors, Field};
use crate::names;
use crate::validate::rules;

/// The most name servers that libc asks.
const SERVERS_MAX: usize = 3;
/// The most search domains.
const SEARCHES_MAX: usize = 32;
/// The most characters of all search domains together, with a blank between two.
const SEARCHES_CHARACTERS_MAX: usize = 2048;
/// The most characters of a host name.
const HOSTNAME_MAX: usize = 64;

/// The fields that are plain names, and the deadline that upstream checks among them.
pub fn names(spec: &Field, errors: &mut Errors) {
    for name in ["serviceAccountName", "nodeName"] {
        if spec.has(name) {
            rules::follows(&spec.get(name), names::dns_subdomain, errors);
        }
    }
    rules::in_range(&spec.get("activeDeadlineSeconds"), 1, i32::MAX.into(), errors);
    for name in ["hostname", "subdomain"] {
        if spec.has(name) {
            rules::follows(&spec.get(name), names::dns_label, errors);
        }
    }
    let host = spec.get("hostnameOverride");
    if host.is_set() {
        let problems = match host.text() {
            long if long.len() > HOSTNAME_MAX => {
                vec![format!("must be no more than {HOSTNAME_MAX} characters")]
            }
            name => names::dns_subdomain(name),
        };
        errors.all_invalid(&host, host.text(), problems);
        for other in ["hostNetwork", "setHostnameAsFQDN"] {
            if spec.is_true(other) {
                errors
                    .forbidden(&spec.get(other), "may not be specified when `hostnameOverride` is specified");
            }
        }
    }
}

/// Extra lines of `/etc/hosts`.
pub fn host_aliases(aliases: &Field, errors: &mut Errors) {
    for alias in aliases.items() {
        rules::follows(&alias.get("ip"), names::ip, errors);
        for name in alias.get("hostnames").items() {
            rules::follows(&name, names::dns_subdomain, errors);
        }
    }
}

/// What goes into `/etc/resolv.conf`; with the policy `None` nothing else does.
pub fn dns_config(config: &Field, policy: &str, errors: &mut Errors) {
    let (servers, searches) = (config.get("nameservers"), config.get("searches"));
    if policy == "None" {
        if !config.is_set() {
            return errors.required(config, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            return errors
                .required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.items().len() > SERVERS_MAX {
        let detail = format!("must not have more than {SERVERS_MAX} nameservers");
        errors.invalid(&servers, servers.value.clone(), &detail);
    }
    for server in servers.items() {
        rules::follows(&server, names::ip, errors);
    }
    if searches.items().len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.invalid(&searches, searches.value.clone(), &detail);
    }
    let characters: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if characters > SEARCHES_CHARACTERS_MAX + 1 {
        let detail = format!(
            "must not have more than {SEARCHES_CHARACTERS_MAX} characters (including spaces) in the search list"
        );
        errors.invalid(&searches, searches.value.clone(), &detail);
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let name = search.text().strip_suffix('.').unwrap_or(search.text());
        errors.all_invalid(&search, name, names::dns_subdomain_with_underscore(name));
    }
    for option in config.get("options").items() {
        if !option.has("name") {
            errors.required(&option, "must not be empty");
        }
    }
}

//! What a pod is called, and how it finds others by name.

use crate::field::{Errors, Field};
use crate::names;
use crate::validate::rules::{Rule::*, check};

/// The most name servers that libc asks.
const SERVERS_MAX: usize = 3;
/// The most search domains.
const SEARCHES_MAX: usize = 32;
/// The most characters of all search domains together, with a blank between two.
const SEARCHES_CHARACTERS_MAX: usize = 2048;
/// The most characters of a host name.
const HOSTNAME_MAX: usize = 64;

/// A host name of the pod's own choice.
pub fn hostname_override(spec: &Field, errors: &mut Errors) {
    let host = spec.get("hostnameOverride");
    if !host.is_set() {
        return;
    }
    if host.text().len() > HOSTNAME_MAX {
        errors.wrong(&host, &format!("must be no more than {HOSTNAME_MAX} characters"));
    } else {
        Name(names::dns_subdomain).check(&host, errors);
    }
    let never = Never("may not be specified when `hostnameOverride` is specified");
    check(spec, &[("hostNetwork? setHostnameAsFQDN?", never)], errors);
}

/// Extra lines of `/etc/hosts`.
pub fn host_aliases(aliases: &Field, errors: &mut Errors) {
    for alias in aliases.items() {
        check(&alias, &[("ip", Name(names::ip)), ("hostnames[]", Name(names::dns_subdomain))], errors);
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
        errors.wrong(&servers, &format!("must not have more than {SERVERS_MAX} nameservers"));
    }
    check(config, &[("nameservers[]", Name(names::ip))], errors);
    if searches.items().len() > SEARCHES_MAX {
        errors.wrong(&searches, &format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    let characters: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if characters > SEARCHES_CHARACTERS_MAX + 1 {
        let most = format!("{SEARCHES_CHARACTERS_MAX} characters (including spaces)");
        errors.wrong(&searches, &format!("must not have more than {most} in the search list"));
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

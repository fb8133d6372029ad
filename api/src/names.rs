//! What things may be called: upstream's rules for names, labels, keys and ports, with its texts.
//!
//! Each rule takes a string and answers with what is wrong with it: nothing, or one text for each fault.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation/validation.go` and `pkg/api/validation/name.go`.

use crate::addresses;

/// A rule for a string: one text for each fault.
pub type NameRule = fn(&str) -> Vec<String>;

/// The most characters of a DNS label.
pub const LABEL_MAX: usize = 63;
/// The most characters of a DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const UNDERSCORE_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const HEADER_TEXT: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const PERCENT_TEXT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
const ENV_TEXT: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// Whether a word is one of a list, which is words with blanks between them.
pub fn is_one_of(word: &str, list: &str) -> bool {
    list.split(' ').any(|other| other == word)
}

/// A digit or a lower-case letter.
pub fn is_digit_or_lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// `text` is not empty, starts and ends with `edge`, and has only `inner` between.
pub fn shaped(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last()).is_some_and(|(a, b)| edge(*a) && edge(*b));
    ends && bytes.iter().all(|c| edge(*c) || inner(*c))
}

fn is_label(text: &str) -> bool {
    shaped(text, is_digit_or_lower, |c| c == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified(text: &str) -> bool {
    shaped(text, |c| c.is_ascii_alphanumeric(), |c| b"-_.".contains(&c))
}

fn collect(faults: &[(bool, &str)]) -> Vec<String> {
    faults.iter().filter(|(wrong, _)| *wrong).map(|(_, text)| (*text).to_owned()).collect()
}

/// No longer than a subdomain, and shaped right; else `detail`.
fn subdomain_like(text: &str, right: bool, detail: &str) -> Vec<String> {
    collect(&[(text.len() > SUBDOMAIN_MAX, "must be no more than 253 characters"), (!right, detail)])
}

/// A DNS-1123 subdomain: most objects' names.
///
/// ```
/// use coracle_api::names::dns_subdomain;
/// assert!(dns_subdomain("web-0.example").is_empty());
/// assert_eq!(dns_subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
/// ```
pub fn dns_subdomain(text: &str) -> Vec<String> {
    subdomain_like(text, is_subdomain(text), SUBDOMAIN_TEXT)
}

/// A DNS subdomain whose parts may also hold underscores: search domains.
pub fn dns_subdomain_with_underscore(text: &str) -> Vec<String> {
    let part = |part: &str| {
        shaped(part.strip_prefix('_').unwrap_or(part), is_digit_or_lower, |c| b"-_".contains(&c))
    };
    subdomain_like(text, text.split('.').all(part), UNDERSCORE_TEXT)
}

/// `*.` and a DNS subdomain: wildcard hosts.
pub fn wildcard_dns_subdomain(text: &str) -> Vec<String> {
    subdomain_like(text, text.strip_prefix("*.").is_some_and(is_subdomain), WILDCARD_TEXT)
}

/// A DNS-1123 label: names of namespaces, containers and volumes.
pub fn dns_label(text: &str) -> Vec<String> {
    let wrong = !is_label(text);
    let dotted = wrong && is_subdomain(text);
    collect(&[
        (text.len() > LABEL_MAX, "must be no more than 63 characters"),
        (dotted, "must not contain dots"),
        (wrong && !dotted, LABEL_TEXT),
    ])
}

/// A DNS-1035 label, which does not start with a digit: names of services before 1.35's relaxation.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let right = is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    collect(&[(text.len() > LABEL_MAX, "must be no more than 63 characters"), (!right, DNS1035_TEXT)])
}

/// A name that fits into a URL as one segment: names of RBAC objects.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." => return vec!["may not be '.'".into()],
        ".." => return vec!["may not be '..'".into()],
        _ => {}
    }
    collect(&[(text.contains('/'), "may not contain '/'"), (text.contains('%'), "may not contain '%'")])
}

/// A key of a label: a name of at most 63 bytes, with an optional DNS prefix before a slash.
///
/// ```
/// use coracle_api::names::qualified_name;
/// assert!(qualified_name("app.kubernetes.io/Name").is_empty());
/// assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
/// ```
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        ["", name] => {
            faults.push("prefix part must be non-empty".to_owned());
            name
        }
        [prefix, name] => {
            let long = prefix.len() > SUBDOMAIN_MAX;
            faults.extend(collect(&[(long, "prefix part must be no more than 253 bytes")]));
            if !is_subdomain(prefix) {
                faults.push(format!("prefix part {SUBDOMAIN_TEXT}"));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    faults.extend(collect(&[
        (name.is_empty(), "name part must be non-empty"),
        (name.len() > LABEL_MAX, "name part must be no more than 63 bytes"),
    ]));
    if !is_qualified(name) {
        faults.push(format!("name part {QUALIFIED_TEXT}"));
    }
    faults
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    collect(&[
        (text.len() > LABEL_MAX, "must be no more than 63 bytes"),
        (!text.is_empty() && !is_qualified(text), LABEL_VALUE_TEXT),
    ])
}

/// A key of a ConfigMap or Secret, which becomes a file name.
pub fn config_key(text: &str) -> Vec<String> {
    let right = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    let mut faults = subdomain_like(text, right, CONFIG_KEY_TEXT);
    faults.extend(match text {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        _ if text.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    });
    faults
}

/// The name of an environment variable.
pub fn env_var_name(text: &str) -> Vec<String> {
    let right = !text.is_empty() && text.bytes().all(|c| (c.is_ascii_graphic() || c == b' ') && c != b'=');
    collect(&[(text.is_empty(), "environment variable name must be non-empty"), (!right, ENV_TEXT)])
}

/// The name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    let right = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    collect(&[(!right, HEADER_TEXT)])
}

/// `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    collect(&[(digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()), PERCENT_TEXT)])
}

/// The number of a port.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

/// A number between two others, both included.
pub fn in_range(value: i64, least: i64, most: i64) -> Vec<String> {
    if (least..=most).contains(&value) {
        vec![]
    } else {
        vec![format!("must be between {least} and {most}, inclusive")]
    }
}

/// The name of a port (RFC 6335), at most 15 characters.
pub fn port_name(text: &str) -> Vec<String> {
    collect(&[
        (text.len() > 15, "must be no more than 15 characters"),
        (
            !text.bytes().all(|c| is_digit_or_lower(c) || c == b'-') || text.is_empty(),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (!text.bytes().any(|c| c.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (text.contains("--"), "must not contain consecutive hyphens"),
        (text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen"),
    ])
}

/// An IPv4 or IPv6 address.
pub fn ip(text: &str) -> Vec<String> {
    let wrong = addresses::ip(text).is_none();
    collect(&[(wrong, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")])
}

/// A range of IPv4 or IPv6 addresses.
pub fn cidr(text: &str) -> Vec<String> {
    let wrong = addresses::cidr(text).is_none();
    collect(&[(wrong, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_texts() {
        let long = "a".repeat(64);
        let cases: &[(NameRule, &str, &[&str])] = &[
            (dns_subdomain, "a.b-c", &[]),
            (dns_subdomain, "a..b", &[SUBDOMAIN_TEXT]),
            (dns_label, "a.b", &["must not contain dots"]),
            (dns_label, "a_b", &[LABEL_TEXT]),
            (dns_label, &long, &["must be no more than 63 characters"]),
            (dns1035_label, "1a", &[DNS1035_TEXT]),
            (label_value, "", &[]),
            (label_value, &long, &["must be no more than 63 bytes"]),
            (config_key, "..a", &["must not start with '..'"]),
            (env_var_name, "A B!", &[]),
            (env_var_name, "A=B", &[ENV_TEXT]),
            (percent, "%", &[PERCENT_TEXT]),
            (path_segment, "a/b%", &["may not contain '/'", "may not contain '%'"]),
            (dns_subdomain_with_underscore, "_a._b-c", &[]),
            (wildcard_dns_subdomain, "*.a.b", &[]),
            (wildcard_dns_subdomain, "*.", &[WILDCARD_TEXT]),
            (ip, "300.1.1.1", &["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
            (port_name, "http", &[]),
            (cidr, "10.9.8.0/24", &[]),
            (cidr, "10.9.8.0/33", &["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]),
            (cidr, "10.9.8.0", &["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]),
        ];
        for (rule, text, expected) in cases {
            assert_eq!(rule(text), *expected, "case: {text}");
        }
        let all_wrong = port_name("----------------");
        assert_eq!(all_wrong.len(), 4, "{all_wrong:?}");
    }
}

//! `$(NAME)` in commands, arguments and values.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Replaces every `$(NAME)` that `lookup` knows; `$$` is a dollar. What is unknown or unclosed stays as it is.
///
/// Source: `k8s.io/kubernetes/third_party/forked/golang/expansion/expand.go`.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if let Some(after) = behind.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = behind.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..at + name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = behind;
        }
    }
    out.push_str(rest);
    out
}

/// The same, where every reference must lead to something.
///
/// # Errors
/// Which references do not, in upstream's words.
pub fn expand_all(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let missing = RefCell::new(BTreeSet::new());
    let expanded = expand(text, |name| {
        let value = lookup(name).filter(|value| !value.is_empty());
        if value.is_none() {
            missing.borrow_mut().insert(name.to_owned());
        }
        value
    });
    let missing = Vec::from_iter(missing.into_inner());
    if missing.is_empty() { Ok(expanded) } else { Err(format!("missing value for {}", missing.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "LOOP" => Some("$(A)".to_owned()),
            _ => None,
        };
        let cases = [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("[$(EMPTY)]", "[]"),
            ("$(NOPE)", "$(NOPE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$(", "$("),
            ("$()", "$()"),
            ("$(LOOP)", "$(A)"),
            ("ü$(A)ü", "ü1ü"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, lookup), expected, "text: {text}");
        }
        assert_eq!(expand_all("$(A)/x", lookup), Ok("1/x".into()));
        assert_eq!(expand_all("$(NO)/$(A)/$(EMPTY)", lookup), Err("missing value for EMPTY, NO".into()));
    }
}

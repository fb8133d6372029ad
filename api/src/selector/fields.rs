//! Field selectors: `metadata.name=x,spec.nodeName!=y`.
//!
//! Source: `k8s.io/apimachinery/pkg/fields/selector.go`, and the conversion functions for field labels of each group.

use serde_json::Value;

use crate::kind::Kind;

/// A condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// `metadata.name`.
    pub field: String,
    /// What the field must be, or must not be.
    pub value: String,
    /// `=`, or `!=`.
    pub equal: bool,
}

/// Conditions on fields that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<Term>);

impl FieldSelector {
    /// Reads the text of a selector, fields of any name.
    ///
    /// # Errors
    /// Upstream's text for what does not parse.
    pub fn parse(text: &str) -> Result<FieldSelector, String> {
        let mut parts = split(text);
        parts.sort_unstable();
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        parts.map(|part| term(text, part)).collect::<Result<_, _>>().map(FieldSelector)
    }

    /// Refuses fields that the kind does not offer.
    ///
    /// # Errors
    /// Upstream's text, which differs between kinds with fields of their own and those without.
    pub fn for_kind(self, kind: &Kind) -> Result<FieldSelector, String> {
        let known = |field: &str| {
            matches!(field, "metadata.name" | "metadata.namespace")
                || kind.selectable.iter().any(|selectable| selectable.field == field)
        };
        match self.0.iter().find(|term| !known(&term.field)) {
            None => Ok(self),
            Some(Term { field, .. }) if kind.selectable.is_empty() => Err(format!(
                "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            )),
            Some(Term { field, .. }) => Err(format!("field label not supported: {field}")),
        }
    }

    /// Whether an object of this kind is selected.
    pub fn matches(&self, kind: &Kind, object: &Value) -> bool {
        self.0.iter().all(|term| (read(kind, object, &term.field) == term.value) == term.equal)
    }

    /// The value that `field` must have, if the selector names one: a list by `metadata.name` need look at one object.
    pub fn requires(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
}

fn read(kind: &Kind, object: &Value, field: &str) -> String {
    match field {
        "metadata.name" => object["metadata"]["name"].as_str().unwrap_or_default().into(),
        "metadata.namespace" => object["metadata"]["namespace"].as_str().unwrap_or_default().into(),
        _ => kind.selectable.iter().find(|s| s.field == field).map(|s| s.value(object)).unwrap_or_default(),
    }
}

/// Cuts at commas that no backslash guards.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut guarded) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if guarded => guarded = false,
            '\\' => guarded = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn term(whole: &str, part: &str) -> Result<Term, String> {
    for (at, _) in part.char_indices() {
        for operator in ["!=", "==", "="] {
            if let Some(value) = part[at..].strip_prefix(operator) {
                let value = unescape(value)?;
                return Ok(Term { field: part[..at].into(), value, equal: operator != "!=" });
            }
        }
    }
    Err(format!("invalid selector: '{whole}'; can't understand '{part}'"))
}

fn unescape(value: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                other => {
                    let after = other.map(String::from).unwrap_or_default();
                    return Err(format!("invalid field selector: invalid escape sequence: \\{after}"));
                }
            },
            // Upstream prints the character as its number.
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {}", c as u32));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{CONFIG_MAP, EVENT, NODE, POD};
    use serde_json::json;

    #[test]
    fn fields_match_or_do_not() {
        let pod = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"hostNetwork": true}, "status": {"phase": "Running"}});
        let event =
            json!({"metadata": {"name": "e"}, "reportingComponent": "c", "source": {"component": ""}});
        let cases = [
            (&POD, &pod, "", true),
            (&POD, &pod, "metadata.name=a,status.phase!=Failed", true),
            (&POD, &pod, "spec.nodeName=", true),
            (&POD, &pod, "spec.hostNetwork=true", true),
            (&POD, &pod, "metadata.namespace==m", false),
            (&NODE, &pod, "spec.unschedulable=false", true),
            (&EVENT, &event, "source=c", true),
        ];
        for (kind, object, text, expected) in cases {
            let selector = FieldSelector::parse(text).unwrap().for_kind(kind).unwrap();
            assert_eq!(selector.matches(kind, object), expected, "case: {text}");
        }
    }

    #[test]
    fn what_does_not_parse_or_is_not_offered() {
        let parse = |text: &str, kind| FieldSelector::parse(text).and_then(|s| s.for_kind(kind)).unwrap_err();
        let cases = [
            ("metadata.name", &POD, "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
            ("spec.nope=1", &POD, "field label not supported: spec.nope"),
            (
                "spec.nope=1",
                &CONFIG_MAP,
                "\"spec.nope\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            ("metadata.name=a=b", &POD, "invalid field selector: unescaped character in value: 61"),
            ("metadata.name=a\\b", &POD, "invalid field selector: invalid escape sequence: \\b"),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(parse(text, kind), expected, "case: {text}");
        }
        assert_eq!(FieldSelector::parse("a=b\\,c").unwrap().requires("a"), Some("b,c"));
    }
}

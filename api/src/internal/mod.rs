//! How upstream prints a part of an object in an error's text: not as the API shows it, but as its own internal
//! struct, with Go's names for the fields and a value for each of them.
//!
//! `types.txt` lists those structs, one a line: `Name Field:type Field=json:type ...`. A field's name in the API is
//! the same but for case, or stands after `=`; it may be a path from the object's root (`=/hostNetwork`). Types are
//! `s`, `i` and `b` (string, number, boolean, printed as `""`, `0` and `false` when absent), `?` (a pointer to one of
//! these, or anything that is printed as the API shows it; `null` when absent), `T` (a struct), `*T` (a pointer to
//! one), `[]T` (a list of them) and `+T` (an embedded struct, whose fields stand among the others).

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

pub mod diff;

struct GoField {
    go: &'static str,
    json: &'static str,
    of: Type,
}

enum Type {
    Text,
    Number,
    Bool,
    Plain,
    Struct(&'static str),
    Pointer(&'static str),
    List(&'static str),
    Embedded(&'static str),
}

static TYPES: LazyLock<HashMap<&'static str, Vec<GoField>>> = LazyLock::new(|| {
    let lines = include_str!("types.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(name, fields)| (name, parse(fields))).collect()
});

fn parse(fields: &'static str) -> Vec<GoField> {
    let field = |word: &'static str| {
        if let Some(name) = word.strip_prefix('+') {
            return GoField { go: "", json: "", of: Type::Embedded(name) };
        }
        let (names, of) = word.split_once(':').unwrap_or((word, "?"));
        let (go, json) = names.split_once('=').unwrap_or((names, ""));
        let of = match of {
            "s" => Type::Text,
            "i" => Type::Number,
            "b" => Type::Bool,
            "?" => Type::Plain,
            name if name.starts_with('*') => Type::Pointer(&name[1..]),
            name if name.starts_with("[]") => Type::List(&name[2..]),
            name => Type::Struct(name),
        };
        GoField { go, json, of }
    };
    fields.split_whitespace().map(field).collect()
}

/// A value as upstream's internal struct `name` prints it. A name that `types.txt` does not list is printed as the
/// API shows it.
///
/// ```
/// use coracle_api::internal::show;
/// let profile = serde_json::json!({"localhostProfile": "a", "type": "RuntimeDefault"});
/// assert_eq!(
///     show("SeccompProfile", &profile).to_string(),
///     r#"{"Type":"RuntimeDefault","LocalhostProfile":"a"}"#
/// );
/// ```
pub fn show(name: &str, value: &Value) -> Value {
    one(name, value, value)
}

/// A list of values as upstream's internal structs print them; an absent one is `null`.
pub fn show_list(name: &str, value: &Value) -> Value {
    list(name, value, value)
}

fn one(name: &str, value: &Value, root: &Value) -> Value {
    let Some(fields) = TYPES.get(name) else { return value.clone() };
    let mut shown = Map::new();
    add_fields(fields, value, root, &mut shown);
    Value::Object(shown)
}

fn list(name: &str, value: &Value, root: &Value) -> Value {
    match value.as_array() {
        Some(items) => items.iter().map(|item| one(name, item, root)).collect(),
        None => Value::Null,
    }
}

fn add_fields(fields: &[GoField], value: &Value, root: &Value, shown: &mut Map<String, Value>) {
    for field in fields {
        if let Type::Embedded(name) = field.of {
            if let Some(fields) = TYPES.get(name) {
                add_fields(fields, value, root, shown);
            }
            continue;
        }
        let found = find(field, value, root);
        let absent = found.is_null();
        let printed = match field.of {
            Type::Text if absent => Value::from(""),
            Type::Number if absent => Value::from(0),
            Type::Bool if absent => Value::from(false),
            Type::Struct(name) => one(name, found, root),
            Type::Pointer(name) if !absent => one(name, found, root),
            Type::List(name) => list(name, found, root),
            _ => found.clone(),
        };
        shown.insert(field.go.to_owned(), printed);
    }
}

fn find<'a>(field: &GoField, value: &'a Value, root: &'a Value) -> &'a Value {
    let found = if field.json.starts_with('/') {
        root.pointer(field.json)
    } else if !field.json.is_empty() {
        value.get(field.json)
    } else {
        let named = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(field.go);
        value.as_object().and_then(|fields| fields.iter().find(named)).map(|(_, value)| value)
    };
    found.unwrap_or(&Value::Null)
}

/// The same on many lines, as upstream prints it to show differences.
pub fn pretty(name: &str, value: &Value) -> String {
    use serde::Serialize;
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing into memory does not fail, and every tree is text.
    let _ = show(name, value).serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

/// A value in the text of an error: a string as Go quotes it, anything else as Go's JSON, which escapes what could be
/// taken for HTML.
///
/// ```
/// use coracle_api::internal::print;
/// assert_eq!(print(&"a\u{7}\"é".into()), r#""a\a\"é""#);
/// assert_eq!(print(&serde_json::json!(["a<b"])), r#"["a\u003cb"]"#);
/// ```
pub fn print(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        value => value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                quoted.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn structs_are_printed_whole_and_in_gos_order() {
        let cases = [
            (
                "Toleration",
                json!({"key": "a"}),
                r#"{"Key":"a","Operator":"","Value":"","Effect":"","TolerationSeconds":null}"#,
            ),
            (
                "NodeSelectorTerm",
                json!({"matchExpressions": [{"operator": "Exists", "key": "x"}]}),
                r#"{"MatchExpressions":[{"Key":"x","Operator":"Exists","Values":null}],"MatchFields":null}"#,
            ),
            (
                "Probe",
                json!({"exec": {"command": ["a"]}}),
                r#"{"Exec":{"Command":["a"]},"HTTPGet":null,"TCPSocket":null,"GRPC":null,"InitialDelaySeconds":0,"TimeoutSeconds":0,"PeriodSeconds":0,"SuccessThreshold":0,"FailureThreshold":0,"TerminationGracePeriodSeconds":null}"#,
            ),
        ];
        for (name, value, expected) in cases {
            assert_eq!(show(name, &value).to_string(), expected, "case: {name}");
        }
    }

    #[test]
    fn what_the_api_shows_of_the_pod_stands_in_the_security_context_inside() {
        let spec = json!({"hostNetwork": true, "securityContext": {}});
        assert_eq!(show("PodSpec", &spec)["SecurityContext"]["HostNetwork"], true);
    }

    #[test]
    fn every_struct_that_is_named_is_listed() {
        for (name, fields) in TYPES.iter() {
            for field in fields {
                if let Type::Struct(of) | Type::Pointer(of) | Type::List(of) | Type::Embedded(of) = field.of {
                    assert!(TYPES.contains_key(of), "{name} names {of}");
                }
            }
        }
    }
}

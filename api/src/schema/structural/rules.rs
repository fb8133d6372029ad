//! What a structural schema asks of a value beside its shape.

use regex::Regex;
use serde_json::Value;

/// The longest compiled pattern: an expression of a few bytes can ask for a very large one.
const PATTERN_BYTES: usize = 1 << 20;

/// The rules of one place in an object.
#[derive(Debug, Default)]
pub struct Rules {
    /// Whether `null` is a value here.
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-embedded-resource`: a whole object, with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    /// `x-kubernetes-preserve-unknown-fields` of a place without a type.
    pub anything: bool,
    /// The default, which takes the place of what is absent, and of `null` where that is no value.
    pub default: Option<Value>,
    /// The only values, if any are named.
    pub choices: Vec<Value>,
    /// Fields that must be there.
    pub required: Vec<String>,
    /// The pattern of a text, and how it was written.
    pub pattern: Option<(Regex, String)>,
    /// The bounds of a number.
    pub bounds: Bounds,
    /// The fewest and the most characters of a text.
    pub length: Span,
    /// The fewest and the most items of a list.
    pub items: Span,
    /// The fewest and the most fields of a map.
    pub properties: Span,
    /// Whether the items of a list must differ.
    pub unique: bool,
    /// `x-kubernetes-validations`, which nobody evaluates yet.
    pub validations: Vec<Value>,
}

/// The bounds of a number.
#[derive(Debug, Default)]
pub struct Bounds {
    /// The least.
    pub minimum: Option<f64>,
    /// Whether the least itself is excluded.
    pub above: bool,
    /// The greatest.
    pub maximum: Option<f64>,
    /// Whether the greatest itself is excluded.
    pub below: bool,
    /// What it must be a multiple of.
    pub multiple_of: Option<f64>,
}

/// The fewest and the most of something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// The fewest.
    pub least: Option<u64>,
    /// The most.
    pub most: Option<u64>,
}

impl Rules {
    /// Reads the rules that stand at one place of a schema.
    pub(super) fn read(json: &Value, path: &str) -> Result<Rules, String> {
        let flag = |name: &str| json[name] == true;
        let number = |name: &str| json[name].as_f64();
        let span = |of: &str| Span {
            least: json[format!("min{of}")].as_u64(),
            most: json[format!("max{of}")].as_u64(),
        };
        let pattern = match json["pattern"].as_str() {
            Some(text) => {
                let compiled = regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES).build();
                Some((compiled.map_err(|error| format!("{path}.pattern: {error}"))?, text.to_owned()))
            }
            None => None,
        };
        let list = |name: &str| json[name].as_array().cloned().unwrap_or_default();
        Ok(Rules {
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            anything: flag("x-kubernetes-preserve-unknown-fields") && json.get("type").is_none(),
            default: json.get("default").cloned(),
            choices: list("enum"),
            required: list("required").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            pattern,
            bounds: Bounds {
                minimum: number("minimum"),
                above: flag("exclusiveMinimum"),
                maximum: number("maximum"),
                below: flag("exclusiveMaximum"),
                multiple_of: number("multipleOf"),
            },
            length: span("Length"),
            items: span("Items"),
            properties: span("Properties"),
            unique: flag("uniqueItems"),
            validations: list("x-kubernetes-validations"),
        })
    }
}

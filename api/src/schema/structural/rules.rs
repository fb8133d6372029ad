//! What a structural schema asks of a value beside its shape.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::formats::Format;

/// Deeper than this no schema may be: what is read by it is read recursively.
pub(super) const DEPTH: usize = 64;

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
    /// The default, which takes the place of what is absent, and of `null` where that is no value.
    pub default: Option<Value>,
    /// The only values, if any are named.
    pub choices: Vec<Value>,
    /// Fields that must be there.
    pub required: Vec<String>,
    /// The pattern of a text, and how it was written.
    pub pattern: Option<(Regex, String)>,
    /// The format of a text, if it is one that is checked.
    pub format: Option<Format>,
    /// Of a whole number: whether it has 32 bits rather than 64.
    pub is_short: bool,
    /// The bounds of a number.
    pub bounds: Bounds,
    /// The fewest and the most characters of a text.
    pub length: Span,
    /// The fewest and the most items of a list.
    pub items: Span,
    /// The fewest and the most fields of a map.
    pub properties: Span,
    /// Schemas that must all hold.
    pub all_of: Vec<Demand>,
    /// Schemas of which at least one must hold.
    pub any_of: Vec<Demand>,
    /// Schemas of which exactly one must hold.
    pub one_of: Vec<Demand>,
    /// A schema that must not hold.
    pub not: Option<Box<Demand>>,
    /// Of a whole object: what is asked of its `metadata`, beside what is asked of everybody's.
    pub metadata: Option<Box<Demand>>,
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
    /// Reads the rules that stand at one place of a schema; `depth`: how much deeper it may be.
    pub(super) fn read(json: &Value, path: &str, depth: usize) -> Result<Rules, String> {
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
        let of_type = json["type"].as_str().unwrap_or_default();
        let format = json["format"].as_str().unwrap_or_default();
        let demands = |name: &str| -> Result<Vec<Demand>, String> {
            let schemas = json[name].as_array().into_iter().flatten().enumerate();
            schemas.map(|(at, one)| Demand::read(one, &format!("{path}.{name}[{at}]"), depth)).collect()
        };
        let not = json.get("not").filter(|not| !not.is_null());
        let not = not.map(|not| Demand::read(not, &format!("{path}.not"), depth).map(Box::new));
        if flag("uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            return Err(format!("{path}.uniqueItems: {why}"));
        }
        Ok(Rules {
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            default: json.get("default").cloned(),
            choices: list("enum"),
            required: list("required").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            pattern,
            format: Format::of_text(format).filter(|_| matches!(of_type, "" | "string")),
            is_short: of_type == "integer" && format == "int32",
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
            all_of: demands("allOf")?,
            any_of: demands("anyOf")?,
            one_of: demands("oneOf")?,
            not: not.transpose()?,
            metadata: None,
            validations: list("x-kubernetes-validations"),
        })
    }
}

/// A schema inside `allOf`, `anyOf`, `oneOf` or `not`: it asks of a value and of what is in it, but declares no fields and fills
/// nothing in.
#[derive(Debug, Default)]
pub struct Demand {
    /// The type that the value must have; empty: any. Only in what goes with `x-kubernetes-int-or-string`.
    pub of_type: String,
    /// The rules.
    pub rules: Rules,
    /// What is asked of fields, where they are there.
    pub properties: BTreeMap<String, Demand>,
    /// What is asked of every field that has no entry above.
    pub values: Option<Box<Demand>>,
    /// What is asked of every item.
    pub items: Option<Box<Demand>>,
}

impl Demand {
    /// Reads one; `depth`: how much deeper the schema may be.
    ///
    /// # Errors
    /// What is wrong with it, with its path.
    pub(super) fn read(json: &Value, path: &str, depth: usize) -> Result<Demand, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("{path}: a schema may be {DEPTH} levels deep at most"));
        };
        if !json.is_object() {
            return Err(format!("{path}: must be a schema"));
        }
        if json.get("default").is_some() {
            return Err(format!("{path}.default: must be undefined to be structural"));
        }
        let properties = json["properties"].as_object().into_iter().flatten().map(|(name, property)| {
            let demand = Demand::read(property, &format!("{path}.properties[{name}]"), depth)?;
            Ok((name.clone(), demand))
        });
        let inner = |name: &str| -> Result<Option<Box<Demand>>, String> {
            let schema = json.get(name).filter(|inner| inner.is_object());
            schema
                .map(|inner| Demand::read(inner, &format!("{path}.{name}"), depth).map(Box::new))
                .transpose()
        };
        Ok(Demand {
            of_type: json["type"].as_str().unwrap_or_default().to_owned(),
            properties: properties.collect::<Result<_, String>>()?,
            values: inner("additionalProperties")?,
            items: inner("items")?,
            rules: Rules::read(json, path, depth)?,
        })
    }
}

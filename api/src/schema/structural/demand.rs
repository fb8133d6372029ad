//! Schemas inside `allOf`, `anyOf`, `oneOf` and `not`: they ask of a value, but declare no fields and fill nothing in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::DEPTH;
use super::rules::Rules;

/// What such a schema asks of a value and of what is in it.
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

//! Label selectors that stand in objects: `{"matchLabels": {...}, "matchExpressions": [...]}`.

use serde_json::Value;

use super::labels::{Requirement, Selector};
use super::operator::Operator;
use crate::field::{Errors, Field};
use crate::names::{label_value, qualified_name};
use crate::read::{entries, list, text};
use crate::validate::metadata;
use crate::validate::rules::{Rule::Name, check};

/// The selector that a `LabelSelector` stands for: an absent one selects nothing, an empty one everything.
///
/// # Errors
/// Upstream's text for a requirement that is none.
pub fn from_object(object: &Value) -> Result<Selector, String> {
    if object.is_null() {
        return Ok(Selector::nothing());
    }
    let mut requirements = Vec::new();
    for (key, value) in entries(object, "/matchLabels") {
        requirements.push(Requirement::new(key, Operator::Equals, [text(value, "").to_owned()])?);
    }
    for expression in list(object, "/matchExpressions") {
        let operator = match text(expression, "/operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(format!("{other:?} is not a valid label selector operator")),
        };
        let values = list(expression, "/values").iter().map(|value| text(value, "").to_owned());
        requirements.push(Requirement::new(text(expression, "/key"), operator, values)?);
    }
    Ok(Selector::new(requirements))
}

/// What is wrong with a `LabelSelector`. Some old kinds let any value pass (`any_value`).
///
/// Source: `ValidateLabelSelector` in `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.
pub fn validate_object(selector: &Field, any_value: bool, errors: &mut Errors) {
    metadata::labels(&selector.get("matchLabels"), errors);
    for expression in selector.get("matchExpressions").items() {
        validate_expression(&expression, "", any_value, errors);
    }
}

/// The rules for one expression. Those about nodes may also compare numbers: `more` names the operators for that.
pub fn validate_expression(expression: &Field, more: &str, any_value: bool, errors: &mut Errors) {
    let (operator, values) = (expression.get("operator"), expression.get("values"));
    let count = values.items().len();
    match operator.text() {
        "In" | "NotIn" if count == 0 => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other if !more.is_empty() && crate::names::is_one_of(other, more) => {
            if count != 1 {
                errors.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
        }
        _ => errors.wrong(&operator, "not a valid selector operator"),
    }
    check(expression, &[("key", Name(qualified_name))], errors);
    if !any_value {
        check(expression, &[("values[]", Name(label_value))], errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_label_selector_selects() {
        let labels = json!({"app": "web", "tier": "front"});
        let cases = [
            (json!(null), false, ""),
            (json!({}), true, ""),
            (json!({"matchLabels": {"tier": "front", "app": "web"}}), true, "app=web,tier=front"),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web", "a"]}]}),
                false,
                "app notin (a,web)",
            ),
            (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true, "!x"),
        ];
        for (object, expected, printed) in cases {
            let selector = from_object(&object).expect("valid");
            assert_eq!(selector.matches(&labels), expected, "case: {object}");
            assert_eq!(selector.to_string(), printed, "case: {object}");
        }
    }

    #[test]
    fn faults_are_found_in_order() {
        let object = json!({"matchLabels": {"a b": "c"}, "matchExpressions": [
            {"key": "x", "operator": "In"},
            {"key": "x", "operator": "Exists", "values": ["a"]},
            {"key": "x", "operator": "Near"},
            {"key": "x", "operator": "In", "values": ["ok", "not ok"]},
        ]});
        let (path, mut errors) = (crate::Path::root("selector"), Errors::new());
        validate_object(&Field::new(&path, &object), false, &mut errors);
        let fields: Vec<&str> = errors.0.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "selector.matchLabels",
                "selector.matchExpressions[0].values",
                "selector.matchExpressions[1].values",
                "selector.matchExpressions[2].operator",
                "selector.matchExpressions[3].values[1]",
            ]
        );
    }
}

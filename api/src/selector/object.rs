//! Label selectors that stand in objects: `{"matchLabels": {...}, "matchExpressions": [...]}`.

use serde_json::Value;

use super::labels::{Operator, Requirement, Selector};
use crate::field::{Errors, Path};
use crate::names;

/// The selector that a `LabelSelector` stands for: an absent one selects nothing, an empty one everything.
///
/// # Errors
/// Upstream's text for a requirement that is none.
pub fn from_object(object: &Value) -> Result<Selector, String> {
    if object.is_null() {
        return Ok(Selector::nothing());
    }
    let mut requirements = Vec::new();
    for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        requirements.push(Requirement::new(key, Operator::Equals, [text(value)])?);
    }
    for expression in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let operator = match text(&expression["operator"]).as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(format!("{other:?} is not a valid label selector operator")),
        };
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten().map(text);
        requirements.push(Requirement::new(&text(&expression["key"]), operator, values.collect::<Vec<_>>())?);
    }
    Ok(Selector::new(requirements))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

/// What is wrong with a `LabelSelector`. Some old kinds let any value pass (`any_value`).
///
/// Source: `ValidateLabelSelector` in `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.
pub fn validate_object(object: &Value, at: &Path<'_>, any_value: bool, errors: &mut Errors) {
    let labels_at = at.child("matchLabels");
    for (key, value) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        errors.all_invalid(&labels_at, key, names::qualified_name(key));
        let value = text(value);
        errors.all_invalid(&labels_at, &value, names::label_value(&value));
    }
    let list_at = at.child("matchExpressions");
    let expressions = object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    for (index, expression) in expressions.enumerate() {
        invalid_expression(expression, &list_at.index(index), any_value, errors);
    }
}

fn invalid_expression(expression: &Value, at: &Path<'_>, any_value: bool, errors: &mut Errors) {
    let values: Vec<String> =
        expression.get("values").and_then(Value::as_array).into_iter().flatten().map(text).collect();
    let values_at = at.child("values");
    let operator = text(&expression["operator"]);
    match operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values_at, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors
                .forbidden(&values_at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    let key = text(&expression["key"]);
    errors.all_invalid(&at.child("key"), &key, names::qualified_name(&key));
    if !any_value {
        for (index, value) in values.iter().enumerate() {
            errors.all_invalid(&values_at.index(index), value, names::label_value(value));
        }
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
        let mut errors = Errors::new();
        validate_object(&object, &Path::root("selector"), false, &mut errors);
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

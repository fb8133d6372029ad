//! Which nodes a pod may be on, by their labels and names.

use std::collections::BTreeMap;

use coracle_api::selector::{Operator, Requirement, Selector};
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether a pod's spec says anything about its node.
pub fn selects(spec: &PodSpec) -> bool {
    spec.node_selector.as_ref().is_some_and(|labels| !labels.is_empty()) || terms(spec).is_some()
}

/// Whether a pod may be on the node of this name, with these labels: every label of its node selector, and at least one term of
/// its required affinity.
///
/// Source: `GetRequiredNodeAffinity` in `component-helpers/scheduling/corev1/nodeaffinity`.
pub fn suits(spec: &PodSpec, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let mut selected = spec.node_selector.iter().flatten();
    selected.all(|(key, value)| labels.get(key) == Some(value))
        && terms(spec).is_none_or(|terms| terms.iter().any(|term| matches(term, node, labels)))
}

fn terms(spec: &PodSpec) -> Option<&[NodeSelectorTerm]> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

/// A term without any condition matches nothing, and neither does one that cannot be read.
fn matches(term: &NodeSelectorTerm, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let (by_labels, by_fields) = (
        term.match_expressions.as_deref().unwrap_or_default(),
        term.match_fields.as_deref().unwrap_or_default(),
    );
    let (Some(wanted), Some(named)) = (read(by_labels), read(by_fields)) else { return false };
    !(by_labels.is_empty() && by_fields.is_empty())
        && wanted.matches_by(|key| labels.get(key).map(String::as_str))
        && named.matches_by(|key| (key == "metadata.name").then_some(node))
}

fn read(conditions: &[NodeSelectorRequirement]) -> Option<Selector> {
    let read = conditions.iter().map(|condition| {
        let operator = match condition.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Greater,
            "Lt" => Operator::Less,
            _ => return None,
        };
        Requirement::new(&condition.key, operator, condition.values.clone().unwrap_or_default()).ok()
    });
    read.collect::<Option<Vec<_>>>().map(Selector::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn nodes_are_chosen_by_labels_and_names() {
        let when = |key: &str, operator: &str, values: Value| json!({"key": key, "operator": operator, "values": values});
        let by = |term: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
        let expressions = |one: Value| by(json!({"matchExpressions": [one]}));
        let cases = [
            (json!({}), true),
            (json!({"nodeSelector": {"zone": "a"}}), true),
            (json!({"nodeSelector": {"zone": "b"}}), false),
            (json!({"nodeSelector": {"disk": "a"}}), false),
            (expressions(when("zone", "In", json!(["a", "b"]))), true),
            (expressions(when("zone", "NotIn", json!(["a", "b"]))), false),
            (expressions(when("disk", "DoesNotExist", json!([]))), true),
            (expressions(when("cores", "Gt", json!(["3"]))), true),
            (expressions(when("cores", "Lt", json!(["3"]))), false),
            (expressions(when("cores", "Near", json!(["4"]))), false),
            (by(json!({"matchFields": [when("metadata.name", "In", json!(["node-1"]))]})), true),
            (by(json!({"matchFields": [when("metadata.name", "In", json!(["node-2"]))]})), false),
            (by(json!({})), false),
        ];
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("cores".into(), "4".into())]);
        for (mut spec, expected) in cases {
            let shown = spec.to_string();
            spec["containers"] = json!([]);
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(suits(&spec, "node-1", &labels), expected, "{shown}");
            assert_eq!(selects(&spec), shown != "{}", "{shown}");
        }
    }
}

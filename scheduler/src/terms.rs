//! Selectors over labels, read once and then only compared.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels as the types of `k8s_openapi` hold them.
pub type Labels = BTreeMap<String, String>;

/// The labels of every namespace, for rules that name namespaces by label.
pub type Namespaces = HashMap<String, Labels>;

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    Above(i64),
    Below(i64),
    /// An operator or a bound that makes no sense: nothing matches.
    Never,
}

impl Requirement {
    fn new(key: &str, operator: &str, values: &[String]) -> Requirement {
        let bound = || values.first().and_then(|v| v.parse().ok());
        let test = match operator {
            "In" => Test::In(values.to_vec()),
            "NotIn" => Test::NotIn(values.to_vec()),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            "Gt" => bound().map_or(Test::Never, Test::Above),
            "Lt" => bound().map_or(Test::Never, Test::Below),
            _ => Test::Never,
        };
        Requirement { key: key.into(), test }
    }

    fn node(requirement: &NodeSelectorRequirement) -> Requirement {
        Requirement::new(
            &requirement.key,
            &requirement.operator,
            requirement.values.as_deref().unwrap_or(&[]),
        )
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::Above(bound) => number().is_some_and(|n| n > *bound),
            Test::Below(bound) => number().is_some_and(|n| n < *bound),
            Test::Never => false,
        }
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.holds(labels.get(&self.key).map(String::as_str))
    }
}

/// A term of a node selector: all its conditions on labels and on the node's name. A term without any matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    names: Vec<Requirement>,
}

impl NodeTerm {
    /// Reads a term.
    pub fn new(term: &NodeSelectorTerm) -> NodeTerm {
        NodeTerm {
            labels: term.match_expressions.iter().flatten().map(Requirement::node).collect(),
            names: term.match_fields.iter().flatten().map(Requirement::node).collect(),
        }
    }

    /// Whether a node of that name and with those labels is meant.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        !(self.labels.is_empty() && self.names.is_empty())
            && self.names.iter().all(|r| r.key == "metadata.name" && r.holds(Some(name)))
            && self.labels.iter().all(|r| r.matches(labels))
    }

    /// The only names that this term leaves, if it names any.
    pub fn only_names(&self) -> Option<Vec<&str>> {
        let mut lists = self.names.iter().filter_map(|r| match (&r.test, r.key.as_str()) {
            (Test::In(values), "metadata.name") => Some(values),
            _ => None,
        });
        let first: Vec<&str> = lists.next()?.iter().map(String::as_str).collect();
        Some(
            lists
                .fold(first, |kept, list| kept.into_iter().filter(|n| list.iter().any(|m| m == n)).collect()),
        )
    }
}

/// A label selector. An absent one matches nothing, an empty one everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector(Option<Vec<Requirement>>);

impl Selector {
    /// Reads a selector, and adds the conditions that `matchLabelKeys` and `mismatchLabelKeys` draw from a pod's own
    /// labels.
    pub fn new(
        selector: Option<&LabelSelector>,
        own: &Labels,
        same: Option<&Vec<String>>,
        other: Option<&Vec<String>>,
    ) -> Selector {
        let Some(selector) = selector else { return Selector(None) };
        let mut all: Vec<Requirement> = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            all.push(Requirement { key: key.clone(), test: Test::In(vec![value.clone()]) });
        }
        for r in selector.match_expressions.iter().flatten() {
            all.push(Requirement::new(&r.key, &r.operator, r.values.as_deref().unwrap_or(&[])));
        }
        for (keys, test) in [(same, Test::In as fn(_) -> _), (other, Test::NotIn as fn(_) -> _)] {
            for key in keys.into_iter().flatten() {
                if let Some(value) = own.get(key) {
                    all.push(Requirement { key: key.clone(), test: test(vec![value.clone()]) });
                }
            }
        }
        Selector(Some(all))
    }

    /// Whether the labels are meant.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.as_ref().is_some_and(|all| all.iter().all(|r| r.matches(labels)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn term(value: serde_json::Value) -> NodeTerm {
        NodeTerm::new(&serde_json::from_value(value).expect("a term"))
    }

    #[test]
    fn node_terms() {
        let labels = Labels::from([("disk".into(), "ssd".into()), ("gen".into(), "7".into())]);
        let expression = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let cases = [
            (expression("disk", "In", &["hdd", "ssd"]), true),
            (expression("disk", "NotIn", &["ssd"]), false),
            (expression("nope", "NotIn", &["ssd"]), true),
            (expression("disk", "Exists", &[]), true),
            (expression("disk", "DoesNotExist", &[]), false),
            (expression("gen", "Gt", &["6"]), true),
            (expression("gen", "Gt", &["7"]), false),
            (expression("gen", "Lt", &["8"]), true),
            (expression("disk", "Gt", &["1"]), false),
            (expression("gen", "Gt", &["six"]), false),
            (json!({}), false),
            (json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["a"] }] }), true),
            (
                json!({ "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": ["a"] }] }),
                false,
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(term(value.clone()).matches("a", &labels), expected, "{value}");
        }
    }

    #[test]
    fn names_that_are_left() {
        let names = |lists: &[&[&str]]| {
            let fields: Vec<_> = lists
                .iter()
                .map(|l| json!({ "key": "metadata.name", "operator": "In", "values": l }))
                .collect();
            term(json!({ "matchFields": fields })).only_names().map(|n| n.join(","))
        };
        assert_eq!(names(&[]), None);
        assert_eq!(names(&[&["a", "b"]]).as_deref(), Some("a,b"));
        assert_eq!(names(&[&["a", "b"], &["b"]]).as_deref(), Some("b"));
        assert_eq!(names(&[&["a"], &["b"]]).as_deref(), Some(""));
    }

    #[test]
    fn label_selectors() {
        let own = Labels::from([("rev".into(), "2".into())]);
        let some: LabelSelector =
            serde_json::from_value(json!({ "matchLabels": { "app": "web" } })).expect("selector");
        let web = |rev: &str| Labels::from([("app".into(), "web".into()), ("rev".into(), rev.into())]);
        let keys = Some(vec!["rev".to_string()]);
        assert!(!Selector::new(None, &own, None, None).matches(&web("1")));
        assert!(Selector::new(Some(&LabelSelector::default()), &own, None, None).matches(&web("1")));
        assert!(Selector::new(Some(&some), &own, None, None).matches(&web("1")));
        assert!(!Selector::new(Some(&some), &own, keys.as_ref(), None).matches(&web("1")));
        assert!(Selector::new(Some(&some), &own, None, keys.as_ref()).matches(&web("1")));
        assert!(!Selector::new(Some(&some), &own, None, keys.as_ref()).matches(&web("2")));
    }
}

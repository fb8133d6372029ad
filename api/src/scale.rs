//! `Scale` of `autoscaling/v1`: how many pods a workload wants and has, whatever its kind. It is never kept; it is read
//! from the workload and written into it.

use std::borrow::Cow::Borrowed;

use serde_json::{Map, Value, json};

use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::read::{int, text};
use crate::selector;
use crate::table::Cell::{Number, Text};
use crate::table::path::JsonPath;
use crate::table::{Column, Table};
use crate::validate::metadata::{MetaRules, validate_metadata};
use crate::validate::rules::Rule::NotNegative;

/// The name of its schema.
pub const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Its group, version and kind.
pub const GVK: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

/// How it prints. The `name` format is missing upstream, too.
pub static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::text("Name", "The workload's name.", Text("/metadata/name")),
        Column::integer("Desired", "How many pods are wanted.", Number("/spec/replicas")),
        Column::integer("Available", "How many pods there are.", Number("/status/replicas")),
        Column::age(),
    ]),
    ..Table::PLAIN
};

/// The `Scale` of a workload.
pub fn of(kind: &Kind, workload: &Value) -> Value {
    let kept = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata: Map<String, Value> = kept
        .iter()
        .filter_map(|name| Some(((*name).into(), workload["metadata"].get(name)?.clone())))
        .collect();
    let number = |path: &JsonPath| path.find(workload).and_then(Value::as_i64).unwrap_or(0);
    let (wanted, found, selector) = match &kind.scale {
        Some(paths) => {
            let selector = paths.selector.as_ref().and_then(|path| path.find(workload)?.as_str());
            (number(&paths.wanted), number(&paths.found), selector.map(str::to_owned))
        }
        None => {
            let selector = workload.pointer("/spec/selector");
            let selector = selector.and_then(|selector| selector::from_object(selector).ok());
            let selector = selector.map(|selector| selector.to_string());
            (int(workload, "/spec/replicas"), int(workload, "/status/replicas"), selector)
        }
    };
    let mut status = json!({ "replicas": found });
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        status["selector"] = selector.into();
    }
    let spec = match wanted {
        0 => json!({}),
        replicas => json!({"replicas": replicas}),
    };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// Writes what a `Scale` wants into its workload; a revision that it names must be the workload's still.
pub fn apply(kind: &Kind, scale: &Value, workload: &mut Value) {
    want(kind, int(scale, "/spec/replicas"), workload);
    let revision = text(scale, "/metadata/resourceVersion");
    if !revision.is_empty() {
        workload["metadata"]["resourceVersion"] = revision.into();
    }
}

/// Writes how many are wanted to where a workload of this kind says it.
pub fn want(kind: &Kind, replicas: i64, workload: &mut Value) {
    match &kind.scale {
        Some(paths) => paths.wanted.write(workload, replicas.into()),
        None => workload["spec"]["replicas"] = replicas.into(),
    }
}

/// What is wrong with a `Scale`.
pub fn validate(scale: &Value) -> Errors {
    let mut errors = Errors::new();
    let metadata = MetaRules { name: names::dns_subdomain, namespaced: true, strict_finalizers: true };
    validate_metadata(scale, metadata, &mut errors);
    NotNegative.check(&Field::top(scale, "spec").get("replicas"), &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::DEPLOYMENT;

    #[test]
    fn a_workload_is_scaled_and_keeps_the_rest() {
        let mut workload = json!({
            "metadata": {"name": "x", "namespace": "n", "labels": {"a": "b"}, "resourceVersion": "3"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}},
            "status": {"replicas": 4},
        });
        let mut scale = of(&DEPLOYMENT, &workload);
        assert_eq!(scale["metadata"], json!({"name": "x", "namespace": "n", "resourceVersion": "3"}));
        assert_eq!(
            (&scale["spec"], &scale["status"]),
            (&json!({}), &json!({"replicas": 4, "selector": "app=x,b"}))
        );
        scale["spec"]["replicas"] = 2.into();
        apply(&DEPLOYMENT, &scale, &mut workload);
        assert_eq!(int(&workload, "/spec/replicas"), 2);
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(
            validate(&scale).0[0].to_string(),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
    }
}

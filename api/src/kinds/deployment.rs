//! `Deployment`.

use serde_json::{Value, json};

use super::strategy::{
    PLAIN, count_spec_changes, generation, keep, keep_all_but_status, set_generation, start_counting,
};
use super::workload::{self, CONTAINERS, IMAGES, SELECTOR};
use super::{Borrowed, Named, SCALE, STATUS, Static, USUAL};
use crate::defaults::fill_empty;
use crate::field::{Errors, Field, is_zero};
use crate::internal;
use crate::kind::{Kind, Strategy, Subresource};
use crate::read::{int, text};
use crate::table::Cell::{Computed, Number};
use crate::table::{Column, Table};
use crate::validate::rules::{self, Rule::*, check};

/// The row of `Deployment`.
pub static DEPLOYMENT: Kind = Kind {
    group: Borrowed("apps"),
    kind: Borrowed("Deployment"),
    plural: Borrowed("deployments"),
    singular: Borrowed("deployment"),
    short_names: Borrowed("deploy"),
    categories: Borrowed("all"),
    schema: Named("io.k8s.api.apps.v1.Deployment"),
    subresources: Borrowed(&[SCALE, Subresource { resets: &["spec", "metadata.labels"], ..STATUS }]),
    pod_spec: Some("/spec/template/spec"),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text(
            "Ready",
            "How many pods are ready, of those wanted.",
            Computed(|deployment, _| {
                format!("{}/{}", int(deployment, "/status/readyReplicas"), int(deployment, "/spec/replicas"))
                    .into()
            }),
        ),
        Column::text(
            "Up-to-date",
            "How many pods follow the newest template.",
            Number("/status/updatedReplicas"),
        ),
        Column::text(
            "Available",
            "How many pods have been ready for long enough.",
            Number("/status/availableReplicas"),
        ),
        Column::age(),
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ]),
    ..Table::PLAIN
};

static STRATEGY: Strategy = Strategy {
    default: |_, deployment| {
        if let Some(strategy) = deployment.pointer_mut("/spec/strategy") {
            fill_empty(strategy, "type", "RollingUpdate");
            if text(strategy, "/type") == "RollingUpdate" {
                crate::defaults::fill_absent(
                    strategy,
                    "rollingUpdate",
                    json!({"maxUnavailable": "25%", "maxSurge": "25%"}),
                );
            }
        }
        workload::default_template(deployment);
    },
    prepare_create: |_, deployment| start_counting(deployment, json!({})),
    prepare_update: |_, new, old| prepare_update(new, old),
    prepare_status_update: |_, new, old| {
        keep_all_but_status(new, old);
        keep(&mut new["metadata"], &old["metadata"], "labels");
    },
    validate: |kind, deployment, errors| {
        kind.check_metadata(deployment, errors);
        validate_spec(&Field::top(deployment, "spec"), errors);
    },
    validate_update: |kind, new, old, errors| {
        workload::validate_update(kind, new, old, validate_spec, errors)
    },
    validate_status_update,
    warnings: |_, new, old| workload::warnings(new, old),
    ..PLAIN
};

/// A changed annotation counts as much as a changed spec: it goes on to the ReplicaSets.
fn prepare_update(new: &mut Value, old: &Value) {
    count_spec_changes(new, old);
    let annotations =
        |object: &Value| object.pointer("/metadata/annotations").filter(|a| !is_zero(a)).cloned();
    if annotations(new) != annotations(old) {
        set_generation(new, generation(old).saturating_add(1));
    }
}

fn validate_spec(spec: &Field, errors: &mut Errors) {
    NotNegative.check(&spec.get("replicas"), errors);
    workload::selector_and_template(spec, errors);
    validate_strategy(&spec.get("strategy"), errors);
    check(spec, &[("minReadySeconds revisionHistoryLimit progressDeadlineSeconds", NotNegative)], errors);
    let least = spec.int("minReadySeconds").unwrap_or(0).saturating_add(1);
    AtLeast(least, "must be greater than minReadySeconds")
        .check(&spec.get("progressDeadlineSeconds"), errors);
}

fn validate_strategy(strategy: &Field, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.str("type") {
        "Recreate" if rolling.is_set() => {
            errors.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_set() => validate_rolling(&rolling, errors),
        "RollingUpdate" => errors.required(&rolling, "this should be defaulted and never be nil"),
        _ => {
            let printed = internal::show("DeploymentStrategy", strategy.value);
            errors.not_supported(strategy, printed, "Recreate RollingUpdate");
        }
    }
}

fn validate_rolling(rolling: &Field, errors: &mut Errors) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    rules::count_or_percent(&unavailable, errors);
    rules::count_or_percent(&surge, errors);
    if rules::plain_number(&unavailable) == 0 && rules::plain_number(&surge) == 0 {
        errors.invalid(&unavailable, unavailable.value.clone(), "may not be 0 when `maxSurge` is 0");
    }
    rules::at_most_all(&unavailable, errors);
}

/// All counts of a status, in upstream's order.
const COUNTS: &str = "observedGeneration replicas updatedReplicas readyReplicas availableReplicas unavailableReplicas terminatingReplicas collisionCount";

fn validate_status_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    let (status, old) = (Field::top(new, "status"), Field::top(old, "status"));
    workload::counts(&status, COUNTS, &["updatedReplicas", "readyReplicas", "availableReplicas"], errors);
    let collisions = status.int("collisionCount").unwrap_or(0);
    if collisions < old.int("collisionCount").unwrap_or(0) {
        errors.invalid(&status.get("collisionCount"), collisions, "cannot be decremented");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::DEPLOYMENT;

    fn deployment(change: impl FnOnce(&mut Value)) -> Value {
        let mut deployment = json!({
            "metadata": {"name": "x", "namespace": "n", "resourceVersion": "1"},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}},
            },
        });
        change(&mut deployment["spec"]);
        DEPLOYMENT.fill_in(&mut deployment);
        deployment
    }

    #[test]
    fn a_spec_is_checked_in_upstreams_order() {
        let cases: [(Value, &[&str]); 8] = [
            (deployment(|_| {}), &[]),
            (
                deployment(|spec| {
                    spec["replicas"] = (-1).into();
                    spec["selector"] = Value::Null;
                    spec["minReadySeconds"] = (-2).into();
                }),
                &["spec.replicas", "spec.selector", "spec.template.metadata.labels", "spec.minReadySeconds"],
            ),
            (
                deployment(|spec| spec["selector"] = json!({"matchLabels": {"app": "x y"}})),
                &["spec.selector.matchLabels", "spec.selector"],
            ),
            (
                deployment(|spec| spec["selector"] = json!({"matchLabels": {"app": "y"}})),
                &["spec.template.metadata.labels"],
            ),
            (
                deployment(|spec| spec["progressDeadlineSeconds"] = 0.into()),
                &["spec.progressDeadlineSeconds"],
            ),
            (
                deployment(|spec| spec["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}})),
                &["spec.strategy.rollingUpdate"],
            ),
            (
                deployment(|spec| {
                    spec["strategy"] = json!({"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}})
                }),
                &["spec.strategy.rollingUpdate.maxUnavailable"],
            ),
            (
                deployment(|spec| {
                    spec["strategy"] = json!({"rollingUpdate": {"maxSurge": "1", "maxUnavailable": "101%"}})
                }),
                &["spec.strategy.rollingUpdate.maxSurge", "spec.strategy.rollingUpdate.maxUnavailable"],
            ),
        ];
        for (deployment, expected) in cases {
            let fields: Vec<String> =
                DEPLOYMENT.validate(&deployment).0.into_iter().map(|e| e.field).collect();
            assert_eq!(fields, expected, "case: {}", deployment["spec"]);
        }
    }

    #[test]
    fn an_empty_overhead_is_none_in_a_template() {
        let deployment = deployment(|spec| spec["template"]["spec"]["overhead"] = json!({}));
        assert!(deployment.pointer("/spec/template/spec/overhead").is_none());
    }

    #[test]
    fn generation_counts_what_matters() {
        let mut old = deployment(|_| {});
        set_generation(&mut old, 3);
        let changed = |path: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(path).unwrap() = value;
            prepare_update(&mut new, &old);
            generation(&new)
        };
        assert_eq!(changed("/spec/replicas", 2.into()), 4);
        assert_eq!(changed("/metadata", json!({"labels": {"a": "b"}})), 3);
        assert_eq!(changed("/metadata", json!({"annotations": {"a": "b"}})), 4);
        assert_eq!(changed("/metadata", json!({"generation": 40})), 3);
    }

    #[test]
    fn a_status_adds_up() {
        let old = deployment(|_| {});
        let mut new = old.clone();
        new["status"] =
            json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 0, "updatedReplicas": -1});
        let mut errors = Errors::new();
        validate_status_update(&DEPLOYMENT, &new, &old, &mut errors);
        let fields: Vec<&str> = errors.0.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["status.updatedReplicas", "status.readyReplicas"]);
    }
}

//! `PodDisruptionBudget`. What it allows is counted by a controller, and asked by evictions.

use serde_json::{Value, json};

use super::strategy::{PLAIN, count_spec_changes, start_counting};
use super::{Borrowed, Named, STATUS, Static, USUAL};
use crate::field::{Errors, Field};
use crate::internal;
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::selector;
use crate::table::Cell::{Computed, Number};
use crate::table::{Cell, Column, Table};
use crate::validate::rules::{self, Rule::*, check};

/// The row of `PodDisruptionBudget`.
pub static POD_DISRUPTION_BUDGET: Kind = Kind {
    group: Borrowed("policy"),
    kind: Borrowed("PodDisruptionBudget"),
    plural: Borrowed("poddisruptionbudgets"),
    singular: Borrowed("poddisruptionbudget"),
    short_names: Borrowed("pdb"),
    schema: Named("io.k8s.api.policy.v1.PodDisruptionBudget"),
    name_rule: names::path_segment,
    subresources: Borrowed(&[STATUS]),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text("Min Available", "How many pods must stay, as a number or a share.", MIN_AVAILABLE),
        Column::text("Max Unavailable", "How many pods may go, as a number or a share.", MAX_UNAVAILABLE),
        Column::integer(
            "Allowed Disruptions",
            "How many pods may go now.",
            Number("/status/disruptionsAllowed"),
        ),
        Column::age(),
    ]),
    ..Table::PLAIN
};

const MIN_AVAILABLE: Cell = Computed(|budget, _| amount(&budget["spec"]["minAvailable"]));
const MAX_UNAVAILABLE: Cell = Computed(|budget, _| amount(&budget["spec"]["maxUnavailable"]));

fn amount(bound: &Value) -> Value {
    match bound {
        Value::Null => "N/A".into(),
        Value::String(share) => share.as_str().into(),
        number => number.to_string().into(),
    }
}

static STRATEGY: Strategy = Strategy {
    prepare_create: |_, budget| {
        let nothing =
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        start_counting(budget, nothing);
    },
    prepare_update: |_, new, old| count_spec_changes(new, old),
    // Upstream asks nothing of a budget's metadata beyond what every object needs.
    validate: |_, budget, errors| validate_spec(&Field::top(budget, "spec"), errors),
    validate_update: |_, new, _, errors| validate_spec(&Field::top(new, "spec"), errors),
    validate_status_update: |_, new, _, errors| {
        let table = [("disruptionsAllowed currentHealthy desiredHealthy expectedPods", NotNegative)];
        check(&Field::top(new, "status"), &table, errors);
    },
    unconditional_update: false,
    ..PLAIN
};

/// Source: `ValidatePodDisruptionBudgetSpec` in `pkg/apis/policy/validation/validation.go`.
fn validate_spec(spec: &Field, errors: &mut Errors) {
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_set() && most.is_set() {
        let printed = internal::show("PodDisruptionBudgetSpec", spec.value);
        errors.invalid(spec, printed, "minAvailable and maxUnavailable cannot be both set");
    }
    for bound in [&least, &most] {
        rules::count_or_percent(bound, errors);
        rules::at_most_all(bound, errors);
    }
    selector::validate_object(&spec.get("selector"), true, errors);
    check(spec, &[("*unhealthyPodEvictionPolicy", OneOf("AlwaysAllow IfHealthyBudget"))], errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_one_bound_that_makes_sense() {
        let cases = [
            (json!({}), &[][..]),
            (json!({"minAvailable": "0%", "selector": {}}), &[][..]),
            (json!({"minAvailable": 1, "maxUnavailable": 1}), &["spec"][..]),
            (json!({"minAvailable": -1}), &["spec.minAvailable"][..]),
            (json!({"maxUnavailable": "101%"}), &["spec.maxUnavailable"][..]),
            (json!({"maxUnavailable": "half"}), &["spec.maxUnavailable"][..]),
            (json!({"unhealthyPodEvictionPolicy": "Never"}), &["spec.unhealthyPodEvictionPolicy"][..]),
        ];
        for (spec, expected) in cases {
            let budget = json!({"metadata": {"name": "X", "namespace": "n"}, "spec": spec});
            let fields: Vec<String> =
                POD_DISRUPTION_BUDGET.validate(&budget).0.into_iter().map(|e| e.field).collect();
            assert_eq!(fields, expected, "case: {budget}");
        }
    }
}

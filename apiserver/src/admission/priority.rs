//! A pod's priority is computed from its class, never set by its author. Only the two classes of the system exist.
//!
//! Source: `plugin/pkg/admission/priority`.

use async_trait::async_trait;
use coracle_api::{Status, kinds};
use serde_json::Value;

use super::attributes::{Attributes, Operation};
use super::link::Link;

const CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const POLICY: &str = "PreemptLowerPriority";

pub(super) struct Priority;

#[async_trait]
impl Link for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        match attributes.operation {
            Operation::Create if attributes.is_about(&kinds::POD) => compute(attributes, pod).map(|()| true),
            Operation::Update if attributes.is_about(&kinds::POD) => Ok(keep(pod, attributes.old)),
            _ => Ok(false),
        }
    }
}

/// What a changed pod leaves out of this is as it was.
fn keep(pod: &mut Value, old: &Value) -> bool {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return false };
    for field in ["priority", "preemptionPolicy"] {
        if let Some(kept) = old["spec"].get(field) {
            spec.entry(field).or_insert_with(|| kept.clone());
        }
    }
    true
}

fn compute(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let priority = if class.is_empty() {
        0
    } else {
        let found = CLASSES.iter().find(|(name, _)| *name == class).map(|(_, value)| *value);
        found
            .ok_or_else(|| attributes.forbid(pod, &format!("no PriorityClass with name {class} was found")))?
    };
    if let Some(given) = pod["spec"]["priority"].as_i64().filter(|given| *given != priority) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(attributes.forbid(pod, &why));
    }
    if let Some(given) = pod["spec"]["preemptionPolicy"].as_str().filter(|given| *given != POLICY) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {POLICY} from the given PriorityClass name"
        );
        return Err(attributes.forbid(pod, &why));
    }
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("priority".into(), priority.into());
        spec.insert("preemptionPolicy".into(), POLICY.into());
    }
    Ok(())
}

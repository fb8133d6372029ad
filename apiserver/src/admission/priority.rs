//! A pod's priority is computed from its class, never given. The two classes of the system are all there are.
//!
//! Source: `plugin/pkg/admission/priority`.

use coracle_api::Status;
use serde_json::Value;

use super::Admission;

const CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const POLICY: &str = "PreemptLowerPriority";

pub(super) fn admit(admission: &Admission<'_>, pod: &mut Value) -> Result<(), Status> {
    if !admission.is_pod() {
        return Ok(());
    }
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let priority = if class.is_empty() {
        0
    } else {
        let found = CLASSES.iter().find(|(name, _)| *name == class).map(|(_, value)| *value);
        found
            .ok_or_else(|| admission.forbid(pod, &format!("no PriorityClass with name {class} was found")))?
    };
    if let Some(given) = pod["spec"]["priority"].as_i64().filter(|given| *given != priority) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(admission.forbid(pod, &why));
    }
    if let Some(given) = pod["spec"]["preemptionPolicy"].as_str().filter(|given| *given != POLICY) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {POLICY} from the given PriorityClass name"
        );
        return Err(admission.forbid(pod, &why));
    }
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("priority".into(), priority.into());
        spec.insert("preemptionPolicy".into(), POLICY.into());
    }
    Ok(())
}

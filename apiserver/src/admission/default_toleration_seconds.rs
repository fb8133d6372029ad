//! Pods tolerate a node that is not ready or unreachable for five minutes, unless they say otherwise.
//!
//! Source: `plugin/pkg/admission/defaulttolerationseconds`.

use async_trait::async_trait;
use coracle_api::{Status, kinds};
use serde_json::{Value, json};

use super::attributes::{Attributes, Operation};
use super::link::Link;

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Link for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        if written && attributes.is_about(&kinds::POD) {
            fill(pod);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Adds what is missing; upstream does so whenever a pod is written.
fn fill(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let given = spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    let missing: Vec<Value> = TAINTS
        .iter()
        .filter(|taint| {
            !given.iter().any(|toleration| {
                let (key, effect) = (
                    toleration["key"].as_str().unwrap_or_default(),
                    toleration["effect"].as_str().unwrap_or_default(),
                );
                (key.is_empty() || key == **taint) && (effect.is_empty() || effect == "NoExecute")
            })
        })
        .map(|taint| {
            json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS})
        })
        .collect();
    if !missing.is_empty() {
        spec.insert("tolerations".into(), given.into_iter().chain(missing).collect());
    }
}

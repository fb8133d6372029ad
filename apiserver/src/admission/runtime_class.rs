//! Refuses pods that name a runtime class or set an overhead: no runtime classes exist yet, and only they define
//! overheads.
//!
//! Source: `plugin/pkg/admission/runtimeclass`.

use async_trait::async_trait;
use coracle_api::{Status, kinds};
use serde_json::Value;

use super::attributes::{Attributes, Extras, Operation};
use super::link::Link;

pub(super) struct RuntimeClass;

#[async_trait]
impl Link for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        match pod["spec"]["runtimeClassName"].as_str() {
            Some(name) if concerns(attributes) => {
                Err(attributes.forbid(pod, &format!("pod rejected: RuntimeClass {name:?} not found")))
            }
            _ => Ok(false),
        }
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value, _: &mut Extras) -> Result<(), Status> {
        if concerns(attributes) && pod["spec"].get("overhead").is_some() {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(attributes.forbid(pod, why));
        }
        Ok(())
    }
}

fn concerns(attributes: &Attributes<'_>) -> bool {
    attributes.operation == Operation::Create && attributes.is_about(&kinds::POD)
}

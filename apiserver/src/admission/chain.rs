//! The links in their order.

use std::sync::Arc;

use coracle_api::Status;
use serde_json::Value;

use super::attributes::{Attributes, Extras};
use super::default_toleration_seconds::DefaultTolerationSeconds;
use super::link::Link;
use super::namespace_lifecycle::NamespaceLifecycle;
use super::node_restriction::NodeRestriction;
use super::priority::Priority;
use super::runtime_class::RuntimeClass;
use super::service_account::ServiceAccount;

/// The links in their order.
pub struct Chain {
    /// Asked before validation.
    pub mutating: Vec<Arc<dyn Link>>,
    /// Asked after validation.
    pub validating: Vec<Arc<dyn Link>>,
}

impl Default for Chain {
    /// In upstream's order.
    fn default() -> Chain {
        Chain {
            mutating: vec![
                Arc::new(NamespaceLifecycle),
                Arc::new(ServiceAccount),
                Arc::new(NodeRestriction),
                Arc::new(Priority),
                Arc::new(DefaultTolerationSeconds),
                Arc::new(RuntimeClass),
            ],
            validating: vec![Arc::new(ServiceAccount), Arc::new(RuntimeClass)],
        }
    }
}

impl Chain {
    /// Whether any link adds changes to writes.
    pub fn writes_companions(&self) -> bool {
        self.mutating.iter().chain(&self.validating).any(|link| link.writes_companions())
    }

    /// Runs the mutating links; says whether any has changed the object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let mut changed = false;
        for link in &self.mutating {
            let refused = |status| logged(link.as_ref(), attributes, status);
            changed |= link.mutate(attributes, object, warnings).await.map_err(refused)?;
        }
        Ok(changed)
    }

    /// Runs the validating links.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        extras: &mut Extras,
    ) -> Result<(), Status> {
        for link in &self.validating {
            let refused = |status| logged(link.as_ref(), attributes, status);
            link.validate(attributes, object, extras).await.map_err(refused)?;
        }
        Ok(())
    }
}

fn logged(link: &dyn Link, attributes: &Attributes<'_>, status: Status) -> Status {
    let operation = attributes.operation.word();
    tracing::debug!(link = link.name(), operation, key = %attributes.key, subresource = attributes.subresource, %status, "refused");
    status
}

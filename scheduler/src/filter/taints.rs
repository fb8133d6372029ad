//! Taints and tolerations. A node that is not ready is avoided because of its taints, not because of its condition.

use super::contract::{Ask, Filter};
use super::reason::Reason;
use crate::changes::Changes;
use crate::view::NodeView;

/// Every taint that forbids scheduling must be tolerated.
pub struct Tolerated;

impl Filter for Tolerated {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        view.untolerated(&ask.pod.shape).map_or(Ok(()), |i| Err(Reason::Tainted(i)))
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED | Changes::NODE_TAINTS
    }
}

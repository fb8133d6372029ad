//! Ports of the node.

use super::contract::{Ask, Filter};
use super::reason::Reason;
use crate::changes::Changes;
use crate::pod::Shape;
use crate::view::NodeView;

/// A port of the node belongs to one pod.
pub struct PortsFree;

impl Filter for PortsFree {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        let wanted = &ask.pod.shape.ports;
        if wanted.is_empty() {
            return Ok(());
        }
        match wanted.iter().position(|w| view.node.ports().any(|taken| taken.clashes(w))) {
            Some(i) => Err(Reason::PortTaken(i)),
            None => Ok(()),
        }
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED | Changes::POD_GONE
    }
}

/// Which port, and who has it.
pub fn detail(shape: &Shape, index: usize, view: NodeView<'_>) -> String {
    let Some(port) = shape.ports.get(index) else { return "a port is taken".into() };
    let holder = view.node.pods.iter().find(|p| p.shape.ports.iter().any(|taken| taken.clashes(port)));
    match holder {
        Some(pod) => format!("needs host port {}/{}, taken by {}", port.port, port.protocol, pod.key),
        None => format!("needs host port {}/{}, taken", port.port, port.protocol),
    }
}

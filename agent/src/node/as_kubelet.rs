//! Writes in the name of the node's agent.

use coracle_client::{Op, Write};

/// The change log and managed fields name the writer as upstream does.
pub fn as_kubelet(op: Op) -> Write {
    Write { actor: "kubelet".into(), ..Write::from(op) }
}

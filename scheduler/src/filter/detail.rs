//! Refusals in detail.

use super::contract::Ask;
use super::reason::Reason;
use super::{affinity, pod_affinity, ports, resources, spread};
use crate::view::NodeView;

/// By how much a node falls short, for a person who asks why.
pub fn detail(reason: Reason, ask: &Ask<'_>, view: NodeView<'_>) -> String {
    let shape = &ask.pod.shape;
    match reason {
        Reason::NotNamed => "the pod names its nodes, and not this one".into(),
        Reason::Cordoned => "cordoned".into(),
        Reason::Tainted(i) => match view.facts.taints.get(i) {
            Some(taint) => format!("taint {taint} is not tolerated"),
            None => "a taint is not tolerated".into(),
        },
        Reason::Unsuited => affinity::detail(shape, view),
        Reason::PortTaken(i) => ports::detail(shape, i, view),
        Reason::Lacks(lacks) => resources::detail(lacks, shape, view),
        Reason::NoDomain => spread::missing(shape, view),
        Reason::TooSkewed(i) => spread::detail(ask, i, view),
        Reason::NoRequiredPod(i) => {
            format!(
                "no pod that the affinity rule means shares its {}",
                pod_affinity::key(&shape.pod_affinity.required, i)
            )
        }
        Reason::ForbiddenPod(i) => {
            format!(
                "a pod that the anti-affinity rule means shares its {}",
                pod_affinity::key(&shape.pod_affinity.forbidden, i)
            )
        }
        Reason::KeptAway => "a pod there keeps this one away by its anti-affinity".into(),
    }
}

//! Room: requests against what a node can promise.

use coracle_api::Quantity;

use super::contract::{Ask, Filter};
use super::reason::{Lacks, Reason};
use crate::changes::Changes;
use crate::pod::Shape;
use crate::view::NodeView;

/// Counts requests, not usage: a node is full when its promises are, even if it idles. A resource that the pod does not
/// ask for is not looked at, so that an overcommitted node still takes pods that want nothing of it.
pub struct Fits;

impl Filter for Fits {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        let lacks = lacks(&ask.pod.shape, view);
        if lacks == Lacks::default() { Ok(()) } else { Err(Reason::Lacks(lacks)) }
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED | Changes::NODE_ROOM | Changes::POD_GONE
    }
}

fn lacks(shape: &Shape, view: NodeView<'_>) -> Lacks {
    let (ask, all, used) = (&shape.requests, &view.facts.allocatable, &view.node.used);
    let mut lacks = Lacks::default();
    let mut short = |want: i64, all: i64, used: i64| {
        let short = want > 0 && want > all.saturating_sub(used);
        lacks.for_good |= short && want > all;
        short
    };
    let cpu = short(ask.cpu, all.cpu, used.cpu);
    let memory = short(ask.memory, all.memory, used.memory);
    let storage = short(ask.storage, all.storage, used.storage);
    let mut extended = 0;
    for (i, (name, want)) in ask.extended.iter().enumerate() {
        if short(*want, all.extended(name), used.extended(name)) {
            extended |= 1 << i.min(63);
        }
    }
    let count = i64::try_from(view.node.pods.len()).unwrap_or(i64::MAX);
    Lacks { pods: count >= view.facts.max_pods, cpu, memory, storage, extended, ..lacks }
}

/// `needs 600m cpu, 350m free`.
pub fn detail(lacks: Lacks, shape: &Shape, view: NodeView<'_>) -> String {
    let (ask, all, used) = (&shape.requests, &view.facts.allocatable, &view.node.used);
    let mut parts = Vec::new();
    if lacks.pods {
        parts.push(format!("has {} pods of {}", view.node.pods.len(), view.facts.max_pods));
    }
    let mut part = |name: &str, want: i64, all: i64, used: i64, show: fn(i64) -> String| {
        let free = show(all.saturating_sub(used).max(0));
        let whole = if want > all { format!(" (the whole node has {})", show(all)) } else { String::new() };
        parts.push(format!("needs {} {name}, {free} free{whole}", show(want)));
    };
    if lacks.cpu {
        part("cpu", ask.cpu, all.cpu, used.cpu, |milli| Quantity::milli(milli).to_string());
    }
    if lacks.memory {
        part("memory", ask.memory, all.memory, used.memory, show_bytes);
    }
    if lacks.storage {
        part("ephemeral-storage", ask.storage, all.storage, used.storage, show_bytes);
    }
    for (name, want) in lacks.extended_of(shape) {
        part(name, *want, all.extended(name), used.extended(name), |n| n.to_string());
    }
    parts.join("; ")
}

/// Bytes as people write them, in the largest unit that is exact, or with one decimal.
fn show_bytes(bytes: i64) -> String {
    const UNITS: [(&str, i64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes.abs() >= size {
            let tenths = i128::from(bytes) * 10 / i128::from(size);
            return if i128::from(bytes) * 10 % i128::from(size) == 0 && tenths % 10 == 0 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, (tenths % 10).abs())
            };
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_people_write_them() {
        for (bytes, text) in [(4 << 30, "4Gi"), ((3 << 30) / 2, "1.5Gi"), (100, "100"), (0, "0")] {
            assert_eq!(show_bytes(bytes), text);
        }
    }
}

//! The sentence that sums up why a pod is still without a node, as `kubectl describe pod` shows it: upstream's, to the
//! letter, because people and scripts search for it.

use std::collections::BTreeMap;

use crate::decide::{Decision, Outcome};
use crate::pod::Pod;

/// The message of the `PodScheduled` condition and the `FailedScheduling` event.
pub fn sentence(pod: &Pod, decision: &Decision, nodes: usize) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    if let Some(early) = decision.early {
        return format!("0/{nodes} nodes are available: {early}. not found");
    }
    let refusals = || {
        decision.verdicts.iter().filter_map(|(_, outcome)| match outcome {
            Outcome::Refused(_, reason) => Some(*reason),
            Outcome::Fits(_) => None,
        })
    };
    // Most nodes say the same: the words are made once for each reason, not once for each node.
    let mut said: Vec<(crate::filter::Reason, usize)> = Vec::new();
    let mut preemption: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in refusals() {
        match said.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, count)) => *count += 1,
            None => said.push((reason, 1)),
        }
        let help = if reason.is_final() {
            "Preemption is not helpful for scheduling"
        } else {
            "No preemption victims found for incoming pod"
        };
        *preemption.entry(help).or_default() += 1;
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (reason, times) in said {
        for words in reason.words(pod) {
            *counts.entry(words).or_default() += times;
        }
    }
    let reasons = list(counts.into_iter());
    let preemption = if pod.shape.never_preempts {
        "not eligible due to preemptionPolicy=Never.".to_string()
    } else {
        let help = list(preemption.into_iter().map(|(text, count)| (text.to_string(), count)));
        format!("0/{nodes} nodes are available: {help}.")
    };
    format!("0/{nodes} nodes are available: {reasons}. no new claims to deallocate, preemption: {preemption}")
}

/// `1 this, 2 that`, sorted as text with the counts in it, so that 10 comes before 2.
fn list(counts: impl Iterator<Item = (String, usize)>) -> String {
    let mut parts: Vec<String> = counts.map(|(text, count)| format!("{count} {text}")).collect();
    parts.sort();
    parts.join(", ")
}

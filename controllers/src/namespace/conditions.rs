//! What a namespace that goes shows to people, in upstream's words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};

use crate::time;

/// What is left although it was deleted.
#[derive(Default)]
pub struct Left {
    /// What cannot be understood or was refused, for people.
    pub failures: Vec<String>,
    /// How many there are of each kind.
    pub remaining: BTreeMap<String, usize>,
    /// How many are kept by each finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

/// The conditions of a namespace of whose content this is left.
pub fn conditions(namespace: &Namespace, left: &Left, now: Timestamp) -> Vec<NamespaceCondition> {
    let Left { failures, remaining, finalizers } = left;
    let content_failure = (!failures.is_empty()).then(|| {
        let (count, texts) = (failures.len(), failures.join(", "));
        ("ContentDeletionFailed", format!("Failed to delete all resource types, {count} remaining: {texts}"))
    });
    let content = (!remaining.is_empty()).then(|| {
        let texts: Vec<String> =
            remaining.iter().map(|(name, count)| format!("{name} has {count} resource instances")).collect();
        ("SomeResourcesRemain", format!("Some resources are remaining: {}", texts.join(", ")))
    });
    let held = (!finalizers.is_empty()).then(|| {
        let texts: Vec<String> =
            finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
        let message = format!("Some content in the namespace has finalizers remaining: {}", texts.join(", "));
        ("SomeFinalizersRemain", message)
    });
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            None,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            content_failure,
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        ("NamespaceContentRemaining", content, ("ContentRemoved", "All content successfully removed")),
        (
            "NamespaceFinalizersRemaining",
            held,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let old = namespace.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let old: BTreeMap<&str, &NamespaceCondition> =
        old.map(|condition| (condition.type_.as_str(), condition)).collect();
    let condition = |(of_type, fault, fine): (&str, Option<(&'static str, String)>, (&'static str, &str))| {
        let status = if fault.is_some() { "True" } else { "False" };
        let (reason, message) = fault.unwrap_or((fine.0, fine.1.to_owned()));
        let same = old.get(of_type).filter(|old| old.status == status);
        NamespaceCondition {
            type_: of_type.into(),
            status: status.into(),
            last_transition_time: same
                .and_then(|old| old.last_transition_time.clone())
                .or_else(|| Some(time::seconds(now))),
            reason: Some(reason.into()),
            message: Some(message),
        }
    };
    rows.into_iter().map(condition).collect()
}

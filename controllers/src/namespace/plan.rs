//! How a namespace goes: pods first, then everything else, and last the finalizer that kept its name.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};

use crate::time;

/// The finalizer that waits for the content.
pub const FINALIZER: &str = "kubernetes";

/// How long upstream expects finalizers to take.
const FINALIZERS_TAKE: Duration = Duration::from_secs(15);

/// What is left of one kind in the namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// `configmaps`.
    pub resource: String,
    /// How many objects there are, each with its finalizers.
    pub objects: Vec<Vec<String>>,
    /// The longest grace period of a pod that has not ended.
    pub grace: Duration,
}

/// What the namespace has to show and when to look again, after everything in it has been asked to go.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// The namespace's conditions.
    pub conditions: Vec<NamespaceCondition>,
    /// Whether nothing is left, so that the finalizer can go.
    pub finalize: bool,
    /// When to try again.
    pub look_again: Option<Duration>,
}

/// Whether the content of a namespace is to go.
pub fn is_due(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
    namespace.metadata.deletion_timestamp.is_some()
        && finalizers.into_iter().any(|finalizer| finalizer == FINALIZER)
}

/// Decides and does nothing else. `left` is what remains after everything was asked to go: of pods alone as long as there are any.
pub fn plan(namespace: &Namespace, left: &[Content], now: Timestamp) -> Plan {
    let deleted = namespace.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let mut remaining: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexpected = Vec::new();
    let mut wait = Duration::ZERO;
    let mut grace_ends = Duration::MAX;
    for content in left.iter().filter(|content| !content.objects.is_empty()) {
        let grace = SignedDuration::try_from(content.grace).unwrap_or(SignedDuration::MAX);
        let end = deleted.checked_add(grace).unwrap_or(Timestamp::MAX);
        let in_grace = end > now && !content.grace.is_zero();
        let held: Vec<&String> = content.objects.iter().flatten().collect();
        if !in_grace && held.is_empty() {
            unexpected.push(unexpected_items(namespace, content));
            continue;
        }
        wait = wait.max(if in_grace { content.grace } else { FINALIZERS_TAKE });
        if in_grace {
            grace_ends = grace_ends.min(time::until(end, now));
        }
        let name = format!("{}.{}", content.resource, content.group);
        *remaining.entry(name).or_default() += content.objects.len();
        held.into_iter().for_each(|finalizer| *finalizers.entry(finalizer).or_default() += 1);
    }
    let finalize = left.iter().all(|content| content.objects.is_empty());
    // Half of what it is expected to take, as upstream does; what goes earlier wakes us earlier.
    let half = if unexpected.is_empty() { wait / 2 + Duration::from_secs(1) } else { Duration::from_secs(5) };
    let look_again = half.min(grace_ends);
    Plan {
        conditions: conditions(namespace, &unexpected, &remaining, &finalizers, now),
        finalize,
        look_again: (!finalize).then_some(look_again),
    }
}

fn unexpected_items(namespace: &Namespace, content: &Content) -> String {
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let Content { group, version, resource, .. } = content;
    format!(
        "unexpected items still remain in namespace: {name} for gvr: {group}/{version}, Resource={resource}"
    )
}

fn conditions(
    namespace: &Namespace,
    unexpected: &[String],
    remaining: &BTreeMap<String, usize>,
    finalizers: &BTreeMap<&str, usize>,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let content_failure = (!unexpected.is_empty()).then(|| {
        let (count, texts) = (unexpected.len(), unexpected.join(", "));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace() -> Namespace {
        let value = json!({
            "metadata": {"name": "n", "deletionTimestamp": crate::testing::time(0)},
            "spec": {"finalizers": ["kubernetes"]},
        });
        serde_json::from_value(value).expect("a namespace")
    }

    fn content(resource: &str, objects: &[&[&str]], grace: u64) -> Content {
        Content {
            version: "v1".into(),
            resource: resource.into(),
            objects: objects.iter().map(|f| f.iter().map(|f| (*f).to_owned()).collect()).collect(),
            grace: Duration::from_secs(grace),
            ..Content::default()
        }
    }

    fn told(plan: &Plan) -> Vec<&str> {
        let bad = plan.conditions.iter().filter(|condition| condition.status == "True");
        bad.filter_map(|condition| condition.message.as_deref()).collect()
    }

    #[test]
    fn an_empty_namespace_is_let_go() {
        let plan = plan(&namespace(), &[content("configmaps", &[], 0)], crate::testing::time(1).0);
        assert!(plan.finalize && plan.look_again.is_none());
        assert_eq!(told(&plan), [""; 0]);
        assert_eq!(plan.conditions.len(), 5);
    }

    #[test]
    fn what_holds_it_is_named() {
        let left = [
            content("secrets", &[&["e.com/hold", "e.com/z"]], 0),
            content("configmaps", &[&["e.com/hold"]], 0),
        ];
        let plan = plan(&namespace(), &left, crate::testing::time(1).0);
        assert!(!plan.finalize);
        assert_eq!(
            told(&plan),
            [
                "Some resources are remaining: configmaps. has 1 resource instances, secrets. has 1 resource instances",
                "Some content in the namespace has finalizers remaining: e.com/hold in 2 resource instances, \
                 e.com/z in 1 resource instances",
            ]
        );
    }

    #[test]
    fn pods_have_their_grace_and_then_are_unexpected() {
        let left = [content("pods", &[&[]], 7)];
        let early = plan(&namespace(), &left, crate::testing::time(3).0);
        assert_eq!(told(&early), ["Some resources are remaining: pods. has 1 resource instances"]);
        let late = plan(&namespace(), &left, crate::testing::time(8).0);
        let text = "Failed to delete all resource types, 1 remaining: unexpected items still remain in namespace: n \
                    for gvr: /v1, Resource=pods";
        assert_eq!(told(&late), [text]);
        assert_eq!((early.look_again, late.finalize), (Some(Duration::from_secs(4)), false));
    }
}

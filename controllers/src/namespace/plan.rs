//! How a namespace is deleted: its pods first, then everything else in it, and last the finalizer that held it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, KindRef};
use coracle_client::{Action, Op, Plan, Refusal, Typed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;

use super::conditions::{Left, conditions};
use crate::{patch, time};

/// The finalizer that waits for the content.
pub const FINALIZER: &str = "kubernetes";

/// How long upstream expects finalizers to take.
const FINALIZERS_TAKE: Duration = Duration::from_secs(15);
/// When to look again although nothing has changed, where something ought to have.
const SOON: Duration = Duration::from_secs(5);

/// All that `plan` may look at.
pub struct Observed {
    /// The namespace, which is being deleted.
    pub namespace: Arc<Namespace>,
    /// What is in it: of pods alone as long as there are any.
    pub contents: Vec<Content>,
}

/// What the namespace holds of one kind.
pub struct Content {
    /// The kind.
    pub kind: KindRef,
    /// The objects.
    pub pieces: Vec<Piece>,
    /// The longest grace period of a pod that has not ended.
    pub grace: Duration,
}

/// One object.
pub struct Piece {
    /// What names it.
    pub key: Key,
    /// Whether it is being deleted.
    pub is_going: bool,
    /// The finalizers that hold it.
    pub finalizers: Vec<String>,
}

/// Whether the content of a namespace is to be deleted.
pub fn is_due(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
    namespace.metadata.deletion_timestamp.is_some()
        && finalizers.into_iter().any(|finalizer| finalizer == FINALIZER)
}

/// Decides and does nothing else: same input, same output, and no actions once there is nothing to do but wait.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let all = observed.contents.iter().flat_map(|content| &content.pieces);
    let staying = all.clone().filter(|piece| !piece.is_going);
    let deletes: Vec<Action> =
        staying.map(|piece| Action::write(Op::delete_key(piece.key.clone()))).collect();
    if !deletes.is_empty() {
        // Each object that is removed wakes this controller.
        return Plan::of(deletes).and_look_again(Some(SOON));
    }
    let (left, look_again) = left(observed, now);
    let status_write = tell(&observed.namespace, &left, now);
    if all.count() > 0 {
        return Plan::of(status_write.into_iter().collect()).and_look_again(Some(look_again));
    }
    let finalize = finalize(&observed.namespace);
    Plan::of(vec![match status_write {
        Some(status_write) => status_write.then(finalize),
        None => finalize,
    }])
}

/// Says in the namespace's conditions which kinds could not be deleted.
pub fn refused(observed: &Observed, refusals: &[Refusal], now: Timestamp) -> Vec<Action> {
    let (mut left, _) = left(observed, now);
    let mut kinds = BTreeSet::new();
    for refusal in refusals {
        if let Some(Op::Delete { key, .. }) = refusal.action.op()
            && kinds.insert(key.kind.clone())
        {
            left.failures.push(refusal.status.to_string());
        }
    }
    if kinds.is_empty() {
        return Vec::new();
    }
    tell(&observed.namespace, &left, now).into_iter().collect()
}

/// What is left of all that was deleted, and when to look at it again.
fn left(observed: &Observed, now: Timestamp) -> (Left, Duration) {
    let deleted = observed.namespace.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let mut left = Left::default();
    let mut wait = Duration::ZERO;
    let mut grace_ends = Duration::MAX;
    for content in &observed.contents {
        let going: Vec<&Piece> = content.pieces.iter().filter(|piece| piece.is_going).collect();
        let held: Vec<&String> = going.iter().flat_map(|piece| &piece.finalizers).collect();
        let grace = SignedDuration::try_from(content.grace).unwrap_or(SignedDuration::MAX);
        let end = deleted.checked_add(grace).unwrap_or(Timestamp::MAX);
        let in_grace = end > now && !content.grace.is_zero();
        if going.is_empty() {
            continue;
        }
        if !in_grace && held.is_empty() {
            left.failures.push(unexpected_items(&observed.namespace, &content.kind));
            continue;
        }
        wait = wait.max(if in_grace { content.grace } else { FINALIZERS_TAKE });
        if in_grace {
            grace_ends = grace_ends.min(time::until(end, now));
        }
        let name = format!("{}.{}", content.kind.plural(), content.kind.group());
        *left.remaining.entry(name).or_default() += going.len();
        held.into_iter().for_each(|name| *left.finalizers.entry(name.clone()).or_default() += 1);
    }
    // Half of what it is expected to take, as upstream does; what goes earlier wakes us earlier.
    let half = if left.failures.is_empty() { wait / 2 + Duration::from_secs(1) } else { SOON };
    (left, half.min(grace_ends))
}

fn unexpected_items(namespace: &Namespace, kind: &KindRef) -> String {
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let (group, version, resource) = (kind.group(), kind.version(), kind.plural());
    format!(
        "unexpected items still remain in namespace: {name} for gvr: {group}/{version}, Resource={resource}"
    )
}

/// Brings the conditions up to date, if they are not.
fn tell(namespace: &Namespace, left: &Left, now: Timestamp) -> Option<Action> {
    let old = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
    let new = conditions(namespace, left, now);
    let status = patch::difference(&json!({"conditions": old}), &json!({"conditions": new}))?;
    let patch = json!({"metadata": {"uid": namespace.metadata.uid}, "status": status});
    Some(Action::write(Op::merge_status(namespace.key(), patch)))
}

/// Lets the namespace go.
fn finalize(namespace: &Namespace) -> Action {
    let mut object = namespace.clone();
    // Its conditions may just have been written.
    object.metadata.resource_version = None;
    let finalizers = object.spec.get_or_insert_default().finalizers.get_or_insert_default();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    Action::write(Op::Update { key: namespace.key(), sub: Some("finalize"), object: object.to_value() })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NamespaceCondition;

    use super::*;

    fn kind(name: &str) -> KindRef {
        coracle_api::kinds::Kinds::new().by_word(name).expect("a kind")
    }

    /// So many seconds after the namespace was deleted; of each kind its objects, each with its finalizers.
    fn observed(contents: &[(&str, &[&[&str]], u64)]) -> Observed {
        let value = json!({
            "metadata": {"name": "n", "deletionTimestamp": crate::testing::time(0)},
            "spec": {"finalizers": ["kubernetes"]},
        });
        let content = |(word, objects, grace): &(&str, &[&[&str]], u64)| {
            let piece = |(number, finalizers): (usize, &&[&str])| Piece {
                key: Key::new(kind(word), "n", number.to_string()),
                is_going: true,
                finalizers: finalizers.iter().map(|name| (*name).to_owned()).collect(),
            };
            Content {
                kind: kind(word),
                pieces: objects.iter().enumerate().map(piece).collect(),
                grace: Duration::from_secs(*grace),
            }
        };
        Observed {
            namespace: Arc::new(serde_json::from_value(value).expect("a namespace")),
            contents: contents.iter().map(content).collect(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        crate::testing::time(seconds).0
    }

    fn words(plan: &Plan) -> Vec<String> {
        plan.actions.iter().map(ToString::to_string).collect()
    }

    /// The messages of the conditions that are true in what an action writes.
    fn messages(action: &Action) -> Vec<String> {
        let Some(Op::Patch { patch, .. }) = action.op() else { panic!("{action} tells nothing") };
        let conditions: Vec<NamespaceCondition> =
            serde_json::from_value(patch["status"]["conditions"].clone()).expect("conditions");
        assert_eq!(conditions.len(), 5);
        let bad = conditions.into_iter().filter(|condition| condition.status == "True");
        bad.filter_map(|condition| condition.message).collect()
    }

    #[test]
    fn what_has_not_been_asked_to_go_is_asked_first() {
        let mut observed = observed(&[("configmaps", &[&[], &["e.com/hold"]], 0), ("secrets", &[&[]], 0)]);
        observed.contents[0].pieces[1].is_going = false;
        observed.contents[1].pieces[0].is_going = false;
        let plan = plan(&observed, at(1));
        assert_eq!(words(&plan), ["delete configmaps/n/1", "delete secrets/n/0"]);
        assert_eq!(plan.look_again, Some(SOON));
    }

    #[test]
    fn an_empty_namespace_is_let_go() {
        let plan = plan(&observed(&[("configmaps", &[], 0)]), at(1));
        assert_eq!(words(&plan), ["patch namespaces/n, then update namespaces/n"]);
        assert_eq!((messages(&plan.actions[0]), plan.look_again), (Vec::new(), None));
    }

    #[test]
    fn what_holds_it_is_named_once() {
        let held: [&[&str]; 1] = [&["e.com/hold", "e.com/z"]];
        let mut observed = observed(&[("secrets", &held, 0), ("configmaps", &[&["e.com/hold"]], 0)]);
        let first = plan(&observed, at(1));
        assert_eq!(
            messages(&first.actions[0]),
            [
                "Some resources are remaining: configmaps. has 1 resource instances, secrets. has 1 resource instances",
                "Some content in the namespace has finalizers remaining: e.com/hold in 2 resource instances, \
                 e.com/z in 1 resource instances",
            ]
        );
        let Some(Op::Patch { patch, .. }) = first.actions[0].op() else { panic!("no patch") };
        observed.namespace = Arc::new(crate::testing::merged(&*observed.namespace, patch));
        let again = plan(&observed, at(2));
        assert_eq!(
            (again.actions, again.look_again),
            (Vec::new(), first.look_again),
            "nothing to do but wait"
        );
    }

    #[test]
    fn pods_have_their_grace_and_then_are_unexpected() {
        let observed = observed(&[("pods", &[&[]], 7)]);
        let (early, late) = (plan(&observed, at(3)), plan(&observed, at(8)));
        assert_eq!(
            messages(&early.actions[0]),
            ["Some resources are remaining: pods. has 1 resource instances"]
        );
        let text = "Failed to delete all resource types, 1 remaining: unexpected items still remain in namespace: n \
                    for gvr: /v1, Resource=pods";
        assert_eq!(messages(&late.actions[0]), [text]);
        assert_eq!(early.look_again, Some(Duration::from_secs(4)));
    }

    #[test]
    fn a_refused_delete_is_told_once_for_each_kind() {
        let mut observed = observed(&[("configmaps", &[&[], &[]], 0)]);
        observed.contents[0].pieces.iter_mut().for_each(|piece| piece.is_going = false);
        let refusals: Vec<Refusal> = plan(&observed, at(1))
            .actions
            .into_iter()
            .map(|action| Refusal {
                action,
                status: coracle_api::Status::failure(403, "Forbidden", "you may not"),
            })
            .collect();
        let more = refused(&observed, &refusals, at(1));
        assert_eq!(messages(&more[0]), ["Failed to delete all resource types, 1 remaining: you may not"]);
    }
}

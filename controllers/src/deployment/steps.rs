//! From one version to the next: side by side within limits, or all of the old before any of the new.

use k8s_openapi::api::core::v1::Pod;

use super::rollout::{Index, Rollout, is_stale, lasting, replicas};
use super::status;
use crate::pods;

/// One step of a rolling update. Growing and shrinking take turns, so that each step builds on what the last one made.
pub fn rolling(rollout: &mut Rollout<'_>) {
    let made = rollout.new.is_none();
    let new = rollout.create_new();
    if made {
        shrink_old(rollout, new);
        return;
    }
    if grow_new(rollout, new) || shrink_old(rollout, new) {
        return;
    }
    if status::was_complete(rollout) {
        clean_up(rollout);
    }
}

/// Brings the new set as far as there is room; returns whether that changed anything.
fn grow_new(rollout: &mut Rollout<'_>, new: Index) -> bool {
    let size = rollout.replicas(new);
    let wanted =
        if size > rollout.limits.replicas { rollout.limits.replicas } else { rollout.room_for_new(new) };
    if size == wanted {
        return false;
    }
    rollout.scale(new, wanted);
    true
}

/// Takes from the old sets what the limits allow: first what is not available anyway, oldest set first, then what the available
/// pods of the new one replace. Waits for sets that have yet to count their pods after their last change of size; upstream
/// does not, and can fall short when versions follow each other fast.
fn shrink_old(rollout: &mut Rollout<'_>, new: Index) -> bool {
    let old: Vec<Index> = rollout.old().filter(|index| rollout.replicas(*index) > 0).collect();
    if old.is_empty() || rollout.all().any(is_stale) {
        return false;
    }
    let least = rollout.limits.least_available();
    let all: i32 = rollout.all().map(replicas).sum();
    let new_unavailable = rollout.replicas(new) - lasting(&rollout.sets[new].set);
    let mut room = all - least - new_unavailable;
    if room <= 0 {
        return false;
    }
    let mut changed = false;
    for index in &old {
        let size = rollout.replicas(*index);
        let unavailable = (size - lasting(&rollout.sets[*index].set)).clamp(0, room);
        if unavailable > 0 {
            rollout.scale(*index, size - unavailable);
            room -= unavailable;
            changed = true;
        }
    }
    let mut spare = rollout.all().map(lasting).sum::<i32>() - least;
    for index in old {
        let size = rollout.replicas(index);
        let less = size.min(spare);
        if less > 0 {
            rollout.scale(index, size - less);
            spare -= less;
            changed = true;
        }
    }
    changed
}

/// One step of a change where old and new must not meet.
pub fn recreate(rollout: &mut Rollout<'_>, pods: &[(String, &Pod)]) {
    let old: Vec<Index> = rollout.old().filter(|index| rollout.replicas(*index) > 0).collect();
    if !old.is_empty() {
        old.into_iter().for_each(|index| rollout.scale(index, 0));
        return;
    }
    if old_pods_run(rollout, pods) {
        return;
    }
    let new = rollout.create_new();
    if rollout.replicas(new) != rollout.limits.replicas {
        rollout.scale(new, rollout.limits.replicas);
    }
    if status::was_complete(rollout) {
        clean_up(rollout);
    }
}

/// Whether a pod of another version may still run; one that is being deleted does, one that has ended does not.
fn old_pods_run(rollout: &Rollout<'_>, pods: &[(String, &Pod)]) -> bool {
    let counted =
        |index: Index| rollout.sets[index].set.status.as_ref().is_some_and(|status| status.replicas > 0);
    let new = rollout.new_set().and_then(|set| set.metadata.uid.as_deref());
    rollout.old().any(counted)
        || pods.iter().any(|(set, pod)| Some(set.as_str()) != new && !pods::is_finished(pod))
}

/// Deletes old sets beyond the history limit, oldest version first, as far as nothing of them is left.
pub fn clean_up(rollout: &mut Rollout<'_>) {
    let limit = rollout.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
    let Some(limit) = limit.filter(|limit| *limit != i32::MAX).and_then(|limit| usize::try_from(limit).ok())
    else {
        return;
    };
    let mut old: Vec<Index> = rollout
        .old()
        .filter(|index| rollout.sets[*index].set.metadata.deletion_timestamp.is_none())
        .collect();
    // Stable, so that sets of one version stay in order of age.
    old.sort_by_key(|index| super::revision::revision(&rollout.sets[*index].set));
    let excess = old.len().saturating_sub(limit);
    for index in old.into_iter().take(excess) {
        let planned = &mut rollout.sets[index];
        let status = planned.set.status.clone().unwrap_or_default();
        let seen = status.observed_generation.unwrap_or(0) >= planned.set.metadata.generation.unwrap_or(0);
        planned.delete = seen && status.replicas == 0 && replicas(&planned.set) == 0;
    }
}

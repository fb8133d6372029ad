//! From one version to the next: side by side within limits, or all of the old before any of the new.

use k8s_openapi::api::core::v1::Pod;

use super::draft::{Draft, Index, is_stale, lasting, replicas};
use super::status;
use crate::pods;

/// One step of a rolling update. Growing and shrinking take turns, so that each step builds on what the last one made.
pub fn rolling(draft: &mut Draft<'_>) {
    let made = draft.new.is_none();
    let new = draft.create_new();
    if made {
        shrink_old(draft, new);
        return;
    }
    if grow_new(draft, new) || shrink_old(draft, new) {
        return;
    }
    if status::was_complete(draft) {
        clean_up(draft);
    }
}

/// Brings the new set as far as there is room; returns whether that changed anything.
fn grow_new(draft: &mut Draft<'_>, new: Index) -> bool {
    let size = draft.replicas(new);
    let wanted = if size > draft.limits.replicas { draft.limits.replicas } else { draft.room_for_new(new) };
    if size == wanted {
        return false;
    }
    draft.scale(new, wanted);
    true
}

/// Takes from the old sets what the limits allow: first what is not available anyway, oldest set first, then what the available
/// pods of the new one replace. Waits for sets that have yet to count their pods after their last change of size; upstream
/// does not, and can fall short when versions follow each other fast.
fn shrink_old(draft: &mut Draft<'_>, new: Index) -> bool {
    let old: Vec<Index> = draft.old().filter(|index| draft.replicas(*index) > 0).collect();
    if old.is_empty() || draft.all().any(is_stale) {
        return false;
    }
    let least = draft.limits.least_available();
    let all: i32 = draft.all().map(replicas).sum();
    let new_unavailable = draft.replicas(new) - lasting(&draft.sets[new].set);
    let mut room = all - least - new_unavailable;
    if room <= 0 {
        return false;
    }
    let mut changed = false;
    for index in &old {
        let size = draft.replicas(*index);
        let unavailable = (size - lasting(&draft.sets[*index].set)).clamp(0, room);
        if unavailable > 0 {
            draft.scale(*index, size - unavailable);
            room -= unavailable;
            changed = true;
        }
    }
    let mut spare = draft.all().map(lasting).sum::<i32>() - least;
    for index in old {
        let size = draft.replicas(index);
        let less = size.min(spare);
        if less > 0 {
            draft.scale(index, size - less);
            spare -= less;
            changed = true;
        }
    }
    changed
}

/// One step of a change where old and new must not meet.
pub fn recreate(draft: &mut Draft<'_>, pods: &[(String, &Pod)]) {
    let old: Vec<Index> = draft.old().filter(|index| draft.replicas(*index) > 0).collect();
    if !old.is_empty() {
        old.into_iter().for_each(|index| draft.scale(index, 0));
        return;
    }
    if old_pods_run(draft, pods) {
        return;
    }
    let new = draft.create_new();
    if draft.replicas(new) != draft.limits.replicas {
        draft.scale(new, draft.limits.replicas);
    }
    if status::was_complete(draft) {
        clean_up(draft);
    }
}

/// Whether a pod of another version may still run; one on its way out does, one that has ended does not.
fn old_pods_run(draft: &Draft<'_>, pods: &[(String, &Pod)]) -> bool {
    let counted =
        |index: Index| draft.sets[index].set.status.as_ref().is_some_and(|status| status.replicas > 0);
    let new = draft.new_set().and_then(|set| set.metadata.uid.as_deref());
    draft.old().any(counted)
        || pods.iter().any(|(set, pod)| Some(set.as_str()) != new && !pods::is_finished(pod))
}

/// Deletes old sets beyond the history limit, oldest version first, as far as nothing of them is left.
pub fn clean_up(draft: &mut Draft<'_>) {
    let limit = draft.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
    let Some(limit) = limit.filter(|limit| *limit != i32::MAX).and_then(|limit| usize::try_from(limit).ok())
    else {
        return;
    };
    let mut old: Vec<Index> =
        draft.old().filter(|index| draft.sets[*index].set.metadata.deletion_timestamp.is_none()).collect();
    // Stable, so that sets of one version stay in order of age.
    old.sort_by_key(|index| super::revision::revision(&draft.sets[*index].set));
    let excess = old.len().saturating_sub(limit);
    for index in old.into_iter().take(excess) {
        let draught = &mut draft.sets[index];
        let status = draught.set.status.clone().unwrap_or_default();
        let seen = status.observed_generation.unwrap_or(0) >= draught.set.metadata.generation.unwrap_or(0);
        draught.delete = seen && status.replicas == 0 && replicas(&draught.set) == 0;
    }
}

//! A Deployment of another size, or one that is paused: its sets are scaled as they are, without getting on to a new version.

use std::cmp::Ordering;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::draft::{Draft, Index, available, by_age, replicas};
use super::revision;

/// Whether a set that asks for pods was last scaled for another size of the Deployment.
pub fn is_due(draft: &Draft<'_>) -> bool {
    let size = draft.limits.replicas;
    draft.all().filter(|set| replicas(set) > 0).filter_map(revision::desired).any(|desired| desired != size)
}

/// Brings the sets to the Deployment's size: the only one that is active gets all of it; once the new one is saturated the old
/// ones get nothing; else all grow or shrink in proportion, so that a rollout under way risks no more than before.
pub fn scale(draft: &mut Draft<'_>) {
    let size = draft.limits.replicas;
    if let Some(only) = active_or_latest(draft) {
        if draft.replicas(only) != size {
            draft.scale(only, size);
        }
        return;
    }
    if draft.new_set().is_some_and(|set| is_saturated(set, size)) {
        let old: Vec<Index> = draft.old().filter(|index| draft.replicas(*index) > 0).collect();
        old.into_iter().for_each(|index| draft.scale(index, 0));
        return;
    }
    if draft.limits.rolling {
        in_proportion(draft);
    }
}

/// The one set that asks for pods; if none does, the new one or else the youngest. `None` if several do.
fn active_or_latest(draft: &Draft<'_>) -> Option<Index> {
    match draft.active()[..] {
        [] => draft.new.or_else(|| draft.old().last()),
        [only] => Some(only),
        _ => None,
    }
}

fn is_saturated(set: &ReplicaSet, size: i32) -> bool {
    replicas(set) == size && revision::desired(set) == Some(size) && available(set) == size
}

fn in_proportion(draft: &mut Draft<'_>) {
    let limits = draft.limits;
    let allowed = if limits.replicas > 0 { limits.most() } else { 0 };
    let mut active = draft.active();
    let now: i32 = active.iter().map(|index| draft.replicas(*index)).sum();
    let to_add = allowed - now;
    // Largest first; of sets alike the younger grows and the older shrinks.
    active.sort_by(|a, b| largest_first(draft, *a, *b, to_add > 0));
    let mut sizes: Vec<i32> = active.iter().map(|index| draft.replicas(*index)).collect();
    let mut added = 0;
    for (index, size) in active.iter().zip(&mut sizes) {
        let part = proportion(draft, *index, to_add, added);
        *size += part;
        added += part;
    }
    // What rounding left over goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (index, size) in active.into_iter().zip(sizes) {
        let set = &draft.sets[index].set;
        let noted =
            revision::desired(set) == Some(limits.replicas) && revision::most(set) == Some(limits.most());
        if draft.replicas(index) != size || !noted {
            draft.scale(index, size);
        }
    }
}

fn largest_first(draft: &Draft<'_>, a: Index, b: Index, younger: bool) -> Ordering {
    let (a, b) = (&draft.sets[a].set, &draft.sets[b].set);
    let age = if younger { by_age(b, a) } else { by_age(a, b) };
    replicas(b).cmp(&replicas(a)).then(age)
}

/// The share of a set in what is to be added (or removed), as far as others have left it.
fn proportion(draft: &Draft<'_>, index: Index, to_add: i32, added: i32) -> i32 {
    let size = draft.replicas(index);
    if size == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let part = fraction(draft, index, size);
    let left = to_add - added;
    if to_add > 0 { part.min(left) } else { part.max(left) }
}

fn fraction(draft: &Draft<'_>, index: Index, size: i32) -> i32 {
    let limits = draft.limits;
    if limits.replicas == 0 {
        return -size;
    }
    let status = draft.deployment.status.as_ref();
    let noted = revision::most(&draft.sets[index].set).filter(|most| *most != 0);
    let before = noted.or(status.and_then(|status| status.replicas)).unwrap_or(0);
    if before == 0 {
        return 0;
    }
    let grown = f64::from(size) * f64::from(limits.most()) / f64::from(before);
    grown.round() as i32 - size
}

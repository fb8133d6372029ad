//! A Deployment of another size, or one that is paused: its sets are scaled as they are, without getting on to a new version.

use std::cmp::Ordering;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::revision;
use super::rollout::{Index, Rollout, available, by_age, replicas};

/// Whether a set that asks for pods was last scaled for another size of the Deployment.
pub fn is_due(rollout: &Rollout<'_>) -> bool {
    let size = rollout.limits.replicas;
    rollout.all().filter(|set| replicas(set) > 0).filter_map(revision::desired).any(|desired| desired != size)
}

/// Brings the sets to the Deployment's size: the only one that is active gets all of it; once the new one is saturated the old
/// ones get nothing; else all grow or shrink in proportion, so that a rollout under way risks no more than before.
pub fn scale(rollout: &mut Rollout<'_>) {
    let size = rollout.limits.replicas;
    if let Some(only) = active_or_latest(rollout) {
        if rollout.replicas(only) != size {
            rollout.scale(only, size);
        }
        return;
    }
    if rollout.new_set().is_some_and(|set| is_saturated(set, size)) {
        let old: Vec<Index> = rollout.old().filter(|index| rollout.replicas(*index) > 0).collect();
        old.into_iter().for_each(|index| rollout.scale(index, 0));
        return;
    }
    if rollout.limits.rolling {
        in_proportion(rollout);
    }
}

/// The one set that asks for pods; if none does, the new one or else the youngest. `None` if several do.
fn active_or_latest(rollout: &Rollout<'_>) -> Option<Index> {
    match rollout.active()[..] {
        [] => rollout.new.or_else(|| rollout.old().last()),
        [only] => Some(only),
        _ => None,
    }
}

fn is_saturated(set: &ReplicaSet, size: i32) -> bool {
    replicas(set) == size && revision::desired(set) == Some(size) && available(set) == size
}

fn in_proportion(rollout: &mut Rollout<'_>) {
    let limits = rollout.limits;
    let allowed = if limits.replicas > 0 { limits.most() } else { 0 };
    let mut active = rollout.active();
    let now: i32 = active.iter().map(|index| rollout.replicas(*index)).sum();
    let to_add = allowed - now;
    // Largest first; of sets alike the younger grows and the older shrinks.
    active.sort_by(|a, b| largest_first(rollout, *a, *b, to_add > 0));
    let mut sizes: Vec<i32> = active.iter().map(|index| rollout.replicas(*index)).collect();
    let mut added = 0;
    for (index, size) in active.iter().zip(&mut sizes) {
        let part = proportion(rollout, *index, to_add, added);
        *size += part;
        added += part;
    }
    // What rounding left over goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (index, size) in active.into_iter().zip(sizes) {
        let set = &rollout.sets[index].set;
        let noted =
            revision::desired(set) == Some(limits.replicas) && revision::most(set) == Some(limits.most());
        if rollout.replicas(index) != size || !noted {
            rollout.scale(index, size);
        }
    }
}

fn largest_first(rollout: &Rollout<'_>, a: Index, b: Index, younger: bool) -> Ordering {
    let (a, b) = (&rollout.sets[a].set, &rollout.sets[b].set);
    let age = if younger { by_age(b, a) } else { by_age(a, b) };
    replicas(b).cmp(&replicas(a)).then(age)
}

/// The share of a set in what is to be added (or removed), as far as others have left it.
fn proportion(rollout: &Rollout<'_>, index: Index, to_add: i32, added: i32) -> i32 {
    let size = rollout.replicas(index);
    if size == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let part = fraction(rollout, index, size);
    let left = to_add - added;
    if to_add > 0 { part.min(left) } else { part.max(left) }
}

fn fraction(rollout: &Rollout<'_>, index: Index, size: i32) -> i32 {
    let limits = rollout.limits;
    if limits.replicas == 0 {
        return -size;
    }
    let status = rollout.deployment.status.as_ref();
    let noted = revision::most(&rollout.sets[index].set).filter(|most| *most != 0);
    let before = noted.or(status.and_then(|status| status.replicas)).unwrap_or(0);
    if before == 0 {
        return 0;
    }
    let grown = f64::from(size) * f64::from(limits.most()) / f64::from(before);
    grown.round() as i32 - size
}

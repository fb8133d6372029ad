//! The containers of a pod spec, which stand in three lists.

use crate::field::Field;

/// The lists, in the order in which upstream visits them.
pub const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Visits every container of a spec.
pub fn visit_containers(spec: &Field, mut visit: impl FnMut(&Field)) {
    for list in LISTS {
        spec.each(list, &mut visit);
    }
}

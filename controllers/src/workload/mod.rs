//! What controllers that make pods, or sets of pods, have in common: whose an object is, who would take an orphan, what a
//! pod looks like when it is made, and how percentages become whole pods. Slow start is in the runtime:
//! `Action::create_many`.

mod claim;
mod new_pod;
mod orphans;
mod owner;
mod percent;
mod selectors;

pub use claim::claim_all;
pub use new_pod::new_pod;
pub use orphans::Orphans;
pub use owner::{controller_of, controller_reference, is_controlled_by, name, release, uid};
pub use percent::{Round, whole};
pub use selectors::Selectors;

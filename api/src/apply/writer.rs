//! The manager on whose behalf fields are owned: its name, what it writes to, and when.

use super::managers::Owner;
use super::set::Set;

/// A write as `managedFields` records it.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager's name.
    pub manager: &'a str,
    /// The subresource written to; empty for the object itself.
    pub subresource: &'a str,
    /// The time, as `metadata.creationTimestamp` writes it.
    pub now: &'a str,
    /// Fields (dotted) that this endpoint ignores, such as `status`: nobody comes to own them here.
    pub ignored: &'a [&'a str],
}

impl Writer<'_> {
    pub(super) fn owner(&self, applies: bool, api_version: &str) -> Owner {
        Owner {
            name: self.manager.into(),
            applies,
            api_version: if applies { String::new() } else { api_version.into() },
            subresource: self.subresource.into(),
        }
    }

    pub(super) fn ignored(&self) -> Set {
        Set::of_fields(self.ignored.iter().copied())
    }
}

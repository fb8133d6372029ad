//! What can change in a cluster, and which pods a change may help. A pod that no node takes sleeps until something
//! changes that the filters which refused it look at.

use std::ops::BitOr;

/// A set of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changes(u16);

impl Changes {
    /// A node came.
    pub const NODE_ADDED: Changes = Changes(1);
    /// A node went: spreading may count fewer domains.
    pub const NODE_REMOVED: Changes = Changes(1 << 1);
    /// A node was labelled.
    pub const NODE_LABELS: Changes = Changes(1 << 2);
    /// A node's taints changed.
    pub const NODE_TAINTS: Changes = Changes(1 << 3);
    /// A node was uncordoned.
    pub const NODE_UNCORDONED: Changes = Changes(1 << 4);
    /// A node offers more of something.
    pub const NODE_ROOM: Changes = Changes(1 << 5);
    /// A pod left its room, or asks for less.
    pub const POD_GONE: Changes = Changes(1 << 6);
    /// A pod found its room.
    pub const POD_PLACED: Changes = Changes(1 << 7);
    /// A placed pod was labelled.
    pub const POD_LABELS: Changes = Changes(1 << 8);
    /// A namespace came, went or was labelled.
    pub const NAMESPACE: Changes = Changes(1 << 9);
    /// Anything.
    pub const ALL: Changes = Changes(u16::MAX);

    /// Nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether both sets share a change.
    pub fn touches(self, other: Changes) -> bool {
        self.0 & other.0 != 0
    }

    /// The changes of this set that have happened; nothing otherwise.
    #[must_use]
    pub fn when(self, happened: bool) -> Changes {
        if happened { self } else { Changes::default() }
    }
}

impl BitOr for Changes {
    type Output = Changes;

    fn bitor(self, other: Changes) -> Changes {
        Changes(self.0 | other.0)
    }
}

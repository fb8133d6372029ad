//! The trait of all scores.

use crate::filter::Ask;
use crate::view::NodeView;

/// The best score: 100, in thousandths.
pub const FULL: i64 = 100_000;

/// Orders the nodes left over.
pub trait Score: Send + Sync {
    /// 0..=[`FULL`]; more is better.
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64;
}

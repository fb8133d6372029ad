//! The bound on warnings of one rule.

/// The most warnings of a rule that compares each item of a list with all before it. More would not fit into the headers of
/// an answer.
pub const MOST_WARNINGS: usize = 200;

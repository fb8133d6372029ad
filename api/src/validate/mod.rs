//! Rules that many kinds share. A kind's own rules stand in its file in [`crate::kinds`].

pub mod claim;
pub mod metadata;
pub mod rules;

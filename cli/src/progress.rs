//! What a cluster that starts in the background tells the `coracle up` that waits for it.

use serde::{Deserialize, Serialize};

/// Set for a cluster in the background: it outlives its terminal, and speaks [`Progress`] on standard output.
pub const DETACHED: &str = "CORACLE_DETACHED";

/// A line that the starting cluster prints for the `up` that waits for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// The API server answers at this address.
    Answers(String),
    /// This many nodes are Ready.
    NodesReady(usize),
    /// All is up. This is the last line.
    Up,
    /// It will not come up.
    Failed(String),
}

//! What asking a container once came to.

/// What one probe said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// All is well, but somebody should know this.
    Warning(String),
    /// It is not, because.
    Failure(String),
    /// The probe itself failed: nothing is known, nothing is counted.
    Unknown(String),
}

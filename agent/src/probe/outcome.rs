//! The outcome of one run of a probe.

/// What one run of a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// All is well, but an event should say this.
    Warning(String),
    /// It is not; this is why.
    Failure(String),
    /// The probe itself failed: nothing is known, nothing is counted.
    Unknown(String),
}

//! Settings of the controllers.

use crate::Timing;

/// One for all controllers of a process.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How patient they are.
    pub timing: Timing,
    /// The certificate authority that pods are to trust, as PEM; published in every namespace.
    pub ca_pem: String,
}

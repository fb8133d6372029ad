//! Errors of the certificate authority: files, keys and requests that it cannot use.

use std::path::{Path, PathBuf};

/// Why the authority cannot be opened, or does not sign.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be. Nothing is made anew in its place: everything that trusts the old would break.
    #[error("{path}: {what}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In what way.
        what: String,
    },
    /// A certificate or TLS set-up cannot be made.
    #[error("certificates: {0}")]
    Crypto(String),
}

impl PkiError {
    pub(super) fn at(path: &Path, source: std::io::Error) -> PkiError {
        PkiError::File { path: path.into(), source }
    }

    pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> PkiError {
        PkiError::Damaged { path: path.into(), what: what.to_string() }
    }
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> PkiError {
        PkiError::Crypto(error.to_string())
    }
}

impl From<rustls::Error> for PkiError {
    fn from(error: rustls::Error) -> PkiError {
        PkiError::Crypto(error.to_string())
    }
}

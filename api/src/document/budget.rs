//! What one document may cost.

use crate::status::Status;

/// The deepest nesting that is read. What is stored must be readable again, and `serde_json` stops at 128.
pub(crate) const DEPTH: usize = 120;

/// How much one document may hold once it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most values: maps, lists and everything in them. An empty item of two bytes becomes a struct of some hundred
    /// bytes, so the length of a body alone says little about what it costs.
    pub values: usize,
    /// The most bytes of keys and scalars, counted wherever an alias repeats them.
    pub bytes: usize,
}

impl Limits {
    /// For the body of a request, which is at most 3 MiB long: at ten bytes a value that is 300,000 of them, and real
    /// objects have more bytes a value. Without aliases the bytes cannot be exceeded.
    pub const REQUEST: Limits = Limits { values: 300_000, bytes: 4 << 20 };

    /// For a text that its reader trusts, such as a user's own file: only aliases can exceed these.
    pub fn of_file(text: &str) -> Limits {
        Limits {
            values: text.len().max(Limits::REQUEST.values),
            bytes: text.len().max(Limits::REQUEST.bytes),
        }
    }
}

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not of its format. The text is that of upstream's reader.
    #[error("{0}")]
    Malformed(String),
    /// It holds more than it may; the text says which limit was met.
    #[error("{0}")]
    TooLarge(String),
}

impl Fault {
    /// 413 for a document that is too large, and what `malformed` makes of the text of any other fault.
    pub fn status(self, malformed: impl FnOnce(&str) -> Status) -> Status {
        match self {
            Fault::Malformed(text) => malformed(&text),
            Fault::TooLarge(text) => Status::too_large(text),
        }
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Fault {
        Fault::Malformed(text.to_owned())
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Fault {
        Fault::Malformed(text)
    }
}

/// What is left of a document's values.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Budget {
        Budget { left: limits.values, limit: limits.values }
    }

    /// Counts one more value.
    pub(crate) fn value(&mut self) -> Result<(), Fault> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(too_many_values(self.limit)),
        }
    }
}

pub(crate) fn too_many_values(limit: usize) -> Fault {
    Fault::TooLarge(format!("Request entity too large: the document holds more than {limit} values"))
}

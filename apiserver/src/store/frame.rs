//! A frame of the log: one commit, which is there whole or not at all.
//!
//! ```text
//!  0000002a 90abcdef 0000000000000010\n       length and CRC-32 of the body, first revision, in hexadecimal digits
//!  body: the records of the changes
//! ```

use coracle_api::Revision;

use super::{Committed, record};

/// The length of a frame's first line.
const HEADER: usize = 35;

/// A whole frame, as it was found among other bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it begins.
    pub at: usize,
    /// Where it ends.
    pub end: usize,
    /// The revision of its first change.
    pub first: Revision,
    body: &'a [u8],
}

/// Puts changes into a frame, in place of whatever the buffer held.
pub fn encode(changes: &[Committed], buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER, b'0');
    for change in changes {
        record::encode(change, buffer);
    }
    let first = changes.first().map(|change| change.object.revision).unwrap_or_default();
    let header = header(first, &buffer[HEADER..]);
    buffer[..HEADER].copy_from_slice(header.as_bytes());
}

/// The whole frames at the beginning of some bytes, one after the other.
pub fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (first, body) = whole(&bytes[at..])?;
        let frame = Frame { at, end: at + HEADER + body.len(), first, body };
        at = frame.end;
        Some(frame)
    })
}

/// Whether a whole frame stands anywhere in some bytes.
pub fn hold_one(bytes: &[u8]) -> bool {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.filter_map(|end| end.checked_sub(HEADER)).any(|start| whole(&bytes[start..]).is_some())
}

impl Frame<'_> {
    /// Shows every change in it.
    ///
    /// # Errors
    /// A text, for a record that cannot be understood, and whatever `found` says.
    pub fn read(&self, found: &mut dyn FnMut(Committed) -> Result<(), String>) -> Result<(), String> {
        let mut rest = self.body;
        while !rest.is_empty() {
            let (change, size) = record::decode(rest)?;
            rest = rest.get(size..).ok_or("a record that ends too soon")?;
            found(change)?;
        }
        Ok(())
    }
}

/// The first line of a frame with this body.
pub fn header(first: Revision, body: &[u8]) -> String {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&first.0.to_be_bytes());
    crc.update(body);
    format!("{:08x} {:08x} {:016x}\n", body.len(), crc.finalize(), first.0)
}

/// First revision and body of the frame that begins here, if it is whole.
fn whole(bytes: &[u8]) -> Option<(Revision, &[u8])> {
    let text = std::str::from_utf8(bytes.get(..HEADER)?).ok()?;
    let size = usize::from_str_radix(text.get(..8)?, 16).ok()?;
    let first = Revision(u64::from_str_radix(text.get(18..HEADER - 1)?, 16).ok()?);
    let body = bytes.get(HEADER..HEADER.checked_add(size)?)?;
    (header(first, body) == text).then_some((first, body))
}

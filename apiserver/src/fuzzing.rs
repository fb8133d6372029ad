//! Functions that the fuzz targets (`fuzz/`) call to reach private code that reads bytes from outside. Nothing else calls them.

use coracle_api::{Revision, Status};

use crate::http::query::Query;
use crate::rest::options::{ListQuery, WriteQuery};
use crate::store::{Committed, frame, record};

/// Reads a query as each kind of request does, with what each of them says.
pub fn read_query(query: &Query) -> Vec<Result<(), Status>> {
    let mut said = Vec::new();
    for watch in [false, true] {
        let list = ListQuery::read(query, watch);
        said.push(list.and_then(|list| list.options().map(drop)));
    }
    for (options, apply) in
        [("CreateOptions", false), ("UpdateOptions", false), ("PatchOptions", false), ("PatchOptions", true)]
    {
        said.push(WriteQuery::read(query, options, apply).map(drop));
    }
    said.push(crate::lines::options::read("pod", query).map(drop));
    said
}

/// A file of the log that holds one frame with this body, whatever the body is: the checksum is right.
pub fn log_file(first: Revision, body: &[u8]) -> Vec<u8> {
    let mut file = frame::header(first, body).into_bytes();
    file.extend_from_slice(body);
    file
}

/// The changes in the whole frames at the beginning of some bytes.
///
/// # Errors
/// A text, for a whole frame whose records cannot be understood.
pub fn read_log(bytes: &[u8]) -> Result<Vec<Committed>, String> {
    let mut changes = Vec::new();
    for frame in frame::frames(bytes) {
        frame.read(&mut |change| {
            changes.push(change);
            Ok(())
        })?;
    }
    Ok(changes)
}

/// The frame that these changes make.
pub fn write_log(changes: &[Committed]) -> Vec<u8> {
    let mut file = Vec::new();
    frame::encode(changes, &mut file);
    file
}

/// Whether a whole frame stands anywhere in some bytes, as is asked of what stands after damage.
pub fn holds_a_frame(bytes: &[u8]) -> bool {
    frame::hold_one(bytes)
}

/// Reads one record, as those of the base are, and how many bytes it takes.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn read_record(bytes: &[u8]) -> Result<(Committed, usize), String> {
    record::decode(bytes)
}

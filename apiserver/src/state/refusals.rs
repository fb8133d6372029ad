//! What a read is told whose revision is not there: not any more, or not yet.

use coracle_api::status::{Cause, Details};
use coracle_api::{Revision, Status};

/// 504: the revision has not happened yet.
pub fn too_large(wanted: Revision, current: Revision) -> Status {
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        ..Cause::default()
    };
    Status::failure(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {wanted}, current: {current}"),
    )
    .with_details(Details { causes: vec![cause], retry_after_seconds: 1, ..Details::default() })
}

/// 410: the revision is no longer kept.
pub fn expired(wanted: Revision, floor: Revision) -> Status {
    Status::failure(410, "Expired", format!("too old resource version: {wanted} ({floor})"))
}

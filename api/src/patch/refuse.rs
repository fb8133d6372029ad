//! What upstream answers to patches that it cannot carry out.

use serde_json::Value;

use crate::document::Fault;
use crate::field::{Errors, Path};
use crate::status::{Cause, Details, Status};

/// 400 for a body that is no JSON.
pub(super) fn not_decoded(fault: Fault) -> Status {
    fault.status(undecodable)
}

/// 400 for a body that is no patch.
pub(super) fn undecodable(error: &str) -> Status {
    Status::bad_request(format!("error decoding patch: {error}"))
}

/// 422 for a patch whose outcome is no object of the kind. Upstream names no object here.
pub(super) fn invalid(value: impl Into<Value>, detail: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(&Path::root("patch"), value, detail);
    let message = format!(" \"\" is invalid: {}", errors.0[0]);
    let details = Details { causes: Cause::of(&errors), ..Details::default() };
    Status::failure(422, "Invalid", message).with_details(details)
}

/// 422 whose text says nothing; upstream gives it for every JSON patch that does not apply.
pub(super) fn rejected() -> Status {
    Status::failure(422, "Invalid", "the server rejected our request due to an error in our request")
        .with_details(Details::default())
}

/// 500 with nothing but a text, as upstream answers for errors that it did not foresee.
pub(crate) fn unforeseen(message: impl Into<String>) -> Status {
    Status::failure(500, "", message)
}

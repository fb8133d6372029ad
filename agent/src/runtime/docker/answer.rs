//! What the engine's answers mean to a caller.

use crate::runtime::Error;

/// What an error of the engine means to a caller.
pub fn error_of(error: bollard::errors::Error) -> Error {
    use bollard::errors::Error as E;
    match error {
        E::DockerResponseServerError { status_code: 404, message } => Error::NotFound(message),
        E::DockerResponseServerError { status_code: 304 | 409, message } => Error::Conflict(message),
        // With a capital letter; the engine's error for a port of the machine that is taken is in small letters.
        E::DockerResponseServerError { message, .. } if message.contains("Address already in use") => {
            Error::AddressInUse(message)
        }
        E::DockerResponseServerError { message, .. } => Error::Refused(message),
        E::DockerStreamError { error } => Error::Refused(error),
        other => Error::Unreachable(other.to_string()),
    }
}

/// To remove what is not there counts as success.
pub fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NotFound(_)) => Ok(()),
        other => other,
    }
}

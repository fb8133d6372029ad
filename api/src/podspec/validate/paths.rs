//! Which paths of files a pod may name.

use crate::field::{Errors, Field};

/// A path from the root.
pub fn absolute(path: &Field, errors: &mut Errors) {
    if !path.text().starts_with('/') {
        errors.wrong(path, "must be an absolute path");
    }
}

/// A path with no step upwards.
pub fn no_backsteps(path: &Field, errors: &mut Errors) {
    if path.text().split('/').any(|part| part == "..") {
        errors.wrong(path, "must not contain '..'");
    }
}

/// A relative path with no step upwards.
pub fn descending_path(path: &Field, errors: &mut Errors) {
    if path.text().starts_with('/') {
        errors.wrong(path, "must be a relative path");
    }
    no_backsteps(path, errors);
}

/// A relative path with no step upwards that does not begin with two dots: those are the kubelet's own.
pub fn local_path(path: &Field, errors: &mut Errors) {
    descending_path(path, errors);
    if path.text().starts_with("..") && !path.text().starts_with("../") {
        errors.wrong(path, "must not start with '..'");
    }
}

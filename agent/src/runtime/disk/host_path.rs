//! A volume that is a path of the machine.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::folders::{in_go_words, make_folder};

/// Checks that a path is of the type that the volume says, and makes what it says to make. Errors are in upstream's words.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let found = fs::metadata(&path).ok().map(|meta| meta.file_type());
    let check = |right: bool, what: &str| {
        if right { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {what}", source.path)) }
    };
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => {
            if found.is_none() {
                make_folder(&path, 0o755)
                    .map_err(|error| format!("mkdir {}: {}", source.path, in_go_words(&error)))?;
            }
            check(path.is_dir(), "a directory")?;
        }
        "Directory" => check(found.is_some_and(|found| found.is_dir()), "a directory")?,
        "FileOrCreate" => {
            if found.is_none() {
                fs::write(&path, b"")
                    .map_err(|error| format!("open {}: {}", source.path, in_go_words(&error)))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
                    .map_err(|error| in_go_words(&error))?;
            }
            check(path.is_file(), "a file")?;
        }
        "File" => check(found.is_some_and(|found| found.is_file()), "a file")?,
        "Socket" => check(found.is_some_and(|found| found.is_socket()), "a socket file")?,
        "CharDevice" => check(found.is_some_and(|found| found.is_char_device()), "a character device")?,
        "BlockDevice" => check(found.is_some_and(|found| found.is_block_device()), "a block device")?,
        // Without a type a folder is made where nothing is, as container engines do.
        _ => {
            if found.is_none() {
                make_folder(&path, 0o755).map_err(|error| in_go_words(&error))?;
            }
        }
    }
    Ok(path)
}

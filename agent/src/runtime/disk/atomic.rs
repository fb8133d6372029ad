//! A folder whose files change all at once, as readers of mounted ConfigMaps rely on:
//!
//! ```text
//!  name   -> ..data/name
//!  ..data -> ..2026_11_22_15_43_00.123456789     (replaced in one rename)
//!  ..2026_11_22_15_43_00.123456789/name
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path};

use jiff::Timestamp;

use crate::runtime::Files;

/// Writes the files into a folder. What is there already and equal is left alone. Answers whether anything changed.
pub fn write(folder: &Path, files: &Files, group: Option<u32>, now: Timestamp) -> io::Result<bool> {
    write_as(folder, files, group, now, &|path, user, group| chown(path, user, group))
}

/// Gives a file to a user and to a group.
type Give<'a> = &'a dyn Fn(&Path, Option<u32>, Option<u32>) -> io::Result<()>;

fn write_as(
    folder: &Path,
    files: &Files,
    group: Option<u32>,
    now: Timestamp,
    give: Give<'_>,
) -> io::Result<bool> {
    if files.keys().any(|path| !is_inside(path)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path of the volume leads out of it"));
    }
    let data = folder.join("..data");
    let old = fs::read_link(&data).ok();
    if old.is_some() && is_current(&data, files) {
        return Ok(false);
    }
    if let Some(group) = group {
        own(folder, group, give)?;
    }
    let stamp = format!("..{}", now.strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let fresh = folder.join(&stamp);
    make_dir(&fresh, group, give)?;
    for (path, file) in files {
        let target = fresh.join(path);
        for parent in Path::new(path).ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let parent = fresh.join(parent);
            if !parent.is_dir() {
                make_dir(&parent, group, give)?;
            }
        }
        fs::write(&target, &file.data)?;
        // Only root can give a file to another user. Without root the file keeps the mode that the volume asks for.
        let given = file.only_for.is_some_and(|user| give(&target, Some(user), None).is_ok());
        let mode = if given { 0o600 } else { file.mode };
        // With a group, upstream lets it read what its owner may.
        let mode = if group.is_some() { mode | 0o440 } else { mode };
        let mode = match group {
            Some(group) if !give_to_group(&target, group, give)? => for_all(mode),
            _ => mode,
        };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
    }
    let next = folder.join("..data_tmp");
    let _ = fs::remove_file(&next);
    symlink(&stamp, &next)?;
    fs::rename(&next, &data)?;
    let names: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), &link)?;
        }
    }
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with("..") && !names.contains(name) {
            fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old.filter(|old| old.to_str() != Some(stamp.as_str())) {
        fs::remove_dir_all(folder.join(old))?;
    }
    Ok(true)
}

fn make_dir(path: &Path, group: Option<u32>, give: Give<'_>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    group.map_or(Ok(()), |group| own(path, group, give))
}

/// Gives a folder to a group, which may read it and everything that comes into it.
fn own(folder: &Path, group: u32, give: Give<'_>) -> io::Result<()> {
    let given = give_to_group(folder, group, give)?;
    let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
    let mode = if given { mode | 0o2550 } else { for_all(mode | 0o550) };
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

/// Gives a file or folder to a group. `false`: only root can, or a member of the group, and this process is neither.
fn give_to_group(path: &Path, group: u32, give: Give<'_>) -> io::Result<bool> {
    match give(path, None, Some(group)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same rights, and for everybody what the group has: the group's members in the pod could not read the files otherwise, and
/// nobody outside of the pod can reach the folder.
fn for_all(mode: u32) -> u32 {
    mode | (mode & 0o070) >> 3
}

/// Gives the root of a volume that containers write to a group. Without the right to do so it stays as it is, open to all.
pub fn give_root(folder: &Path, group: u32) -> io::Result<bool> {
    give_to_group(folder, group, &|path, user, group| chown(path, user, group))
}

/// Relative and without `..`: the server checks it too, but a path decides where this process writes.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn is_current(data: &Path, files: &Files) -> bool {
    let mut count = 0;
    if !count_files(data, &mut count) || count != files.len() {
        return false;
    }
    files.iter().all(|(path, file)| fs::read(data.join(path)).is_ok_and(|found| found == file.data))
}

fn count_files(folder: &Path, count: &mut usize) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    for entry in entries.flatten() {
        if entry.path().is_dir() {
            if !count_files(&entry.path(), count) {
                return false;
            }
        } else {
            *count += 1;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::File;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { data: text.as_bytes().to_vec(), mode: 0o640, only_for: None };
        pairs.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn files_change_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let path = folder.path();
        assert!(write(path, &files(&[("a", "1"), ("d/b", "2")]), None, at(1)).unwrap());
        assert_eq!(fs::read_link(path.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(fs::read_to_string(path.join("d/b")).unwrap(), "2");
        assert_eq!(fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        let first = fs::read_link(path.join("..data")).unwrap();
        assert!(!write(path, &files(&[("a", "1"), ("d/b", "2")]), None, at(2)).unwrap(), "nothing changed");
        assert!(write(path, &files(&[("a", "3"), ("c", "4")]), None, at(3)).unwrap());
        assert!(
            !path.join(first).exists() && fs::symlink_metadata(path.join("d")).is_err(),
            "the old is gone"
        );
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "3");
        assert_eq!(fs::read_to_string(path.join("c")).unwrap(), "4");
    }

    /// An ordinary user cannot give files to a group: its members must be able to read them all the same.
    #[test]
    fn without_root_everybody_gets_what_the_group_would_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v");
        fs::create_dir(&path).unwrap();
        let refused = |_: &Path, _: Option<u32>, _: Option<u32>| Err(io::ErrorKind::PermissionDenied.into());
        let mut secret = files(&[("d/a", "1")]);
        secret.get_mut("d/a").unwrap().mode = 0o400;
        write_as(&path, &secret, Some(2000), Timestamp::UNIX_EPOCH, &refused).unwrap();
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("d/a"), mode("d") & 0o007, mode("..data") & 0o007), (0o444, 0o005, 0o005));
        let broken = |_: &Path, _: Option<u32>, _: Option<u32>| Err(io::ErrorKind::StorageFull.into());
        let other = files(&[("b", "2")]);
        assert!(write_as(&path, &other, Some(2000), Timestamp::UNIX_EPOCH, &broken).is_err(), "told");
    }

    #[test]
    fn nothing_is_written_outside() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["../x", "/x", "a/../../x", ""] {
            assert!(
                write(folder.path(), &files(&[(path, "1")]), None, Timestamp::UNIX_EPOCH).is_err(),
                "path: {path}"
            );
        }
    }
}

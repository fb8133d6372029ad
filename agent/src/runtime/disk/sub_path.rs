//! A path inside a volume (`subPath`): opened so that it cannot lead out, and held so that it cannot be exchanged.
//!
//! Containers write to volumes. Between a look at a path and the engine's mount of it, each of its parts may become a link
//! to the machine's root folder. So the path is opened once, by the kernel, below the volume's root. What the engine gets
//! is a link to what is open, in a folder that no container sees:
//!
//! ```text
//!  a folder:  POD/held/7 -> /proc/AGENT/fd/7   the engine mounts it as a volume of its own, and that into the container
//!  a file:    POD/held/7                       a second name of the same file
//! ```
//!
//! Why a volume: a bind mount is made inside the container's new mount namespace, where the kernel refuses a folder that
//! was opened outside; a volume is mounted by the engine itself, outside. See `docs/adr/0035`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::folders::make_folder;
use crate::runtime::held::Held;

/// How often a path is walked again because somebody renamed a part of it meanwhile.
const WALKS: usize = 16;

/// Opens a path inside a volume. What is missing of it is made with the rights of the volume's root. Links inside the
/// volume are followed as long as they stay inside.
pub fn open(volume: &Path, sub_path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(volume, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&root)?.st_mode & 0o777);
    let mut found = root.try_clone()?;
    let mut path = PathBuf::new();
    for part in sub_path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        path.push(part);
        found = match below(&root, &path) {
            Err(Errno::NOENT) => {
                make(&found, part, mode)?;
                below(&root, &path)
            }
            other => other,
        }
        .map_err(|error| match error {
            Errno::XDEV => {
                io::Error::new(io::ErrorKind::PermissionDenied, "the subPath leads out of the volume")
            }
            other => other.into(),
        })?;
    }
    Ok(found)
}

fn below(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..WALKS {
        match rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Makes a folder in an open one. The rights are set on what was opened, never by name.
fn make(parent: impl AsFd, name: &str, mode: Mode) -> io::Result<()> {
    match rustix::fs::mkdirat(&parent, name, mode) {
        // Somebody else was first; what it is, the next walk shows.
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    Ok(rustix::fs::fchmod(&made, mode)?)
}

/// Holds what was opened, with a link to it in one of these folders: a second name of a file can lie only on the file's
/// own file system.
pub fn hold(open: OwnedFd, folders: &[PathBuf]) -> io::Result<Held> {
    let is_folder = FileType::from_raw_mode(rustix::fs::fstat(&open)?.st_mode).is_dir();
    let number = open.as_raw_fd();
    let mut refusal = io::Error::from(io::ErrorKind::NotFound);
    for folder in folders {
        make_folder(folder, 0o700)?;
        let link = folder.join(number.to_string());
        let made = match is_folder {
            // As the file system of processes itself says it: the number that a namespace of processes gives may be another.
            true => fs::read_link("/proc/self")
                .and_then(|own| symlink(Path::new("/proc").join(own).join(format!("fd/{number}")), &link)),
            false => {
                let file = format!("/proc/self/fd/{number}");
                rustix::fs::linkat(CWD, file, CWD, &link, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
            }
        };
        match made {
            Ok(()) => return Ok(Held::new(open, is_folder, link)),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{RenameFlags, renameat_with};

    use super::*;

    fn number(open: &OwnedFd) -> u64 {
        rustix::fs::fstat(open).unwrap().st_ino
    }

    #[test]
    fn what_is_missing_is_made_and_links_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("v");
        make_folder(&volume, 0o770).unwrap();
        let made = open(&volume, "./a//b").unwrap();
        let meta = fs::metadata(volume.join("a/b")).unwrap();
        assert_eq!((meta.ino(), meta.permissions().mode() & 0o777), (number(&made), 0o770));

        symlink("a/b", volume.join("inside")).unwrap();
        assert_eq!(number(&open(&volume, "inside").unwrap()), meta.ino());
        symlink("..", volume.join("a/b/up")).unwrap();
        let up = fs::metadata(volume.join("a")).unwrap().ino();
        assert_eq!(number(&open(&volume, "a/b/up").unwrap()), up);

        symlink("/", volume.join("root")).unwrap();
        symlink("../..", volume.join("out")).unwrap();
        symlink("/proc/self/cwd", volume.join("magic")).unwrap();
        symlink("nowhere", volume.join("dangling")).unwrap();
        for out in ["root", "root/new", "out/new", "magic", "dangling", "dangling/new", "../x"] {
            assert!(open(&volume, out).is_err(), "{out}");
        }
        assert!(!folder.path().join("new").exists() && !volume.join("nowhere").exists());
    }

    /// Somebody swaps the folder and a link to the machine's root all the time.
    #[test]
    fn what_is_held_is_the_folder_of_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        let (volume, held) = (folder.path().join("v"), folder.path().join("held"));
        fs::create_dir_all(volume.join("s")).unwrap();
        symlink("/", volume.join("b")).unwrap();
        let right = fs::metadata(volume.join("s")).unwrap().ino();
        let over = AtomicBool::new(false);
        let (mut opened, mut refused, mut wrong) = (0, 0, 0);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let (s, b) = (volume.join("s"), volume.join("b"));
                    renameat_with(CWD, &s, CWD, &b, RenameFlags::EXCHANGE).unwrap();
                }
            });
            while opened < 2000 || refused < 20 {
                match open(&volume, "s") {
                    Ok(found) => {
                        opened += 1;
                        let held = hold(found, std::slice::from_ref(&held));
                        let seen = held.and_then(|held| fs::metadata(held.link()));
                        wrong += usize::from(seen.map(|meta| meta.ino()).ok() != Some(right));
                    }
                    Err(_) => refused += 1,
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(wrong, 0, "of {opened}");
        assert_eq!(fs::read_dir(&held).unwrap().count(), 0, "no link is left");
    }

    #[test]
    fn a_file_is_held_by_a_second_name() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
        let (volume, held) = (folder.path().join("v"), folder.path().join("held"));
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("f"), "right").unwrap();
        let held = hold(open(&volume, "f").unwrap(), &[elsewhere.path().join("held"), held]).unwrap();
        assert!(!held.is_folder());
        fs::remove_file(volume.join("f")).unwrap();
        symlink("/etc/passwd", volume.join("f")).unwrap();
        assert_eq!(fs::read_to_string(held.link()).unwrap(), "right");
        let link = held.link().to_path_buf();
        drop(held);
        assert!(!link.exists());
    }
}

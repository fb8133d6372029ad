//! The disk of this machine.

use std::any::Any;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::syncs::{Done, Syncs};
use super::{Barrier, Disk, DiskFile, sled_base};
use crate::store::StoreError;
use crate::store::base::Base;

/// How much of a file is read and written again at a time.
const CHUNK: usize = 1 << 20;

/// Files and folders of this machine.
#[derive(Clone, Default)]
pub struct Machine {
    pub(in crate::store) syncs: Syncs,
}

impl Machine {
    /// Writes again what a file holds, so that it is the system's to bring to the disk once more.
    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        let (mut chunk, mut at) = (vec![0; CHUNK], 0);
        loop {
            let count = file.read_at(&mut chunk, at)?;
            if count == 0 {
                return self.syncs.sync(path, &file);
            }
            file.write_all_at(&chunk[..count], at)?;
            at += count as u64;
        }
    }
}

impl Disk for Machine {
    /// For its owner only, as Secrets lie in it; one that was there and is open to others is closed.
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mode = fs::metadata(dir)?.permissions().mode();
        if mode & 0o077 == 0 { Ok(()) } else { fs::set_permissions(dir, Permissions::from_mode(0o700)) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().write(true).create_new(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().write(true).open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        self.syncs.tell(Done::Removed, path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path, _: Barrier) -> io::Result<()> {
        self.syncs.sync(dir, &File::open(dir)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open_base(&self, dir: &Path) -> Result<Box<dyn Base>, StoreError> {
        sled_base::open(&self.syncs, dir)
    }

    fn rewrite_base(&self, dir: &Path, _: Barrier) -> io::Result<()> {
        sled_base::files(dir)?.iter().try_for_each(|path| self.rewrite(path))
    }
}

impl DiskFile for File {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn sync(&mut self, _: Barrier) -> io::Result<()> {
        self.sync_data()
    }
}

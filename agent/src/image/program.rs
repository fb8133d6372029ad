//! This program as files: its executable, its loader, the libraries that it has mapped.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;

use super::tar::Tar;

/// The running executable; works also after it was replaced on disk.
const SELF: &str = "/proc/self/exe";

/// A text that differs from build to build of the executable.
pub fn fingerprint() -> io::Result<String> {
    let meta = fs::metadata(SELF)?;
    Ok(format!("{:x}-{:x}-{:x}", meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// The root folder of an image in which this program runs as `/coracle`.
pub fn root() -> io::Result<Bytes> {
    let executable = fs::read(SELF)?;
    let mut files: BTreeSet<String> = libraries(&fs::read_to_string("/proc/self/maps")?);
    files.extend(interpreter(&executable));
    let mut folders = BTreeSet::from(["etc".to_owned(), "tmp".to_owned()]);
    for file in &files {
        let parents = Path::new(file.trim_start_matches('/')).ancestors().skip(1);
        folders.extend(parents.filter_map(Path::to_str).filter(|path| !path.is_empty()).map(str::to_owned));
    }
    let mut tar = Tar::default();
    for folder in &folders {
        tar.folder(folder, if folder == "tmp" { 0o1777 } else { 0o755 })?;
    }
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/:\nnonroot:x:65532:65532:nonroot:/:\n")?;
    tar.file("etc/group", 0o644, b"root:x:0:\nnonroot:x:65532:\n")?;
    for file in &files {
        tar.file(file.trim_start_matches('/'), 0o755, &fs::read(file)?)?;
    }
    tar.file("coracle", 0o755, &executable)?;
    Ok(Bytes::from(tar.finish()))
}

/// The shared libraries in a table of mappings.
fn libraries(maps: &str) -> BTreeSet<String> {
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let libraries = paths.filter(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        path.starts_with('/') && (name.ends_with(".so") || name.contains(".so."))
    });
    libraries.map(str::to_owned).collect()
}

/// The loader that a 64-bit ELF executable asks for, by the path that stands in it.
fn interpreter(elf: &[u8]) -> Option<String> {
    const LOADER: u32 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let size = |at: usize, length: usize| number(at, length).and_then(|n| usize::try_from(n).ok());
    // Little-endian and 64 bits wide; anything else is left to the libraries' own paths.
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (headers, width, count) = (size(32, 8)?, size(54, 2)?, size(56, 2)?);
    let at = (0..count).map(|i| headers + i * width).find(|at| number(*at, 4) == Some(u64::from(LOADER)))?;
    let (offset, length) = (size(at + 8, 8)?, size(at + 32, 8)?);
    let text = elf.get(offset..offset.checked_add(length)?)?;
    String::from_utf8(text.to_vec()).ok().map(|text| text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found() {
        let maps = "7f00 r--p 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f01 r-xp 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f02 rw-p 00000000 00:00 0 \n\
                    7f03 r--p 00000000 08:01 3 /work/target/debug/coracle\n\
                    7f04 r--p 00000000 00:00 0 [vdso]\n";
        assert_eq!(libraries(maps), BTreeSet::from(["/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned()]));
    }

    #[test]
    fn this_very_test_names_its_loader() {
        let found = interpreter(&fs::read(SELF).unwrap());
        assert!(found.is_none_or(|path| Path::new(&path).exists()));
        assert_eq!(interpreter(b"#!/bin/sh"), None);
        assert_eq!(interpreter(b"\x7fELF\x02\x01"), None);
    }
}

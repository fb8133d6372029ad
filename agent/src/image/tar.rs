//! A tar of a few files, in the ustar form.

use std::io;

/// A tar that is being written.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

/// The size of a tar's blocks.
const BLOCK: usize = 512;

impl Tar {
    /// Adds a folder.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.header(&format!("{path}/"), mode, 0, b'5')
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.header(path, mode, data.len(), b'0')?;
        self.bytes.extend_from_slice(data);
        let rest = data.len() % BLOCK;
        if rest > 0 {
            self.bytes.resize(self.bytes.len() + BLOCK - rest, 0);
        }
        Ok(())
    }

    /// The whole tar.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn header(&mut self, path: &str, mode: u32, size: usize, kind: u8) -> io::Result<()> {
        let mut header = [0u8; BLOCK];
        // A long path is cut in two at a slash: up to 155 bytes before it, up to 100 after.
        let (prefix, name) = if path.len() <= 100 {
            ("", path)
        } else {
            let cut = path.char_indices().find(|(at, c)| *c == '/' && path.len() - at - 1 <= 100);
            let (at, _) =
                cut.ok_or_else(|| io::Error::other(format!("the path is too long for a tar: {path}")))?;
            (&path[..at], &path[at + 1..])
        };
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{size:011o}"));
        put(136, "00000000000");
        put(148, "        ");
        put(257, "ustar");
        put(263, "00");
        put(345, prefix.get(..155.min(prefix.len())).unwrap_or_default());
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_add_up() {
        let mut tar = Tar::default();
        tar.folder("tmp", 0o1777).unwrap();
        tar.file("etc/passwd", 0o644, b"root:x:0:0::/:\n").unwrap();
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(60));
        tar.file(&long, 0o755, &[1; 512]).unwrap();
        let bytes = tar.finish();
        assert_eq!(bytes.len(), 512 + 1024 + 1024 + 1024);
        for (at, name, size) in [(0, "tmp/", 0), (512, "etc/passwd", 15), (1536, &"f".repeat(60), 512)] {
            let header = &bytes[at..at + 512];
            assert!(header.starts_with(name.as_bytes()), "name: {name}");
            let number = |from: usize, to: usize| {
                let text = std::str::from_utf8(&header[from..to]).unwrap().trim_matches(['\0', ' ']);
                usize::from_str_radix(text, 8).unwrap()
            };
            assert_eq!(number(124, 136), size);
            let blank: usize = header
                .iter()
                .enumerate()
                .map(|(i, b)| if (148..156).contains(&i) { 32 } else { usize::from(*b) })
                .sum();
            assert_eq!(number(148, 156), blank, "checksum of {name}");
        }
    }
}

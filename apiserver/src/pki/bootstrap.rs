//! The tokens that buy a new node its certificate, in Kubernetes' form: `abcdef.0123456789abcdef`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::PkiError;
use super::files;

const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// More than anybody hands out; the oldest go first.
const MOST: usize = 100;

/// The tokens of a cluster: in a private file, and there only as hashes.
pub(super) struct Tokens {
    path: PathBuf,
    known: Mutex<Vec<Token>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Token {
    id: String,
    /// SHA-256 of the whole token, in hex.
    hash: String,
    expires: Option<Timestamp>,
}

impl Tokens {
    pub(super) fn open(path: &Path) -> Result<Tokens, PkiError> {
        Ok(Tokens { path: path.into(), known: Mutex::new(read(path)?) })
    }

    pub(super) fn make(&self, expires: Option<Timestamp>, now: Timestamp) -> Result<String, PkiError> {
        let id = random(6);
        let token = format!("{id}.{}", random(16));
        let mut known = self.known.lock();
        // Another server may have made some.
        let _turn = files::lock(self.path.parent().unwrap_or(Path::new(".")))?;
        let mut next: Vec<Token> = read(&self.path)?.iter().filter(|t| t.is_good(now)).cloned().collect();
        next.push(Token { id, hash: hash(&token), expires });
        let surplus = next.len().saturating_sub(MOST);
        next.drain(..surplus);
        files::write_private(&self.path, &serde_json::to_string(&next).unwrap_or_default())?;
        *known = next;
        Ok(token)
    }

    /// Compares hashes: how long that takes tells nothing about the token.
    pub(super) fn check(&self, token: &str, now: Timestamp) -> bool {
        let hash = hash(token);
        let mut known = self.known.lock();
        let holds = |known: &[Token]| known.iter().any(|known| known.hash == hash && known.is_good(now));
        if !holds(&known)
            && let Ok(again) = read(&self.path)
        {
            // Another server may have made it.
            *known = again;
        }
        holds(&known)
    }
}

fn read(path: &Path) -> Result<Vec<Token>, PkiError> {
    match files::read(path)? {
        Some(text) => serde_json::from_str(&text).map_err(|e| PkiError::damaged(path, e)),
        None => Ok(Vec::new()),
    }
}

impl Token {
    fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

fn random(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).filter_map(|_| ALPHABET.choose(&mut rng)).map(|b| char::from(*b)).collect()
}

fn hash(token: &str) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(token.as_bytes()) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

//! The tokens of a node's pods, kept for most of their time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::times::later;
use crate::volumes::payload::TokenRequest;

/// A token is asked for anew when four fifths of its time are over, or when it is a day old.
///
/// Source: `requiresRefresh` in `pkg/kubelet/token/token_manager.go`.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of a node's pods, by the pod's uid and what was asked for.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Mutex<BTreeMap<(String, TokenRequest), Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    until: Timestamp,
}

impl Tokens {
    /// Forgets a pod's tokens.
    pub fn forget(&self, uid: &str) {
        self.known.lock().retain(|(of, _), _| of != uid);
    }

    /// A token that was kept for this request, unless it is time for a new one.
    pub fn fresh(&self, uid: &str, request: &TokenRequest, now: Timestamp) -> Option<String> {
        let known = self.known.lock();
        let token = known.get(&(uid.to_owned(), request.clone()))?;
        (now < token.until).then(|| token.text.clone())
    }

    /// Keeps a token that has just been given, for four fifths of its life and for no longer than [`OLDEST`].
    pub fn keep(&self, uid: &str, request: TokenRequest, text: String, now: Timestamp) {
        let wait = SignedDuration::from_secs(request.seconds.saturating_mul(4) / 5).min(OLDEST);
        let until = later(now, wait);
        self.known.lock().insert((uid.to_owned(), request), Token { text, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_for_most_of_its_time() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        let cases =
            [(3600, 2879, true), (3600, 2880, false), (1_000_000, 86_399, true), (1_000_000, 86_400, false)];
        for (seconds, later, kept) in cases {
            let tokens = Tokens::default();
            let request = TokenRequest { audience: String::new(), seconds };
            tokens.keep("x", request.clone(), "t".into(), start);
            let case = format!("{later} s of {seconds} s");
            assert_eq!(tokens.fresh("x", &request, after(later)).is_some(), kept, "case: {case}");
            assert_eq!(tokens.fresh("y", &request, start), None, "another pod's");
            tokens.forget("x");
            assert_eq!(tokens.fresh("x", &request, start), None);
        }
    }
}

//! Whether a process is well: named checks, and the pages that tell of them in the form of Kubernetes' components.
//!
//! ```text
//!  /livez, /healthz   the process does its work; if not, it is to be started again
//!  /readyz            what it has to know is known, too; if not, it is to be waited for
//!  /readyz/NAME       one check, and why it fails
//! ```

use std::fmt::Write;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::task::JoinHandle;

use crate::Informers;

/// A component at work.
pub struct Running {
    /// What it knows of the cluster; their health says whether it is ready.
    pub informers: Informers,
    /// Ends with the component.
    pub task: JoinHandle<()>,
}

/// The checks of a process. Cheap to clone; all clones are one list.
#[derive(Clone, Default)]
pub struct Checks(Arc<RwLock<Vec<Check>>>);

type Ask = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

struct Check {
    name: &'static str,
    /// Whether it is left out of `/livez` and `/healthz`: starting again would not mend it.
    only_ready: bool,
    ask: Ask,
}

/// A page about the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// 200, or 500 if a check has failed.
    pub code: u16,
    /// Plain text.
    pub text: String,
}

/// What somebody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// `livez`, `readyz` or `healthz`.
    pub page: &'a str,
    /// One check alone.
    pub one: Option<&'a str>,
    /// Checks that are not to count.
    pub excluded: &'a [&'a str],
    /// Whether to tell of every check, though all is well.
    pub verbose: bool,
}

impl Checks {
    /// Only `ping`, which shows that the process answers.
    pub fn new() -> Checks {
        let checks = Checks::default();
        checks.live("ping", || Ok(()));
        checks
    }

    /// Adds a check that counts everywhere. It must be quick: whoever asks waits for it.
    pub fn live(&self, name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.write().push(Check { name, only_ready: false, ask: Box::new(ask) });
    }

    /// Adds a check that counts for `/readyz` only.
    pub fn ready(&self, name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.write().push(Check { name, only_ready: true, ask: Box::new(ask) });
    }

    /// The answer; `None` where there is no such check. As upstream, a page of all checks keeps the reasons back, which the page of
    /// one check tells.
    pub fn answer(&self, question: &Question<'_>) -> Option<Page> {
        let all = self.0.read();
        let mut checks = all.iter().filter(|check| question.page == "readyz" || !check.only_ready);
        if let Some(name) = question.one {
            return checks.find(|check| check.name == name).map(|check| match (check.ask)() {
                Ok(()) => Page { code: 200, text: "ok".into() },
                Err(why) => Page { code: 500, text: format!("internal server error: {why}\n") },
            });
        }
        let (mut text, mut failed) = (String::new(), false);
        for Check { name, ask, .. } in checks {
            // Writing into a string cannot fail.
            let _ = if question.excluded.contains(name) {
                writeln!(text, "[+]{name} excluded: ok")
            } else if ask().is_ok() {
                writeln!(text, "[+]{name} ok")
            } else {
                failed = true;
                writeln!(text, "[-]{name} failed: reason withheld")
            };
        }
        let page = question.page;
        Some(match (failed, question.verbose) {
            (true, _) => Page { code: 500, text: format!("{text}{page} check failed\n") },
            (false, true) => Page { code: 200, text: format!("{text}{page} check passed\n") },
            (false, false) => Page { code: 200, text: "ok".into() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_tell_what_fails_and_one_check_tells_why() {
        let checks = Checks::new();
        checks.live("store", || Ok(()));
        checks.ready("informers", || Err("cannot list secrets: forbidden".into()));
        let ask = |page, one, excluded: &[&str], verbose| {
            let answer = checks.answer(&Question { page, one, excluded, verbose });
            answer.map(|answer| (answer.code, answer.text))
        };
        let failed = "[+]ping ok\n[+]store ok\n[-]informers failed: reason withheld\nreadyz check failed\n";
        let passed = "[+]ping ok\n[+]store ok\nlivez check passed\n";
        let excluded = "[+]ping ok\n[+]store ok\n[+]informers excluded: ok\nreadyz check passed\n";
        let why = "internal server error: cannot list secrets: forbidden\n";
        let cases: [(_, _, &[&str], _, _); 7] = [
            ("readyz", None, &[], false, Some((500, failed))),
            ("readyz", None, &["informers"], true, Some((200, excluded))),
            ("readyz", Some("informers"), &[], false, Some((500, why))),
            ("readyz", Some("nobody"), &[], false, None),
            ("livez", None, &[], false, Some((200, "ok"))),
            ("livez", None, &[], true, Some((200, passed))),
            ("livez", Some("informers"), &[], false, None),
        ];
        for (page, one, left_out, verbose, expected) in cases {
            let expected = expected.map(|(code, text)| (code, text.to_owned()));
            assert_eq!(
                ask(page, one, left_out, verbose),
                expected,
                "case: {page} {one:?} {left_out:?} {verbose}"
            );
        }
    }
}

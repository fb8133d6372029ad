//! Jobs that an agent may be unable to do itself, because it need not be root and need not see the engine's processes. A
//! container of this program's own image does one job as root, and is then removed by the engine.
//!
//! ```text
//!  agent --Job--> runtime: a container that runs `coracle helper WORDS` --> main: the same Job, done inside
//! ```

pub mod empty;
pub mod kill;
pub mod measure;

use std::io::{self, Write as _};
use std::path::PathBuf;

/// The verb of this program under which a helper runs.
pub const VERB: &str = "helper";

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// End a process of a container, with everything that it started.
    Kill {
        /// Its number, as the engine sees it.
        pid: i32,
        /// The container's id: a process of any other is left alone.
        container: String,
    },
    /// Remove everything in a folder.
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// Add up how much room a folder takes, until that is more than a limit.
    Measure {
        /// The folder.
        folder: PathBuf,
        /// Bytes.
        limit: u64,
    },
}

/// What a helper writes after the answer of a job that is done.
const DONE: &str = "done";

impl Job {
    /// The job as arguments of `coracle helper`.
    pub fn words(&self) -> Vec<String> {
        match self {
            Job::Kill { pid, container } => vec!["kill".into(), pid.to_string(), container.clone()],
            Job::Empty { folder } => vec!["empty".into(), folder.to_string_lossy().into_owned()],
            Job::Measure { folder, limit } => {
                vec!["measure".into(), folder.to_string_lossy().into_owned(), limit.to_string()]
            }
        }
    }

    /// Reads a job from arguments.
    pub fn read(words: &[String]) -> Option<Job> {
        match words {
            [verb, pid, container] if verb == "kill" => {
                Some(Job::Kill { pid: pid.parse().ok()?, container: container.clone() })
            }
            [verb, folder] if verb == "empty" => Some(Job::Empty { folder: folder.into() }),
            [verb, folder, limit] if verb == "measure" => {
                Some(Job::Measure { folder: folder.into(), limit: limit.parse().ok()? })
            }
            _ => None,
        }
    }

    /// Does it. Answers how many processes were killed, or how many bytes are taken.
    fn run(&self) -> io::Result<u64> {
        match self {
            Job::Kill { pid, container } => kill::tree(*pid, container).map(|killed| killed as u64),
            Job::Empty { folder } => empty::empty(folder).map(|()| 0),
            Job::Measure { folder, limit } => measure::usage(folder, *limit).map(|usage| usage.bytes),
        }
    }

    /// Reads what a helper has written; what is no answer is its error.
    pub fn answer(output: &str) -> Result<u64, String> {
        let answer = output.trim_end().strip_suffix(DONE).and_then(|text| text.trim().parse().ok());
        answer.ok_or_else(|| output.trim().to_owned())
    }
}

/// Does a job; what runs inside a helper.
///
/// # Errors
/// The arguments name no job, or it cannot be done.
pub fn main(words: &[String]) -> io::Result<()> {
    let job = Job::read(words);
    let job =
        job.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this is no job for a helper"))?;
    writeln!(io::stdout(), "{} {DONE}", job.run()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_survive_their_words() {
        let jobs = [
            Job::Kill { pid: 7, container: "0a1b".into() },
            Job::Empty { folder: "/a folder/with spaces".into() },
            Job::Measure { folder: "/f".into(), limit: 5 << 20 },
        ];
        for job in jobs {
            assert_eq!(Job::read(&job.words()), Some(job));
        }
        assert_eq!(Job::answer("12 done\n"), Ok(12));
        for cut in ["", "12", "coracle: no such folder"] {
            assert_eq!(Job::answer(cut), Err(cut.to_owned()));
        }
        for words in [&["kill", "x", "c"][..], &["empty"], &[]] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(Job::read(&words), None, "{words:?}");
        }
    }
}

//! Following a log whose engine loses lines when it follows: see `docs/adr/0043`.
//!
//! The log is read to its end again and again. What of it the reader has already is recognised by the lines that it got last:
//!
//! ```text
//!  got:            ... c d e f
//!  read again:       b c d e f g h     ends with what was got at f, so that g and h are new
//! ```
//!
//! A very long line is kept as many pieces of one time, which may be equal or come again in turn: these are counted from its first.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Error, LogLine, LogOptions};

type Lines = BoxStream<'static, Result<LogLine, Error>>;
type Signals = mpsc::Receiver<Result<(), Error>>;

/// A log that can be read to its present end.
pub trait Log: Send + Sync + 'static {
    /// Its last lines (`None`: all that are kept), written at a time or later.
    fn read(&self, tail: Option<u64>, since: Option<Timestamp>) -> Lines;

    /// Says that something was written, and ends when nothing more will be. It may miss something, and say too much.
    fn written(&self) -> BoxStream<'static, Result<(), Error>>;
}

/// How many lines wait for a reader.
const AHEAD: usize = 256;
/// How many of the lines that the reader got last are remembered. All of them are compared.
const REMEMBERED: usize = 64;
/// How many lines are read again at least, and after how many the whole log is.
const TAIL: (u64, u64) = (128, 1 << 15);
/// How much more is read when the last lines are not among those.
const FURTHER: u64 = 16;
/// The pause between two reads of a log that is written all the time. It is longer after a long read, up to the first of [`QUIET`].
const PAUSE: Duration = Duration::from_millis(100);
/// How long a log is not read when nothing says that something was written: at first, and at most.
const QUIET: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// What stands in a log where lines are missing: they were written and, since a log keeps only so much, removed before the reader
/// had them.
const MISSING: &[u8] =
    b"coracle: lines of the log are missing here: more was written than is kept before they could be read\n";

/// The lines of a log as they are written, until nothing more will be.
pub fn follow(log: impl Log, options: LogOptions) -> Lines {
    let (lines, followed) = mpsc::channel(AHEAD);
    let task = tokio::spawn(async move {
        let since = options.since;
        let mut follower = Follower { log, lines, since, got: VecDeque::new(), run: Run::default() };
        match follower.run(options.tail).await {
            Err(Stop::Failed(error)) => drop(follower.lines.send(Err(error)).await),
            Ok(()) | Err(Stop::Gone) => {}
        }
    });
    let task = AbortOnDropHandle::new(task);
    let followed = ReceiverStream::new(followed).map(move |line| {
        // As long as somebody reads.
        let _ = &task;
        line
    });
    followed.boxed()
}

/// Why following ends early.
enum Stop {
    /// Nobody reads any more.
    Gone,
    Failed(Error),
}

/// Why a log is read again.
enum Wakeup {
    /// Nothing more will be written.
    Over,
    /// Something was written.
    Written,
    /// Nothing has been signalled for a while; a signal may have been missed.
    Quiet,
}

struct Follower<L> {
    log: L,
    lines: mpsc::Sender<Result<LogLine, Error>>,
    since: Option<Timestamp>,
    /// The lines that the reader got last, or would have got without `since` and `tail`, oldest first.
    got: VecDeque<u64>,
    /// The last of them that have one time.
    run: Run,
}

/// Lines of one time, one after the other: mostly one line, or the pieces of a very long one.
#[derive(Default)]
struct Run {
    time: String,
    count: u64,
    /// Whether something of another time was before them.
    has_start: bool,
}

impl Run {
    fn add(&mut self, line: &LogLine) {
        if self.count > 0 && self.time == line.time {
            self.count += 1;
        } else {
            *self = Run { time: line.time.clone(), count: 1, has_start: self.count > 0 };
        }
    }
}

impl<L: Log> Follower<L> {
    async fn run(&mut self, tail: Option<u64>) -> Result<(), Stop> {
        let (sender, mut signals) = mpsc::channel(1);
        let _passing_on = AbortOnDropHandle::new(tokio::spawn(pass_on(self.log.written(), sender)));
        self.begin(tail).await?;
        let (mut tail, mut quiet, mut over, mut read_since_over) = (Some(TAIL.0), QUIET.0, false, false);
        let mut began = Instant::now();
        loop {
            let Some(new) = self.go_on(tail).await? else {
                tail = further(tail);
                continue;
            };
            tail = Some(new.saturating_mul(2).saturating_add(TAIL.0));
            let pause = (began.elapsed() * 4).clamp(PAUSE, QUIET.0);
            if over && new == 0 {
                return Ok(());
            }
            if over {
                // The first time without a pause: the log may be removed soon.
                if std::mem::replace(&mut read_since_over, true) {
                    tokio::time::sleep(pause).await;
                }
                began = Instant::now();
                continue;
            }
            match self.sleep(&mut signals, pause, quiet).await? {
                // What was written last is still to be read.
                Wakeup::Over => over = true,
                Wakeup::Written => quiet = QUIET.0,
                Wakeup::Quiet => quiet = (quiet * 2).min(QUIET.1),
            }
            began = Instant::now();
        }
    }

    /// Waits until it is worth to read again: until something was written, but not before the pause is over. The end is told at once: the
    /// container, and its log with it, may be removed soon.
    async fn sleep(&self, signals: &mut Signals, pause: Duration, quiet: Duration) -> Result<Wakeup, Stop> {
        let pause_over = Instant::now() + pause;
        let mut written = false;
        loop {
            let until = if written { pause_over } else { pause_over + quiet };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => {
                    return Ok(if written { Wakeup::Written } else { Wakeup::Quiet });
                }
                signal = signals.recv() => match signal {
                    Some(signal) => {
                        signal.map_err(Stop::Failed)?;
                        written = true;
                    }
                    None => return Ok(Wakeup::Over),
                },
                () = self.lines.closed() => return Err(Stop::Gone),
            }
        }
    }

    /// Sends what the reader wants of the lines that are there.
    async fn begin(&mut self, tail: Option<u64>) -> Result<(), Stop> {
        let mut last = self.log.read(Some(TAIL.0), None);
        while let Some(line) = last.next().await {
            let line = line.map_err(Stop::Failed)?;
            self.remember(&line);
        }
        let mut lines = self.log.read(tail, self.since);
        let mut is_first = true;
        while let Some(line) = lines.next().await {
            let line = line.map_err(Stop::Failed)?;
            if std::mem::take(&mut is_first) {
                // It may be older than what was remembered, or come later.
                self.forget();
            }
            self.send(line).await?;
        }
        if !self.run.has_start && (tail.is_some() || self.since.is_some()) {
            self.count_again().await?;
        }
        Ok(())
    }

    /// Counts the pieces of the line that the reader got last from the first on, although the reader may not have wanted those.
    async fn count_again(&mut self) -> Result<(), Stop> {
        let mut tail = Some(TAIL.0);
        while let Some(last) = self.got.back().copied() {
            let (mut run, mut counted, mut has_start) = (Run::default(), self.run.count, false);
            let mut lines = self.log.read(tail, None);
            while let Some(line) = lines.next().await {
                let line = line.map_err(Stop::Failed)?;
                run.add(&line);
                if key(&line) == last {
                    (counted, has_start) = (run.count, run.has_start);
                }
            }
            if has_start || tail.is_none() {
                self.run.count = counted;
                break;
            }
            tail = further(tail);
        }
        Ok(())
    }

    /// Reads the log again and sends what is new. Answers how much that was; `None`: so few lines do not reach back to the last one
    /// that the reader got.
    async fn go_on(&mut self, tail: Option<u64>) -> Result<Option<u64>, Stop> {
        // Where the log was empty all of it is new.
        let mut found = self.got.is_empty();
        let tail = tail.filter(|_| !found);
        let mut lines = self.log.read(tail, None);
        let (mut before, mut run, mut new) = (VecDeque::new(), Run::default(), 0);
        while let Some(line) = lines.next().await {
            let line = line.map_err(Stop::Failed)?;
            if found {
                new += 1;
                self.send(line).await?;
            } else {
                push(&mut before, key(&line));
                run.add(&line);
                found = self.ends_here(&before, &run, tail.is_none());
            }
        }
        drop(lines);
        match tail {
            _ if found => Ok(Some(new)),
            Some(_) => Ok(None),
            None => self.after_a_gap().await.map(Some),
        }
    }

    /// Whether lines that were read end with the last one that the reader got. `whole`: what was before them is not kept any more.
    fn ends_here(&self, before: &VecDeque<u64>, run: &Run, whole: bool) -> bool {
        let enough = whole || before.len() >= self.got.len();
        // Where all that is remembered may be pieces of one line, their number alone tells which is which.
        let in_one_line = self.run.count >= self.got.len() as u64;
        let counted = !in_one_line || (run.count == self.run.count && (whole || run.has_start));
        enough && counted && before.iter().rev().zip(self.got.iter().rev()).all(|(one, other)| one == other)
    }

    /// All that is kept comes after what the reader got, or begins in the midst of the line that the reader got last. What is left of
    /// that one cannot be counted and is passed over, lest it be sent again and again.
    async fn after_a_gap(&mut self) -> Result<u64, Stop> {
        let mut lines = self.log.read(None, None);
        let mut new = 0;
        let cut = std::mem::take(&mut self.run).time;
        self.forget();
        while let Some(line) = lines.next().await {
            let line = line.map_err(Stop::Failed)?;
            if new == 0 && line.time == cut {
                self.remember(&line);
                continue;
            }
            if new == 0 {
                let data = Bytes::from_static(MISSING);
                let notice = LogLine { time: line.time.clone(), stderr: true, data };
                self.lines.send(Ok(notice)).await.map_err(|_| Stop::Gone)?;
            }
            new += 1;
            self.send(line).await?;
        }
        Ok(new)
    }

    async fn send(&mut self, line: LogLine) -> Result<(), Stop> {
        self.remember(&line);
        let early = |since: Timestamp| line.time.parse::<Timestamp>().is_ok_and(|time| time < since);
        if self.since.is_some_and(early) {
            return Ok(());
        }
        self.lines.send(Ok(line)).await.map_err(|_| Stop::Gone)
    }

    fn remember(&mut self, line: &LogLine) {
        push(&mut self.got, key(line));
        self.run.add(line);
    }

    fn forget(&mut self) {
        self.got.clear();
        self.run = Run::default();
    }
}

/// How much is read when so few lines did not reach back far enough.
fn further(tail: Option<u64>) -> Option<u64> {
    tail.filter(|lines| *lines < TAIL.1).map(|lines| lines.saturating_mul(FURTHER))
}

fn push(keys: &mut VecDeque<u64>, key: u64) {
    if keys.len() == REMEMBERED {
        keys.pop_front();
    }
    keys.push_back(key);
}

fn key(line: &LogLine) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&line.time, line.stderr, &line.data).hash(&mut hasher);
    hasher.finish()
}

/// Passes signals on. However many come, one is enough until somebody has looked.
async fn pass_on(
    mut written: BoxStream<'static, Result<(), Error>>,
    sender: mpsc::Sender<Result<(), Error>>,
) {
    while let Some(signal) = written.next().await {
        match signal {
            Ok(()) => drop(sender.try_send(Ok(()))),
            Err(error) => return drop(sender.send(Err(error)).await),
        }
    }
}

#[cfg(test)]
mod tests;

//! Over a log in memory that keeps only so much, on paused time.

use std::sync::Arc;

use futures::stream;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::watch;

use super::*;

/// Writes, and removes what is older than what it keeps.
#[derive(Clone)]
struct Kept {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
    most: usize,
    /// How much was read of it.
    read: Arc<Mutex<usize>>,
    /// Whether it has ended; tells of each line, too.
    ended: watch::Sender<bool>,
}

impl Kept {
    fn new(most: usize) -> Kept {
        Kept { lines: Arc::default(), most, read: Arc::default(), ended: watch::channel(false).0 }
    }

    fn write(&self, time: i64, data: &str) {
        let time = Timestamp::from_second(time).unwrap().to_string();
        let line = LogLine { time, stderr: false, data: Bytes::from(data.to_owned()) };
        let mut lines = self.lines.lock();
        lines.push_back(line);
        if lines.len() > self.most {
            lines.pop_front();
        }
        self.ended.send_replace(false);
    }

    fn end(&self) {
        self.ended.send_replace(true);
    }
}

impl Log for Kept {
    fn read(&self, tail: Option<u64>, since: Option<Timestamp>) -> Lines {
        let all: Vec<LogLine> = self.lines.lock().iter().cloned().collect();
        let late =
            |line: &LogLine| since.is_none_or(|since| line.time.parse::<Timestamp>().unwrap() >= since);
        let wanted: Vec<LogLine> = all.into_iter().filter(late).collect();
        let skipped = tail.map_or(0, |tail| wanted.len().saturating_sub(usize::try_from(tail).unwrap()));
        *self.read.lock() += wanted.len() - skipped;
        stream::iter(wanted.into_iter().skip(skipped).map(Ok)).boxed()
    }

    fn written(&self) -> BoxStream<'static, Result<(), Error>> {
        let signals = tokio_stream::wrappers::WatchStream::new(self.ended.subscribe());
        signals.take_while(|over| std::future::ready(!over)).map(|_| Ok(())).boxed()
    }
}

async fn texts(lines: Lines) -> Vec<String> {
    let text = |line: Result<LogLine, Error>| String::from_utf8(line.unwrap().data.to_vec()).unwrap();
    lines.map(text).collect().await
}

/// What somebody gets who follows while batches of lines are written, so many milliseconds apart.
async fn followed(before: usize, batches: &[(usize, u64)], kept: usize, options: LogOptions) -> Vec<String> {
    let log = Kept::new(kept);
    let mut written = 0..;
    let mut write =
        |count: usize| written.by_ref().take(count).for_each(|n| log.write(n / 5, &format!("{n}")));
    write(before);
    let reader = tokio::spawn(texts(follow(log.clone(), options)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    for (count, pause) in batches {
        write(*count);
        tokio::time::sleep(Duration::from_millis(*pause)).await;
    }
    log.end();
    reader.await.unwrap()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_comes_and_then_all_that_is_written() {
    let with = |tail, since: Option<i64>| LogOptions {
        follow: true,
        tail,
        since: since.map(|second| Timestamp::from_second(second).unwrap()),
    };
    let cases = [
        ("all", with(None, None), 0),
        ("the last lines", with(Some(3), None), 997),
        ("none of those that are there", with(Some(0), None), 1000),
        ("since a time", with(None, Some(100)), 500),
        ("since a time that is still to come", with(None, Some(201)), 1005),
    ];
    for (case, options, first) in cases {
        let got = followed(1000, &[(1, 500), (9, 10), (2000, 500)], 10_000, options).await;
        assert_eq!(got, numbers(first..3010), "case: {case}");
    }
    assert_eq!(followed(0, &[(2, 500), (1, 1)], 10, with(None, None)).await, numbers(0..3), "an empty log");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_told() {
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let got = followed(10, &[(1000, 500)], 100, options).await;
    let gap = got.iter().position(|line| line.starts_with("coracle: lines of the log are missing")).unwrap();
    assert_eq!((&got[..gap], &got[gap + 1..]), (&numbers(0..10)[..], &numbers(910..1010)[..]));
}

/// A container that has ended may be removed at once, and its log with it.
#[tokio::test(start_paused = true)]
async fn the_end_is_read_without_a_pause() {
    let log = Kept::new(100);
    let reader =
        tokio::spawn(texts(follow(log.clone(), LogOptions { follow: true, ..LogOptions::default() })));
    tokio::time::sleep(Duration::from_millis(1)).await;
    log.write(1, "0");
    tokio::time::sleep(PAUSE / 10).await;
    log.write(1, "1");
    log.end();
    tokio::time::sleep(PAUSE / 10).await;
    assert!(reader.is_finished(), "it is read before the pause is over");
    assert_eq!(reader.await.unwrap(), numbers(0..2));
}

/// A log in which nothing happens costs little, and one in which little happens is read from near its end.
#[tokio::test(start_paused = true)]
async fn little_is_read_again() {
    let log = Kept::new(1_000_000);
    (0..100_000).for_each(|n| log.write(n, "x"));
    let options = LogOptions { follow: true, tail: Some(1), since: None };
    let mut lines = follow(log.clone(), options);
    for n in 0..10 {
        lines.next().await.unwrap().unwrap();
        log.write(100_000 + n, "x");
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let read = *log.read.lock();
    assert!(read < 128 * 80, "{read} lines");
}

/// A very long line is written as many pieces at one time, which are equal or come again in turn: each is passed on once, while the
/// container runs and after it has ended, and little is read for that.
#[tokio::test(start_paused = true)]
async fn pieces_of_a_long_line_are_counted() {
    for (turn, before, batches) in [(1, 0, 6), (1, 256, 0), (1, 40, 300), (3, 100, 30), (75, 256, 40)] {
        for lines_before in [0, 5] {
            let log = Kept::new(10_000);
            (0..lines_before).for_each(|_| log.write(0, "line"));
            let mut written = (0..).map(|n: usize| (n % turn).to_string());
            let mut write =
                |count: usize| written.by_ref().take(count).for_each(|piece| log.write(1, &piece));
            write(before);
            let options = LogOptions { follow: true, ..LogOptions::default() };
            let mut lines = follow(log.clone(), options);
            let reader = tokio::spawn(async move {
                let (mut got, most) = (Vec::new(), lines_before + before + batches * 10 + 1000);
                while let Some(line) = lines.next().await {
                    got.push(line.unwrap().data);
                    assert!(got.len() < most, "the same pieces come again");
                }
                got
            });
            for _ in 0..batches {
                tokio::time::sleep(Duration::from_millis(150)).await;
                write(10);
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            let read = *log.read.lock();
            let most = (batches + 20) * 3 * (before + batches * 10 + lines_before + 128);
            assert!(read < most, "{read} pieces were read");
            log.end();
            let got = tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
            let case = format!("turn {turn}, {before} before, {batches} batches, after {lines_before} lines");
            let line = |n: usize| {
                if n < lines_before { "line".into() } else { ((n - lines_before) % turn).to_string() }
            };
            let all: Vec<String> = (0..lines_before + before + batches * 10).map(line).collect();
            assert_eq!(got, all, "{case}");
        }
    }
}

/// Of a long line whose last pieces were asked for, the first do not follow.
#[tokio::test(start_paused = true)]
async fn a_tail_within_a_long_line_is_no_more_than_that() {
    for (pieces, tail) in [(24, 10), (24, 0), (300, 10), (300, 0), (300, 200)] {
        let log = Kept::new(10_000);
        (0..pieces).for_each(|_| log.write(1, "piece"));
        let options = LogOptions { follow: true, tail: Some(tail), since: None };
        let reader = tokio::spawn(texts(follow(log.clone(), options)));
        tokio::time::sleep(Duration::from_millis(150)).await;
        (0..5).for_each(|_| log.write(1, "piece"));
        log.end();
        let got = tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
        assert_eq!(got.len() as u64, tail + 5, "{tail} of {pieces}");
    }
}

/// A line of equal pieces that is longer than what is kept ends, and what comes after it is passed on.
#[tokio::test(start_paused = true)]
async fn a_line_longer_than_what_is_kept_ends() {
    let log = Kept::new(300);
    (0..250).for_each(|_| log.write(1, "piece"));
    let reader =
        tokio::spawn(texts(follow(log.clone(), LogOptions { follow: true, ..LogOptions::default() })));
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        (0..10).for_each(|_| log.write(1, "piece"));
    }
    log.write(2, "after");
    log.end();
    let got = tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
    assert!(got.len() <= 750 + 2, "{} pieces", got.len());
    assert_eq!(got.last().unwrap(), "after");
}

proptest! {
    /// However lines come, each is passed on once and in order, as long as the log keeps what was written since the last look.
    #[test]
    fn no_line_is_lost_or_doubled(before in 0..600usize, batches in proptest::collection::vec((0..900usize, 0..400u64), 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let written = before + batches.iter().map(|(count, _)| count).sum::<usize>();
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let got = runtime.block_on(followed(before, &batches, 20_000, options));
        prop_assert_eq!(got, numbers(0..written));
    }
}

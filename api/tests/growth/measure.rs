//! What a piece of work costs. Allocations and their bytes are counted, so they are the same in every run, on every machine.
//! Loops that allocate nothing show only in time; there a square is held against something linear across so wide a gap that
//! no busy machine can take one for the other.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    allocations: u64,
    bytes: u64,
    most_bytes: u64,
}

impl Cost {
    /// What of this is not in the other.
    fn less(self, other: Cost) -> Cost {
        Cost {
            allocations: self.allocations.saturating_sub(other.allocations),
            bytes: self.bytes.saturating_sub(other.bytes),
            most_bytes: self.most_bytes.saturating_sub(other.most_bytes),
        }
    }
}

/// How much larger the large input is. A power of two: lists and tables grow by doubling, and so both inputs find them at the
/// same point of their growth. Against ten times the input, a list that has just grown counts up to twice.
const LARGER: usize = 8;
/// How much dearer the large input may be in what is counted: twice what is linear, as sorting and long numbers come to.
const MOST: u64 = 2 * LARGER as u64;
/// For time the small input is this much smaller again: a square costs 1,024 times as much then, and something linear 32.
const SMALLER: usize = 4;
/// How much longer the large input may take, against that: ten times what is linear. Caches, and whoever else uses the
/// machine, make no such difference to the time that a thread has a processor.
const MOST_TIME: u64 = 10 * (LARGER * SMALLER) as u64;
/// What takes less time than this is not looked at: it is cheap whatever it grows like.
const SHORT: u64 = 20_000_000;
/// For how long the small input is worked on again and again, so that its time can be told.
const LONG_ENOUGH: u64 = 5_000_000;
/// In how many runs it must have taken too long.
const RUNS: usize = 3;

/// The time that this thread has had a processor, in nanoseconds.
fn processor_time() -> u64 {
    // The kernel counts the time of a thread when it is scheduled, or at a tick.
    thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
}

fn cost<I, O>(input: &I, work: &impl Fn(&I) -> O) -> Cost {
    let counted = allocation_counter::measure(|| drop(black_box(work(black_box(input)))));
    Cost { allocations: counted.count_total, bytes: counted.bytes_total, most_bytes: counted.bytes_max }
}

/// How long so many runs have a processor.
fn nanos<I, O>(input: &I, work: &impl Fn(&I) -> O, runs: u32) -> u64 {
    let start = processor_time();
    (0..runs).for_each(|_| drop(black_box(work(black_box(input)))));
    processor_time() - start
}

/// How long one run has it, as the mean of as many as it takes to tell.
fn mean_nanos<I, O>(input: &I, work: &impl Fn(&I) -> O) -> u64 {
    let mut runs = 1;
    loop {
        let total = nanos(input, work, runs);
        if total >= LONG_ENOUGH {
            return total / u64::from(runs);
        }
        runs *= 2;
    }
}

/// By how much the large input takes too long, if it does in every run.
fn slowness<I, O>(tiny: &I, large: &I, work: &impl Fn(&I) -> O) -> Option<String> {
    let mut said = None;
    for _ in 0..RUNS {
        let long = Some(nanos(large, work, 1)).filter(|nanos| *nanos >= SHORT)?;
        let short = mean_nanos(tiny, work);
        if long <= MOST_TIME * short {
            return None;
        }
        said = Some(format!("microseconds {} -> {}", short / 1000, long / 1000));
    }
    said
}

/// Cases that were tried, and those that grew too fast.
#[derive(Default)]
pub struct Growth {
    tried: usize,
    faults: Vec<String>,
}

impl Growth {
    /// Holds `work` on an input of eight times `size` against the same on one of `size`. What it costs on an empty one counts
    /// on neither side.
    pub fn of<I, O>(&mut self, name: &str, size: usize, input: impl Fn(usize) -> I, work: impl Fn(&I) -> O) {
        self.tried += 1;
        // What is built once and kept, such as schemas, is nobody's cost.
        work(&input(1));
        let empty = cost(&input(0), &work);
        let small = cost(&input(size), &work).less(empty);
        let large_input = input(LARGER * size);
        let started = Instant::now();
        let large = cost(&large_input, &work).less(empty);
        let elapsed = started.elapsed();
        let mut over = Vec::new();
        for (what, small, large) in [
            ("allocations", small.allocations, large.allocations),
            ("bytes", small.bytes, large.bytes),
            ("bytes at a time", small.most_bytes, large.most_bytes),
        ] {
            // A few are no growth: what is allocated once, from some size on, counts whole.
            let least = if what == "allocations" { 20 } else { 4096 };
            if large > MOST * small.max(least) {
                over.push(format!("{what} {small} -> {large}"));
            }
        }
        // Who has not taken so long by the clock on the wall has not had a processor for so long either.
        if elapsed.as_nanos() >= u128::from(SHORT) {
            over.extend(slowness(&input((size / SMALLER).max(1)), &large_input, &work));
        }
        if !over.is_empty() {
            self.faults.push(format!("{name}: {}", over.join(", ")));
        }
    }

    /// Fails if anything grew too fast, or fewer cases than `least` were tried.
    pub fn finish(self, least: usize) {
        assert!(self.tried >= least, "only {} cases were tried", self.tried);
        assert!(
            self.faults.is_empty(),
            "{} of {} cases grow faster than their input:\n{}",
            self.faults.len(),
            self.tried,
            self.faults.join("\n")
        );
    }
}

#[test]
fn a_square_is_noticed() {
    let input = |n: usize| (0..n).collect::<Vec<usize>>();
    let fault = |growth: Growth| growth.faults.join("");
    let mut growth = Growth::default();
    growth.of("copies", 64, input, |list| list.iter().map(|_| list.clone()).collect::<Vec<_>>());
    assert!(fault(growth).contains("bytes"));
    let mut growth = Growth::default();
    growth.of("looks", 1000, input, |list| {
        list.iter().filter(|item| list.iter().filter(|other| black_box(*other) == *item).count() > 1).count()
    });
    assert!(fault(growth).contains("microseconds"));
    let mut growth = Growth::default();
    growth.of("once", 1000, input, |list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(fault(growth), "");
}

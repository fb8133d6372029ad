//! What a piece of work costs: allocations are counted and so the same in every run; time is that of the processor in this
//! thread, the least of several runs.

use std::hint::black_box;

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    allocations: u64,
    bytes: u64,
    most_bytes: u64,
    nanos: u64,
}

impl Cost {
    /// What of this is not in the other.
    fn less(self, other: Cost) -> Cost {
        Cost {
            allocations: self.allocations.saturating_sub(other.allocations),
            bytes: self.bytes.saturating_sub(other.bytes),
            most_bytes: self.most_bytes.saturating_sub(other.most_bytes),
            nanos: self.nanos.saturating_sub(other.nanos),
        }
    }
}

/// How much dearer ten times the input may be, in what is counted.
const MOST: u64 = 20;
/// The same in time: a processor's caches make large inputs dearer by a factor, but not by ten, which a square would be.
const MOST_TIME: u64 = 50;
/// What takes less time than this is not looked at: it is cheap whatever it grows like, or not long enough to be measured.
const SHORT: u64 = 40_000_000;
const RUNS: usize = 3;

/// The time that this thread has had a processor, in nanoseconds.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
}

fn cost<I, O>(input: &I, work: &impl Fn(&I) -> O) -> Cost {
    let mut least = Cost { nanos: u64::MAX, ..Cost::default() };
    for _ in 0..RUNS {
        let start = processor_time();
        let counted = allocation_counter::measure(|| drop(black_box(work(black_box(input)))));
        let nanos = processor_time() - start;
        least = Cost {
            allocations: counted.count_total,
            bytes: counted.bytes_total,
            most_bytes: counted.bytes_max,
            nanos: nanos.min(least.nanos),
        };
        if nanos < SHORT {
            break;
        }
    }
    least
}

/// Cases that were tried, and those that grew too fast.
#[derive(Default)]
pub struct Growth {
    tried: usize,
    faults: Vec<String>,
}

impl Growth {
    /// Holds `work` on an input of ten times `size` against the same on one of `size`. What it costs on an empty one counts on
    /// neither side.
    pub fn of<I, O>(&mut self, name: &str, size: usize, input: impl Fn(usize) -> I, work: impl Fn(&I) -> O) {
        self.tried += 1;
        // What is built once and kept, such as schemas, is nobody's cost.
        work(&input(1));
        let empty = cost(&input(0), &work);
        let small = cost(&input(size), &work).less(empty);
        let large = cost(&input(10 * size), &work).less(empty);
        let mut over = Vec::new();
        for (what, small, large) in [
            ("allocations", small.allocations, large.allocations),
            ("bytes", small.bytes, large.bytes),
            ("bytes at a time", small.most_bytes, large.most_bytes),
        ] {
            // A few are no growth: a table that is made larger counts whole.
            let least = if what == "allocations" { 20 } else { 4096 };
            if large > MOST * small.max(least) {
                over.push(format!("{what} {small} -> {large}"));
            }
        }
        if large.nanos > SHORT && large.nanos > MOST_TIME * small.nanos.max(1) {
            over.push(format!("microseconds {} -> {}", small.nanos / 1000, large.nanos / 1000));
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
    growth.of("copies", 100, input, |list| list.iter().map(|_| list.clone()).collect::<Vec<_>>());
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

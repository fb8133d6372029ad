//! How long to wait before trying again.

use std::time::Duration;

use crate::chance::Chance;

/// Waits that double from `first` up to `most`, with jitter, until something succeeds.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    chance: Chance,
}

impl Backoff {
    /// Starts at `first`, never exceeds `most`.
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff::with_chance(first, most, Chance::unforeseen())
    }

    /// The same, with a source of chance for the jitter.
    pub fn with_chance(first: Duration, most: Duration, chance: Chance) -> Backoff {
        Backoff { first, most, failures: 0, chance }
    }

    /// The next wait: between half and all of the doubled one, so that many who failed together do not return together.
    pub fn next_wait(&mut self) -> Duration {
        let whole = exponential(self.first, self.most, self.failures);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(1.0 - self.chance.share() / 2.0)
    }

    /// It worked: the next failure waits `first` again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `first`, doubled for each failure, at most `most`.
pub fn exponential(first: Duration, most: Duration, failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
    first.checked_mul(factor).map_or(most, |wait| wait.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_starts_again() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let plain: Vec<u128> = (0..6).map(|n| exponential(first, most, n).as_millis()).collect();
        assert_eq!(plain, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(exponential(first, most, 1000), most);

        let mut backoff = Backoff::new(first, most);
        for expected in plain {
            let got = backoff.next_wait().as_millis();
            assert!(expected / 2 <= got && got <= expected, "{got} is not within half of {expected}");
        }
        let waits = |seed: u64| {
            let mut backoff = Backoff::with_chance(first, most, Chance::seeded(seed));
            (0..6).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(3), waits(3), "one seed, one run");
        assert_ne!(waits(3), waits(4));
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}

//! Randomness that is handed in, as time is: with the same seed a run is repeated exactly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of chance. Cheap to clone; all clones draw from one sequence.
#[derive(Clone, Debug)]
pub struct Chance(Arc<AtomicU64>);

impl Chance {
    /// Seeded by the system: every run draws other numbers.
    pub fn unforeseen() -> Chance {
        Chance::seeded(rand::random())
    }

    /// Begins at a seed: the same seed gives the same sequence.
    pub fn seeded(seed: u64) -> Chance {
        Chance(Arc::new(AtomicU64::new(seed)))
    }

    /// The next number of the sequence (splitmix64). Not for secrets.
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, but not including, 1.
    pub fn share(&self) -> f64 {
        // The 53 bits that an f64 holds exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_sequence() {
        let draw = |chance: &Chance| (0..100).map(|_| chance.share()).collect::<Vec<f64>>();
        let (first, again) = (Chance::seeded(7), Chance::seeded(7));
        let drawn = draw(&first);
        assert_eq!(drawn, draw(&again));
        assert_ne!(drawn, draw(&first.clone()), "a clone goes on where the others are");
        assert!(drawn.iter().all(|share| (0.0..1.0).contains(share)), "{drawn:?}");
        assert!(drawn.iter().any(|share| *share < 0.1) && drawn.iter().any(|share| *share > 0.9));
        // The reference implementation's first number for this seed.
        assert_eq!(Chance::seeded(1_234_567).next(), 6_457_827_717_110_365_317);
    }
}

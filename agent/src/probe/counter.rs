//! When enough equal outcomes in a row change what is believed of a container. Pure.

/// Counts equal outcomes in a row.
#[derive(Clone, Debug)]
pub struct Counter {
    success: u32,
    failure: u32,
    last: Option<bool>,
    run: u32,
    believed: Option<bool>,
}

impl Counter {
    /// For so many successes and so many failures in a row.
    pub fn new(success: u32, failure: u32) -> Counter {
        Counter { success: success.max(1), failure: failure.max(1), last: None, run: 0, believed: None }
    }

    /// Counts an outcome. Answers what is believed now, if that has changed.
    pub fn count(&mut self, good: bool) -> Option<bool> {
        self.run = if self.last == Some(good) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(good);
        if self.run < if good { self.success } else { self.failure } || self.believed == Some(good) {
            return None;
        }
        self.believed = Some(good);
        Some(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_hold() {
        let cases: [(u32, u32, &[u8], &[Option<bool>]); 4] = [
            (1, 1, b"+-+", &[Some(true), Some(false), Some(true)]),
            (1, 3, b"+--+---", &[Some(true), None, None, None, None, None, Some(false)]),
            (2, 1, b"+-++", &[None, Some(false), None, Some(true)]),
            (1, 2, b"--", &[None, Some(false)]),
        ];
        for (success, failure, outcomes, expected) in cases {
            let mut counter = Counter::new(success, failure);
            let got: Vec<_> = outcomes.iter().map(|outcome| counter.count(*outcome == b'+')).collect();
            assert_eq!(got, expected, "success {success}, failure {failure}");
        }
    }
}

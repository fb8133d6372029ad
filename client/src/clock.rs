//! Time that is handed in. Nothing but this file reads the system's clock.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};

/// Tells the time. Waiting is done on tokio's timers, which tests pause; this clock follows them.
#[derive(Clone)]
pub struct Clock(Arc<Origin>);

struct Origin {
    /// What the wall clock said at `monotonic`.
    wall: Timestamp,
    monotonic: tokio::time::Instant,
    /// Follow the wall clock, or (in tests) only tokio's.
    system: bool,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock(Arc::new(Origin {
            wall: Timestamp::now(),
            monotonic: tokio::time::Instant::now(),
            system: true,
        }))
    }

    /// A clock that stands at `start` and moves only as tokio's (paused) time does.
    pub fn starting_at(start: Timestamp) -> Clock {
        Clock(Arc::new(Origin { wall: start, monotonic: tokio::time::Instant::now(), system: false }))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        if self.0.system {
            return Timestamp::now();
        }
        let passed = i64::try_from(self.0.monotonic.elapsed().as_nanos()).unwrap_or(i64::MAX);
        self.0.wall.checked_add(passed.nanoseconds()).unwrap_or(Timestamp::MAX)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

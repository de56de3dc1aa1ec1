//! One clock for the whole process: Unix milliseconds, anchored once and then advanced monotonically, so that
//! a step of the wall clock never ends a warm-up or a dwell time early.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock anchored at process start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    anchor_unix_ms: u64,
}

impl Clock {
    /// Anchors the clock at the present wall time.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            anchor: Instant::now(),
            anchor_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Unix milliseconds now.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Unix milliseconds of an instant; instants before the anchor read as the anchor.
    #[must_use]
    pub fn at(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.anchor);
        self.anchor_unix_ms
            .saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_is_anchored_once_and_advances_with_instants() {
        let clock = Clock::start();
        let anchor = clock.at(clock.anchor);
        assert!(anchor > 1_700_000_000_000, "Unix milliseconds");
        let later = clock.anchor + Duration::from_millis(1_500);
        assert_eq!(clock.at(later), anchor + 1_500);
        if let Some(earlier) = clock.anchor.checked_sub(Duration::from_millis(5)) {
            assert_eq!(clock.at(earlier), anchor);
        }
        assert!(clock.now_ms() >= anchor);
    }
}

//! When an endpoint that fails its clients is left alone, and for how long. Pure.
//!
//! **Trips** after so many failures in a row: no connection, no response, or a 5xx. **Lasts** its time, times how
//! often it tripped in a row, at most ten times. **Spared** are those without whom more than the allowed share
//! would be gone, so that a bad release fails visibly instead of leaving nobody to ask. **Recovery** is plain
//! return: the next clients find out; who then stays well for as long as it was gone starts afresh.

use serin_config::model::Ejection;

/// The most times that a time is multiplied by.
const MOST_TIMES: u32 = 10;

/// What is remembered of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// How often it tripped in a row.
    pub(super) times: u32,
    /// It is left alone until then, in Unix milliseconds.
    pub(super) until_ms: u64,
}

impl Past {
    /// Whether it may be asked.
    pub(super) const fn is_over(self, now_ms: u64) -> bool {
        self.until_ms <= now_ms
    }

    /// Trips, if the rule says so: after `failures` in a row, where `gone` of `all` endpoints are left alone
    /// already.
    pub(super) fn trip(
        self,
        rule: &Ejection,
        failures: u32,
        (gone, all): (usize, usize),
        now_ms: u64,
    ) -> Option<Self> {
        let most = (rule.max_share * all as f64).floor() as usize;
        if failures < rule.failures || !self.is_over(now_ms) || gone >= most {
            return None;
        }
        let time_ms = rule.time.as_millis() as u64;
        let served_ms = time_ms * u64::from(self.times);
        let times = if now_ms - self.until_ms > served_ms {
            1
        } else {
            (self.times + 1).min(MOST_TIMES)
        };
        Some(Self {
            times,
            until_ms: now_ms.saturating_add(time_ms.saturating_mul(u64::from(times))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RULE: Ejection = Ejection {
        failures: 5,
        time: Duration::from_secs(30),
        max_share: 0.5,
    };

    #[test]
    fn failures_in_a_row_trip_and_last_longer_each_time() {
        let new = Past::default();
        assert_eq!(new.trip(&RULE, 4, (0, 2), 1_000_000), None);
        let first = new.trip(&RULE, 5, (0, 2), 1_000_000).unwrap();
        assert_eq!((first.times, first.until_ms), (1, 1_030_000));
        assert!(!first.is_over(1_029_999) && first.is_over(1_030_000));
        assert_eq!(first.trip(&RULE, 9, (0, 2), 1_029_999), None);
        let second = first.trip(&RULE, 5, (0, 2), 1_030_001).unwrap();
        assert_eq!((second.times, second.until_ms), (2, 1_090_001));
        let calm = second.until_ms + 60_001;
        assert_eq!(second.trip(&RULE, 5, (0, 2), calm).unwrap().times, 1);
    }

    #[test]
    fn no_more_than_the_share_is_left_alone() {
        for (gone, all, trips) in [
            (0, 1, false),
            (0, 2, true),
            (1, 2, false),
            (0, 3, true),
            (1, 3, false),
            (1, 4, true),
            (2, 4, false),
        ] {
            let tripped = Past::default().trip(&RULE, 5, (gone, all), 1).is_some();
            assert_eq!(tripped, trips, "{gone} of {all}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_bounded(waits in proptest::collection::vec(0_u64..10_000_000, 1..100)) {
            let mut past = Past::default();
            let mut now = 1_u64;
            for wait in waits {
                now += wait;
                if let Some(next) = past.trip(&RULE, 5, (0, 2), now) {
                    let lasts = next.until_ms - now;
                    prop_assert!((30_000..=300_000).contains(&lasts), "{lasts}");
                    past = next;
                }
            }
        }
    }
}

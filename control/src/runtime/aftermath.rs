//! After the end: everybody has the release, and there is nothing left to compare it with. Nothing takes it back by
//! itself any more; but when most of its requests fail, people are told.

use serin_stats::snapshot::{Outcome, StageSnapshot};

/// Over how long requests are counted.
const WINDOW_MS: u64 = 60_000;
/// Fewer say nothing.
const FEWEST: u64 = 20;

/// The promoted release since it was promoted.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    window: Option<Window>,
    alarm: Option<Warning>,
}

/// Most requests fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) since_ms: u64,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began_ms: u64,
    /// When it began.
    before: Tally,
}

/// Since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    requests: u64,
    failures: u64,
}

impl Tally {
    /// The canary's requests that somebody waited for.
    pub(super) fn of(stages: &[StageSnapshot]) -> Self {
        let mut tally = Self::default();
        for stage in stages {
            let canary = &stage.arms.canary;
            let failures = canary.outcome(Outcome::Error) + canary.outcome(Outcome::Rejected);
            tally.failures += failures;
            tally.requests += failures + canary.outcome(Outcome::Success);
        }
        tally
    }

    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failures: self.failures.saturating_sub(before.failures),
        }
    }
}

impl Aftermath {
    /// Takes in what was counted until now.
    pub(super) fn see(&mut self, tally: Tally, now_ms: u64) {
        let anew = Window {
            began_ms: now_ms,
            before: tally,
        };
        let window = *self.window.get_or_insert(anew);
        let seen = tally.since(window.before);
        let is_over = now_ms.saturating_sub(window.began_ms) >= WINDOW_MS;
        let is_bad = seen.requests >= FEWEST && seen.failures * 2 > seen.requests;
        if is_bad {
            let Tally { requests, failures } = seen;
            let message = format!(
                "{failures} of {requests} requests failed within a minute, and everybody has this release: \
                 nothing takes it back by itself, `undo` does"
            );
            let since_ms = self.alarm.as_ref().map_or(now_ms, |alarm| alarm.since_ms);
            self.alarm = Some(Warning { since_ms, message });
        } else if is_over {
            self.alarm = None;
        }
        if is_over {
            self.window = Some(anew);
        }
    }

    /// What people have to know.
    pub(super) const fn alarm(&self) -> Option<&Warning> {
        self.alarm.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: u64, failures: u64) -> Tally {
        Tally { requests, failures }
    }

    #[test]
    fn most_requests_must_fail_within_a_minute() {
        let mut after = Aftermath::default();
        after.see(tally(1_000, 900), 0);
        assert_eq!(after.alarm(), None, "that was before");
        after.see(tally(1_019, 919), 1_000);
        assert_eq!(after.alarm(), None, "too few");
        after.see(tally(1_020, 920), 2_000);
        assert_eq!(after.alarm().map(|alarm| alarm.since_ms), Some(2_000));
        after.see(tally(1_100, 990), 10_000);
        let alarm = after.alarm().unwrap();
        assert_eq!(alarm.since_ms, 2_000);
        assert!(alarm.message.starts_with("90 of 100"), "{}", alarm.message);
        after.see(tally(1_100, 990), 60_000);
        assert!(after.alarm().is_some(), "the window was bad to its end");
        after.see(tally(1_200, 1_040), 120_000);
        assert_eq!(after.alarm(), None, "half of them succeed again");
    }
}

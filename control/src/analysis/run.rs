//! The `canary_down` rule's memory: what has happened since the canary's last success.
//!
//! A rule, not a test: a canary that answers 404 to everything, hangs until clients leave, or can't be
//! connected is down, however little traffic it has. Bad requests that both arms refuse are not its fault, so
//! baseline must have succeeded meanwhile with most of its own. One user alone may be the fault himself, so
//! that holds and alerts, unless nothing of the canary could be reached at all.

use serde::{Deserialize, Serialize};
use serin_stats::snapshot::{Outcome, USER_BUCKETS};

use super::counts::{BothTotals, Totals};
use super::stored;

/// Canary requests in a row without a success that make it down.
const RUN: u64 = 20;
/// Users they must come from.
const USERS: usize = 2;

/// Counts at the canary's last success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    canary: Mark,
    baseline: Mark,
    #[serde(with = "stored::counts")]
    canary_requests: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    requests: u64,
    successes: u64,
    unreachable: u64,
}

impl Mark {
    fn of(totals: &Totals) -> Self {
        Self {
            requests: totals.requests(),
            successes: totals.outcome(Outcome::Success),
            unreachable: totals.unreachable,
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            canary: Mark::default(),
            baseline: Mark::default(),
            canary_requests: vec![0; USER_BUCKETS],
        }
    }
}

/// What the run since the canary's last success says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// Nothing to say.
    Up,
    /// One user has seen nothing but failures, in this many requests.
    OneUserFailing(u64),
    /// The canary is down: this many requests in a row failed.
    Down(u64),
}

impl Run {
    /// Moves the mark when the canary has succeeded since.
    pub(super) fn absorb(&mut self, totals: &BothTotals) {
        let canary = Mark::of(&totals.canary);
        if canary.successes > self.canary.successes {
            self.canary = canary;
            self.baseline = Mark::of(&totals.baseline);
            self.canary_requests.clone_from(&totals.canary.requests);
        }
    }

    pub(super) fn standing(&self, totals: &BothTotals) -> Standing {
        let canary = Mark::of(&totals.canary);
        let baseline = Mark::of(&totals.baseline);
        let failed = canary.requests - self.canary.requests;
        let answered = baseline.successes - self.baseline.successes;
        let asked = baseline.requests - self.baseline.requests;
        if failed < RUN || answered == 0 || 2 * answered <= asked {
            return Standing::Up;
        }
        let unreachable = canary.unreachable - self.canary.unreachable;
        if unreachable >= failed || self.users(&totals.canary) >= USERS {
            Standing::Down(failed)
        } else {
            Standing::OneUserFailing(failed)
        }
    }

    /// Distinct users since the mark, to the resolution of their buckets.
    fn users(&self, canary: &Totals) -> usize {
        self.canary_requests
            .iter()
            .zip(&canary.requests)
            .filter(|(then, now)| now > then)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `n` requests of one outcome from one user bucket.
    fn add(totals: &mut Totals, outcome: Outcome, bucket: usize, n: u64) {
        totals.outcomes[outcome as usize] += n;
        totals.requests[bucket] += n;
    }

    fn check(canary: &[(Outcome, usize, u64)], baseline: &[(Outcome, usize, u64)]) -> Standing {
        let (mut run, mut totals) = (Run::default(), BothTotals::default());
        add(&mut totals.canary, Outcome::Success, 0, 3);
        run.absorb(&totals);
        for &(outcome, bucket, n) in baseline {
            add(&mut totals.baseline, outcome, bucket, n);
        }
        for &(outcome, bucket, n) in canary {
            add(&mut totals.canary, outcome, bucket, n);
            run.absorb(&totals);
        }
        run.standing(&totals)
    }

    #[test]
    fn twenty_failures_in_a_row_from_two_users_while_baseline_succeeds() {
        let well = [(Outcome::Success, 9, 30), (Outcome::Rejected, 9, 5)];
        for failure in [Outcome::Error, Outcome::Rejected, Outcome::Aborted] {
            let two_users = [(failure, 1, 19), (failure, 2, 1)];
            assert_eq!(check(&two_users, &well), Standing::Down(20));
            assert_eq!(
                check(&[(failure, 1, 10), (failure, 2, 9)], &well),
                Standing::Up
            );
            assert_eq!(
                check(&[(failure, 1, 30)], &well),
                Standing::OneUserFailing(30)
            );
            let success_between = [(failure, 1, 15), (Outcome::Success, 2, 1), (failure, 2, 15)];
            assert_eq!(check(&success_between, &well), Standing::Up);
            // Both arms refuse, or baseline has nothing to show: not the canary's fault.
            let badly = [(Outcome::Rejected, 9, 30), (Outcome::Success, 9, 30)];
            assert_eq!(check(&two_users, &badly), Standing::Up);
            assert_eq!(check(&two_users, &[]), Standing::Up);
        }
    }

    #[test]
    fn unreachable_is_down_for_one_user_too() {
        let (run, mut totals) = (Run::default(), BothTotals::default());
        add(&mut totals.baseline, Outcome::Success, 1, 1);
        add(&mut totals.canary, Outcome::Error, 1, 20);
        assert_eq!(run.standing(&totals), Standing::OneUserFailing(20));
        totals.canary.unreachable = 20;
        assert_eq!(run.standing(&totals), Standing::Down(20));
    }
}

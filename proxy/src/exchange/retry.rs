//! When an upstream is asked again, and when baseline answers in place of the canary.
//!
//! Only before the first byte to the client, and never what a server may have acted on already: a POST of which a
//! byte was sent is not sent again, unless the server said that it did nothing about it (HTTP/2 can say so). Each worker
//! has a budget per route, so that a server in trouble is not asked twice as often just then.

use std::cell::RefCell;

use serin_config::model::{Retries, Route};
use serin_stats::snapshot::Arm;

use crate::error::{Blame, Failure};

/// Why an attempt is not the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// No connection was to be had: nothing was sent.
    Connect {
        /// There are other endpoints. One that can't be connected costs no client anything then, and asking another
        /// is no second request for anybody: it is not a matter of the budget.
        elsewhere: bool,
    },
    /// Nothing was done about it, as was said or can be seen.
    Unprocessed,
    /// The connection broke without a byte of a response.
    Reset,
    /// The response's status.
    Status(u16),
}

/// So much of a body is kept for a second sending at most: what an upstream of HTTP/2 takes that does not say that it has
/// taken it (RFC 9113, section 6.9.2), and the piece that waits behind it.
pub(crate) const MOST_KEPT: usize = 128 * 1024;

/// One worker's budgets, in thousandths of a retry, by route.
#[derive(Default)]
pub(crate) struct Budgets(RefCell<Vec<u32>>);

/// What one retry costs.
const RETRY: u32 = 1000;
/// So that a route that is seldom used can retry at all.
const AT_FIRST: u32 = 3 * RETRY;
/// What a quiet time can save up.
const MOST: u32 = 10 * RETRY;

impl Budgets {
    /// A request came.
    pub(crate) fn earn(&self, route: usize, retries: &Retries) {
        let mut budgets = self.0.borrow_mut();
        if budgets.len() <= route {
            budgets.resize(route + 1, AT_FIRST);
        }
        if let Some(budget) = budgets.get_mut(route) {
            *budget = MOST.min(*budget + (retries.budget * f64::from(RETRY)) as u32);
        }
    }

    /// Whether there is something left for one more attempt; it is spent then.
    fn spend(&self, route: usize) -> bool {
        let mut budgets = self.0.borrow_mut();
        let budget = budgets.get_mut(route);
        budget.is_some_and(|budget| match budget.checked_sub(RETRY) {
            Some(left) => {
                *budget = left;
                true
            }
            None => false,
        })
    }

    /// Whether to ask once more: the policy says so, it does no harm, and the budget has something left.
    pub(crate) fn allow(
        &self,
        (index, retries): (usize, &Retries),
        why: Why,
        made: u32,
        harmless: bool,
    ) -> bool {
        let listed = match why {
            Why::Connect { .. } => retries.connect,
            Why::Unprocessed => retries.connect || retries.reset,
            Why::Reset => retries.reset && harmless,
            Why::Status(status) => retries.statuses.contains(&status) && harmless,
        };
        let is_free = matches!(why, Why::Connect { elsewhere: true });
        // No share at all leaves nothing for a route that is seldom used either.
        let may_spend = || retries.budget > 0.0 && self.spend(index);
        listed && made < retries.attempts && (is_free || may_spend())
    }
}

/// Whether baseline may answer in place of this arm.
pub(crate) fn has_fallback(route: &Route, arm: Arm) -> bool {
    route.fallback && arm == Arm::Canary
}

/// Whether an arm that failed like this is covered by baseline.
pub(crate) fn is_covered(failure: &Failure) -> bool {
    failure.blame() == Blame::Upstream
}

/// Whether a response with this status is covered by baseline.
pub(crate) const fn is_covered_status(status: u16) -> bool {
    status >= 500
}

/// Whether a failure is that of connecting: having as many connections as there may be is one where there is somewhere
/// else to go.
pub(crate) const fn is_of_connecting(failure: &Failure, elsewhere: bool) -> bool {
    match failure {
        Failure::Overloaded => elsewhere,
        failure => matches!(failure, Failure::Connect(_) | Failure::ConnectLate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Why = Why::Connect { elsewhere: false };

    const RETRIES: Retries = Retries {
        attempts: 1,
        connect: true,
        reset: false,
        statuses: Vec::new(),
        budget: 0.1,
    };

    #[test]
    fn one_request_in_ten_may_be_asked_again() {
        let budgets = Budgets::default();
        let mut retried = 0;
        for _ in 0..1000 {
            budgets.earn(3, &RETRIES);
            retried += u32::from(budgets.allow((3, &RETRIES), ALONE, 0, false));
        }
        assert!((100..=103).contains(&retried), "{retried}");
        // Another route has its own.
        budgets.earn(0, &RETRIES);
        assert!(budgets.allow((0, &RETRIES), ALONE, 0, false));
        let none = Retries {
            budget: 0.0,
            ..RETRIES
        };
        assert!(!budgets.allow((0, &none), ALONE, 0, false));
    }

    #[test]
    fn another_endpoint_is_no_matter_of_the_budget() {
        let budgets = Budgets::default();
        budgets.earn(0, &RETRIES);
        let elsewhere = Why::Connect { elsewhere: true };
        for _ in 0..100 {
            assert!(budgets.allow((0, &RETRIES), elsewhere, 0, true));
            assert!(
                !budgets.allow((0, &RETRIES), elsewhere, 1, true),
                "attempts are"
            );
        }
        assert!(
            budgets.allow((0, &RETRIES), ALONE, 0, true),
            "nothing was spent"
        );
    }

    #[test]
    fn policy_and_harm_are_heeded() {
        let check = |retries: &Retries, why, made, harmless| {
            let budgets = Budgets::default();
            budgets.earn(0, retries);
            budgets.allow((0, retries), why, made, harmless)
        };
        assert!(!check(&RETRIES, ALONE, 1, true), "no more attempts");
        assert!(!check(&RETRIES, Why::Reset, 0, true), "not listed");
        let all = Retries {
            reset: true,
            statuses: vec![503],
            ..RETRIES
        };
        assert!(check(&all, Why::Reset, 0, true));
        assert!(!check(&all, Why::Reset, 0, false), "harmful");
        assert!(check(&all, Why::Status(503), 0, true));
        assert!(!check(&all, Why::Status(503), 0, false), "harmful");
        assert!(!check(&all, Why::Status(502), 0, true), "not listed");
    }
}

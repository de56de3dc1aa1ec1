//! Users and their requests: P(a user sends K requests) ∝ K^-1.5 on 1..50, error rates per user from a Beta
//! distribution with a given correlation between requests of one user (ICC), log-normal latency with a user's
//! own speed.

use serin_stats::snapshot::{Arm, Outcome, USER_BUCKETS, USER_SLOTS};

use super::random::Random;

const MAX_REQUESTS: usize = 50;
/// Users who are sending requests at any moment, in no particular order.
const ACTIVE_USERS: usize = 50;

/// What the traffic is like when nothing is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) requests_per_second: f64,
    /// Mean over users.
    pub(crate) error_rate: f64,
    /// Correlation between two requests of one user, in [0, 1).
    pub(crate) icc: f64,
    pub(crate) median_ms: f64,
    /// Every user sends one request only.
    pub(crate) one_request_each: bool,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            requests_per_second: 100.0,
            error_rate: 0.01,
            icc: 0.1,
            median_ms: 100.0,
            one_request_each: false,
        }
    }
}

/// Who sends a request: the same user has the same of everything each time.
#[derive(Clone, Copy)]
pub(crate) struct User {
    /// Decides on the arm.
    pub(crate) unit: f64,
    pub(crate) bucket: usize,
    pub(crate) slot: usize,
    /// This user's own chance of an error.
    pub(crate) error_rate: f64,
    /// ln of how much slower than the median this user is.
    pub(crate) slowness: f64,
    left: usize,
}

/// How a request ended.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) unreachable: bool,
    pub(crate) latency_ms: f64,
}

impl Answer {
    pub(crate) fn of(outcome: Outcome, latency_ms: f64) -> Self {
        Self {
            outcome,
            unreachable: false,
            latency_ms,
        }
    }
}

/// A stream of requests.
pub(crate) struct Requests {
    pub(crate) random: Random,
    traffic: Traffic,
    active: Vec<User>,
    /// Cumulative P(K ≤ index + 1).
    lengths: Vec<f64>,
}

impl Requests {
    pub(crate) fn new(traffic: Traffic, seed: u64) -> Self {
        let weights: Vec<f64> = (1..=MAX_REQUESTS).map(|k| (k as f64).powf(-1.5)).collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let lengths = weights
            .iter()
            .map(|weight| {
                sum += weight / total;
                sum
            })
            .collect();
        let mut requests = Self {
            random: Random::seeded(seed),
            traffic,
            active: Vec::new(),
            lengths,
        };
        requests.active = (0..ACTIVE_USERS).map(|_| requests.arrival()).collect();
        requests
    }

    fn arrival(&mut self) -> User {
        let Traffic {
            error_rate: p, icc, ..
        } = self.traffic;
        let spread = (1.0 - icc) / icc.max(1e-9);
        let error_rate = if icc > 0.0 && p > 0.0 {
            self.random.beta(p * spread, (1.0 - p) * spread)
        } else {
            p
        };
        let length = self.random.unit();
        let left = if self.traffic.one_request_each {
            1
        } else {
            1 + self
                .lengths
                .iter()
                .take_while(|&&upto| upto < length)
                .count()
        };
        User {
            unit: self.random.unit(),
            bucket: self.random.below(USER_BUCKETS),
            slot: self.random.below(USER_SLOTS),
            error_rate,
            slowness: 0.3 * self.random.normal(),
            left,
        }
    }

    /// The next request's user.
    pub(crate) fn next_user(&mut self) -> User {
        let at = self.random.below(self.active.len());
        self.active[at].left -= 1;
        let user = self.active[at];
        if user.left == 0 {
            self.active[at] = self.arrival();
        }
        user
    }

    /// How the request ends on a healthy release.
    pub(crate) fn healthy(&mut self, user: &User) -> Answer {
        // σ = 0.5 in all, of which 0.3 is the user's own.
        let latency = (user.slowness + 0.4 * self.random.normal()).exp() * self.traffic.median_ms;
        let outcome = if self.random.chance(user.error_rate) {
            Outcome::Error
        } else {
            Outcome::Success
        };
        Answer::of(outcome, latency)
    }

    /// Milliseconds between two requests.
    pub(crate) fn gap_ms(&self) -> f64 {
        1_000.0 / self.traffic.requests_per_second
    }
}

/// What a release does to a request that would have ended like `healthy`.
pub(crate) type Behaviour = fn(&mut Random, Arm, Answer) -> Answer;

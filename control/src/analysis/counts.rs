//! What was counted: stage by stage for the tests, and summed over the rollout for people.
//!
//! Samples of different stages are never pooled in a test; the sums here are what `arms` shows, what the
//! rules without a comparison look at, and what the fixed-horizon tests are computed from.

use serde::{Deserialize, Serialize};
use serin_config::model::Metric;
use serin_stats::histogram::{BINS, Histogram};
use serin_stats::snapshot::{ArmCounts, Outcome, PerArm, USER_BUCKETS};

use super::stored;

/// One arm's counts over the whole rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) outcomes: [u64; 4],
    pub(super) unreachable: u64,
    /// Requests per user bucket.
    #[serde(with = "stored::counts")]
    pub(super) requests: Vec<u64>,
    /// Latency of the whole response, warm-ups left out, per bin.
    #[serde(with = "stored::counts")]
    latency: Vec<u64>,
    /// Time to the first byte, warm-ups left out, per bin.
    #[serde(with = "stored::counts")]
    first_byte: Vec<u64>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            outcomes: [0; 4],
            unreachable: 0,
            requests: vec![0; USER_BUCKETS],
            latency: vec![0; BINS],
            first_byte: vec![0; BINS],
        }
    }
}

impl Totals {
    /// Adds what one stage grew by.
    pub(super) fn add_growth(&mut self, old: &ArmCounts, new: &ArmCounts) {
        grow(&mut self.outcomes, &old.outcomes, &new.outcomes);
        self.unreachable += new.unreachable.saturating_sub(old.unreachable);
        grow(&mut self.requests, &old.requests.0, &new.requests.0);
        grow(
            &mut self.latency,
            old.latency.total.counts(),
            new.latency.total.counts(),
        );
        grow(
            &mut self.first_byte,
            old.latency.first_byte.counts(),
            new.latency.first_byte.counts(),
        );
    }

    /// Adds a stage's counts.
    pub(super) fn add(&mut self, counts: &ArmCounts) {
        sum(&mut self.outcomes, &counts.outcomes);
        self.unreachable += counts.unreachable;
        sum(&mut self.requests, &counts.requests.0);
        sum(&mut self.latency, counts.latency.total.counts());
        sum(&mut self.first_byte, counts.latency.first_byte.counts());
    }

    pub(super) fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    pub(super) fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).copied().unwrap_or(0)
    }

    pub(super) fn errors(&self) -> u64 {
        self.outcome(Outcome::Error)
    }

    pub(super) fn histogram(&self) -> Histogram {
        Histogram::from_counts(self.latency.clone())
    }

    /// The times that a latency metric is about.
    pub(super) fn times(&self, metric: Metric) -> &[u64] {
        match metric {
            Metric::TtftP95 => &self.first_byte,
            Metric::ErrorRate
            | Metric::RejectedRate
            | Metric::AbortedRate
            | Metric::LatencyP50
            | Metric::LatencyP90
            | Metric::LatencyP95
            | Metric::LatencyP99 => &self.latency,
        }
    }

    pub(super) fn measured(&self) -> u64 {
        self.latency.iter().sum()
    }
}

/// Both arms' counts over the whole rollout.
pub(super) type BothTotals = PerArm<Totals>;

pub(super) fn rate(count: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| count as f64 / of as f64)
}

fn sum(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn grow(sums: &mut [u64], old: &[u64], new: &[u64]) {
    for ((sum, old), new) in sums.iter_mut().zip(old).zip(new) {
        *sum += new.saturating_sub(*old);
    }
}

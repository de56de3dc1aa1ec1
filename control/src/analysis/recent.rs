//! The recent-break rule's memory: the first-error process in generations of 1, 10 and 60 minutes, side by
//! side.
//!
//! Everything cumulative finds a canary late that breaks after hours of health. A generation forgets: it
//! starts with nobody having erred and with its own counts. In the j-th generation of a length (counted from
//! 1 since the rollout began) the rule fires at E ≥ 600·j(j+1) for α = .05 (a union bound: the thresholds'
//! reciprocals sum to .005 over all generations of all three lengths).

use serde::{Deserialize, Serialize};
use serin_stats::first_error::MIN_CANARY_USERS;
use serin_stats::snapshot::StageSnapshot;

use super::counts::{BothTotals, rate};
use super::first_errors::FirstErrors;

const MINUTE_MS: u64 = 60_000;
/// Lengths of the generations.
const LENGTHS_MS: [u64; 3] = [MINUTE_MS, 10 * MINUTE_MS, 60 * MINUTE_MS];

/// Generations of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Generation {
    length_ms: u64,
    /// j, from 1; 0 before the first snapshot.
    index: u64,
    /// Counts when it began.
    start: Tally,
    errors: FirstErrors,
}

/// What a generation's error rates are computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    baseline_requests: u64,
    baseline_errors: u64,
    canary_requests: u64,
    canary_errors: u64,
}

impl Tally {
    fn of(totals: &BothTotals) -> Self {
        Self {
            baseline_requests: totals.baseline.requests(),
            baseline_errors: totals.baseline.errors(),
            canary_requests: totals.canary.requests(),
            canary_errors: totals.canary.errors(),
        }
    }
}

/// All generations of one rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recent {
    generations: Vec<Generation>,
}

/// What the generation that is nearest to its threshold says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RecentFigures {
    pub(super) length_ms: u64,
    pub(super) ln_e: f64,
    /// ln(600·j(j+1)), scaled to the share of α.
    pub(super) ln_threshold: f64,
    /// Users who erred first in the canary.
    pub(super) users: u64,
    pub(super) baseline_rate: f64,
    pub(super) canary_rate: f64,
    pub(super) canary_requests: u64,
    pub(super) canary_errors: u64,
}

impl RecentFigures {
    pub(super) fn diff(&self) -> f64 {
        self.canary_rate - self.baseline_rate
    }
}

impl Recent {
    pub(super) fn new() -> Self {
        let fresh = |length_ms| Generation {
            length_ms,
            index: 0,
            start: Tally::default(),
            errors: FirstErrors::default(),
        };
        Self {
            generations: LENGTHS_MS.map(fresh).to_vec(),
        }
    }

    /// Starts the generations whose time has come; `before` are the counts up to the last snapshot, because
    /// all of the next one belongs to the new generation.
    pub(super) fn advance(&mut self, began_ms: u64, now_ms: u64, before: &BothTotals) {
        for generation in &mut self.generations {
            let index = now_ms.saturating_sub(began_ms) / generation.length_ms.max(1) + 1;
            if index > generation.index {
                generation.index = index;
                generation.start = Tally::of(before);
                generation.errors = FirstErrors::default();
            }
        }
    }

    /// Takes in who erred since the last snapshot.
    pub(super) fn absorb<'a>(&mut self, stages: impl Iterator<Item = &'a StageSnapshot> + Clone) {
        for generation in &mut self.generations {
            generation.errors.absorb(stages.clone());
        }
    }

    /// The generation that fires, or else the one nearest to firing; none while none has canary and baseline
    /// requests. `alpha` is the rule's share, over all generations of all lengths.
    pub(super) fn figures(
        &self,
        totals: &BothTotals,
        alpha: f64,
        margin: impl Fn(f64) -> f64,
    ) -> Option<RecentFigures> {
        let now = Tally::of(totals);
        let fires = |figures: &RecentFigures| {
            figures.ln_e >= figures.ln_threshold
                && figures.users >= MIN_CANARY_USERS
                && figures.diff() > margin(figures.baseline_rate)
        };
        let all = self
            .generations
            .iter()
            .filter_map(|generation| generation.figures(now, alpha));
        all.clone().find(fires).or_else(|| {
            all.max_by(|one, other| {
                let gap = |figures: &RecentFigures| figures.ln_e - figures.ln_threshold;
                gap(one).total_cmp(&gap(other))
            })
        })
    }
}

impl Generation {
    fn figures(&self, now: Tally, alpha: f64) -> Option<RecentFigures> {
        let baseline_requests = now
            .baseline_requests
            .saturating_sub(self.start.baseline_requests);
        let baseline_errors = now
            .baseline_errors
            .saturating_sub(self.start.baseline_errors);
        let canary_requests = now
            .canary_requests
            .saturating_sub(self.start.canary_requests);
        let canary_errors = now.canary_errors.saturating_sub(self.start.canary_errors);
        let j = self.index.max(1) as f64;
        Some(RecentFigures {
            length_ms: self.length_ms,
            ln_e: self.errors.ln_e(),
            // Σ 1/(j(j+1)) = 1, once for each length.
            ln_threshold: (LENGTHS_MS.len() as f64 / alpha * j * (j + 1.0)).ln(),
            users: self.errors.canary_users(),
            baseline_rate: rate(baseline_errors, baseline_requests)?,
            canary_rate: rate(canary_errors, canary_requests)?,
            canary_requests,
            canary_errors,
        })
    }
}

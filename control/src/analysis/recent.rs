//! The recent-break rule's memory: the first-error process in generations of 1, 10 and 60 minutes, side by
//! side.
//!
//! Everything cumulative finds a canary late that breaks after hours of health. A generation forgets: it
//! starts with nobody having erred and with its own counts. In the j-th generation of a length (counted from
//! 1 since the rollout began) the rule fires at E ≥ 600·j(j+1) for α = .05 (a union bound: the thresholds'
//! reciprocals sum to .005 over all generations of all three lengths).
//!
//! Where the canary has most of the traffic, the few users left on baseline say little. There the same
//! generation is compared with the canary's own previous stage as well, by the engine on error rates, and the
//! mean of both e-values decides: ½(E_first + E_previous).

use serde::{Deserialize, Serialize};
use serin_stats::cluster::{Moments, rate_effect};
use serin_stats::first_error::MIN_CANARY_USERS;
use serin_stats::sequential::{ln_e_one_sided, ln_mean_e};
use serin_stats::snapshot::StageSnapshot;

use super::counts::{BothTotals, rate};
use super::figures::{ENGINE_USERS, RHO};
use super::first_errors::{FirstErrorFacts, FirstErrors};

const MINUTE_MS: u64 = 60_000;
/// Lengths of the generations.
const LENGTHS_MS: [u64; 3] = [MINUTE_MS, 10 * MINUTE_MS, 60 * MINUTE_MS];
/// Share of the users above which the canary is compared with its own previous stage, too.
const MOST_USERS: f64 = 0.5;

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

    fn since(self, start: Self) -> Self {
        Self {
            baseline_requests: self
                .baseline_requests
                .saturating_sub(start.baseline_requests),
            baseline_errors: self.baseline_errors.saturating_sub(start.baseline_errors),
            canary_requests: self.canary_requests.saturating_sub(start.canary_requests),
            canary_errors: self.canary_errors.saturating_sub(start.canary_errors),
        }
    }
}

/// All generations of one rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recent {
    generations: Vec<Generation>,
}

/// What one generation has counted so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GenerationFacts {
    length_ms: u64,
    index: u64,
    tally: Tally,
    errors: FirstErrorFacts,
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
    /// Baseline's; where it has no traffic, that of the canary's own previous stage.
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

    /// What the generations have counted so far.
    pub(super) fn facts(&self, totals: &BothTotals) -> Vec<GenerationFacts> {
        let now = Tally::of(totals);
        let facts = |generation: &Generation| GenerationFacts {
            length_ms: generation.length_ms,
            index: generation.index,
            tally: now.since(generation.start),
            errors: generation.errors.counts.clone(),
        };
        self.generations.iter().map(facts).collect()
    }
}

/// The generation that fires, or else the one nearest to firing; none while none has requests to compare.
/// `alpha` is the rule's share, over all generations of all lengths; `previous` the canary's own errors in its
/// previous stage, where it has `share` of the users now.
pub(super) fn figures(
    generations: &[GenerationFacts],
    alpha: f64,
    (share, previous): (f64, Option<&Moments>),
    margin: impl Fn(f64) -> f64,
) -> Option<RecentFigures> {
    let previous = previous.filter(|previous| share > MOST_USERS && previous.n > 0);
    let fires = |figures: &RecentFigures| {
        figures.ln_e >= figures.ln_threshold
            && figures.users >= MIN_CANARY_USERS
            && figures.diff() > margin(figures.baseline_rate)
    };
    let all = generations
        .iter()
        .filter_map(|generation| generation.figures(alpha, previous));
    all.clone().find(fires).or_else(|| {
        all.max_by(|one, other| {
            let gap = |figures: &RecentFigures| figures.ln_e - figures.ln_threshold;
            gap(one).total_cmp(&gap(other))
        })
    })
}

impl GenerationFacts {
    fn figures(&self, alpha: f64, previous: Option<&Moments>) -> Option<RecentFigures> {
        let tally = self.tally;
        let baseline_rate =
            rate(tally.baseline_errors, tally.baseline_requests).or_else(|| previous?.mean())?;
        let ln_e_first = self.errors.ln_e();
        let j = self.index.max(1) as f64;
        Some(RecentFigures {
            length_ms: self.length_ms,
            ln_e: match previous {
                Some(previous) => ln_mean_e(&[ln_e_first, self.ln_e_previous(previous)]),
                None => ln_e_first,
            },
            // Σ 1/(j(j+1)) = 1, once for each length.
            ln_threshold: (LENGTHS_MS.len() as f64 / alpha * j * (j + 1.0)).ln(),
            users: self.errors.canary_users(),
            baseline_rate,
            canary_rate: rate(tally.canary_errors, tally.canary_requests)?,
            canary_requests: tally.canary_requests,
            canary_errors: tally.canary_errors,
        })
    }

    /// ln E against "no worse than in the previous stage"; 0 until enough users have erred for the normal
    /// approximation.
    fn ln_e_previous(&self, previous: &Moments) -> f64 {
        let recent = Moments {
            n: self.tally.canary_requests,
            x: self.tally.canary_errors,
            ..Moments::default()
        };
        if self.errors.canary_users() < ENGINE_USERS.1 {
            return 0.0;
        }
        rate_effect(previous, &recent).map_or(0.0, |effect| {
            let score = effect.diff * effect.information;
            ln_e_one_sided(score, effect.information, RHO.error)
        })
    }
}

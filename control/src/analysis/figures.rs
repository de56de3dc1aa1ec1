//! The numbers of one look: evidence, effect and interval per metric, stages combined.
//!
//! Nothing is compared with a threshold here, save where a number is not defined below a count: the engine on
//! error rates is worth 1 until 20 users of baseline and 10 of the canary have erred (its normal
//! approximation is not to be trusted before; the exact first-error process needs no such excuse).

use std::sync::LazyLock;

use serin_stats::cluster::{Combined, StageEffect, combine, pooled_rate, restricted_null_factor};
use serin_stats::sequential::{ln_mean_e, tuned_rho};

use super::evidence::Evidence;
use super::stage::{Effects, QuantileEffect};

/// Erring users that the engine on error rates needs in baseline and in the canary.
pub(super) const ENGINE_USERS: (u64, u64) = (20, 10);

/// Mixture parameters, tuned at the difference that matters for each metric.
pub(super) struct Rho {
    pub(super) error: f64,
    pub(super) ridit: f64,
    pub(super) slow: f64,
}

pub(super) static RHO: LazyLock<Rho> = LazyLock::new(|| {
    let tuned = |delta| tuned_rho(delta, 0.05);
    Rho {
        error: tuned(0.005),
        ridit: tuned(0.03),
        slow: tuned(0.02),
    }
});

/// Error rates.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorFigures {
    pub(super) combined: Option<Combined>,
    /// Of the exact first-error process.
    pub(super) ln_e_first: f64,
    /// ½(E_first + E of the engine).
    pub(super) ln_e: f64,
    pub(super) canary_users: u64,
    /// p̃ over all stages.
    pooled: f64,
    pub(super) deff: f64,
}

impl ErrorFigures {
    pub(super) fn of(evidence: &Evidence, effects: &[Effects]) -> Self {
        let stages = stages(evidence.folded.error(), effects, |effects| effects.error);
        let combined = combine(&stages);
        let first = &evidence.first_errors;
        let enough =
            first.baseline_users() >= ENGINE_USERS.0 && first.canary_users() >= ENGINE_USERS.1;
        let engine = combined.filter(|_| enough);
        let ln_e_first = first.ln_e();
        let ln_e_engine = engine.map_or(0.0, |combined| combined.ln_e_worse(0.0, RHO.error));
        Self {
            combined,
            ln_e_first,
            ln_e: ln_mean_e(&[ln_e_first, ln_e_engine]),
            canary_users: first.canary_users(),
            pooled: pooled_rate(&stages),
            deff: mean_deff(&stages),
        }
    }

    /// Canary minus baseline.
    pub(super) fn effect(&self) -> Option<f64> {
        self.combined.map(|combined| combined.diff)
    }

    pub(super) fn interval(&self, alpha: f64) -> Option<[f64; 2]> {
        let combined = self.combined?;
        let reach = combined.half_width(RHO.error, alpha);
        reach.is_finite().then(|| {
            [
                (combined.diff - reach).max(-1.0),
                (combined.diff + reach).min(1.0),
            ]
        })
    }

    /// ln E against "worse by `margin` or more".
    pub(super) fn ln_e_non_inferior(&self, margin: f64) -> f64 {
        self.combined.map_or(0.0, |combined| {
            let information = combined.information * restricted_null_factor(self.pooled, margin);
            let restricted = Combined {
                information,
                ..combined
            };
            restricted.ln_e_non_inferior(margin, RHO.error)
        })
    }
}

/// Latency.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyFigures {
    /// ½(E_ridit + E_slow).
    pub(super) ln_e: f64,
    /// P95, canary minus baseline, in milliseconds.
    pub(super) effect: Option<f64>,
    pub(super) interval: Option<[f64; 2]>,
    /// Upper bound of the effect for the proof of non-inferiority.
    pub(super) proof_upper: Option<f64>,
    pub(super) baseline: Option<f64>,
    pub(super) canary: Option<f64>,
    pub(super) deff: f64,
    /// Canary requests that were ranked against the reference.
    pub(super) ranked: u64,
}

impl LatencyFigures {
    pub(super) fn of(evidence: &Evidence, effects: &[Effects]) -> Self {
        let ridit = stages(evidence.folded.ridit(), effects, |effects| effects.ridit);
        let slow = stages(evidence.folded.slow(), effects, |effects| effects.slow);
        let ln_e_of = |stages: &[StageEffect], rho: f64| {
            combine(stages).map_or(0.0, |combined| combined.ln_e_worse(0.0, rho))
        };
        let p95: Vec<QuantileEffect> = effects.iter().filter_map(|effects| effects.p95).collect();
        let bounded =
            |stage: &&QuantileEffect| stage.shown.lower.is_some() && stage.shown.upper.is_some();
        let trusted: Vec<QuantileEffect> = p95.iter().filter(bounded).copied().collect();
        let used = if trusted.is_empty() { &p95 } else { &trusted };
        let mean = |value: fn(&QuantileEffect) -> f64| weighted_mean(used, value);
        let effect = mean(|stage| stage.shown.diff);
        let reach =
            |bound: fn(&QuantileEffect) -> Option<f64>| effect.zip(combined_reach(used, bound));
        let lower = reach(|stage| stage.shown.lower).map(|(effect, reach)| effect - reach);
        let upper = reach(|stage| stage.shown.upper).map(|(effect, reach)| effect + reach);
        Self {
            ln_e: ln_mean_e(&[ln_e_of(&ridit, RHO.ridit), ln_e_of(&slow, RHO.slow)]),
            effect,
            interval: lower.zip(upper).map(|(lower, upper)| [lower, upper]),
            proof_upper: reach(|stage| stage.proof_upper).map(|(effect, reach)| effect + reach),
            baseline: mean(|stage| stage.shown.baseline),
            canary: mean(|stage| stage.shown.canary),
            deff: mean_deff(&slow),
            ranked: ridit.iter().map(|stage| stage.n_canary).sum(),
        }
    }
}

fn stages(
    folded: Option<StageEffect>,
    effects: &[Effects],
    of: fn(&Effects) -> Option<StageEffect>,
) -> Vec<StageEffect> {
    folded
        .into_iter()
        .chain(effects.iter().filter_map(of))
        .collect()
}

/// Design effect, stages weighted by what they know.
fn mean_deff(stages: &[StageEffect]) -> f64 {
    let information: f64 = stages.iter().map(|stage| stage.information).sum();
    let weighted: f64 = stages
        .iter()
        .map(|stage| stage.information * stage.deff)
        .sum();
    if information > 0.0 {
        weighted / information
    } else {
        1.0
    }
}

fn weighted_mean(stages: &[QuantileEffect], value: fn(&QuantileEffect) -> f64) -> Option<f64> {
    let weight: f64 = stages.iter().map(|stage| stage.weight).sum();
    let sum: f64 = stages.iter().map(|stage| stage.weight * value(stage)).sum();
    (weight > 0.0).then(|| sum / weight)
}

/// How far the weighted mean's bound lies from it: the stages' errors are independent, so their squares add.
fn combined_reach(
    stages: &[QuantileEffect],
    bound: fn(&QuantileEffect) -> Option<f64>,
) -> Option<f64> {
    let weight: f64 = stages.iter().map(|stage| stage.weight).sum();
    let mut squares = 0.0;
    for stage in stages {
        let reach = bound(stage)? - stage.shown.diff;
        squares += (stage.weight * reach).powi(2);
    }
    (weight > 0.0).then(|| squares.sqrt() / weight)
}

//! The numbers of one look: evidence, effect and interval per metric, stages combined. Computed from a
//! [`Receipt`] alone.
//!
//! Nothing is compared with a threshold here, save where a number is not defined below a count: the engine on
//! error rates is worth 1 until 20 users of baseline and 10 of the canary have erred (its normal
//! approximation is not to be trusted before; the exact first-error process needs no such excuse), and that on
//! rejected and aborted requests until 10 users of the canary are concerned (a clean baseline must not silence
//! it).

use std::sync::LazyLock;

use serin_config::model::Metric;
use serin_stats::cluster::{
    Combined, Moments, RIDIT_VARIANCE, StageEffect, combine, mean_effect, pooled_rate, rate_effect,
    rate_effect_non_inferior, restricted_null_factor, ridit_effect_unclustered,
};
use serin_stats::quantile::{QuantileDifference, difference};
use serin_stats::sequential::{ln_mean_e, tuned_rho};

use super::facts::{BinFacts, RateFacts, StageFacts};
use super::folded::Folded;
use super::receipt::Receipt;

/// Users concerned that the engine on rates needs in baseline (error rate only) and in the canary.
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

/// A share of requests.
#[derive(Clone, Debug)]
pub(super) struct RateFigures {
    combined: Option<Combined>,
    /// Of the exact first-error process; for error rates only.
    pub(super) ln_e_first: Option<f64>,
    /// Of the engine alone.
    pub(super) ln_e_engine: f64,
    /// For error rates ½(E_first + E of the engine), else E of the engine.
    pub(super) ln_e: f64,
    /// Users (slots, or buckets) of the canary who are concerned.
    pub(super) canary_users: u64,
    /// p̃ over all stages.
    pooled: f64,
    pub(super) deff: f64,
    /// The counts, while there is one stage only.
    single: Option<RateFacts>,
}

impl RateFigures {
    pub(super) fn of(receipt: &Receipt, metric: Metric) -> Self {
        let facts = |stage: &StageFacts| match metric {
            Metric::RejectedRate => stage.rejected,
            Metric::AbortedRate => stage.aborted,
            _ => stage.error,
        };
        let compared = || receipt.stages.iter().filter(|stage| stage.compares());
        let folded = receipt.folded.rate(metric);
        let stages: Vec<StageEffect> = folded
            .into_iter()
            .chain(compared().filter_map(|stage| rate_of(&facts(stage))))
            .collect();
        let combined = combine(&stages);
        let engine = || combined.map_or(0.0, |combined| combined.ln_e_worse(0.0, RHO.error));
        let first = (metric == Metric::ErrorRate).then_some(&receipt.first_errors);
        let (canary_users, enough) = match first {
            Some(first) => {
                let users = (first.baseline_users(), first.canary_users());
                (
                    users.1,
                    users.0 >= ENGINE_USERS.0 && users.1 >= ENGINE_USERS.1,
                )
            }
            None => {
                let hit = compared().map(|stage| facts(stage).canary_hit).max();
                let hit = hit.unwrap_or(0);
                (hit, hit >= ENGINE_USERS.1)
            }
        };
        let ln_e_engine = if enough { engine() } else { 0.0 };
        let ln_e_first = first.map(super::first_errors::FirstErrorFacts::ln_e);
        let mut alone = compared().filter(|stage| rate_of(&facts(stage)).is_some());
        let single = match (folded, alone.next(), alone.next()) {
            (None, Some(stage), None) => Some(facts(stage)),
            _ => None,
        };
        Self {
            combined,
            ln_e_first,
            ln_e_engine,
            ln_e: ln_e_first.map_or(ln_e_engine, |first| ln_mean_e(&[first, ln_e_engine])),
            canary_users,
            pooled: pooled_rate(&stages),
            deff: mean_deff(&stages),
            single,
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

    /// ln E against "worse by `margin` or more", with the variance of that hypothesis.
    pub(super) fn ln_e_non_inferior(&self, margin: f64) -> f64 {
        let exact = self.single.and_then(|facts| {
            let effect = rate_effect_non_inferior(&facts.baseline, &facts.canary, margin)?;
            combine(&[effect])
        });
        let restricted = exact.or_else(|| {
            let factor = restricted_null_factor(self.pooled, margin);
            self.combined.map(|combined| Combined {
                information: combined.information * factor,
                ..combined
            })
        });
        restricted.map_or(0.0, |restricted| {
            restricted.ln_e_non_inferior(margin, RHO.error)
        })
    }
}

pub(super) fn rate_of(facts: &RateFacts) -> Option<StageEffect> {
    rate_effect(&facts.baseline, &facts.canary)
}

/// Whether times are longer, whichever quantile is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyFigures {
    /// ½(E_ridit + E_slow).
    pub(super) ln_e: f64,
    pub(super) ln_e_ridit: f64,
    pub(super) ln_e_slow: f64,
    pub(super) deff: f64,
    /// Canary requests that were ranked against the reference.
    pub(super) ranked: u64,
}

impl LatencyFigures {
    /// Of the times that a metric is about.
    pub(super) fn of(receipt: &Receipt, metric: Metric) -> Self {
        let (folded, first_byte) = (&receipt.folded, metric == Metric::TtftP95);
        let reference = receipt.policy.reference_total;
        let effects = |of: fn(&StageFacts, u64) -> Ranked, folded: Ranked| -> [Vec<_>; 2] {
            let stages = receipt.stages.iter().filter(|stage| stage.compares());
            let effects = stages.map(|stage| of(stage, reference.unwrap_or(0)));
            let all: Vec<Ranked> = std::iter::once(folded).chain(effects).collect();
            [0, 1].map(|which| {
                all.iter()
                    .filter_map(|pair| pair.get(which).copied()?)
                    .collect()
            })
        };
        let [ridit, slow] = if first_byte {
            effects(first_byte_effects, folded.first_byte())
        } else {
            effects(whole_effects, folded.whole())
        };
        let ln_e_of = |stages: &[StageEffect], rho: f64| {
            combine(stages).map_or(0.0, |combined| combined.ln_e_worse(0.0, rho))
        };
        let (ln_e_ridit, ln_e_slow) = (ln_e_of(&ridit, RHO.ridit), ln_e_of(&slow, RHO.slow));
        Self {
            ln_e: ln_mean_e(&[ln_e_ridit, ln_e_slow]),
            ln_e_ridit,
            ln_e_slow,
            deff: mean_deff(&slow),
            ranked: ridit.iter().map(|stage| stage.n_canary).sum(),
        }
    }
}

/// The effects on the mean ridit and on the share of slow requests.
pub(super) type Ranked = [Option<StageEffect>; 2];

pub(super) fn whole_effects(stage: &StageFacts, reference_total: u64) -> Ranked {
    let Some(whole) = stage.whole.filter(|_| reference_total > 0) else {
        return [None, None];
    };
    let scale = 0.5 / reference_total as f64;
    let (b, c) = (&whole.half_ranks_baseline, &whole.half_ranks_canary);
    let ridit = mean_effect(b, c, scale, RIDIT_VARIANCE);
    [ridit, rate_of(&whole.slow)]
}

/// How much users resemble each other in the time to the first byte is not counted: that of the whole
/// response stands in for it.
pub(super) fn first_byte_effects(stage: &StageFacts, _: u64) -> Ranked {
    let Some(BinFacts {
        baseline,
        canary,
        reference_total,
    }) = stage.first_byte
    else {
        return [None, None];
    };
    let [whole, _] = whole_effects(stage, reference_total);
    let ridit = ridit_effect_unclustered(
        (baseline.n, baseline.half_ranks),
        (canary.n, canary.half_ranks),
        reference_total,
        whole.map_or(1.0, |effect| effect.deff),
    );
    let arm = |n, x| Moments {
        n,
        x,
        ..Moments::default()
    };
    let deff = stage.slow_deff();
    let slow =
        rate_effect(&arm(baseline.n, baseline.slow), &arm(canary.n, canary.slow)).map(|effect| {
            StageEffect {
                information: effect.information / deff,
                deff,
                ..effect
            }
        });
    [ridit, slow]
}

/// One quantile's difference.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QuantileFigures {
    /// Canary minus baseline, in milliseconds.
    pub(super) effect: Option<f64>,
    pub(super) interval: Option<[f64; 2]>,
    /// Upper bound of the effect for the proof of non-inferiority.
    pub(super) proof_upper: Option<f64>,
    pub(super) baseline: Option<f64>,
    pub(super) canary: Option<f64>,
    /// Values compared: baseline's and the canary's.
    pub(super) samples: [u64; 2],
}

/// A stage's difference, with its bounds.
#[derive(Clone, Copy)]
struct StageQuantile {
    shown: QuantileDifference,
    proof_upper: Option<f64>,
    /// n_c·n_b/(n_c + n_b): what the stage counts for beside others.
    weight: f64,
}

impl QuantileFigures {
    pub(super) fn of(receipt: &Receipt, metric: Metric) -> Self {
        let mut samples = [0; 2];
        let stages: Vec<StageQuantile> = receipt
            .stages
            .iter()
            .filter(|stage| stage.compares())
            .filter_map(|stage| stage.quantile(metric))
            .map(|facts| {
                let (b, c) = (&facts.baseline, &facts.canary);
                samples = [samples[0] + b.n, samples[1] + c.n];
                let (n_b, n_c) = (b.n as f64, c.n as f64);
                StageQuantile {
                    shown: difference(&b.bounds(false), &c.bounds(false)),
                    proof_upper: difference(&b.bounds(true), &c.bounds(true)).upper,
                    weight: n_b * n_c / (n_b + n_c),
                }
            })
            .collect();
        let over = |bounded: fn(&StageQuantile) -> bool| -> Vec<StageQuantile> {
            stages
                .iter()
                .filter(|stage| bounded(stage))
                .copied()
                .collect()
        };
        let shown = over(|stage| stage.shown.lower.is_some() && stage.shown.upper.is_some());
        let used = if shown.is_empty() { &stages } else { &shown };
        let effect = weighted_mean(used, |stage| stage.shown.diff);
        let reach =
            |bound: fn(&StageQuantile) -> Option<f64>| effect.zip(combined_reach(used, bound));
        let lower = reach(|stage| stage.shown.lower).map(|(effect, reach)| effect - reach);
        let upper = reach(|stage| stage.shown.upper).map(|(effect, reach)| effect + reach);
        // A proof is easier to bound than the interval at a small share of α, so it has stages of its own.
        let proven = over(|stage| stage.proof_upper.is_some());
        let proof = weighted_mean(&proven, |stage| stage.shown.diff)
            .zip(combined_reach(&proven, |stage| stage.proof_upper));
        Self {
            effect,
            interval: lower.zip(upper).map(|(lower, upper)| [lower, upper]),
            proof_upper: proof.map(|(effect, reach)| effect + reach),
            baseline: weighted_mean(used, |stage| stage.shown.baseline),
            canary: weighted_mean(used, |stage| stage.shown.canary),
            samples,
        }
    }
}

/// The design effect of slowness over all stages.
pub(super) fn slow_deff(stages: &[StageFacts], folded: &Folded) -> f64 {
    let [_, slow] = folded.whole();
    let stages = stages.iter().filter(|stage| stage.compares());
    let slow: Vec<StageEffect> = slow
        .into_iter()
        .chain(stages.filter_map(|stage| rate_of(&stage.whole?.slow)))
        .collect();
    mean_deff(&slow)
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

fn weighted_mean(stages: &[StageQuantile], value: fn(&StageQuantile) -> f64) -> Option<f64> {
    let weight: f64 = stages.iter().map(|stage| stage.weight).sum();
    let sum: f64 = stages.iter().map(|stage| stage.weight * value(stage)).sum();
    (weight > 0.0).then(|| sum / weight)
}

/// How far the weighted mean's bound lies from it: the stages' errors are independent, so their squares add.
fn combined_reach(
    stages: &[StageQuantile],
    bound: fn(&StageQuantile) -> Option<f64>,
) -> Option<f64> {
    let weight: f64 = stages.iter().map(|stage| stage.weight).sum();
    let mut squares = 0.0;
    for stage in stages {
        let reach = bound(stage)? - stage.shown.diff;
        squares += (stage.weight * reach).powi(2);
    }
    (weight > 0.0).then(|| squares.sqrt() / weight)
}

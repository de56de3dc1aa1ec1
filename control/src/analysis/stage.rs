//! One stage's counts, and the effects that follow from them, computed once per change.

use serde::{Deserialize, Serialize};
use serin_stats::cluster::{StageEffect, rate_stage, ridit_stage};
use serin_stats::quantile::{QuantileDifference, QuantileLevel, RHO, histogram_difference};
use serin_stats::snapshot::{ArmCounts, PerArm, StageSnapshot};

use super::stored;

/// One epoch's counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stage {
    pub(super) epoch: u64,
    pub(super) share: f64,
    #[serde(with = "stored::arms")]
    pub(super) arms: PerArm<ArmCounts>,
    /// Of these counts; absent after a change.
    #[serde(skip)]
    effects: Option<Effects>,
}

/// What one stage says about the difference between the arms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effects {
    scale: Scale,
    /// Error rate.
    pub(super) error: Option<StageEffect>,
    /// Mean ridit of latency.
    pub(super) ridit: Option<StageEffect>,
    /// Share of requests slower than the reference's P95.
    pub(super) slow: Option<StageEffect>,
    /// P95 of latency.
    pub(super) p95: Option<QuantileEffect>,
}

/// What effects depend on beside the counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// Values in the frozen latency reference.
    pub(super) reference_total: Option<u64>,
    /// Error rate of either bound of the displayed interval.
    pub(super) latency_alpha: f64,
    /// Error rate of the bound that proves non-inferiority.
    pub(super) proof_alpha: f64,
}

/// A difference of quantiles in one stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuantileEffect {
    pub(super) shown: QuantileDifference,
    /// Upper bound for the proof of non-inferiority.
    pub(super) proof_upper: Option<f64>,
    /// n_c·n_b/(n_c + n_b): what the stage counts for beside others.
    pub(super) weight: f64,
}

impl Stage {
    pub(super) fn new(epoch: u64, share: f64) -> Self {
        Self {
            epoch,
            share,
            arms: PerArm::default(),
            effects: None,
        }
    }

    /// Takes over newer counts; the former ones, if anything changed. Counts never shrink: a recorder that
    /// started over has an epoch of its own.
    pub(super) fn update(&mut self, snapshot: &StageSnapshot) -> Option<PerArm<ArmCounts>> {
        if snapshot.arms == self.arms || size(&snapshot.arms) < size(&self.arms) {
            return None;
        }
        self.effects = None;
        Some(std::mem::replace(&mut self.arms, snapshot.arms.clone()))
    }

    pub(super) fn effects(&mut self, scale: Scale) -> Effects {
        match self.effects {
            Some(effects) if effects.scale == scale => effects,
            _ => *self
                .effects
                .insert(Effects::of(self.share, &self.arms, scale)),
        }
    }
}

fn size(arms: &PerArm<ArmCounts>) -> u64 {
    arms.baseline.total() + arms.canary.total()
}

impl Effects {
    fn of(share: f64, arms: &PerArm<ArmCounts>, scale: Scale) -> Self {
        let mut effects = Self {
            scale,
            error: None,
            ridit: None,
            slow: None,
            p95: None,
        };
        if share <= 0.0 || share >= 1.0 {
            return effects;
        }
        let (b, c) = (&arms.baseline, &arms.canary);
        effects.error = rate_stage(&b.requests.0, &b.errors.0, &c.requests.0, &c.errors.0);
        let (b, c) = (&b.latency, &c.latency);
        if let Some(total) = scale.reference_total {
            effects.ridit = ridit_stage(
                &b.measured,
                &b.half_ranks,
                &c.measured,
                &c.half_ranks,
                total,
            );
            effects.slow = rate_stage(&b.measured.0, &b.slow.0, &c.measured.0, &c.slow.0);
        }
        effects.p95 = p95(arms, effects.slow.map_or(1.0, |slow| slow.deff), scale);
        effects
    }
}

fn p95(arms: &PerArm<ArmCounts>, deff: f64, scale: Scale) -> Option<QuantileEffect> {
    let baseline = &arms.baseline.latency.total;
    let canary = &arms.canary.latency.total;
    let difference = |alpha| {
        let level = QuantileLevel {
            quantile: 0.95,
            rho: RHO,
            alpha,
        };
        histogram_difference(level, (baseline, deff), (canary, deff))
    };
    let (n_b, n_c) = (baseline.total() as f64, canary.total() as f64);
    Some(QuantileEffect {
        shown: difference(scale.latency_alpha)?,
        proof_upper: difference(scale.proof_alpha)?.upper,
        weight: n_b * n_c / (n_b + n_c),
    })
}

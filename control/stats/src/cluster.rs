//! The common engine: a difference between the arms and the information it carries, robust against users
//! whose requests resemble each other.
//!
//! Users are hashed into buckets; the scatter of the bucket sums measures the variance with its clustering.
//! For a yes/no metric only the **baseline's** scatter is used, as a design effect on the pooled null
//! variance: the canary may have few users, and a broken canary must not inflate the yardstick. Stages of a
//! rollout are combined by inverse variance; their samples are never pooled. Signs: canary minus baseline.
//!
//! References: Rao & Scott 1992 (design effects of clustered binary data); Liang & Zeger 1986 (the sandwich
//! variance of bucket sums).

mod moments;

use crate::sequential::{bound_one_sided, ln_e_one_sided};
use crate::snapshot::Buckets;
pub use moments::Moments;

/// Bounds of the design effect.
const DESIGN_EFFECT: (f64, f64) = (1.0, 100.0);
/// Variance of a ridit under the hypothesis: that of a uniform value.
pub const RIDIT_VARIANCE: f64 = 1.0 / 12.0;

/// One stage's difference between the arms and its information.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageEffect {
    /// Baseline's rate or mean.
    pub p_baseline: f64,
    /// Canary's rate or mean.
    pub p_canary: f64,
    /// Canary minus baseline.
    pub diff: f64,
    /// V = 1/variance of the difference, > 0.
    pub information: f64,
    /// Design effect of the baseline's buckets, in 1..=100: how many times the variance exceeds that of
    /// independent requests.
    pub deff: f64,
    /// Baseline requests.
    pub n_baseline: u64,
    /// Canary requests.
    pub n_canary: u64,
    /// Sum of the baseline's values (for a rate: how many requests count).
    pub x_baseline: f64,
    /// Sum of the canary's values.
    pub x_canary: f64,
}

/// A difference over all stages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combined {
    /// Inverse-variance mean of the stages' differences, canary minus baseline.
    pub diff: f64,
    /// Sum of the stages' information.
    pub information: f64,
}

impl Combined {
    /// ln E against "the canary is not worse than `margin`": S = (Δ − δ₀)·V. Rollback uses δ₀ = 0.
    #[must_use]
    pub fn ln_e_worse(&self, margin: f64, rho: f64) -> f64 {
        ln_e_one_sided(
            (self.diff - margin) * self.information,
            self.information,
            rho,
        )
    }

    /// ln E against "the canary is worse by `margin` or more": S = (δ − Δ)·V.
    #[must_use]
    pub fn ln_e_non_inferior(&self, margin: f64, rho: f64) -> f64 {
        ln_e_one_sided(
            (margin - self.diff) * self.information,
            self.information,
            rho,
        )
    }

    /// Half-width of the one-sided (1−α) confidence sequence around the difference; +∞ without information.
    #[must_use]
    pub fn half_width(&self, rho: f64, alpha: f64) -> f64 {
        if self.information > 0.0 {
            bound_one_sided(self.information, rho, alpha) / self.information
        } else {
            f64::INFINITY
        }
    }
}

/// The effect of a yes/no metric in one stage, for the question "is the canary worse?": from requests `n` and
/// counted requests `x` per user bucket (baseline `_b`, canary `_c`; the same buckets in both). As
/// [`rate_effect`].
#[must_use]
pub fn rate_stage(n_b: &[u64], x_b: &[u64], n_c: &[u64], x_c: &[u64]) -> Option<StageEffect> {
    rate_effect(&Moments::of(n_b, x_b), &Moments::of(n_c, x_c))
}

/// The effect of a yes/no metric in one stage, for the question "is the canary worse?".
///
/// V = 1/[DEFF · p̃(1−p̃) · (1/N_c + 1/N_b)] with the pooled p̃ = (X_c+X_b+½)/(N_c+N_b+1); with DEFF = 1 this
/// is the pooled z-test, z = Δ√V. `None` when an arm has no requests.
#[must_use]
pub fn rate_effect(baseline: &Moments, canary: &Moments) -> Option<StageEffect> {
    rate_effect_with(baseline, canary, |pooled, deff, n_b, n_c| {
        1.0 / (deff * pooled * (1.0 - pooled) * (1.0 / n_c + 1.0 / n_b))
    })
}

/// As [`rate_stage`], for the question "is the canary worse by less than `margin`?": the information is that
/// of the restricted null, V_NI = 1/[DEFF((p̃+δ)(1−p̃−δ)/N_c + p̃(1−p̃)/N_b)], with p̃+δ held at ½ when p̃ is
/// below it (the variance must not shrink again), and p̃ itself above.
#[must_use]
pub fn rate_stage_non_inferior(
    n_b: &[u64],
    x_b: &[u64],
    n_c: &[u64],
    x_c: &[u64],
    margin: f64,
) -> Option<StageEffect> {
    rate_effect_non_inferior(&Moments::of(n_b, x_b), &Moments::of(n_c, x_c), margin)
}

/// As [`rate_stage_non_inferior`], from sums.
#[must_use]
pub fn rate_effect_non_inferior(
    baseline: &Moments,
    canary: &Moments,
    margin: f64,
) -> Option<StageEffect> {
    rate_effect_with(baseline, canary, |pooled, deff, n_b, n_c| {
        let worse = restricted_rate(pooled, margin);
        1.0 / (deff * (worse * (1.0 - worse) / n_c + pooled * (1.0 - pooled) / n_b))
    })
}

/// `information` of the pooled rate (strictly inside (0, 1)), DEFF, and the requests of baseline and canary.
fn rate_effect_with(
    baseline: &Moments,
    canary: &Moments,
    information: impl Fn(f64, f64, f64, f64) -> f64,
) -> Option<StageEffect> {
    if baseline.n == 0 || canary.n == 0 {
        return None;
    }
    let (n_b, n_c) = (baseline.n as f64, canary.n as f64);
    let (x_b, x_c) = ((baseline.x as f64).min(n_b), (canary.x as f64).min(n_c));
    let deff = baseline.design_effect();
    let pooled = (x_c + x_b + 0.5) / (n_c + n_b + 1.0);
    let (p_baseline, p_canary) = (x_b / n_b, x_c / n_c);
    Some(StageEffect {
        p_baseline,
        p_canary,
        diff: p_canary - p_baseline,
        information: information(pooled, deff, n_b, n_c),
        deff,
        n_baseline: baseline.n,
        n_canary: canary.n,
        x_baseline: x_b,
        x_canary: x_c,
    })
}

/// The canary's rate under the restricted null "worse by exactly `margin`": p̃ + δ, at most ½; p̃ when that is
/// already at ½ or above.
#[must_use]
pub fn restricted_rate(pooled: f64, margin: f64) -> f64 {
    if pooled < 0.5 {
        (pooled + margin.max(0.0)).min(0.5)
    } else {
        pooled
    }
}

/// What the combined information of several stages is multiplied by for a test of non-inferiority:
/// p̃(1−p̃)/[(p̃+δ)(1−p̃−δ)], at most 1. `pooled` is p̃ over all stages, inside (0, 1).
#[must_use]
pub fn restricted_null_factor(pooled: f64, margin: f64) -> f64 {
    let pooled = pooled.clamp(1e-12, 1.0 - 1e-12);
    let worse = restricted_rate(pooled, margin);
    pooled * (1.0 - pooled) / (worse * (1.0 - worse))
}

/// p̃ = (X_c + X_b + ½)/(N_c + N_b + 1) over all stages.
#[must_use]
pub fn pooled_rate(stages: &[StageEffect]) -> f64 {
    let (x, n) = stages.iter().fold((0.0, 0.0), |(x, n), stage| {
        (
            x + stage.x_baseline + stage.x_canary,
            n + (stage.n_baseline + stage.n_canary) as f64,
        )
    });
    (x + 0.5) / (n + 1.0)
}

/// DEFF of a yes/no metric: the bucket variance over that of independent requests, held within 1..=100. 1 when
/// nothing or everything counts, and with fewer than two non-empty buckets.
#[must_use]
pub fn design_effect(n: &[u64], x: &[u64]) -> f64 {
    let n_total: f64 = n.iter().map(|&n| n as f64).sum();
    let x_total: f64 = x.iter().map(|&x| x as f64).sum();
    if !(x_total > 0.0 && x_total < n_total) {
        return 1.0;
    }
    let p = x_total / n_total;
    match bucket_variance(counts(n, x)) {
        Some(variance) => {
            (variance.corrected / (p * (1.0 - p) / n_total)).clamp(DESIGN_EFFECT.0, DESIGN_EFFECT.1)
        }
        None => 1.0,
    }
}

/// Variance of an arm's mean from its bucket sums.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketVariance {
    /// The arm's mean Σx/Σn.
    pub mean: f64,
    /// Σ (x_j − m n_j)²/N²: the sandwich variance.
    pub uncorrected: f64,
    /// The same times nz/(nz−1), nz = non-empty buckets; equal to it when nz < 2.
    pub corrected: f64,
}

/// The cluster-robust variance of a mean from (n, x) per bucket; `None` without observations.
#[must_use]
pub fn bucket_variance(
    buckets: impl Iterator<Item = (u64, f64)> + Clone,
) -> Option<BucketVariance> {
    let (mut n_total, mut x_total, mut filled) = (0.0, 0.0, 0.0);
    for (n, x) in buckets.clone() {
        if n > 0 {
            filled += 1.0;
            n_total += n as f64;
            x_total += x;
        }
    }
    if !(n_total > 0.0) {
        return None;
    }
    let mean = x_total / n_total;
    let squares: f64 = buckets
        .filter(|&(n, _)| n > 0)
        .map(|(n, x)| (x - mean * n as f64).powi(2))
        .sum();
    let uncorrected = squares / (n_total * n_total);
    let correction = if filled > 1.0 {
        filled / (filled - 1.0)
    } else {
        1.0
    };
    Some(BucketVariance {
        mean,
        uncorrected,
        corrected: uncorrected * correction,
    })
}

/// Pairs integer counts for [`bucket_variance`].
pub fn counts<'a>(n: &'a [u64], x: &'a [u64]) -> impl Iterator<Item = (u64, f64)> + Clone + 'a {
    n.iter().copied().zip(x.iter().map(|&x| x as f64))
}

/// One arm of a metric with numeric values: per user bucket the number of values and their sum, and the
/// variance of a single value below which the arm's variance is not believed.
#[derive(Clone, Copy, Debug)]
pub struct MeanArm<'a> {
    /// Values per bucket.
    pub n: &'a [u64],
    /// Sum of the values per bucket.
    pub sum: &'a [f64],
    /// s²: a floor on the variance of the arm's mean is s²/N.
    pub variance_floor: f64,
}

/// s² from a sum of squares: (Σx² − (Σx)²/N)/(N−1), at least 0; 0 for fewer than two values.
#[must_use]
pub fn sample_variance(n: u64, sum: f64, sum_of_squares: f64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let n = n as f64;
    ((sum_of_squares - sum * sum / n) / (n - 1.0)).max(0.0)
}

/// The effect of a metric with numeric values in one stage: V = 1/(v_c + v_b), each v the larger of the arm's
/// bucket variance and s²/N. `None` when an arm is empty, when a value is not finite, or when both variances
/// are 0 (constant values and no floor).
#[must_use]
pub fn mean_stage(baseline: MeanArm<'_>, canary: MeanArm<'_>) -> Option<StageEffect> {
    let (b, c) = (arm_variance(baseline)?, arm_variance(canary)?);
    let information = 1.0 / (b.variance + c.variance);
    let diff = c.mean - b.mean;
    (information.is_finite() && information > 0.0 && diff.is_finite()).then_some(StageEffect {
        p_baseline: b.mean,
        p_canary: c.mean,
        diff,
        information,
        deff: b.deff,
        n_baseline: b.n,
        n_canary: c.n,
        x_baseline: b.sum,
        x_canary: c.sum,
    })
}

/// The effect on the mean ridit in one stage, about AUC − ½: `measured` values and the sums of their
/// `half_ranks` per bucket, ranked against a frozen reference of `reference_total` values. s² = 1/12.
#[must_use]
pub fn ridit_stage(
    measured_b: &Buckets,
    half_ranks_b: &Buckets,
    measured_c: &Buckets,
    half_ranks_c: &Buckets,
    reference_total: u64,
) -> Option<StageEffect> {
    if reference_total == 0 {
        return None;
    }
    let ridits = |half_ranks: &Buckets| -> Vec<f64> {
        let scale = 0.5 / reference_total as f64;
        half_ranks.0.iter().map(|&sum| sum as f64 * scale).collect()
    };
    let (sum_b, sum_c) = (ridits(half_ranks_b), ridits(half_ranks_c));
    let arm = |measured, sum| MeanArm {
        n: measured,
        sum,
        variance_floor: RIDIT_VARIANCE,
    };
    mean_stage(arm(&measured_b.0, &sum_b), arm(&measured_c.0, &sum_c))
}

/// The effect on a mean of whole-numbered values in one stage, from sums: each value counts `scale`, and an
/// arm's variance is at least `variance_floor`/N. `None` as in [`mean_stage`].
#[must_use]
pub fn mean_effect(
    baseline: &Moments,
    canary: &Moments,
    scale: f64,
    variance_floor: f64,
) -> Option<StageEffect> {
    let arm = |moments: &Moments| {
        let found = moments.variance()?;
        let floor = variance_floor.max(0.0) / moments.n as f64;
        let variance = found.corrected * scale * scale;
        let deff = if floor > 0.0 {
            (variance / floor).clamp(DESIGN_EFFECT.0, DESIGN_EFFECT.1)
        } else {
            DESIGN_EFFECT.0
        };
        Some((found.mean * scale, variance.max(floor), deff))
    };
    let ((mean_b, v_b, deff), (mean_c, v_c, _)) = (arm(baseline)?, arm(canary)?);
    let information = 1.0 / (v_c + v_b);
    let diff = mean_c - mean_b;
    (information.is_finite() && information > 0.0 && diff.is_finite()).then_some(StageEffect {
        p_baseline: mean_b,
        p_canary: mean_c,
        diff,
        information,
        deff,
        n_baseline: baseline.n,
        n_canary: canary.n,
        x_baseline: baseline.x as f64 * scale,
        x_canary: canary.x as f64 * scale,
    })
}

/// The effect on the mean ridit when an arm's ranks are known in all but not user by user (times that were
/// counted in bins only): each variance is `deff`/(12·N), with the design effect of a metric that was.
#[must_use]
pub fn ridit_effect_unclustered(
    (n_b, half_ranks_b): (u64, u64),
    (n_c, half_ranks_c): (u64, u64),
    reference_total: u64,
    deff: f64,
) -> Option<StageEffect> {
    if n_b == 0 || n_c == 0 || reference_total == 0 {
        return None;
    }
    let scale = 0.5 / reference_total as f64;
    let (x_baseline, x_canary) = (half_ranks_b as f64 * scale, half_ranks_c as f64 * scale);
    let (mean_b, mean_c) = (x_baseline / n_b as f64, x_canary / n_c as f64);
    let deff = deff.clamp(DESIGN_EFFECT.0, DESIGN_EFFECT.1);
    let variance = deff * RIDIT_VARIANCE * (1.0 / n_b as f64 + 1.0 / n_c as f64);
    Some(StageEffect {
        p_baseline: mean_b,
        p_canary: mean_c,
        diff: mean_c - mean_b,
        information: 1.0 / variance,
        deff,
        n_baseline: n_b,
        n_canary: n_c,
        x_baseline,
        x_canary,
    })
}

struct ArmVariance {
    n: u64,
    sum: f64,
    mean: f64,
    variance: f64,
    deff: f64,
}

fn arm_variance(arm: MeanArm<'_>) -> Option<ArmVariance> {
    let buckets = arm.n.iter().copied().zip(arm.sum.iter().copied());
    let found = bucket_variance(buckets.clone())?;
    let n: f64 = buckets.clone().map(|(n, _)| n as f64).sum();
    let floor = arm.variance_floor.max(0.0) / n;
    let deff = if floor > 0.0 {
        (found.corrected / floor).clamp(DESIGN_EFFECT.0, DESIGN_EFFECT.1)
    } else {
        DESIGN_EFFECT.0
    };
    Some(ArmVariance {
        n: n as u64,
        sum: buckets.map(|(_, sum)| sum).sum(),
        mean: found.mean,
        variance: found.corrected.max(floor),
        deff,
    })
}

/// Combines stages by inverse variance: V = ΣV_s, Δ = ΣV_sΔ_s/V. `None` for no stages.
#[must_use]
pub fn combine(stages: &[StageEffect]) -> Option<Combined> {
    let information: f64 = stages.iter().map(|stage| stage.information).sum();
    let weighted: f64 = stages
        .iter()
        .map(|stage| stage.information * stage.diff)
        .sum();
    (information > 0.0 && information.is_finite()).then(|| Combined {
        diff: weighted / information,
        information,
    })
}

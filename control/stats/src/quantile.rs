//! Quantiles that may be watched: a confidence sequence for a quantile, and for the difference between two.
//!
//! The number of values below the true quantile is a sum of coin flips with variance q(1−q), so the normal
//! mixture bounds how far the empirical rank can stray at any time. Read on the rank scale, with the effective
//! number of independent values n/DEFF: w = S-bound(q(1−q)·n_eff)/n_eff, and the quantiles at q ± w bound the
//! true one. Two arms are combined by square-and-add.
//!
//! References: Howard & Ramdas, "Sequential estimation of quantiles", Bernoulli 2022 (arXiv 1906.09712);
//! Zou & Donner 2008 (square-and-add, MOVER).

use crate::histogram::Histogram;
use crate::sequential::bound_one_sided;

/// ρ of the rank bound for quantiles.
pub const RHO: f64 = 20.0;

/// Counts in bins whose edges grow by a constant ratio: bin i covers [first·γⁱ, first·γⁱ⁺¹).
#[derive(Clone, Copy, Debug)]
pub struct LogBins<'a> {
    /// Count per bin.
    pub counts: &'a [u64],
    /// Lower edge of the first bin.
    pub first_edge: f64,
    /// γ > 1, ratio of neighbouring edges.
    pub gamma: f64,
}

impl LogBins<'_> {
    /// The `q`-quantile with geometric interpolation inside the bin, in the unit of the edges; `q` is clamped
    /// to [0, 1]. `None` when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: f64 = self.total();
        let target = q.clamp(0.0, 1.0) * total;
        let mut below = 0.0;
        let mut found = None;
        for (bin, &count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0)
        {
            let count = count as f64;
            let inside = ((target - below) / count).clamp(0.0, 1.0);
            found = Some(self.first_edge * self.gamma.powf(bin as f64 + inside));
            if below + count >= target {
                break;
            }
            below += count;
        }
        found
    }

    /// Number of values.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.counts.iter().map(|&count| count as f64).sum()
    }
}

/// A quantile and its confidence sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileBounds {
    /// The empirical quantile.
    pub point: f64,
    /// w: half-width on the rank scale.
    pub rank_half_width: f64,
    /// Lower bound; `None` while there are too few values for one.
    pub low: Option<f64>,
    /// Upper bound; `None` while there are too few values for one.
    pub high: Option<f64>,
}

/// How a quantile is bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileLevel {
    /// Which quantile, in (0, 1).
    pub quantile: f64,
    /// Mixture parameter on the rank scale; [`RHO`] in the engine.
    pub rho: f64,
    /// Error rate of each bound, in (0, 1).
    pub alpha: f64,
}

impl QuantileLevel {
    /// The engine's setting for a quantile: ρ = 20, α = .05 on each side.
    #[must_use]
    pub const fn engine(quantile: f64) -> Self {
        Self {
            quantile,
            rho: RHO,
            alpha: 0.05,
        }
    }

    /// w, the half-width on the rank scale, from `n` values with design effect `deff` ≥ 1; +∞ for none.
    #[must_use]
    pub fn rank_half_width(&self, n: f64, deff: f64) -> f64 {
        let effective = n / deff.max(1.0);
        if !(effective > 0.0 && self.quantile > 0.0 && self.quantile < 1.0) {
            return f64::INFINITY;
        }
        let information = self.quantile * (1.0 - self.quantile) * effective;
        bound_one_sided(information, self.rho, self.alpha) / effective
    }

    /// The bounds of one arm with `n` values, its quantiles given as a function; `None` when it is empty.
    #[must_use]
    pub fn bounds(
        &self,
        n: f64,
        deff: f64,
        quantile_at: impl Fn(f64) -> Option<f64>,
    ) -> Option<QuantileBounds> {
        let w = self.rank_half_width(n, deff);
        let (below, above) = (self.quantile - w, self.quantile + w);
        Some(QuantileBounds {
            point: quantile_at(self.quantile)?,
            rank_half_width: w,
            low: if below > 0.0 {
                quantile_at(below)
            } else {
                None
            },
            high: if above < 1.0 {
                quantile_at(above)
            } else {
                None
            },
        })
    }

    /// As [`bounds`](Self::bounds), for a latency histogram in milliseconds.
    #[must_use]
    pub fn histogram_bounds(&self, histogram: &Histogram, deff: f64) -> Option<QuantileBounds> {
        self.bounds(histogram.total() as f64, deff, |q| histogram.quantile_ms(q))
    }
}

/// The difference of a quantile between the arms, canary minus baseline, with its confidence sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileDifference {
    /// The baseline's quantile.
    pub baseline: f64,
    /// The canary's quantile.
    pub canary: f64,
    /// Canary minus baseline.
    pub diff: f64,
    /// Lower bound; `None` while one of the arms has too few values.
    pub lower: Option<f64>,
    /// Upper bound; `None` while one of the arms has too few values.
    pub upper: Option<f64>,
}

/// Square-and-add: lower = Δ − √((Q_c−L_c)² + (U_b−Q_b)²), upper = Δ + √((U_c−Q_c)² + (Q_b−L_b)²).
#[must_use]
pub fn difference(baseline: &QuantileBounds, canary: &QuantileBounds) -> QuantileDifference {
    let diff = canary.point - baseline.point;
    let reach =
        |c: Option<f64>, b: Option<f64>| Some((c? - canary.point).hypot(b? - baseline.point));
    QuantileDifference {
        baseline: baseline.point,
        canary: canary.point,
        diff,
        lower: reach(canary.low, baseline.high).map(|reach| diff - reach),
        upper: reach(canary.high, baseline.low).map(|reach| diff + reach),
    }
}

/// The difference of a latency quantile in milliseconds between two histograms, with the design effect of each
/// arm's ranks. `None` when an arm is empty.
///
/// ```
/// use serin_stats::{histogram::Histogram, quantile::{QuantileLevel, histogram_difference}};
/// let mut baseline = Histogram::default();
/// for ms in 100..2100 { baseline.record(f64::from(ms)); }
/// let p95 = histogram_difference(QuantileLevel::engine(0.95), (&baseline, 1.0), (&baseline, 1.0));
/// let p95 = p95.unwrap();
/// assert_eq!(p95.diff, 0.0);
/// assert!(p95.upper.unwrap() > 0.0 && p95.lower.unwrap() < 0.0);
/// ```
#[must_use]
pub fn histogram_difference(
    level: QuantileLevel,
    (baseline, deff_baseline): (&Histogram, f64),
    (canary, deff_canary): (&Histogram, f64),
) -> Option<QuantileDifference> {
    Some(difference(
        &level.histogram_bounds(baseline, deff_baseline)?,
        &level.histogram_bounds(canary, deff_canary)?,
    ))
}

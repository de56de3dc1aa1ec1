//! An always-valid p-value for "a quantile is the same in both arms", from raw values.
//!
//! For a candidate value of the common quantile, each arm's count below it is a sum of coin flips with
//! probability q, against which a two-sided beta mixture gives evidence; the arms' evidence multiplies, and
//! the candidate with the least evidence against it bounds the evidence against them all.
//!
//! Reference: Howard & Ramdas, arXiv 1906.09712, section 5.

use crate::search;
use crate::sequential::beta_binomial::BetaBinomial;

/// ln E against "the `quantile` is the same in both arms", the least over all candidates; may be negative.
/// Tightest around `t_opt` values per arm. Values that are not numbers are left out; `None` when an arm is empty or
/// a parameter is unusable.
#[must_use]
pub fn ln_e(
    baseline: &[f64],
    canary: &[f64],
    quantile: f64,
    t_opt: f64,
    alpha_opt: f64,
) -> Option<f64> {
    let variance = t_opt * quantile * (1.0 - quantile);
    let mixture = BetaBinomial::two_sided(quantile, variance, alpha_opt)?;
    let (one, two) = (
        Sample::new(baseline, mixture)?,
        Sample::new(canary, mixture)?,
    );
    let both = |x: f64| one.ln_e_at(x) + two.ln_e_at(x);
    // The evidence against a candidate changes only at values, and falls towards each arm's own quantile.
    let (from, to) = (one.centre.min(two.centre), one.centre.max(two.centre));
    one.sorted
        .iter()
        .chain(&two.sorted)
        .filter(|&&x| x >= from && x <= to)
        .map(|&x| both(x))
        .reduce(f64::min)
}

/// One arm in ascending order, with the proportion below the quantile that has the least evidence against it.
struct Sample {
    sorted: Vec<f64>,
    mixture: BetaBinomial,
    least: f64,
    /// The order statistic at that proportion.
    centre: f64,
}

impl Sample {
    fn new(values: &[f64], mixture: BetaBinomial) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let (least, _) = search::minimum(|share| mixture.ln_e(share * n, n), 0.0, 1.0);
        let at = ((least * n).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
        let centre = *sorted.get(at)?;
        Some(Self {
            sorted,
            mixture,
            least,
            centre,
        })
    }

    /// The least evidence against `x` as the quantile: the share of values below it lies anywhere between
    /// those strictly below and those at or below.
    fn ln_e_at(&self, x: f64) -> f64 {
        let n = self.sorted.len() as f64;
        let below = self.sorted.partition_point(|&value| value < x) as f64;
        let upto = self.sorted.partition_point(|&value| value <= x) as f64;
        self.mixture.ln_e((self.least * n).clamp(below, upto), n)
    }
}

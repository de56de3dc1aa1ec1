//! Evidence that may be watched at every moment: e-values and confidence sequences by Robbins' normal
//! mixture.
//!
//! An e-value is a non-negative number whose expectation under the hypothesis is at most 1 **at any stopping
//! time**, so P(it ever reaches 1/α) ≤ α (Ville), however often one looks. Here S is the running sum of
//! "information times difference" and V the information, so that under the hypothesis S is at most a Brownian
//! motion at time V. E-values multiply over independent stretches, and their weighted means are e-values
//! again whatever their dependence. All are kept as logarithms.
//!
//! References: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
//! sequences", Ann. Statist. 2021 (arXiv 1810.08240); Waudby-Smith et al., "Time-uniform central limit
//! theory" (arXiv 2103.06476); Lindon et al., "Rapid regression detection in software deployments through
//! sequential testing", KDD 2022 (arXiv 2205.14762).

pub mod beta_binomial;
pub mod stitching;

use std::f64::consts::LN_2;

use crate::special::normal;

/// The information V_opt = ((z₁₋α + z_power)/δ)² at which a difference `delta` would be found by a fixed test
/// with the error rate `alpha` and this power: what the mixture is tuned for. In units of 1/δ².
#[must_use]
pub fn optimal_information(delta: f64, alpha: f64, power: f64) -> f64 {
    let reach = normal::quantile(1.0 - share(alpha)) + normal::quantile(share(power));
    (reach / delta.abs().max(1e-150)).powi(2)
}

/// ρ of the one-sided mixture that is tightest at information `v_opt`:
/// V_opt/(2 ln(1/2a) + ln(1 + 2 ln(1/2a))), a = `alpha_opt` in (0, ½).
#[must_use]
pub fn rho_one_sided(v_opt: f64, alpha_opt: f64) -> f64 {
    rho_two_sided(v_opt, 2.0 * alpha_opt)
}

/// ρ of the two-sided mixture that is tightest at information `v_opt`:
/// V_opt/(2 ln(1/a) + ln(1 + 2 ln(1/a))), a = `alpha_opt` in (0, 1).
#[must_use]
pub fn rho_two_sided(v_opt: f64, alpha_opt: f64) -> f64 {
    let twice_ln = -2.0 * share(alpha_opt).ln();
    v_opt.max(0.0) / (twice_ln + twice_ln.ln_1p())
}

/// ρ of the engine, tuned at the difference `delta` (error .005, ridit .03, slow .02) with error rate
/// `alpha_opt` (.05) and power .8, one-sided.
///
/// ```
/// let rho = serin_stats::sequential::tuned_rho(0.005, 0.05);
/// assert!((rho - 39_000.0).abs() < 1000.0);
/// ```
#[must_use]
pub fn tuned_rho(delta: f64, alpha_opt: f64) -> f64 {
    rho_one_sided(optimal_information(delta, alpha_opt, 0.8), alpha_opt)
}

/// ln of the one-sided normal-mixture e-value against "the drift of S is not positive":
/// **½ ln(4ρ/(V+ρ)) + S²/(2(V+ρ)) + ln Φ(S/√(V+ρ))**. No data (V = 0, S = 0) is 0; it rises with S. Input that
/// is not finite or has V < 0 or ρ ≤ 0 is no evidence: 0.
#[must_use]
pub fn ln_e_one_sided(s: f64, v: f64, rho: f64) -> f64 {
    if !usable(s, v, rho) {
        return 0.0;
    }
    0.5 * ln_shrinkage(v, rho) + LN_2 + normal::ln_scaled_cdf(s / (v + rho).sqrt())
}

/// ln of the two-sided normal-mixture e-value against "the drift of S is zero":
/// ½ ln(ρ/(V+ρ)) + S²/(2(V+ρ)). Input as for [`ln_e_one_sided`].
#[must_use]
pub fn ln_e_two_sided(s: f64, v: f64, rho: f64) -> f64 {
    if !usable(s, v, rho) {
        return 0.0;
    }
    let z = s / (v + rho).sqrt();
    0.5 * ln_shrinkage(v, rho) + 0.5 * z * z
}

/// The S at which [`ln_e_one_sided`] reaches ln(1/α); divided by V it is the half-width of the one-sided
/// (1−α) confidence sequence. Never negative; +∞ when no S reaches it (unusable V, ρ or α).
#[must_use]
pub fn bound_one_sided(v: f64, rho: f64, alpha: f64) -> f64 {
    if !usable(0.0, v, rho) || !(alpha > 0.0) {
        return f64::INFINITY;
    }
    // With z = S/√(V+ρ): z²/2 + ln Φ(z) = target; the left side rises from −∞, and lies below z²/2.
    let target = -alpha.min(1.0).ln() - LN_2 - 0.5 * ln_shrinkage(v, rho);
    let (mut low, mut high) = (0.0, (2.0 * (target + LN_2).max(0.0)).sqrt() + 1.0);
    if target <= -LN_2 {
        return 0.0;
    }
    let mut z = (2.0 * target.max(0.0)).sqrt();
    for _ in 0..200 {
        let ln_cdf = normal::ln_cdf(z);
        let excess = 0.5 * z * z + ln_cdf - target;
        if excess > 0.0 {
            high = z;
        } else {
            low = z;
        }
        let slope = z + (-0.5 * z * z - crate::special::LN_SQRT_2PI - ln_cdf).exp();
        let newton = z - excess / slope;
        let next = if newton > low && newton < high {
            newton
        } else {
            0.5 * (low + high)
        };
        // Newton's steps square the error: after one of 1e-9 nothing is left to improve.
        let done = (next - z).abs() <= 1e-15 * z || next == newton && (next - z).abs() <= 1e-9 * z;
        z = next;
        if done {
            break;
        }
    }
    z * (v + rho).sqrt()
}

/// The |S| at which [`ln_e_two_sided`] reaches ln(1/α): √((V+ρ)(2 ln(1/α) + ln((V+ρ)/ρ))). +∞ for unusable
/// input.
#[must_use]
pub fn bound_two_sided(v: f64, rho: f64, alpha: f64) -> f64 {
    if !usable(0.0, v, rho) || !(alpha > 0.0) {
        return f64::INFINITY;
    }
    ((v + rho) * (-2.0 * alpha.min(1.0).ln() - ln_shrinkage(v, rho))).sqrt()
}

/// The always-valid p-value 1/max(1, E) of the largest ln E so far; in (0, 1], and it only ever falls as one
/// watches. 1 for NaN.
#[must_use]
pub fn always_valid_p(max_ln_e: f64) -> f64 {
    (-max_ln_e.max(0.0)).exp()
}

/// ln of the plain mean of e-values given as logarithms: an e-value again, whatever their dependence. 0 (no
/// evidence) for an empty slice.
#[must_use]
pub fn ln_mean_e(ln_e: &[f64]) -> f64 {
    let terms = ln_e.iter().map(|&ln_e| (ln_e, 1.0));
    ln_weighted_mean(terms)
}

/// ln of the weighted mean of e-values given as logarithms; weights are ≥ 0 and are divided by their sum.
/// Missing weights are 0. 0 (no evidence) when no weight is positive.
#[must_use]
pub fn ln_weighted_mean_e(ln_e: &[f64], weights: &[f64]) -> f64 {
    ln_weighted_mean(ln_e.iter().copied().zip(weights.iter().copied()))
}

fn ln_weighted_mean(terms: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let terms =
        terms.filter(|&(ln_e, weight)| weight > 0.0 && weight.is_finite() && !ln_e.is_nan());
    let largest = terms
        .clone()
        .fold(f64::NEG_INFINITY, |max, (ln_e, _)| max.max(ln_e));
    let total: f64 = terms.clone().map(|(_, weight)| weight).sum();
    if !(total > 0.0) {
        return 0.0;
    }
    if !largest.is_finite() {
        return largest;
    }
    let sum: f64 = terms
        .map(|(ln_e, weight)| weight / total * (ln_e - largest).exp())
        .sum();
    largest + sum.ln()
}

/// ln(ρ/(V+ρ)), also where V/ρ is beyond the range of doubles.
fn ln_shrinkage(v: f64, rho: f64) -> f64 {
    let ratio = v / rho;
    if ratio.is_finite() {
        -ratio.ln_1p()
    } else {
        rho.ln() - v.ln()
    }
}

fn usable(s: f64, v: f64, rho: f64) -> bool {
    s.is_finite() && v >= 0.0 && rho > 0.0 && (v + rho).is_finite()
}

/// Keeps a probability off the ends of (0, 1).
fn share(alpha: f64) -> f64 {
    if alpha.is_nan() {
        return 0.05;
    }
    alpha.clamp(1e-300, 1.0 - 1e-15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_data_is_no_evidence() {
        assert!(ln_e_one_sided(0.0, 0.0, 20.0).abs() < 1e-15);
        assert_eq!(ln_e_one_sided(f64::NAN, 1.0, 20.0), 0.0);
        assert_eq!(ln_e_one_sided(1.0, 1.0, 0.0), 0.0);
        assert_eq!(ln_mean_e(&[]), 0.0);
    }

    #[test]
    fn the_bound_is_where_the_evidence_reaches_the_threshold() {
        for v in [0.0, 1.0, 1e3, 1e9, 1e15] {
            for rho in [1e-3, 20.0, 4e4] {
                for alpha in [0.9, 0.5, 0.05, 1e-12, 1e-300] {
                    let bound = bound_one_sided(v, rho, alpha);
                    let ln_e = ln_e_one_sided(bound, v, rho);
                    let wanted = -f64::ln(alpha);
                    assert!(
                        (ln_e - wanted).abs() < 1e-9 * wanted.max(1.0),
                        "{v} {rho} {alpha}"
                    );
                }
            }
        }
    }

    #[test]
    fn means_of_extreme_evidence_neither_overflow_nor_vanish() {
        assert!((ln_mean_e(&[-900.0, 1200.0]) - (1200.0 - LN_2)).abs() < 1e-12);
        assert_eq!(
            ln_mean_e(&[f64::NEG_INFINITY, f64::NEG_INFINITY]),
            f64::NEG_INFINITY
        );
        assert!((ln_weighted_mean_e(&[3.0, 5.0], &[1.0, 0.0]) - 3.0).abs() < 1e-15);
    }
}

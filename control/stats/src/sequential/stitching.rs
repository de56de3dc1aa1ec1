//! Closed-form boundaries that hold uniformly over time (and over quantiles): at the cost of some width they
//! grow like the law of the iterated logarithm.
//!
//! References: Howard et al., arXiv 1810.08240, Theorem 1 (polynomial stitching); Howard & Ramdas,
//! arXiv 1906.09712, Theorem 2 (empirical process) and Theorem 3 (double stitching).

use std::f64::consts::SQRT_2;

/// Exponent by which the error rate is spread over epochs.
const S: f64 = 1.4;
/// Ratio of successive epochs.
const ETA: f64 = 2.0;
/// Fineness of the grid of quantiles in double stitching.
const DELTA: f64 = 0.5;

/// The polynomial stitched boundary of a sub-Gaussian sum at variance `v` (at least `v_min` is used):
/// k₁√(v·ℓ), ℓ = s ln ln(ηv/v_min) + ln(ζ(s)/(α lnˢη)), s = 1.4, η = 2. +∞ for unusable input.
#[must_use]
pub fn poly_stitching_bound(v: f64, alpha: f64, v_min: f64) -> f64 {
    if !(v_min > 0.0 && alpha > 0.0 && v.is_finite() && v_min.is_finite()) {
        return f64::INFINITY;
    }
    let v = v.max(v_min);
    let ell = S * (ETA * v / v_min).ln().ln() + (zeta(S) / ETA.ln().powf(S)).ln() - alpha.ln();
    k1() * (v * ell.max(0.0)).sqrt()
}

/// The iterated-logarithm boundary of the whole empirical distribution function after `t` ≥ `t_min` values:
/// A√((ln(1 + ln(t/t_min)) + C)/t), with the C that makes the error rate `alpha`. `leading` is A > 1/√2.
/// +∞ before t_min and for unusable input.
#[must_use]
pub fn empirical_process_bound(t: f64, alpha: f64, t_min: f64, leading: f64) -> f64 {
    let usable = alpha > 0.0 && alpha < 1.0 && t_min >= 1.0 && leading > 0.5 * SQRT_2 && t >= t_min;
    if !usable || !t.is_finite() || !leading.is_finite() {
        return f64::INFINITY;
    }
    // The error rate falls with C.
    let (mut low, mut high) = (0.0, 1.0);
    while smallest_error(high, leading) > alpha {
        if high > 1e12 {
            return f64::INFINITY;
        }
        low = high;
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if smallest_error(middle, leading) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    leading * (((t / t_min).ln().ln_1p() + high) / t).sqrt()
}

/// The double-stitched boundary, uniform over quantiles and time, on the scale of counts: how far the number of
/// values below the `quantile` may stray from its mean after `t` values; tightest from `t_opt` on. +∞ for
/// unusable input.
#[must_use]
pub fn double_stitching_bound(quantile: f64, t: f64, alpha: f64, t_opt: f64) -> f64 {
    let p = quantile;
    if !(p > 0.0 && p < 1.0 && alpha > 0.0 && t_opt >= 1.0 && t.is_finite() && t_opt.is_finite()) {
        return f64::INFINITY;
    }
    let t = t.max(t_opt);
    let logit = (p / (1.0 - p)).ln();
    let r = if p >= 0.5 {
        p
    } else {
        let moved = logit + 2.0 * DELTA * (t_opt * ETA / t).sqrt();
        (1.0 / (1.0 + (-moved).exp())).min(0.5)
    };
    let variance = r * (1.0 - r);
    let j = (t / t_opt).sqrt() * logit.abs() / (2.0 * DELTA) + 1.0;
    let twice_zeta = 2.0 * zeta(S);
    let ell = S * (ETA * t / t_opt).ln().ln()
        + S * j.ln()
        + (twice_zeta * (twice_zeta + 1.0) / (alpha * ETA.ln().powf(S))).ln();
    let skew = 0.5 * (ETA.sqrt() + 1.0) * (1.0 - 2.0 * p) / 3.0 * ell;
    DELTA * (ETA * t * variance / t_opt).sqrt()
        + (k1().powi(2) * variance * t * ell + skew * skew)
            .max(0.0)
            .sqrt()
        + skew
}

fn k1() -> f64 {
    (ETA.powf(0.25) + ETA.powf(-0.25)) / SQRT_2
}

/// The bound on the crossing probability for a constant C, minimised over the ratio of epochs η.
fn smallest_error(c: f64, leading: f64) -> f64 {
    let error = |eta: f64| {
        let rate = 2.0 / eta * (leading - (2.0 * (eta - 1.0) / c).sqrt()).powi(2);
        if rate > 1.0 {
            4.0 * (-rate * c).exp() * (1.0 + 1.0 / ((rate - 1.0) * eta.ln()))
        } else {
            f64::INFINITY
        }
    };
    // η ranges up to where the rate falls to 1.
    let (mut low, mut high) = (1.0, 2.0 * leading * leading);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if (0.5 * middle).sqrt() + (2.0 * (middle - 1.0) / c).sqrt() < leading {
            low = middle;
        } else {
            high = middle;
        }
    }
    let (_, smallest) = crate::search::minimum(error, 1.0, low);
    smallest
}

/// Riemann's ζ(s) for s > 1: thirty terms and the Euler–Maclaurin remainder.
fn zeta(s: f64) -> f64 {
    let n = 30.0_f64;
    let head: f64 = (1..30).map(|k| f64::from(k).powf(-s)).sum();
    let tail = n.powf(1.0 - s) / (s - 1.0) + 0.5 * n.powf(-s);
    let rise = s * n.powf(-s - 1.0);
    let third = rise * (s + 1.0) * (s + 2.0) / (n * n);
    let fifth = third * (s + 3.0) * (s + 4.0) / (n * n);
    head + tail + rise / 12.0 - third / 720.0 + fifth / 30_240.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeta_at_known_places() {
        let pi = std::f64::consts::PI;
        assert!((zeta(2.0) - pi * pi / 6.0).abs() < 1e-13);
        assert!((zeta(1.4) - 3.105_547_5).abs() < 1e-6, "{}", zeta(1.4));
    }
}

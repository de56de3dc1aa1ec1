//! The standard normal distribution, also as logarithms.

use std::f64::consts::{LN_2, SQRT_2};

use statrs::function::erf::erfc_inv;

use super::LN_SQRT_2PI;

/// Beyond this the tail is taken from the continued fraction of the Mills ratio.
const TAIL: f64 = 1.0;

/// Φ(x), the probability that a standard normal is at most `x`; full double precision in the lower tail too
/// (statrs' erfc has eleven digits there).
#[must_use]
pub fn cdf(x: f64) -> f64 {
    if x < -TAIL {
        density(x) * mills_ratio(-x)
    } else if x > TAIL {
        1.0 - density(x) * mills_ratio(x)
    } else {
        // ½ + φ(x)(x + x³/3 + x⁵/(3·5) + …).
        let (mut sum, mut term) = (x, x);
        for odd in (3..).step_by(2).take(20) {
            term *= x * x / f64::from(odd);
            sum += term;
        }
        0.5 + density(x) * sum
    }
}

/// 1 − Φ(x), without cancellation.
#[must_use]
pub fn sf(x: f64) -> f64 {
    cdf(-x)
}

/// ln Φ(x); −∞ only at −∞. For very negative x it is −x²/2 − ln(|x|√(2π)) − …, far below the range of
/// doubles.
#[must_use]
pub fn ln_cdf(x: f64) -> f64 {
    if x < -TAIL {
        if x == f64::NEG_INFINITY {
            return x;
        }
        mills_ratio(-x).ln() - LN_SQRT_2PI - 0.5 * x * x
    } else if x > TAIL {
        (-sf(x)).ln_1p()
    } else {
        cdf(x).ln()
    }
}

/// ln(1 − Φ(x)).
#[must_use]
pub fn ln_sf(x: f64) -> f64 {
    ln_cdf(-x)
}

/// ln of the two-sided p-value 2(1 − Φ(|z|)), at most 0.
#[must_use]
pub fn ln_two_sided(z: f64) -> f64 {
    (LN_2 + ln_sf(z.abs())).min(0.0)
}

/// x²/2 + ln Φ(x): the two parts cancel almost completely for very negative x, so they are never formed
/// there.
#[must_use]
pub fn ln_scaled_cdf(x: f64) -> f64 {
    if x < -TAIL {
        if x == f64::NEG_INFINITY {
            return x;
        }
        mills_ratio(-x).ln() - LN_SQRT_2PI
    } else {
        0.5 * x * x + ln_cdf(x)
    }
}

/// The density φ(x).
#[must_use]
pub fn density(x: f64) -> f64 {
    (-0.5 * x * x - LN_SQRT_2PI).exp()
}

/// The x with Φ(x) = p; −∞ at p ≤ 0 and +∞ at p ≥ 1.
#[must_use]
pub fn quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let mut x = -SQRT_2 * erfc_inv(2.0 * p);
    // Newton on the smaller tail, in logarithms: statrs gives about ten digits.
    for _ in 0..3 {
        let (ln_tail, ln_p, sign) = if p < 0.5 {
            (ln_cdf(x), p.ln(), 1.0)
        } else {
            (ln_sf(x), (1.0 - p).ln(), -1.0)
        };
        let hazard = (-0.5 * x * x - LN_SQRT_2PI - ln_tail).exp();
        let step = sign * (ln_tail - ln_p) / hazard;
        if !step.is_finite() {
            break;
        }
        x -= step;
    }
    x
}

/// The z of a two-sided interval at a confidence level; the level is moved into [0, 1 − 1e-15].
#[must_use]
pub(crate) fn two_sided_z(level: f64) -> f64 {
    quantile(0.5 + 0.5 * bounded_level(level))
}

/// A confidence level moved into [0, 1 − 1e-15]; 0 for NaN.
pub(crate) fn bounded_level(level: f64) -> f64 {
    if level > 0.0 {
        level.min(1.0 - 1e-15)
    } else {
        0.0
    }
}

/// The Mills ratio (1 − Φ(x))/φ(x) for x ≥ 1 by its continued fraction 1/(x+1/(x+2/(x+3/(x+…)))); its error
/// after n steps is about e^(−2x√n).
fn mills_ratio(x: f64) -> f64 {
    if x > 1e8 {
        return 1.0 / x;
    }
    let steps = (320.0 / (x * x)) as u32 + 10;
    // The fixed point of t = x + n/t is what the rest of the fraction comes to.
    let mut tail = 0.5 * (x + (x * x + 4.0 * f64::from(steps)).sqrt());
    for j in (1..=steps).rev() {
        tail = x + f64::from(j) / tail;
    }
    1.0 / tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branches_join_without_a_step() {
        for edge in [-1.0_f64, 1.0] {
            let (below, above) = (edge - 1e-9, edge + 1e-9);
            assert!(
                (ln_cdf(above) - ln_cdf(below) - 2e-9 * density(edge) / cdf(edge)).abs() < 5e-15
            );
            assert!((cdf(above) - cdf(below) - 2e-9 * density(edge)).abs() < 5e-15);
        }
    }

    #[test]
    fn quantile_inverts_the_cdf() {
        for p in [1e-300, 1e-20, 0.01, 0.5, 0.8, 1.0 - 1e-10] {
            let back = cdf(quantile(p));
            assert!((back / p - 1.0).abs() < 1e-12, "{p} {back}");
        }
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(quantile(1.0), f64::INFINITY);
    }
}

//! The beta function and the regularised incomplete beta function I_x(a, b), as logarithms; with it the
//! binomial and Student distributions.

use super::gamma::ln_gamma;
use super::{LN_SQRT_2PI, ln_binomial_weight, ln_one_minus_exp, stirling_error};

/// ln B(a, b) for a, b > 0, by differences of Stirling errors: it loses no digits when one or both are large.
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let (a, b) = (positive(a), positive(b));
    if a < 1.0 && b < 1.0 {
        return ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    }
    let n = a + b;
    // Γ(x) = Γ(x+1)/x, and Γ(x+1) by Stirling with its error.
    stirling_error(a) + stirling_error(b) - stirling_error(n) + LN_SQRT_2PI
        - a * ln_ratio(b, a)
        - b * ln_ratio(a, b)
        + 0.5 * (n / (a * b)).ln()
}

/// ln(1 + small/large), the logarithm of (large + small)/large.
fn ln_ratio(other: f64, own: f64) -> f64 {
    (other / own).ln_1p()
}

/// ln I_x(a, b), the logarithm of the regularised incomplete beta function; a, b > 0, x in [0, 1].
#[must_use]
pub fn ln_lower(a: f64, b: f64, x: f64) -> f64 {
    ln_incomplete(a, b, x, 1.0 - x)
}

/// ln(1 − I_x(a, b)), without cancellation.
#[must_use]
pub fn ln_upper(a: f64, b: f64, x: f64) -> f64 {
    ln_incomplete(b, a, 1.0 - x, x)
}

/// ln I_x(a, b) with y = 1 − x given apart, so that a small y keeps its digits.
#[must_use]
pub fn ln_incomplete(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let (a, b) = (positive(a), positive(b));
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if y <= 0.0 {
        return 0.0;
    }
    if x <= (a + 1.0) / (a + b + 2.0) {
        ln_by_fraction(a, b, x, y).min(0.0)
    } else {
        ln_one_minus_exp(ln_by_fraction(b, a, y, x).min(0.0))
    }
}

/// The x with I_x(a, b) = p, by bisection on the side where the logarithm is small.
#[must_use]
pub fn quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..1100 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        let below = if p < 0.5 {
            ln_lower(a, b, middle) < p.ln()
        } else {
            ln_upper(a, b, middle) > (1.0 - p).ln()
        };
        if below {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// ln P(Bin(n, p) ≤ k).
#[must_use]
pub fn ln_binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 0.0;
    }
    let (k, n) = (k as f64, n as f64);
    ln_incomplete(n - k, k + 1.0, 1.0 - p, p)
}

/// ln P(T > t) for Student's t with `dof` > 0 degrees of freedom.
#[must_use]
pub fn ln_student_sf(t: f64, dof: f64) -> f64 {
    let dof = positive(dof);
    let square = t * t;
    // I_x(dof/2, 1/2) with x = dof/(dof + t²) is the two-sided tail.
    let ln_two_sided = if square.is_finite() {
        let total = dof + square;
        ln_incomplete(0.5 * dof, 0.5, dof / total, square / total)
    } else {
        f64::NEG_INFINITY
    };
    let ln_tail = ln_two_sided - std::f64::consts::LN_2;
    if t >= 0.0 {
        ln_tail
    } else {
        ln_one_minus_exp(ln_tail)
    }
}

/// I_x(a, b) = xᵃyᵇ/(a B(a,b)) · (continued fraction), by the modified Lentz algorithm; it converges fast for
/// x below about a/(a+b). DLMF 8.17.22.
fn ln_by_fraction(a: f64, b: f64, x: f64, y: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..200_000 {
        let m = f64::from(m);
        for numerator in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / guard(1.0 + numerator * d);
            c = guard(1.0 + numerator / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 4e-16 {
            break;
        }
    }
    // xᵃyᵇ/B(a,b) = ab/(a+b) · binomial weight of a among a+b.
    ln_binomial_weight(a, a + b, x, y) + (b / (a + b)).ln() + fraction.ln()
}

fn positive(value: f64) -> f64 {
    value.max(f64::MIN_POSITIVE)
}

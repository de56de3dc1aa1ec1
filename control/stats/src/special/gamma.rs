//! ln Γ, and the upper incomplete gamma function as a logarithm; with it the chi-squared distribution.

use super::{LN_SQRT_2PI, deviance, ln_one_minus_exp, stirling_error};

/// ln Γ(x) for x > 0.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    let x = x.max(f64::MIN_POSITIVE);
    if x > 16.0 {
        // Γ(x) = Γ(x+1)/x.
        (x - 0.5) * x.ln() - x + LN_SQRT_2PI + stirling_error(x)
    } else {
        statrs::function::gamma::ln_gamma(x)
    }
}

/// ln Q(a, x), the logarithm of the regularised upper incomplete gamma function; a > 0, x ≥ 0.
#[must_use]
pub fn ln_upper(a: f64, x: f64) -> f64 {
    let a = a.max(f64::MIN_POSITIVE);
    if x <= 0.0 {
        return 0.0;
    }
    if x == f64::INFINITY {
        return f64::NEG_INFINITY;
    }
    // ln[xᵃ e⁻ˣ / Γ(a+1)].
    let ln_weight = -0.5 * a.ln() - LN_SQRT_2PI - stirling_error(a) - deviance(a, x);
    if x < a + 1.0 {
        ln_one_minus_exp((ln_weight + lower_series(a, x).ln()).min(0.0))
    } else {
        (ln_weight + a.ln() + upper_fraction(a, x).ln()).min(0.0)
    }
}

/// ln P(χ² > x) with `dof` > 0 degrees of freedom.
#[must_use]
pub fn ln_chi_squared_sf(x: f64, dof: f64) -> f64 {
    ln_upper(0.5 * dof, 0.5 * x)
}

/// Σ xⁿ/((a+1)…(a+n)), n ≥ 0.
fn lower_series(a: f64, x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, a);
    for _ in 0..1_000_000 {
        n += 1.0;
        term *= x / n;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// Γ(a, x)/(xᵃ e⁻ˣ) by the modified Lentz algorithm. DLMF 8.9.2.
fn upper_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / guard(b);
    let mut fraction = d;
    for i in 1..1_000_000 {
        let i = f64::from(i);
        let numerator = -i * (i - a);
        b += 2.0;
        d = 1.0 / guard(numerator * d + b);
        c = guard(b + numerator / c);
        fraction *= c * d;
        if (c * d - 1.0).abs() < 4e-16 {
            break;
        }
    }
    fraction
}

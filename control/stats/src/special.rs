//! Special functions, accurate far into the tails: the probabilities that decide here go down to 1e-300 and
//! below, so everything exists as a logarithm too.
//!
//! `statrs` supplies erfc, its inverse and ln Γ; what it loses in the tails (ln Φ, the logarithm of the
//! incomplete beta and gamma functions) is computed here. Arguments outside a function's domain are moved
//! to its edge; no function panics, and none returns NaN unless it is given one.

pub mod beta;
pub mod gamma;
pub mod kolmogorov;
pub mod normal;

use std::f64::consts::PI;

/// ln √(2π).
pub(crate) const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;

/// ln(1 − eˣ) for x ≤ 0, without cancellation at either end.
#[must_use]
pub(crate) fn ln_one_minus_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 {
        (-x.exp_m1()).max(0.0).ln()
    } else {
        (-x.exp()).ln_1p()
    }
}

/// Error of Stirling's formula, ln Γ(n+1) − [(n+½) ln n − n + ½ ln 2π], for n > 0.
pub(crate) fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        return statrs::function::gamma::ln_gamma(n + 1.0) - (n + 0.5) * n.ln() + n - LN_SQRT_2PI;
    }
    let inverse_square = 1.0 / (n * n);
    let mut sum = -691.0 / 360_360.0;
    for term in [
        1.0 / 1188.0,
        -1.0 / 1680.0,
        1.0 / 1260.0,
        -1.0 / 360.0,
        1.0 / 12.0,
    ] {
        sum = sum * inverse_square + term;
    }
    sum / n
}

/// Deviance x ln(x/m) + m − x, for x, m > 0, without cancellation when x ≈ m.
pub(crate) fn deviance(x: f64, m: f64) -> f64 {
    let difference = x - m;
    if difference.abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() - difference;
    }
    let v = difference / (x + m);
    let mut sum = difference * v;
    let mut term = 2.0 * x * v;
    for j in 1..1000 {
        term *= v * v;
        let next = sum + term / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// ln of the binomial weight Γ(n+1)/(Γ(k+1)Γ(n−k+1)) pᵏ qⁿ⁻ᵏ for real 0 ≤ k ≤ n and q = 1 − p, by the
/// saddle-point expansion of Loader (2000), "Fast and accurate computation of binomial probabilities": it
/// subtracts no large numbers, so it keeps its digits at n = 10⁹.
#[must_use]
pub(crate) fn ln_binomial_weight(k: f64, n: f64, p: f64, q: f64) -> f64 {
    let rest = n - k;
    if k <= 0.0 {
        return n * ln_share(q, p);
    }
    if rest <= 0.0 {
        return n * ln_share(p, q);
    }
    stirling_error(n)
        - stirling_error(k)
        - stirling_error(rest)
        - deviance(k, n * p)
        - deviance(rest, n * q)
        + 0.5 * (n / (2.0 * PI * k * rest)).ln()
}

/// ln p, read from its complement where that is the smaller of the two.
fn ln_share(p: f64, complement: f64) -> f64 {
    if complement < 0.5 {
        (-complement).ln_1p()
    } else {
        p.ln()
    }
}

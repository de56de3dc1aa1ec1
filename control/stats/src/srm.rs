//! Do users arrive in the declared proportion? A sample-ratio mismatch means that assignment or measurement is
//! broken, and that nothing else can be trusted.
//!
//! With x distinct users per arm, declared shares θ and a Dirichlet prior of concentration c around them:
//! **ln E = ln B(cθ + x) − ln B(cθ) − Σ x ln θ**, the Dirichlet-multinomial against the multinomial. It may be
//! watched at any time; over stages, each with a fresh x and prior, the E-values multiply.
//!
//! Reference: Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022
//! (arXiv 2011.03567).

use crate::special::{deviance, stirling_error};

/// c of the engine.
pub const CONCENTRATION: f64 = 100.0;

/// ln E of one stage. `users` are distinct users per arm, `weights` their declared shares (scaled to sum to 1),
/// `concentration` > 0. 0 (no evidence) without users, or with fewer than two arms; arms without a weight, or
/// with less than 1e-12 of the largest, are left out.
///
/// Evaluated by Stirling errors and deviances, so that 10⁹ users lose no digits.
///
/// ```
/// use serin_stats::srm::{CONCENTRATION, ln_e};
/// assert!(ln_e(&[9_500, 500], &[0.95, 0.05], CONCENTRATION) < 0.0);
/// assert!(ln_e(&[9_000, 1_000], &[0.95, 0.05], CONCENTRATION) > 100.0);
/// ```
#[must_use]
pub fn ln_e(users: &[u64], weights: &[f64], concentration: f64) -> f64 {
    let largest = weights.iter().copied().filter(|weight| weight.is_finite());
    let smallest = 1e-12 * largest.fold(0.0, f64::max);
    let arms = || {
        users
            .iter()
            .zip(weights)
            .filter(|&(_, &weight)| weight > smallest && weight.is_finite())
            .map(|(&users, &weight)| (users as f64, weight))
    };
    let total_weight: f64 = arms().map(|(_, weight)| weight).sum();
    let total_users: f64 = arms().map(|(users, _)| users).sum();
    let usable = concentration > 0.0 && concentration.is_finite() && total_weight.is_finite();
    if !usable || arms().count() < 2 || total_users == 0.0 {
        return 0.0;
    }
    // ln Γ(z) = (z − ½) ln z − z + ½ ln 2π + error(z); all terms in ln θ but the deviances cancel.
    let remainder = |z: f64| stirling_error(z) - 0.5 * z.ln();
    let all = concentration + total_users;
    let sum: f64 = arms()
        .map(|(users, weight)| {
            let share = weight / total_weight;
            let prior = concentration * share;
            let posterior = prior + users;
            deviance(posterior, all * share) + remainder(posterior) - remainder(prior)
        })
        .sum();
    sum - remainder(all) + remainder(concentration)
}

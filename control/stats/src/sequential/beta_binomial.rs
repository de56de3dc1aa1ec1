//! The exact sequential test of a coin's probability, and the confidence sequence from inverting it.
//!
//! A beta mixture over the coin's probability, tuned like the normal mixture to be tightest at a given
//! variance. For a null p₀ with S = successes − n p₀ and V = n p₀(1−p₀):
//! ln E = ln B(a + x, b + n − x) − ln B(a, b) − x ln p₀ − (n−x) ln(1−p₀), with a = r/(1−p₀), b = r/p₀ and
//! r = max(ρ − p₀(1−p₀), p₀(1−p₀)/1000); one-sided with both beta functions restricted to probabilities
//! above p₀.
//!
//! Reference: Howard et al., arXiv 1810.08240, Proposition 7.

use super::{rho_one_sided, rho_two_sided};
use crate::proportion::Interval;
use crate::special::beta::{ln_beta, ln_incomplete};

/// A beta mixture against the null probability p₀.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaBinomial {
    p0: f64,
    r: f64,
    one_sided: bool,
}

impl BetaBinomial {
    /// One-sided ("the probability is at most `p0`"), tightest at the variance `v_opt` = n p₀(1−p₀). `None`
    /// unless p₀ is in (0, 1) and v_opt, α are positive (α below ½).
    #[must_use]
    pub fn one_sided(p0: f64, v_opt: f64, alpha_opt: f64) -> Option<Self> {
        let usable = alpha_opt > 0.0 && alpha_opt < 0.5;
        Self::new(p0, v_opt, usable, rho_one_sided(v_opt, alpha_opt), true)
    }

    /// Two-sided ("the probability is `p0`"); otherwise as [`one_sided`](Self::one_sided), α below 1.
    #[must_use]
    pub fn two_sided(p0: f64, v_opt: f64, alpha_opt: f64) -> Option<Self> {
        let usable = alpha_opt > 0.0 && alpha_opt < 1.0;
        Self::new(p0, v_opt, usable, rho_two_sided(v_opt, alpha_opt), false)
    }

    fn new(p0: f64, v_opt: f64, usable: bool, rho: f64, one_sided: bool) -> Option<Self> {
        let usable = usable && p0 > 0.0 && p0 < 1.0 && v_opt > 0.0 && v_opt.is_finite();
        let single = p0 * (1.0 - p0);
        usable.then_some(Self {
            p0,
            r: (rho - single).max(1e-3 * single),
            one_sided,
        })
    }

    /// ln E after `trials` with `successes`, both of which may be fractions; 0 for unusable numbers.
    #[must_use]
    pub fn ln_e(&self, successes: f64, trials: f64) -> f64 {
        if !(successes >= 0.0 && successes <= trials && trials.is_finite()) {
            return 0.0;
        }
        let (p, q) = (self.p0, 1.0 - self.p0);
        // Beta parameters of the failures and the successes.
        let (a, b) = (self.r / p, self.r / q);
        let failures = trials - successes;
        let mass = |a: f64, b: f64| {
            ln_beta(a, b)
                + if self.one_sided {
                    ln_incomplete(a, b, q, p)
                } else {
                    0.0
                }
        };
        mass(a + failures, b + successes)
            - mass(a, b)
            - successes * p.ln()
            - failures * (-p).ln_1p()
    }
}

/// The confidence sequence for a coin's probability after `trials` with `successes`: at all times at once it
/// covers the truth with probability 1 − α. Tightest around `t_opt` trials. `None` without trials or for
/// unusable parameters.
#[must_use]
pub fn confidence_sequence(
    successes: u64,
    trials: u64,
    alpha: f64,
    t_opt: f64,
    alpha_opt: f64,
) -> Option<Interval> {
    if trials == 0 || !(alpha > 0.0) {
        return None;
    }
    let (x, n) = (successes.min(trials) as f64, trials as f64);
    BetaBinomial::two_sided(0.5, 0.25 * t_opt, alpha_opt)?;
    let threshold = -alpha.min(1.0).ln();
    let rejected = |p: f64| {
        BetaBinomial::two_sided(p, p * (1.0 - p) * t_opt, alpha_opt)
            .is_none_or(|mixture| mixture.ln_e(x, n) > threshold)
    };
    // Between a rejected end and the empirical proportion, which is never rejected.
    let end = |mut outside: f64, mut inside: f64| {
        for _ in 0..200 {
            let middle = 0.5 * (outside + inside);
            if middle == outside || middle == inside {
                break;
            }
            if rejected(middle) {
                outside = middle;
            } else {
                inside = middle;
            }
        }
        0.5 * (outside + inside)
    };
    let p = x / n;
    Some(Interval {
        low: if x == 0.0 { 0.0 } else { end(0.0, p) },
        high: if x == n { 1.0 } else { end(1.0, p) },
    })
}

//! The exact first-error process: which arm the users are in who err for the first time.
//!
//! If the canary is no worse, each newly erring user is in it with probability at most θ, its share of the
//! users: whatever the error rate, the traffic per user, retry loops or clustering. With k of m such users in
//! the canary, a uniform prior on (θ, 1) for the true probability gives the e-value
//!
//! **ln E = ln B(k+1, m−k+1) + ln I₁₋θ(m−k+1, k+1) − ln(1−θ) − k ln θ − (m−k) ln(1−θ)**
//!
//! The beta function and the powers are one binomial weight, B(k+1, m−k+1)/(θᵏ(1−θ)ᵐ⁻ᵏ) =
//! 1/((m+1)·Bin(k; m, θ)), and are evaluated as such: nothing large is subtracted.
//!
//! Reference: Howard et al., arXiv 1810.08240 (beta-binomial mixture), one-sided as in Lindon et al.,
//! arXiv 2205.14762.

use crate::special::{beta::ln_incomplete, ln_binomial_weight};

/// Users who must have erred in the canary, over all stages, before the process may speak.
pub const MIN_CANARY_USERS: u64 = 5;

/// The first errors of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageErrors {
    /// k: of the users who erred for the first time, those in the canary.
    pub canary: u64,
    /// m: all users who erred for the first time.
    pub total: u64,
    /// θ: the canary's share of the users in this stage, in (0, 1).
    pub share: f64,
}

/// ln E of one stage: `canary` of `total` first errors fell to an arm with this `share` of the users.
///
/// 0 (no evidence) without errors or with a share outside (0, 1); `canary` above `total` counts as `total`.
///
/// ```
/// use serin_stats::first_error::ln_e;
/// // Five users, all in a canary of 5 %: far beyond 1/.0125.
/// assert!(ln_e(5, 5, 0.05) > 80_f64.ln());
/// assert!(ln_e(4, 4, 0.05) > ln_e(4, 5, 0.05));
/// ```
#[must_use]
pub fn ln_e(canary: u64, total: u64, share: f64) -> f64 {
    if total == 0 || !(share > 0.0 && share < 1.0) {
        return 0.0;
    }
    let (k, m) = (canary.min(total) as f64, total as f64);
    let rest = 1.0 - share;
    ln_incomplete(m - k + 1.0, k + 1.0, rest, share)
        - ln_binomial_weight(k, m, share, rest)
        - (m + 1.0).ln()
        - (-share).ln_1p()
}

/// ln E of a whole rollout: the sum over its stages (their e-values multiply), taken at most 0 until
/// [`MIN_CANARY_USERS`] users have erred in the canary.
#[must_use]
pub fn ln_e_stages(stages: &[StageErrors]) -> f64 {
    let users = stages.iter().fold(0_u64, |users, stage| {
        users.saturating_add(stage.canary.min(stage.total))
    });
    let sum: f64 = stages
        .iter()
        .map(|stage| ln_e(stage.canary, stage.total, stage.share))
        .sum();
    if users < MIN_CANARY_USERS {
        sum.min(0.0)
    } else {
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catastrophe_counts_of_the_specification() {
        // A canary that fails every request, clean baseline: the number of users until E ≥ 80.
        let users_until = |share: f64| {
            (1..100).find(|&k| {
                ln_e_stages(&[StageErrors {
                    canary: k,
                    total: k,
                    share,
                }]) >= 80_f64.ln()
            })
        };
        assert_eq!(users_until(0.05), Some(5));
        assert_eq!(users_until(0.25), Some(5));
        let at_half = users_until(0.5).unwrap();
        assert!((9..=12).contains(&at_half), "{at_half}");
    }

    #[test]
    fn four_users_never_speak() {
        let stages = [
            StageErrors {
                canary: 2,
                total: 2,
                share: 0.05,
            },
            StageErrors {
                canary: 2,
                total: 2,
                share: 0.25,
            },
        ];
        assert_eq!(ln_e_stages(&stages), 0.0);
    }

    #[test]
    fn out_of_range_input_is_no_evidence() {
        assert_eq!(ln_e(3, 5, 0.0), 0.0);
        assert_eq!(ln_e(3, 5, 1.0), 0.0);
        assert_eq!(ln_e(3, 5, f64::NAN), 0.0);
        assert_eq!(ln_e(9, 5, 0.1), ln_e(5, 5, 0.1));
        assert!(ln_e(1_000_000_000, 4_000_000_000, 0.25).is_finite());
    }
}

//! Two answers to the same request: does the shadow agree with the baseline?
//!
//! Outcomes are paired, so their difference is tested on the discordant pairs alone. The rate of agreement
//! itself takes its interval from [`wilson`](crate::proportion::wilson).
//!
//! References: McNemar 1947; Edwards 1948 (continuity correction); Cohen 1960 (κ).

use crate::special::beta::ln_binomial_cdf;
use crate::special::gamma::ln_chi_squared_sf;

/// Counts of pairs by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Both answered well.
    pub both_ok: u64,
    /// Only the shadow failed.
    pub only_shadow_failed: u64,
    /// Only the baseline failed.
    pub only_baseline_failed: u64,
    /// Both failed.
    pub both_failed: u64,
}

/// McNemar's test of equal failure rates, fixed-horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// Exact two-sided p-value: binomial on the discordant pairs.
    pub p_exact: f64,
    /// χ² with continuity correction, (|b − c| − 1)²/(b + c); 0 without discordant pairs.
    pub statistic: f64,
    /// Its p-value, one degree of freedom; 1 without discordant pairs.
    pub p: f64,
}

impl Pairs {
    /// Number of pairs.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.both_ok
            .saturating_add(self.only_shadow_failed)
            .saturating_add(self.only_baseline_failed)
            .saturating_add(self.both_failed)
    }

    /// Share of pairs that agree, in [0, 1]; `None` without pairs.
    #[must_use]
    pub fn agreement(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| (self.both_ok as f64 + self.both_failed as f64) / total as f64)
    }

    /// McNemar's test; without discordant pairs p = 1.
    #[must_use]
    pub fn mcnemar(&self) -> McNemar {
        let (b, c) = (self.only_shadow_failed, self.only_baseline_failed);
        let discordant = b.saturating_add(c);
        if discordant == 0 {
            return McNemar {
                p_exact: 1.0,
                statistic: 0.0,
                p: 1.0,
            };
        }
        let gap = (b.abs_diff(c) as f64 - 1.0).abs();
        let statistic = gap * gap / discordant as f64;
        let ln_tail = ln_binomial_cdf(b.min(c), discordant, 0.5);
        McNemar {
            p_exact: (2.0 * ln_tail.exp()).min(1.0),
            statistic,
            p: ln_chi_squared_sf(statistic, 1.0).exp(),
        }
    }

    /// Cohen's κ, agreement beyond chance, in [−1, 1]; `None` without pairs, or when chance alone gives full
    /// agreement.
    #[must_use]
    pub fn cohens_kappa(&self) -> Option<f64> {
        let n = self.total() as f64;
        let observed = self.agreement()?;
        let ok = |with: u64| (self.both_ok as f64 + with as f64) / n;
        let (baseline_ok, shadow_ok) = (ok(self.only_shadow_failed), ok(self.only_baseline_failed));
        let chance = baseline_ok * shadow_ok + (1.0 - baseline_ok) * (1.0 - shadow_ok);
        (chance < 1.0).then(|| (observed - chance) / (1.0 - chance))
    }
}

//! Mann–Whitney: does a value of the canary exceed one of the baseline more often than the reverse?
//!
//! From two histograms over the same ordered bins (values inside a bin are ties) or from raw samples. Sums of
//! ranks are whole numbers and kept as such. Fixed-horizon: what may be watched is the mean ridit, the same
//! statistic as a sum ([`ridit`](crate::ridit)).
//!
//! References: Mann & Whitney 1947; Lehmann 1975 (tie correction, continuity correction); Cliff 1993 (delta);
//! Hodges & Lehmann 1963 (shift, in [`shift`](crate::shift)).

use crate::special::normal;

/// Totals up to here have exact tie corrections; N³ must fit 128 bits.
const EXACT_TOTAL: u128 = 1 << 42;
/// Largest n₁·n₂ for which the exact distribution is computed.
const EXACT_PAIRS: usize = 2_500;

/// The Mann–Whitney test with the normal approximation. "Greater" means that the canary's values tend to be
/// larger. P-values are fixed-horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankSum {
    /// Pairs in which the canary's value is larger, ties counted half.
    pub u_canary: f64,
    /// Pairs in which the baseline's value is larger, ties counted half.
    pub u_baseline: f64,
    /// P(canary > baseline) + ½ P(equal) = U/(n_c n_b), in [0, 1].
    pub auc: f64,
    /// 2·AUC − 1, in [−1, 1].
    pub cliffs_delta: f64,
    /// Σ (t³ − t) over groups of t tied values.
    pub tie_sum: f64,
    /// Standard deviation of U under the null, corrected for ties; 0 when degenerate.
    pub sigma_u: f64,
    /// (U − n_c n_b/2)/σ without continuity correction; 0 when degenerate.
    pub z: f64,
    /// P-values with the continuity correction of ½.
    pub corrected: RankSumP,
    /// P-values without it.
    pub uncorrected: RankSumP,
    /// ln of the uncorrected one-sided p-value; exact where that underflows.
    pub ln_p_greater: f64,
    /// ln of the uncorrected two-sided p-value.
    pub ln_p_two_sided: f64,
    /// All values are tied. Then z = 0, p = 1 two-sided and ½ one-sided.
    pub degenerate: bool,
}

/// P-values for the three alternatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankSumP {
    /// The arms differ.
    pub two_sided: f64,
    /// The canary's values are larger.
    pub greater: f64,
    /// The canary's values are smaller.
    pub less: f64,
}

/// The test from counts per bin, bins in ascending order of value; missing bins are empty. `None` when an arm
/// is empty.
///
/// ```
/// let test = serin_stats::rank_sum::from_counts(&[0, 1, 9], &[9, 1, 0]).unwrap();
/// assert!(test.auc > 0.98 && test.corrected.greater < 0.001);
/// ```
#[must_use]
pub fn from_counts(canary: &[u64], baseline: &[u64]) -> Option<RankSum> {
    RankTotals::of(canary, baseline).map(|totals| totals.test())
}

/// What the test is computed from: enough to repeat it from a record that holds no bins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankTotals {
    /// Values of the canary, > 0.
    pub n_canary: f64,
    /// Values of the baseline, > 0.
    pub n_baseline: f64,
    /// 2U − n_c·n_b, U of the canary; subtracted in whole numbers, since near the null the two are almost equal.
    pub excess: f64,
    /// Σ (t³ − t) over groups of t tied values.
    pub tie_sum: f64,
    /// N³ − N − Σ (t³ − t).
    pub untied: f64,
}

impl RankTotals {
    /// From counts per bin, as [`from_counts`].
    #[must_use]
    pub fn of(canary: &[u64], baseline: &[u64]) -> Option<Self> {
        let sums = RankSums::of(canary, baseline)?;
        let excess = sums.twice_u.abs_diff(sums.pairs()) as f64;
        Some(Self {
            n_canary: sums.canary as f64,
            n_baseline: sums.baseline as f64,
            excess: if sums.twice_u >= sums.pairs() {
                excess
            } else {
                -excess
            },
            tie_sum: sums.ties,
            untied: sums.untied(),
        })
    }

    /// The test.
    #[must_use]
    pub fn test(&self) -> RankSum {
        let excess = self.excess;
        let pairs = self.n_canary * self.n_baseline;
        let u_canary = 0.5 * (pairs + excess);
        let sigma_u = self.sigma();
        let degenerate = !(sigma_u > 0.0);
        let scaled = |twice: f64| {
            if degenerate {
                0.0
            } else {
                0.5 * twice / sigma_u
            }
        };
        let z = scaled(excess);
        let p_values = |correction: f64| RankSumP {
            two_sided: (2.0 * normal::sf(scaled(excess.abs() - correction))).min(1.0),
            greater: normal::sf(scaled(excess - correction)),
            less: normal::sf(scaled(-excess - correction)),
        };
        RankSum {
            u_canary,
            u_baseline: pairs - u_canary,
            auc: 0.5 + 0.5 * excess / pairs,
            cliffs_delta: excess / pairs,
            tie_sum: self.tie_sum,
            sigma_u,
            z,
            corrected: p_values(1.0),
            uncorrected: p_values(0.0),
            ln_p_greater: normal::ln_sf(z),
            ln_p_two_sided: normal::ln_two_sided(z),
            degenerate,
        }
    }

    /// √(n_c n_b/12 · (N³ − N − Σ(t³−t))/(N(N−1))).
    fn sigma(&self) -> f64 {
        let all = self.n_canary + self.n_baseline;
        let share = self.untied / (all * (all - 1.0));
        (self.n_canary * self.n_baseline / 12.0 * share).sqrt()
    }
}

/// The test from raw values; values that are not numbers are left out. `None` when an arm is empty.
#[must_use]
pub fn from_samples(canary: &[f64], baseline: &[f64]) -> Option<RankSum> {
    let (counts_c, counts_b) = tie_groups(canary, baseline);
    from_counts(&counts_c, &counts_b)
}

/// The exact distribution's p-values for `u` = U of the canary (rounded up to a whole number), without ties.
/// `None` when an arm is empty or n_c·n_b is above 2,500, where the approximation is as good.
///
/// The largest of all values is the canary's with probability n_c/(n_c+n_b), and then beats all n_b:
/// P(n_c, n_b; u) = n_c/(n_c+n_b) · P(n_c−1, n_b; u−n_b) + n_b/(n_c+n_b) · P(n_c, n_b−1; u).
#[must_use]
pub fn exact_p(u: f64, n_canary: usize, n_baseline: usize) -> Option<RankSumP> {
    let pairs = n_canary.checked_mul(n_baseline)?;
    if pairs == 0 || pairs > EXACT_PAIRS || !(u >= 0.0 && u <= pairs as f64) {
        return None;
    }
    let distribution = u_distribution(n_canary, n_baseline);
    // Symmetric, so the upper tail is summed from its end.
    let at_least = |u: f64| -> f64 {
        let terms = pairs - u.ceil() as usize + 1;
        distribution.iter().take(terms).sum::<f64>().min(1.0)
    };
    let other = pairs as f64 - u;
    Some(RankSumP {
        two_sided: (2.0 * at_least(u.max(other))).min(1.0),
        greater: at_least(u),
        less: at_least(other),
    })
}

/// P(U = u) for u = 0..=n_c·n_b without ties.
fn u_distribution(n_canary: usize, n_baseline: usize) -> Vec<f64> {
    // By number of baseline values, for one number of canary values at a time.
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; n_baseline + 1];
    for c in 1..=n_canary {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for b in 1..=n_baseline {
            let share = c as f64 / (c + b) as f64;
            let mut ways = vec![0.0; c * b + 1];
            for (way, &p) in ways[b..].iter_mut().zip(&row[b]) {
                *way += share * p;
            }
            for (way, &p) in ways.iter_mut().zip(&next[b - 1]) {
                *way += (1.0 - share) * p;
            }
            next.push(ways);
        }
        row = next;
    }
    row.pop().unwrap_or_default()
}

/// Counts of both arms at every distinct value, in ascending order.
fn tie_groups(canary: &[f64], baseline: &[f64]) -> (Vec<u64>, Vec<u64>) {
    let mut values: Vec<(f64, bool)> = canary
        .iter()
        .map(|&value| (value + 0.0, true))
        .chain(baseline.iter().map(|&value| (value + 0.0, false)))
        .filter(|(value, _)| !value.is_nan())
        .collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut counts_c, mut counts_b) = (Vec::new(), Vec::new());
    for group in values.chunk_by(|a, b| a.0 == b.0) {
        let of_canary = group.iter().filter(|(_, canary)| *canary).count() as u64;
        counts_c.push(of_canary);
        counts_b.push(group.len() as u64 - of_canary);
    }
    (counts_c, counts_b)
}

/// Whole-number sums over the bins.
struct RankSums {
    canary: u128,
    baseline: u128,
    twice_u: u128,
    ties: f64,
    /// N³ − N − Σ(t³ − t), when it fits.
    untied: Option<u128>,
}

impl RankSums {
    fn of(canary: &[u64], baseline: &[u64]) -> Option<Self> {
        let bins = canary.len().max(baseline.len());
        let at = |counts: &[u64], bin: usize| u128::from(counts.get(bin).copied().unwrap_or(0));
        let total = |counts: &[u64]| counts.iter().map(|&count| u128::from(count)).sum::<u128>();
        let (n_c, n_b) = (total(canary), total(baseline));
        if n_c == 0 || n_b == 0 {
            return None;
        }
        let (mut twice_u, mut below, mut ties, mut exact_ties) = (0_u128, 0_u128, 0.0, 0_u128);
        let exact = n_c + n_b <= EXACT_TOTAL;
        for bin in 0..bins {
            let (c, b) = (at(canary, bin), at(baseline, bin));
            twice_u = twice_u.saturating_add(c.saturating_mul(2 * below + b));
            below += b;
            let tied = c + b;
            if exact {
                exact_ties += tied * tied * tied - tied;
            } else {
                ties += (tied as f64).powi(3) - tied as f64;
            }
        }
        let all = n_c + n_b;
        Some(Self {
            canary: n_c,
            baseline: n_b,
            twice_u,
            ties: if exact { exact_ties as f64 } else { ties },
            untied: exact.then(|| all * all * all - all - exact_ties),
        })
    }

    fn pairs(&self) -> u128 {
        self.canary.saturating_mul(self.baseline)
    }

    fn untied(&self) -> f64 {
        let all = (self.canary + self.baseline) as f64;
        match self.untied {
            Some(untied) => untied as f64,
            None => (all.powi(3) - all - self.ties).max(0.0),
        }
    }
}

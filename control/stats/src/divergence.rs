//! How far two distributions are apart: population stability index and Jensen–Shannon divergence.
//!
//! Descriptive measures of drift with customary thresholds, not tests; a test is in
//! [`kolmogorov_smirnov`](crate::kolmogorov_smirnov) and [`chi_squared`](crate::chi_squared).
//!
//! References: Siddiqi 2006 (PSI and its bands); Lin 1991 (Jensen–Shannon).

/// Proportions below this count as this, so that an empty bucket does not make the index infinite.
pub const PSI_FLOOR: f64 = 1e-4;
/// Buckets over the reference's range.
pub const PSI_BUCKETS: usize = 10;
/// Jensen–Shannon divergence, in nats, above which drift is reported.
pub const JENSEN_SHANNON_ALARM: f64 = 0.1;

/// What a stability index means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Below 0.1.
    Stable,
    /// From 0.1 up to 0.2.
    Moderate,
    /// From 0.2 on.
    Significant,
}

impl Stability {
    /// The band of an index.
    #[must_use]
    pub fn of(index: f64) -> Self {
        if index < 0.1 {
            Self::Stable
        } else if index < 0.2 {
            Self::Moderate
        } else {
            Self::Significant
        }
    }

    /// Lower-case name, as in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Moderate => "moderate",
            Self::Significant => "significant",
        }
    }
}

/// Σ (c − r) ln(c/r) over paired proportions, each raised to `floor` first and not rescaled; ≥ 0.
#[must_use]
pub fn stability_index(reference: &[f64], current: &[f64], floor: f64) -> f64 {
    let floor = floor.max(f64::MIN_POSITIVE);
    reference
        .iter()
        .zip(current)
        .map(|(&r, &c)| (r.max(floor).min(f64::MAX), c.max(floor).min(f64::MAX)))
        .map(|(r, c)| (c - r) * (c / r).ln())
        .sum()
}

/// Counts in the same buckets on both sides, and how many values each side has in all (also those that fell
/// outside every bucket).
#[derive(Clone, Debug, PartialEq)]
pub struct Bucketed {
    /// Bucket edges, ascending; one more than buckets.
    pub edges: Vec<f64>,
    /// Reference counts per bucket.
    pub reference: Vec<u64>,
    /// Current counts per bucket.
    pub current: Vec<u64>,
    /// Values on the reference side.
    pub n_reference: u64,
    /// Values on the current side.
    pub n_current: u64,
}

impl Bucketed {
    /// The stability index of these buckets.
    #[must_use]
    pub fn stability_index(&self, floor: f64) -> f64 {
        let shares = |counts: &[u64], n: u64| -> Vec<f64> {
            counts
                .iter()
                .map(|&count| count as f64 / n.max(1) as f64)
                .collect()
        };
        stability_index(
            &shares(&self.reference, self.n_reference),
            &shares(&self.current, self.n_current),
            floor,
        )
    }
}

/// What happens to current values outside the reference's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// They are in no bucket, but stay in the denominator.
    Drop,
    /// They go to the end buckets.
    Clamp,
}

/// Buckets of equal width over the reference's range, the last one closed. `None` for an empty or constant
/// reference, an empty current side, or no buckets. Values that are not finite are left out.
#[must_use]
pub fn equal_width(
    reference: &[f64],
    current: &[f64],
    buckets: usize,
    outside: Outside,
) -> Option<Bucketed> {
    let (reference, current) = (finite(reference), finite(current));
    let (low, high) = (*reference.first()?, *reference.last()?);
    if !(high > low) || !(high - low).is_finite() || buckets == 0 || current.is_empty() {
        return None;
    }
    let width = (high - low) / buckets as f64;
    let edges: Vec<f64> = (0..=buckets)
        .map(|edge| {
            if edge == buckets {
                high
            } else {
                low + edge as f64 * width
            }
        })
        .collect();
    let clamped = |value: &f64| match outside {
        Outside::Drop => *value,
        Outside::Clamp => value.clamp(low, high),
    };
    Some(Bucketed {
        reference: count_between(&edges, reference.iter().copied()),
        current: count_between(&edges, current.iter().map(clamped)),
        n_reference: reference.len() as u64,
        n_current: current.len() as u64,
        edges,
    })
}

/// Buckets between the reference's quantiles (linear interpolation, duplicates removed), open at both ends.
/// `None` as for [`equal_width`].
#[must_use]
pub fn equal_share(reference: &[f64], current: &[f64], buckets: usize) -> Option<Bucketed> {
    let (reference, current) = (finite(reference), finite(current));
    let (low, high) = (*reference.first()?, *reference.last()?);
    if !(high > low) || !(high - low).is_finite() || buckets == 0 || current.is_empty() {
        return None;
    }
    let mut edges: Vec<f64> = (0..=buckets)
        .map(|edge| sorted_quantile(&reference, edge as f64 * (1.0 / buckets as f64)))
        .collect();
    edges.dedup();
    let clamped = |value: &f64| value.clamp(low, high);
    Some(Bucketed {
        reference: count_between(&edges, reference.iter().copied()),
        current: count_between(&edges, current.iter().map(clamped)),
        n_reference: reference.len() as u64,
        n_current: current.len() as u64,
        edges,
    })
}

/// Jensen–Shannon divergence in nats of two vectors of weights (proportions or counts; scaled to sum to 1),
/// in [0, ln 2]. `None` when one of them has no weight.
///
/// ```
/// let apart = serin_stats::divergence::jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]).unwrap();
/// assert!((apart - 2_f64.ln()).abs() < 1e-15);
/// ```
#[must_use]
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> Option<f64> {
    let weight = |x: f64| if x > 0.0 && x.is_finite() { x } else { 0.0 };
    let total = |side: &[f64]| side.iter().map(|&x| weight(x)).sum::<f64>();
    let (total_p, total_q) = (total(p), total(q));
    if !(total_p > 0.0 && total_q > 0.0 && total_p.is_finite() && total_q.is_finite()) {
        return None;
    }
    let at = |side: &[f64], bin: usize| weight(side.get(bin).copied().unwrap_or(0.0));
    let part = |x: f64, middle: f64| if x > 0.0 { x * (x / middle).ln() } else { 0.0 };
    let sum: f64 = (0..p.len().max(q.len()))
        .map(|bin| {
            let (p, q) = (at(p, bin) / total_p, at(q, bin) / total_q);
            let middle = 0.5 * (p + q);
            part(p, middle) + part(q, middle)
        })
        .sum();
    Some((0.5 * sum).max(0.0))
}

fn finite(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Linear interpolation between order statistics.
fn sorted_quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let (low, high, part) = (sorted[below], sorted[above], at - at.floor());
    // From the nearer end, so that a whole step lands exactly.
    if part < 0.5 {
        low + (high - low) * part
    } else {
        high - (high - low) * (1.0 - part)
    }
}

/// Counts per bucket [edge, next edge), the last one closed; values outside are in none.
fn count_between(edges: &[f64], values: impl Iterator<Item = f64>) -> Vec<u64> {
    let mut counts = vec![0; edges.len() - 1];
    let last = counts.len() - 1;
    for value in values {
        let above = edges.partition_point(|&edge| edge <= value);
        if above == edges.len() && value == edges[last + 1] {
            counts[last] += 1;
        } else if above > 0 && above < edges.len() {
            counts[above - 1] += 1;
        }
    }
    counts
}

//! Two-sample Kolmogorov–Smirnov: the largest gap between two empirical distribution functions.
//!
//! Fixed-horizon; used for drift. With binned data or ties the p-values are conservative.
//!
//! References: Smirnov 1939; Stephens 1970 (small-sample correction); Hodges 1958 (exact distribution by
//! lattice paths); Marsaglia, Tsang & Wang 2003 and Miller 1956 (finite-n distribution of one sample).

use crate::special::{kolmogorov, ln_binomial_weight};

/// Largest n·m for which the exact p-value is computed.
const EXACT_PAIRS: usize = 4_000_000;
/// Largest effective n for which the finite-n distribution is computed; the corrected limit is used above.
const FINITE_N: f64 = 500.0;

/// The gap and its p-values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KolmogorovSmirnov {
    /// D, the largest gap, in [0, 1].
    pub distance: f64,
    /// nm/(n+m).
    pub effective_n: f64,
    /// P-value of the limiting distribution at √(nm/(n+m))·D.
    pub p_limit: f64,
    /// The same with Stephens' correction for small samples.
    pub p_stephens: f64,
}

/// Where the largest gap of raw samples lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    /// The value at which it lies.
    pub value: f64,
    /// Whether the reference's distribution function is the higher one there (its values are smaller).
    pub reference_above: bool,
}

impl KolmogorovSmirnov {
    fn new(distance: f64, n: f64, m: f64) -> Self {
        let effective_n = n * m / (n + m);
        let root = effective_n.sqrt();
        Self {
            distance,
            effective_n,
            p_limit: kolmogorov::sf(root * distance),
            p_stephens: kolmogorov::sf((root + 0.12 + 0.11 / root) * distance),
        }
    }

    /// P-value by the finite-n distribution of one sample of the effective size (rounded, ties to even).
    /// `None` when that size rounds to 0.
    #[must_use]
    pub fn p_finite(&self) -> Option<f64> {
        let n = self.effective_n.round_ties_even();
        if n > FINITE_N {
            Some(self.p_stephens)
        } else {
            (n > 0.0).then(|| one_sample_sf(self.distance, n as usize))
        }
    }
}

/// The gap between two histograms over the same ordered bins. `None` when a side is empty.
#[must_use]
pub fn from_counts(reference: &[u64], current: &[u64]) -> Option<KolmogorovSmirnov> {
    let total = |counts: &[u64]| counts.iter().map(|&count| count as f64).sum::<f64>();
    let (n, m) = (total(reference), total(current));
    if !(n > 0.0 && m > 0.0) {
        return None;
    }
    let (mut below_n, mut below_m, mut distance) = (0.0, 0.0, 0.0_f64);
    for bin in 0..reference.len().max(current.len()) {
        below_n += reference.get(bin).copied().unwrap_or(0) as f64;
        below_m += current.get(bin).copied().unwrap_or(0) as f64;
        distance = distance.max((below_n / n - below_m / m).abs());
    }
    Some(KolmogorovSmirnov::new(distance, n, m))
}

/// The gap between raw samples, and where it lies. Values that are not numbers are left out; `None` when a side
/// is empty.
#[must_use]
pub fn from_samples(reference: &[f64], current: &[f64]) -> Option<(KolmogorovSmirnov, Location)> {
    let sorted = |values: &[f64]| {
        let mut values: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (reference, current) = (sorted(reference), sorted(current));
    let first = *reference.first()?;
    let _ = current.first()?;
    let (n, m) = (reference.len() as f64, current.len() as f64);
    let upto = |side: &[f64], value: f64| side.partition_point(|&x| x <= value) as f64;
    // Of equal gaps the first counts, the reference's values before the current ones.
    let (mut above, mut below) = ((0.0, first), (0.0, first));
    for (at, &value) in reference.iter().chain(&current).enumerate() {
        let gap = upto(&reference, value) / n - upto(&current, value) / m;
        if at == 0 || gap > above.0 {
            above = (gap, value);
        }
        if at == 0 || gap < below.0 {
            below = (gap, value);
        }
    }
    let reference_above = -below.0 <= above.0;
    let (gap, value) = if reference_above { above } else { below };
    Some((
        KolmogorovSmirnov::new(gap.abs(), n, m),
        Location {
            value,
            reference_above,
        },
    ))
}

/// The exact p-value P(D ≥ d) for sample sizes `n` and `m` without ties. `None` when a side is empty or n·m
/// is above 4 million.
///
/// A random path to (i, j) came from (i−1, j) with probability i/(i+j); the probability that it has touched
/// the boundary is carried along, so nothing is subtracted from 1.
#[must_use]
pub fn exact_p(distance: f64, n: usize, m: usize) -> Option<f64> {
    let pairs = n.checked_mul(m)?;
    if pairs == 0 || pairs > EXACT_PAIRS || distance.is_nan() {
        return None;
    }
    // D is a multiple of 1/lcm; compared in whole numbers.
    let divisor = greatest_common_divisor(n, m);
    let (step_n, step_m) = ((m / divisor) as f64, (n / divisor) as f64);
    let reach = (distance.clamp(0.0, 1.0) * step_n * n as f64).round();
    if reach == 0.0 {
        return Some(1.0);
    }
    let mut touched = vec![0.0; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            let gap = (i as f64 * step_n - j as f64 * step_m).abs();
            touched[j] = if gap >= reach {
                1.0
            } else if i + j == 0 {
                0.0
            } else {
                let from_left = if i > 0 { i as f64 * touched[j] } else { 0.0 };
                let from_below = if j > 0 {
                    j as f64 * touched[j - 1]
                } else {
                    0.0
                };
                (from_left + from_below) / (i + j) as f64
            };
        }
    }
    Some(touched[m].min(1.0))
}

/// P(D_n > d) of one sample of size n against its true distribution.
fn one_sample_sf(d: f64, n: usize) -> f64 {
    let size = n as f64;
    if d <= 0.0 || n == 0 {
        return 1.0;
    }
    if d >= 1.0 {
        return 0.0;
    }
    // Far out only one side can be crossed; the chance of both is e⁻²² of it.
    if size * d * d > 3.8 || (d >= 0.5 && n > 0) {
        return (2.0 * one_sided_sf(d, n)).min(1.0);
    }
    (1.0 - one_sample_cdf(d, n)).clamp(0.0, 1.0)
}

/// P(D⁺_n > d) = d Σ_j C(n,j) (d + j/n)^(j−1) (1 − d − j/n)^(n−j), j ≤ n(1−d).
fn one_sided_sf(d: f64, n: usize) -> f64 {
    let size = n as f64;
    (0..=n)
        .map(|j| (j as f64, d + j as f64 / size))
        .take_while(|&(_, p)| p <= 1.0)
        .map(|(j, p)| d / p * ln_binomial_weight(j, size, p, 1.0 - p).exp())
        .sum()
}

/// P(D_n ≤ d) by Durbin's matrix: n!/nⁿ times the middle entry of Hⁿ.
fn one_sample_cdf(d: f64, n: usize) -> f64 {
    let size = n as f64;
    let k = (size * d) as usize + 1;
    let h = k as f64 - size * d;
    let width = 2 * k - 1;
    let entry = |i: usize, j: usize| {
        let (last, mut value) = (width - 1, f64::from(i + 1 >= j));
        if j == 0 {
            value -= h.powi(i as i32 + 1);
        }
        if i == last {
            value -= h.powi((width - j) as i32);
        }
        if i == last && j == 0 && 2.0 * h > 1.0 {
            value += (2.0 * h - 1.0).powi(width as i32);
        }
        (1..=(i + 1).saturating_sub(j)).fold(value, |value, divisor| value / divisor as f64)
    };
    let matrix: Vec<Vec<f64>> = (0..width)
        .map(|i| (0..width).map(|j| entry(i, j)).collect())
        .collect();
    // The middle row of the power, one multiplication at a time, with n!/nⁿ mixed in to stay in range.
    let mut row = vec![0.0; width];
    row[k - 1] = 1.0;
    for step in 1..=n {
        let scale = step as f64 / size;
        row = (0..width)
            .map(|j| scale * (0..width).map(|i| row[i] * matrix[i][j]).sum::<f64>())
            .collect();
    }
    row[k - 1].clamp(0.0, 1.0)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

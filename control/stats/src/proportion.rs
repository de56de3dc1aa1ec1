//! Two proportions: the classic pooled z-test with its effect sizes and intervals, and intervals for one.
//!
//! This is the fixed-horizon procedure: valid at one look at a size declared beforehand. It is always shown
//! and never decides unless it was asked to; what may be watched is in [`sequential`](crate::sequential).
//!
//! Confidence levels outside (0, 1) are moved to its edge.
//!
//! References: Newcombe 1998 (score interval of a difference); Wilson 1927; Clopper & Pearson 1934; Agresti &
//! Caffo 2000; Cohen 1988 (h).

use crate::special::{beta, normal};

/// A closed interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Counts of the two arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoCounts {
    /// Baseline requests that count (errors, say).
    pub x_baseline: u64,
    /// All baseline requests.
    pub n_baseline: u64,
    /// Canary requests that count.
    pub x_canary: u64,
    /// All canary requests.
    pub n_canary: u64,
}

/// The pooled two-proportion z-test. P-values are fixed-horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProportionTest {
    /// Baseline's proportion, in [0, 1].
    pub p_baseline: f64,
    /// Canary's proportion, in [0, 1].
    pub p_canary: f64,
    /// Canary minus baseline.
    pub diff: f64,
    /// Proportion over both arms.
    pub pooled: f64,
    /// Δ/√(p(1−p)(1/n_b + 1/n_c)) with the pooled p; 0 when degenerate.
    pub z: f64,
    /// Two-sided p-value 2(1−Φ(|z|)).
    pub p_two_sided: f64,
    /// One-sided p-value against "the canary's is not larger".
    pub p_canary_greater: f64,
    /// One-sided p-value against "the canary's is not smaller".
    pub p_canary_less: f64,
    /// ln of the two-sided p-value; exact where that underflows.
    pub ln_p_two_sided: f64,
    /// ln of the one-sided p-value.
    pub ln_p_canary_greater: f64,
    /// Newcombe's interval for the difference, at the level asked for.
    pub newcombe: Interval,
    /// Cohen's h = 2 asin √p_c − 2 asin √p_b, the effect size on the arcsine scale.
    pub cohens_h: f64,
    /// No variance: nothing counts, or everything does. Then z = 0 and p = 1.
    pub degenerate: bool,
}

/// The test at confidence `level` (e.g. 0.95) for the interval; `None` when an arm is empty.
///
/// ```
/// use serin_stats::proportion::{TwoCounts, two_proportion_z};
/// let counts = TwoCounts { x_baseline: 10, n_baseline: 1000, x_canary: 20, n_canary: 1000 };
/// let test = two_proportion_z(counts, 0.95).unwrap();
/// assert!(test.z > 1.8 && test.z < 1.9 && test.newcombe.low < 0.0);
/// ```
#[must_use]
pub fn two_proportion_z(counts: TwoCounts, level: f64) -> Option<ProportionTest> {
    let TwoCounts {
        x_baseline,
        n_baseline,
        x_canary,
        n_canary,
    } = counts.bounded()?;
    let (n1, n2) = (n_baseline as f64, n_canary as f64);
    let (p1, p2) = (x_baseline as f64 / n1, x_canary as f64 / n2);
    let diff = exact_difference(x_baseline, n_baseline, x_canary, n_canary);
    let counted = x_baseline as f64 + x_canary as f64;
    let pooled = counted / (n1 + n2);
    let degenerate = counted == 0.0 || counted == n1 + n2;
    let z = if degenerate {
        0.0
    } else {
        diff / (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt()
    };
    Some(ProportionTest {
        p_baseline: p1,
        p_canary: p2,
        diff,
        pooled,
        z,
        p_two_sided: (2.0 * normal::sf(z.abs())).min(1.0),
        p_canary_greater: normal::sf(z),
        p_canary_less: normal::cdf(z),
        ln_p_two_sided: normal::ln_two_sided(z),
        ln_p_canary_greater: normal::ln_sf(z),
        newcombe: newcombe_interval(counts, level)?,
        cohens_h: cohens_h(p1, p2),
        degenerate,
    })
}

/// Cohen's h = 2 asin √p₂ − 2 asin √p₁, in [−π, π].
#[must_use]
pub fn cohens_h(p1: f64, p2: f64) -> f64 {
    let angle = |p: f64| 2.0 * p.clamp(0.0, 1.0).sqrt().asin();
    angle(p2) - angle(p1)
}

/// Newcombe's interval for p_c − p_b: the Wilson ends of both arms combined by square-and-add. `None` when an
/// arm is empty.
#[must_use]
pub fn newcombe_interval(counts: TwoCounts, level: f64) -> Option<Interval> {
    let counts = counts.bounded()?;
    let (x1, n1) = (counts.x_baseline, counts.n_baseline);
    let (x2, n2) = (counts.x_canary, counts.n_canary);
    let (b, c) = (wilson(x1, n1, level)?, wilson(x2, n2, level)?);
    let (p1, p2) = (x1 as f64 / n1 as f64, x2 as f64 / n2 as f64);
    let diff = exact_difference(x1, n1, x2, n2);
    Some(Interval {
        low: diff - (p2 - c.low).hypot(b.high - p1),
        high: diff + (c.high - p2).hypot(p1 - b.low),
    })
}

/// Wald's interval for p_c − p_b, with the unpooled variance; not to be trusted near 0 and 1. `None` when an
/// arm is empty.
#[must_use]
pub fn wald_interval(counts: TwoCounts, level: f64) -> Option<Interval> {
    let counts = counts.bounded()?;
    Some(unpooled_interval(
        (counts.x_baseline as f64, counts.n_baseline as f64),
        (counts.x_canary as f64, counts.n_canary as f64),
        level,
    ))
}

/// Agresti and Caffo's interval for p_c − p_b: Wald's after adding one success and one failure to each arm.
/// `None` when an arm is empty.
#[must_use]
pub fn agresti_caffo_interval(counts: TwoCounts, level: f64) -> Option<Interval> {
    let counts = counts.bounded()?;
    Some(unpooled_interval(
        (
            counts.x_baseline as f64 + 1.0,
            counts.n_baseline as f64 + 2.0,
        ),
        (counts.x_canary as f64 + 1.0, counts.n_canary as f64 + 2.0),
        level,
    ))
}

/// Wilson's score interval for one proportion; `None` for n = 0.
#[must_use]
pub fn wilson(x: u64, n: u64, level: f64) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let (x, n) = (x.min(n) as f64, n as f64);
    let p = x / n;
    let square = normal::two_sided_z(level).powi(2);
    let centre = (p + square / (2.0 * n)) / (1.0 + square / n);
    let half = (square / n * (p * (1.0 - p) + square / (4.0 * n))).sqrt() / (1.0 + square / n);
    Some(Interval {
        low: if x == 0.0 {
            0.0
        } else {
            (centre - half).max(0.0)
        },
        high: if x == n {
            1.0
        } else {
            (centre + half).min(1.0)
        },
    })
}

/// Clopper and Pearson's exact interval for one proportion, from beta quantiles; `None` for n = 0.
#[must_use]
pub fn clopper_pearson(x: u64, n: u64, level: f64) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let tail = 0.5 * (1.0 - normal::bounded_level(level));
    let (x, n) = (x.min(n) as f64, n as f64);
    Some(Interval {
        low: if x == 0.0 {
            0.0
        } else {
            beta::quantile(tail, x, n - x + 1.0)
        },
        high: if x == n {
            1.0
        } else {
            beta::quantile(1.0 - tail, x + 1.0, n - x)
        },
    })
}

impl TwoCounts {
    /// With x held at most n; `None` when an arm is empty.
    fn bounded(self) -> Option<Self> {
        (self.n_baseline > 0 && self.n_canary > 0).then(|| Self {
            x_baseline: self.x_baseline.min(self.n_baseline),
            x_canary: self.x_canary.min(self.n_canary),
            ..self
        })
    }
}

/// x₂/n₂ − x₁/n₁ over the common denominator, in whole numbers: exact where two rounded quotients cancel.
fn exact_difference(x1: u64, n1: u64, x2: u64, n2: u64) -> f64 {
    let (left, right) = (
        u128::from(x2) * u128::from(n1),
        u128::from(x1) * u128::from(n2),
    );
    let size = left.abs_diff(right) as f64 / (n1 as f64 * n2 as f64);
    if left >= right { size } else { -size }
}

fn unpooled_interval((x1, n1): (f64, f64), (x2, n2): (f64, f64), level: f64) -> Interval {
    let (p1, p2) = (x1 / n1, x2 / n2);
    let half = normal::two_sided_z(level) * (p1 * (1.0 - p1) / n1 + p2 * (1.0 - p2) / n2).sqrt();
    Interval {
        low: p2 - p1 - half,
        high: p2 - p1 + half,
    }
}

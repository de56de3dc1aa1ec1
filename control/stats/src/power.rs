//! How many requests does it take? Sample sizes of the classic test, and the forecast of the sequential one.
//!
//! References: Cohen 1988 (arcsine); Fleiss, Levin & Paik 2003 (normal approximation); statistics of the
//! engine as in [`sequential`](crate::sequential).

use crate::cluster::restricted_rate;
use crate::proportion::cohens_h;
use crate::sequential::bound_one_sided;
use crate::special::normal;

/// Requests for about 80 % power, relative to the median forecast of [`information_for_half_width`].
pub const FOR_EIGHTY_PERCENT: f64 = 1.7;

/// A planned one-sided comparison of two proportions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    p_baseline: f64,
    diff: f64,
    alpha: f64,
    power: f64,
    ratio: f64,
}

impl Plan {
    /// To find the difference `diff` (canary minus baseline, not 0) from `p_baseline` with the one-sided error
    /// rate `alpha` and the chance `power`, with `ratio` baseline requests per canary request (> 0). `None`
    /// unless both proportions, α and the power lie in (0, 1).
    #[must_use]
    pub fn new(p_baseline: f64, diff: f64, alpha: f64, power: f64, ratio: f64) -> Option<Self> {
        let inside = |p: f64| p > 0.0 && p < 1.0;
        let proportions = inside(p_baseline) && inside(p_baseline + diff) && diff != 0.0;
        let usable = inside(alpha) && inside(power) && ratio > 0.0 && ratio.is_finite();
        (proportions && usable).then_some(Self {
            p_baseline,
            diff,
            alpha,
            power,
            ratio,
        })
    }

    /// Canary requests by the arcsine approximation: ((z₁₋α + z_power)/h)² (1 + 1/ratio).
    #[must_use]
    pub fn canary_requests_arcsine(&self) -> f64 {
        (self.reach() / self.cohens_h()).powi(2) * (1.0 + 1.0 / self.ratio)
    }

    /// Canary requests by the normal approximation with the pooled variance under the null:
    /// ((z₁₋α s₀ + z_power s₁)/Δ)².
    #[must_use]
    pub fn canary_requests_normal(&self) -> f64 {
        let (p1, p2) = (self.p_baseline, self.p_baseline + self.diff);
        let variance = |p: f64| p * (1.0 - p);
        let pooled = (p2 + p1 * self.ratio) / (1.0 + self.ratio);
        let null = (variance(pooled) * (1.0 + 1.0 / self.ratio)).sqrt();
        let alternative = (variance(p2) + variance(p1) / self.ratio).sqrt();
        let reach =
            normal::quantile(1.0 - self.alpha) * null + normal::quantile(self.power) * alternative;
        (reach.max(0.0) / self.diff).powi(2)
    }

    /// Canary requests from the information (z₁₋α + z_power)²/Δ² with the baseline's variance in both arms.
    #[must_use]
    pub fn canary_requests_information(&self) -> f64 {
        let variance = self.p_baseline * (1.0 - self.p_baseline);
        (self.reach() / self.diff).powi(2) * variance * (1.0 + 1.0 / self.ratio)
    }

    /// Power with `n` canary requests, by the arcsine approximation; in [0, 1].
    #[must_use]
    pub fn power_at(&self, n: f64) -> f64 {
        let harmonic = n * self.ratio / (1.0 + self.ratio);
        normal::sf(normal::quantile(1.0 - self.alpha) - self.cohens_h() * harmonic.max(0.0).sqrt())
    }

    /// Cohen's h of the difference.
    #[must_use]
    pub fn cohens_h(&self) -> f64 {
        cohens_h(self.p_baseline, self.p_baseline + self.diff)
    }

    fn reach(&self) -> f64 {
        normal::quantile(1.0 - self.alpha) + normal::quantile(self.power)
    }
}

/// V*, the information at which the half-width of the one-sided confidence sequence has shrunk to `margin`:
/// the median forecast for a canary that is no different. +∞ for an unusable margin, ρ or α.
#[must_use]
pub fn information_for_half_width(margin: f64, rho: f64, alpha: f64) -> f64 {
    let half_width = |v: f64| bound_one_sided(v, rho, alpha) / v;
    let usable = margin > 0.0 && rho > 0.0 && alpha > 0.0 && rho.is_finite();
    if !usable || half_width(f64::MAX.sqrt()) > margin {
        return f64::INFINITY;
    }
    // The half-width falls from +∞; bisection on ln V.
    let (mut low, mut high) = (-340.0_f64, f64::MAX.sqrt().ln());
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if half_width(middle.exp()) > margin {
            low = middle;
        } else {
            high = middle;
        }
    }
    (0.5 * (low + high)).exp()
}

/// Canary requests that carry the information `v` for a test of non-inferiority by `margin`, with the
/// canary's share of the traffic in (0, 1): V·DEFF·[(p+δ)(1−p−δ) + p(1−p)·share/(1−share)]. +∞ for numbers
/// outside their range.
#[must_use]
pub fn canary_requests_for(v: f64, p_baseline: f64, margin: f64, deff: f64, share: f64) -> f64 {
    let usable = v >= 0.0 && (0.0..=1.0).contains(&p_baseline) && margin >= 0.0 && deff > 0.0;
    if !usable || !(0.0..1.0).contains(&share) {
        return f64::INFINITY;
    }
    let worse = restricted_rate(p_baseline, margin);
    let variance = worse * (1.0 - worse) + p_baseline * (1.0 - p_baseline) * share / (1.0 - share);
    v * deff * variance
}

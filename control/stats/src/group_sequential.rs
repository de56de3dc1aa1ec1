//! Group-sequential boundaries: a few looks at declared shares of the information, with the error rate spent
//! over them.
//!
//! The density of the unstopped score is carried from look to look by numerical integration; each boundary is
//! the point beyond which exactly the newly spent error lies.
//!
//! References: Lan & DeMets 1983 (spending functions); Armitage, McPherson & Rowe 1969 (the recursion);
//! O'Brien & Fleming 1979; Pocock 1977.

use crate::special::normal;

/// Integration points per look; odd, for Simpson's rule.
const POINTS: usize = 801;
/// Scores are followed down to this many standard deviations.
const LIMIT: f64 = 9.0;

/// How the error rate is spent over the information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spending {
    /// α(t) = 2(1 − Φ(z_{α/2}/√t)): hardly anything early.
    OBrienFleming,
    /// α(t) = α ln(1 + (e−1)t): evenly.
    Pocock,
}

impl Spending {
    /// Error rate spent up to the share `t` of the information, in [0, α].
    #[must_use]
    pub fn spent(self, alpha: f64, t: f64) -> f64 {
        let t = t.clamp(0.0, 1.0);
        match self {
            Self::OBrienFleming => 2.0 * normal::sf(-normal::quantile(0.5 * alpha) / t.sqrt()),
            Self::Pocock => alpha * ((std::f64::consts::E - 1.0) * t).ln_1p(),
        }
    }
}

/// One look of a design.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Reject when Z is at least this.
    pub z: f64,
    /// Error rate spent up to and including this look.
    pub cumulative_alpha: f64,
    /// One-sided p-value at the boundary, 1 − Φ(z).
    pub nominal_p: f64,
}

/// One-sided boundaries for looks at these shares of the information. `None` unless they ascend within (0, 1]
/// and α is in (0, ½].
#[must_use]
pub fn boundaries(spending: Spending, alpha: f64, information: &[f64]) -> Option<Vec<Look>> {
    let ascending = information.windows(2).all(|pair| pair[0] < pair[1]);
    let (first, last) = (*information.first()?, *information.last()?);
    if !(ascending && first > 0.0 && last <= 1.0 && alpha > 0.0 && alpha <= 0.5) {
        return None;
    }
    let mut looks: Vec<Look> = Vec::with_capacity(information.len());
    let mut density = Density::start(first);
    let (mut spent, mut reached) = (0.0, 0.0);
    for &t in information {
        let cumulative_alpha = spending.spent(alpha, t);
        let fresh = cumulative_alpha - spent;
        let z = if looks.is_empty() {
            -normal::quantile(fresh)
        } else {
            density.boundary((t - reached).sqrt(), fresh) / t.sqrt()
        };
        density = if looks.is_empty() {
            density.cut(z.min(LIMIT) * t.sqrt())
        } else {
            density.advance(
                (t - reached).sqrt(),
                -LIMIT * t.sqrt(),
                z.min(LIMIT * 1.2) * t.sqrt(),
            )
        };
        looks.push(Look {
            z,
            cumulative_alpha,
            nominal_p: normal::sf(z),
        });
        (spent, reached) = (cumulative_alpha, t);
    }
    Some(looks)
}

/// The density of the score among those that have not stopped, on an even grid.
struct Density {
    low: f64,
    step: f64,
    /// Density times Simpson's weights.
    weighted: Vec<f64>,
}

impl Density {
    /// Before the first boundary is known: a normal of variance `t`, over its whole range.
    fn start(t: f64) -> Self {
        let reach = LIMIT * t.sqrt();
        Self::on_grid(-reach, reach, |x| normal::density(x / t.sqrt()) / t.sqrt())
    }

    /// The starting density again, up to `high`.
    fn cut(&self, high: f64) -> Self {
        let spread = -self.low / LIMIT;
        Self::on_grid(self.low, high, |x| normal::density(x / spread) / spread)
    }

    fn on_grid(low: f64, high: f64, density: impl Fn(f64) -> f64) -> Self {
        let step = (high - low) / (POINTS - 1) as f64;
        let weighted = (0..POINTS)
            .map(|at| {
                let weight = if at == 0 || at == POINTS - 1 {
                    1.0 / 3.0
                } else if at % 2 == 1 {
                    4.0 / 3.0
                } else {
                    2.0 / 3.0
                };
                weight * step * density(low + at as f64 * step)
            })
            .collect();
        Self {
            low,
            step,
            weighted,
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.weighted
            .iter()
            .enumerate()
            .map(|(at, &weight)| (self.low + at as f64 * self.step, weight))
    }

    /// The score beyond which the mass `fresh` lies after an increment of standard deviation `spread`.
    fn boundary(&self, spread: f64, fresh: f64) -> f64 {
        let beyond = |bound: f64| -> f64 {
            self.points()
                .map(|(x, weight)| weight * normal::sf((bound - x) / spread))
                .sum()
        };
        let (mut low, mut high) = (-LIMIT, LIMIT * 1.2);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if beyond(middle) > fresh {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }

    fn advance(&self, spread: f64, low: f64, high: f64) -> Self {
        let scale = 1.0 / spread;
        Self::on_grid(low, high, |y| {
            self.points()
                .map(|(x, weight)| weight * normal::density((y - x) * scale))
                .sum::<f64>()
                * scale
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_boundaries_of_five_looks() {
        let shares = [0.2, 0.4, 0.6, 0.8, 1.0];
        let looks = boundaries(Spending::OBrienFleming, 0.025, &shares).unwrap();
        for (look, published) in looks.iter().zip([4.877, 3.357, 2.680, 2.290, 2.031]) {
            assert!((look.z - published).abs() < 1e-3, "{look:?}");
        }
        assert!(boundaries(Spending::Pocock, 0.025, &[0.5, 0.5]).is_none());
        assert!(boundaries(Spending::Pocock, 0.0, &[1.0]).is_none());
        assert!(boundaries(Spending::Pocock, f64::NAN, &[1.0]).is_none());
    }
}

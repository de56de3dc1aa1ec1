//! How many canary requests it takes until a harmless canary is usually proven harmless. Rates:
//! **n_c = V*·DEFF·[(p+δ)(1−p−δ) + p(1−p)·share/(1−share)]**, where V* is the information at which the
//! confidence sequence's half-width equals the margin δ. Quantiles: as many as the rank bound needs to fit
//! above the quantile at all, then by the square law from the bound so far. Median forecasts; they decide
//! nothing.

use std::collections::BTreeMap;

use serin_config::model::Metric;
use serin_stats::power::{canary_requests_for, information_for_half_width};
use serin_stats::quantile::RHO as QUANTILE_RHO;

/// About (bound/√(V+ρ))² where quantiles begin to be bounded.
const REACH_SQUARED: f64 = 7.0;

/// Remembers V* of each metric's last margin, which costs more than the rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Forecast {
    known: BTreeMap<Metric, (f64, f64)>,
}

/// What the forecast is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// δ.
    pub(super) margin: f64,
    /// p.
    pub(super) baseline_rate: f64,
    pub(super) deff: f64,
    /// The canary's share in force.
    pub(super) share: f64,
}

impl Forecast {
    /// Canary requests needed over the whole rollout; none when nothing can be foretold.
    pub(super) fn samples_needed(
        &mut self,
        metric: Metric,
        outlook: Outlook,
        rho: f64,
        alpha: f64,
    ) -> Option<u64> {
        let Outlook {
            margin,
            baseline_rate,
            deff,
            share,
        } = outlook;
        if !(margin > 0.0 && share > 0.0 && share < 1.0) {
            return None;
        }
        let information = match self.known.get(&metric) {
            Some(&(known, information)) if known.to_bits() == margin.to_bits() => information,
            _ => information_for_half_width(margin, rho, alpha),
        };
        self.known.insert(metric, (margin, information));
        whole(canary_requests_for(
            information,
            baseline_rate,
            margin,
            deff,
            share,
        ))
    }
}

/// Canary requests until a quantile's bound lies within the margin, given `samples` so far and the effect with
/// its upper bound; none when nothing can be foretold.
pub(super) fn for_quantile(
    quantile: f64,
    deff: f64,
    samples: u64,
    (effect, upper): (f64, Option<f64>),
    margin: f64,
) -> Option<u64> {
    let Some(upper) = upper else {
        // ((1−q)n)² = c·(q(1−q)n + ρ), solved for the effective number n.
        let tail = 1.0 - quantile;
        let linear = REACH_SQUARED * quantile;
        let root = (linear * linear + 4.0 * REACH_SQUARED * QUANTILE_RHO).sqrt();
        return whole(deff.max(1.0) * (linear + root) / (2.0 * tail));
    };
    if effect >= margin {
        return None;
    }
    let times = ((upper - effect) / (margin - effect)).max(0.0);
    whole(samples as f64 * times * times)
}

fn whole(requests: f64) -> Option<u64> {
    (requests.is_finite() && requests < 1e15).then_some(requests.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_stats::sequential::tuned_rho;

    /// statistics.md's examples: p = 1 %, share 5 %.
    #[test]
    fn the_examples_of_the_specification() {
        let rho = tuned_rho(0.005, 0.05);
        let check = |margin: f64, deff: f64, expected: u64| {
            let outlook = Outlook {
                margin,
                baseline_rate: 0.01,
                deff,
                share: 0.05,
            };
            let needed = Forecast::default()
                .samples_needed(Metric::ErrorRate, outlook, rho, 0.05)
                .unwrap();
            assert!(
                needed.abs_diff(expected) <= 2,
                "{needed} instead of {expected}"
            );
        };
        check(0.01, 1.0, 1_699);
        check(0.005, 2.8, 13_123);
        assert!((information_for_half_width(0.005, rho, 0.05) / 306_407.0 - 1.0).abs() < 1e-5);
    }

    #[test]
    fn nothing_is_foretold_without_a_comparison() {
        for share in [0.0, 1.0] {
            let outlook = Outlook {
                margin: 0.005,
                baseline_rate: 0.01,
                deff: 1.0,
                share,
            };
            assert_eq!(
                Forecast::default().samples_needed(Metric::ErrorRate, outlook, 39_000.0, 0.05),
                None
            );
        }
    }
}

//! How many canary requests it takes until a harmless canary is usually proven harmless:
//! **n_c = V*·DEFF·[(p+δ)(1−p−δ) + p(1−p)·share/(1−share)]**, where V* is the information at which the
//! confidence sequence's half-width equals the margin δ. A median forecast; it decides nothing.

use serin_stats::sequential::bound_one_sided;

/// Remembers V* of the last margin, which costs more than the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forecast {
    known: Option<(f64, f64)>,
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
    pub(super) fn samples_needed(&mut self, outlook: Outlook, rho: f64, alpha: f64) -> Option<u64> {
        let Outlook {
            margin,
            baseline_rate: p,
            deff,
            share,
        } = outlook;
        if !(margin > 0.0 && share > 0.0 && share < 1.0) {
            return None;
        }
        let information = match self.known {
            Some((known, information)) if known.to_bits() == margin.to_bits() => information,
            _ => information_for(margin, rho, alpha),
        };
        self.known = Some((margin, information));
        let worse = (p + margin).min(0.5);
        let odds = share / (1.0 - share);
        let needed = information * deff * (worse * (1.0 - worse) + p * (1.0 - p) * odds);
        (needed.is_finite() && needed < 1e15).then_some(needed.ceil() as u64)
    }
}

/// V at which the half-width equals the margin; bisection on ln V.
fn information_for(margin: f64, rho: f64, alpha: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 35.0_f64);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        let information = middle.exp();
        if bound_one_sided(information, rho, alpha) / information > margin {
            low = middle;
        } else {
            high = middle;
        }
    }
    high.exp()
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
                .samples_needed(outlook, rho, 0.05)
                .unwrap();
            assert!(
                needed.abs_diff(expected) <= 2,
                "{needed} instead of {expected}"
            );
        };
        check(0.01, 1.0, 1_699);
        check(0.005, 2.8, 13_123);
        assert!((information_for(0.005, rho, 0.05) / 306_407.0 - 1.0).abs() < 1e-5);
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
                Forecast::default().samples_needed(outlook, 39_000.0, 0.05),
                None
            );
        }
    }
}

//! What is wrong with the simulated canary, as it is written on the command line.

use std::fmt;

use serin_config::model::{Metric, MetricKind};
use serin_config::units::{
    format_duration, format_percent, format_points, parse_duration, parse_percent, parse_points,
};
use serin_control::simulation::{Effect, Traffic};
use serin_stats::special::normal;

/// σ of the simulated latency's logarithm.
const SIGMA: f64 = 0.5;

/// One thing that is worse. Shown as it is written: `error_rate=+2pp`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Harm {
    pub(super) metric: Metric,
    amount: Amount,
}

/// By how much.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    /// Added to a rate.
    Points(f64),
    /// Of a latency, as a fraction of what it was.
    Share(f64),
    /// Added to a latency at the metric's quantile.
    Time(std::time::Duration),
}

/// `error_rate=+2pp`, `latency_p95=+50%`, `ttft_p95=+80ms`.
pub(crate) fn parse(text: &str) -> Result<Harm, String> {
    let (name, amount) = text
        .split_once('=')
        .ok_or("expected METRIC=+AMOUNT such as error_rate=+2pp")?;
    let amount = amount.strip_prefix('+').unwrap_or(amount);
    let metric = Metric::ALL
        .into_iter()
        .find(|metric| metric.name() == name)
        .ok_or_else(|| {
            let names = Metric::ALL.map(Metric::name).join(", ");
            format!("no metric {name:?}; there is: {names}")
        })?;
    let amount = if metric.is_rate() {
        Amount::Points(parse_points(amount).map_err(|error| error.to_string())?)
    } else if let Ok(share) = parse_percent(amount) {
        Amount::Share(share)
    } else {
        let time = parse_duration(amount);
        Amount::Time(time.map_err(|_| "expected +50% or a duration such as +80ms")?)
    };
    Ok(Harm { metric, amount })
}

impl Harm {
    /// What every latency is multiplied by.
    fn factor(&self, median_ms: f64) -> f64 {
        match (self.amount, self.metric.kind()) {
            (Amount::Share(share), _) => 1.0 + share,
            (Amount::Time(time), MetricKind::Latency { quantile }) => {
                let deviations = normal::quantile(quantile);
                1.0 + time.as_secs_f64() * 1e3 / (median_ms * (SIGMA * deviations).exp())
            }
            (Amount::Time(_) | Amount::Points(_), _) => 1.0,
        }
    }

    /// What is added to the rate.
    const fn points(&self) -> f64 {
        match self.amount {
            Amount::Points(points) => points,
            Amount::Share(_) | Amount::Time(_) => 0.0,
        }
    }
}

/// All of them at once.
pub(super) fn all(harms: &[Harm], traffic: &Traffic) -> Effect {
    let mut effect = Effect::NONE;
    for harm in harms {
        match harm.metric {
            Metric::ErrorRate => effect.error_rate += harm.points(),
            Metric::RejectedRate => effect.rejected_rate += harm.points(),
            Metric::AbortedRate => effect.aborted_rate += harm.points(),
            Metric::LatencyP50 | Metric::LatencyP90 | Metric::LatencyP95 | Metric::LatencyP99 => {
                effect.latency *= harm.factor(traffic.median_ms)
            }
            Metric::TtftP95 => effect.first_byte *= harm.factor(traffic.first_byte_ms),
        }
    }
    effect
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = match self.amount {
            Amount::Points(points) => format_points(points),
            Amount::Share(share) => format_percent(share),
            Amount::Time(time) => format_duration(time),
        };
        write!(f, "{}=+{amount}", self.metric.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_written_with_their_units() {
        for (text, effect) in [
            ("error_rate=+2pp", Effect::errors(0.02)),
            ("error_rate=2pp", Effect::errors(0.02)),
            (
                "latency_p95=+50%",
                Effect {
                    latency: 1.5,
                    ..Effect::NONE
                },
            ),
            (
                "ttft_p95=+100%",
                Effect {
                    first_byte: 2.0,
                    ..Effect::NONE
                },
            ),
        ] {
            let harm = parse(text).unwrap();
            assert_eq!(all(&[harm], &Traffic::default()), effect, "{text}");
            let shown = harm.to_string();
            assert_eq!(parse(&shown), Ok(harm), "{shown}");
            assert!(shown.contains("=+"), "{shown}");
        }
        for (text, expected) in [
            ("error_rate", "METRIC=+AMOUNT"),
            ("error_rate=+2%", "points"),
            ("error_rate=0.02", "pp"),
            ("error_rate=-2pp", "points"),
            ("latency_p95=+50", "+50%"),
            ("latency_p95=-5ms", "+80ms"),
            ("errors=+2pp", "error_rate"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn milliseconds_are_added_at_the_percentile_they_are_given_for() {
        let traffic = Traffic::default();
        for (text, deviations) in [
            ("latency_p95=+100ms", 1.6449_f64),
            ("latency_p50=+100ms", 0.0),
        ] {
            let harm = parse(text).unwrap();
            let before = traffic.median_ms * (SIGMA * deviations).exp();
            let effect = all(&[harm], &traffic);
            let more = effect.latency * before - before;
            assert!((more - 100.0).abs() < 0.01, "{text}: {more}");
        }
    }
}

//! What is wrong with the simulated canary, as it is written on the command line.

use serin_config::units::{
    format_percent, format_points, parse_duration, parse_percent, parse_points,
};
use serin_control::simulation::{Effect, Traffic};

/// σ of the simulated latency's logarithm.
const SIGMA: f64 = 0.5;

/// One thing that is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Harm {
    Errors(f64),
    Rejected(f64),
    Aborted(f64),
    /// The time to the whole response.
    Latency(Slower),
    /// The time to the first byte.
    FirstByte(Slower),
}

/// By how much a latency is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Slower {
    /// As a fraction of what it was.
    Share(f64),
    /// So many milliseconds at this many standard deviations above the median.
    Milliseconds(f64, f64),
}

/// `error_rate=+2pp`, `latency_p95=+50%`, `ttft_p95=+80ms`.
pub(crate) fn parse(text: &str) -> Result<Harm, String> {
    let (metric, amount) = text
        .split_once('=')
        .ok_or("expected METRIC=+AMOUNT such as error_rate=+2pp")?;
    let amount = amount.strip_prefix('+').unwrap_or(amount);
    let points = || parse_points(amount).map_err(|error| error.to_string());
    let slower = |deviations| slower(amount, deviations);
    match metric {
        "error_rate" => points().map(Harm::Errors),
        "rejected_rate" => points().map(Harm::Rejected),
        "aborted_rate" => points().map(Harm::Aborted),
        "latency_p50" => slower(0.0).map(Harm::Latency),
        "latency_p90" => slower(1.2816).map(Harm::Latency),
        "latency_p95" => slower(1.6449).map(Harm::Latency),
        "latency_p99" => slower(2.3263).map(Harm::Latency),
        "ttft_p95" => slower(1.6449).map(Harm::FirstByte),
        _ => Err(format!(
            "no metric {metric:?}; there is: error_rate, rejected_rate, aborted_rate, latency_p50, \
             latency_p90, latency_p95, latency_p99, ttft_p95"
        )),
    }
}

fn slower(amount: &str, deviations: f64) -> Result<Slower, String> {
    if let Ok(share) = parse_percent(amount) {
        return Ok(Slower::Share(share));
    }
    parse_duration(amount)
        .map(|time| Slower::Milliseconds(time.as_secs_f64() * 1e3, deviations))
        .map_err(|_| "expected +50% or a duration such as +80ms".to_owned())
}

impl Slower {
    /// What every latency is multiplied by.
    fn factor(self, median_ms: f64) -> f64 {
        match self {
            Self::Share(share) => 1.0 + share,
            Self::Milliseconds(ms, deviations) => {
                1.0 + ms / (median_ms * (SIGMA * deviations).exp())
            }
        }
    }
}

/// All of them at once.
pub(super) fn all(harms: &[Harm], traffic: &Traffic) -> Effect {
    let mut effect = Effect::NONE;
    for harm in harms {
        match *harm {
            Harm::Errors(more) => effect.error_rate += more,
            Harm::Rejected(more) => effect.rejected_rate += more,
            Harm::Aborted(more) => effect.aborted_rate += more,
            Harm::Latency(slower) => effect.latency *= slower.factor(traffic.median_ms),
            Harm::FirstByte(slower) => effect.first_byte *= slower.factor(traffic.first_byte_ms),
        }
    }
    effect
}

impl std::fmt::Display for Harm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors(more) => write!(f, "error rate +{}", format_points(*more)),
            Self::Rejected(more) => write!(f, "rejected rate +{}", format_points(*more)),
            Self::Aborted(more) => write!(f, "aborted rate +{}", format_points(*more)),
            Self::Latency(slower) => write!(f, "latency +{slower}"),
            Self::FirstByte(slower) => write!(f, "time to the first byte +{slower}"),
        }
    }
}

impl std::fmt::Display for Slower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Share(share) => f.write_str(&format_percent(*share)),
            Self::Milliseconds(ms, deviations) if *deviations > 0.0 => {
                write!(f, "{ms}ms at {deviations:.2} standard deviations")
            }
            Self::Milliseconds(ms, _) => write!(f, "{ms}ms at the median"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_written_with_their_units() {
        assert_eq!(parse("error_rate=+2pp"), Ok(Harm::Errors(0.02)));
        assert_eq!(parse("error_rate=2pp"), Ok(Harm::Errors(0.02)));
        let half = Slower::Share(0.5);
        assert_eq!(parse("latency_p95=+50%"), Ok(Harm::Latency(half)));
        for (text, expected) in [
            ("error_rate", "METRIC=+AMOUNT"),
            ("error_rate=+2%", "points"),
            ("error_rate=0.02", "pp"),
            ("latency_p95=+50", "+50%"),
            ("errors=+2pp", "error_rate"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn milliseconds_are_added_at_the_percentile_they_are_given_for() {
        let traffic = Traffic::default();
        let harm = parse("latency_p95=+100ms").unwrap();
        let p95 = traffic.median_ms * (SIGMA * 1.6449_f64).exp();
        let effect = all(&[harm], &traffic);
        assert!((effect.latency * p95 - p95 - 100.0).abs() < 1e-9);
    }
}

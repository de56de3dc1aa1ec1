//! `serin simulate`: what a rollout's guardrails would do, without a single real request.
//!
//! Whole rollouts run in virtual time through the decision code that `serin run` runs, many times over: once
//! with a canary that is like the baseline (how often is it rolled back, how long does the ramp take?), and
//! once with the damage asked for (how soon is it found?). `--suite` runs the reference table instead.

mod answer;
mod effect;
mod runs;
mod suite;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serin_config::model::{Config, Plan, Route};
use serin_config::units::{parse_duration, parse_fraction};
use serin_control::rollout::RolloutSpec;
use serin_control::simulation::{Effect, Onset, Scenario, Traffic};

use self::effect::Harm;
use super::operate::Output;
use super::{Answer, Failure, check};
use crate::term::print;

/// The least time that a rollout is watched, unless somebody says how long.
const WATCHED: Duration = Duration::from_hours(4);
/// The shortest and the longest median latency that is asked about.
const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_mins(5);
/// Between two looks at the healthy time before a late break.
const HEALTHY_LOOKS: Duration = Duration::from_mins(1);
/// A healthy time up to this is looked at as closely as the rest.
const SHORT: Duration = Duration::from_hours(2);

/// Simulate whole rollouts: false rollbacks, detection delay, time to 100 %.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  serin simulate -c serin.yaml --rps 100\n  \
                  serin simulate -c serin.yaml --rps 100 --effect error_rate=+2pp --runs 400\n  \
                  serin simulate -c serin.yaml --rps 100 --effect latency_p95=+50% --after 6h\n  \
                  serin simulate --suite --output json\n\n\
                  Effects: error_rate, rejected_rate and aborted_rate take points (+2pp); latency_p50, \
                  latency_p90, latency_p95, latency_p99 and ttft_p95 take +50% or +80ms. docs/forecasts.md explains the \
                  model and the JSON.")]
pub(crate) struct Simulate {
    /// The rollout; may be left out when there is only one.
    #[arg(value_name = "ROLLOUT", conflicts_with = "suite")]
    rollout: Option<String>,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", required_unless_present = "suite")]
    config: Option<PathBuf>,
    /// Requests per second of the route, both arms.
    #[arg(long, value_name = "N", value_parser = rate, required_unless_present = "suite", allow_negative_numbers = true)]
    rps: Option<f64>,
    /// What is wrong with the canary; may be given more than once.
    #[arg(long = "effect", value_name = "METRIC=+AMOUNT", value_parser = effect::parse)]
    effects: Vec<Harm>,
    /// How long the canary is healthy before that.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "effects")]
    after: Option<Duration>,
    /// How many rollouts [default: 200, in the suite 400 for each cell]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: Option<u32>,
    /// The same seed gives the same answer.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Share of requests that fail when nothing is wrong.
    #[arg(long, value_name = "PERCENT", value_parser = parse_fraction, default_value = "1%")]
    baseline_error_rate: f64,
    /// Correlation between two requests of one user, from 0 (independent) to below 1.
    #[arg(long, value_name = "ICC", value_parser = correlation, default_value = "0.1")]
    icc: f64,
    /// Users who are active at a time [default: as many as send one request a minute each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: Option<u32>,
    /// Median latency when nothing is wrong.
    #[arg(long, value_name = "DURATION", value_parser = latency, default_value = "100ms")]
    latency: Duration,
    /// Median time to the first byte when nothing is wrong [default: that of the whole response]
    #[arg(long, value_name = "DURATION", value_parser = latency)]
    ttft: Option<Duration>,
    /// How long a rollout is watched [default: 4h, or three times the ramp's least time]
    #[arg(long = "for", value_name = "DURATION", value_parser = horizon)]
    watched: Option<Duration>,
    /// Run the reference table of scenarios, beside the usual rule.
    #[arg(long, conflicts_with_all = [
        "config", "rps", "effects", "after", "watched", "users", "baseline_error_rate", "icc", "latency", "ttft",
    ])]
    suite: bool,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Simulate {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        if self.suite {
            return suite::run(self.runs.unwrap_or(400), self.seed, self.output);
        }
        let (Some(path), Some(rps)) = (&self.config, self.rps) else {
            return Err(Failure::usage("-c FILE and --rps N are needed"));
        };
        if self.ttft.is_some_and(|ttft| ttft > self.latency) {
            return Err(Failure::usage(
                "--ttft is a part of --latency: the first byte comes before the last",
            ));
        }
        let file = path.display().to_string();
        let loaded = serin_config::load(path).map_err(|errors| check::refused(&file, &errors))?;
        let route = the_rollout(&loaded.config, self.rollout.as_deref())?;
        let spec = RolloutSpec::of(route)
            .ok_or_else(|| Failure::usage(format!("route {} has no rollout", route.name)))?;
        let traffic = self.traffic(rps);
        let healthy = Scenario {
            horizon: self.watched.unwrap_or_else(|| watched(&spec.rollout.plan)),
            spec,
            traffic,
            effect: Effect::NONE,
            onset: Onset::Start,
        };
        let harmed = (!self.effects.is_empty()).then(|| Scenario {
            effect: effect::all(&self.effects, &traffic),
            onset: onset(self.after),
            ..healthy.clone()
        });
        let runs = u64::from(self.runs.unwrap_or(200));
        let simulated = runs::simulate(&healthy, harmed.as_ref(), runs, self.seed);
        let question = answer::Question {
            healthy: &healthy,
            harmed: harmed.as_ref(),
            harms: &self.effects,
            after: self.after,
            seed: self.seed,
        };
        print(&match self.output {
            Output::Text => answer::text(&question, &simulated),
            Output::Json => format!("{:#}\n", answer::json(&question, &simulated)),
        })?;
        Ok(Answer::Yes)
    }

    fn traffic(&self, rps: f64) -> Traffic {
        let median_ms = self.latency.as_secs_f64() * 1e3;
        Traffic {
            requests_per_second: rps,
            error_rate: self.baseline_error_rate,
            icc: self.icc,
            median_ms,
            first_byte_ms: self.ttft.map_or(median_ms, |ttft| ttft.as_secs_f64() * 1e3),
            active_users: self.users.and_then(|users| usize::try_from(users).ok()),
            ..Traffic::default()
        }
    }
}

/// The route whose rollout is meant.
pub(super) fn the_rollout<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> Result<&'a Route, Failure> {
    let rollouts = || config.routes.iter().filter(|route| route.rollout.is_some());
    let names = || {
        let names: Vec<&str> = rollouts().map(|route| &*route.name).collect();
        names.join(", ")
    };
    match name {
        Some(name) => rollouts()
            .find(|route| &*route.name == name)
            .map(|route| &**route)
            .ok_or_else(|| Failure::no(format!("no rollout {name}; there is: {}", names()))),
        None => match (rollouts().next(), rollouts().nth(1)) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Failure::no("the configuration has no rollout")),
            (Some(_), Some(_)) => Err(Failure::usage(format!(
                "which rollout? there is: {}",
                names()
            ))),
        },
    }
}

fn watched(plan: &Plan) -> Duration {
    match plan {
        Plan::Steps(steps) => {
            let least: Duration = steps.iter().map(check::dwell).sum();
            WATCHED.max(3 * least)
        }
        Plan::Manual(_) => WATCHED,
    }
}

fn onset(after: Option<Duration>) -> Onset {
    after.map_or(Onset::Start, |healthy| Onset::After {
        healthy,
        look_every: (healthy > SHORT).then_some(HEALTHY_LOOKS),
    })
}

/// A number of requests per second that somebody may have.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1e-3..=1e6).contains(&rate) => Ok(rate),
        _ => Err("expected requests per second such as 50, from 0.001 to 1000000".to_owned()),
    }
}

/// A median latency that the histograms can hold.
pub(super) fn latency(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(latency) if (SHORTEST..=LONGEST).contains(&latency) => Ok(latency),
        Ok(_) => Err("expected a latency from 0.1ms to 5m".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A time to watch a rollout for.
fn horizon(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("expected a duration above 0s".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A correlation in [0, 1).
pub(super) fn correlation(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(icc) if (0.0..1.0).contains(&icc) => Ok(icc),
        _ => Err("expected a correlation such as 0.1, from 0 to below 1".to_owned()),
    }
}

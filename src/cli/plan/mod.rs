//! `serin plan`: what each step of a ramp needs, in requests and in time, before a single one was sent.
//!
//! "proves" is what it takes to show that a canary like the baseline is not worse than the margin: what a step
//! waits for. "finds" is what it takes to roll back a canary that is worse by the margin, from nothing. Both are
//! medians; 1.7 times as many suffice four times in five.

mod document;
mod text;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use serin_config::model::Route;
use serin_config::units::parse_fraction;
use serin_control::forecast::{Assumptions, Clustering, Ends, Never, StepForecast, forecast};
use serin_control::rollout::RolloutSpec;
use serin_control::simulation::Traffic;

use super::operate::Output;
use super::simulate::{correlation, latency, rate, the_rollout};
use super::{Answer, Failure, check};
use crate::term::{Paint, print, time};

/// Power analysis: requests and time that each step needs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  serin plan -c serin.yaml --rps 100\n  \
                        serin plan -c serin.yaml --rps 100 --baseline-error-rate 0.2% --icc 0\n\n\
                        \"proves\" is what a step waits for, \"finds\" what it takes to roll back a canary \
                        that is worse by the margin: medians. docs/forecasts.md explains them, and the JSON.")]
pub(crate) struct Plan {
    /// The rollout; may be left out when there is only one.
    #[arg(value_name = "ROLLOUT")]
    rollout: Option<String>,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    expected: Expected,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What is expected of the traffic.
#[derive(Args, Clone, Debug)]
pub(crate) struct Expected {
    /// Requests per second of the route, both arms.
    #[arg(long, value_name = "N", value_parser = rate, allow_negative_numbers = true)]
    rps: f64,
    /// Share of baseline's requests that fail.
    #[arg(long, value_name = "PERCENT", value_parser = parse_fraction, default_value = "1%")]
    baseline_error_rate: f64,
    /// Correlation between two requests of one user, from 0 (independent) to below 1.
    #[arg(long, value_name = "ICC", value_parser = correlation, default_value = "0.1")]
    icc: f64,
    /// The design effect, instead of what follows from the correlation: 1 for independent requests.
    #[arg(long, value_name = "N", value_parser = design_effect, conflicts_with = "icc")]
    deff: Option<f64>,
    /// Median latency.
    #[arg(long, value_name = "DURATION", value_parser = latency, default_value = "100ms")]
    latency: Duration,
}

impl Expected {
    fn assumptions(&self) -> Assumptions {
        let users = Clustering::Users(Traffic {
            requests_per_second: self.rps,
            icc: self.icc,
            ..Traffic::default()
        });
        Assumptions {
            requests_per_second: self.rps,
            error_rate: self.baseline_error_rate,
            clustering: self.deff.map_or(users, Clustering::Constant),
            median_ms: self.latency.as_secs_f64() * 1e3,
        }
    }
}

impl Plan {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let file = self.config.display().to_string();
        let loaded =
            serin_config::load(&self.config).map_err(|errors| check::refused(&file, &errors))?;
        let route = the_rollout(&loaded.config, self.rollout.as_deref())?;
        let outlook = Outlook::of(route, self.expected.assumptions())
            .ok_or_else(|| Failure::usage(format!("route {} has no rollout", route.name)))?;
        print(&match self.output {
            Output::Text => text::whole(&outlook, Paint::stdout()),
            Output::Json => format!("{:#}\n", document::whole(&outlook)),
        })?;
        Ok(Answer::Yes)
    }
}

/// One rollout as it is foreseen.
pub(super) struct Outlook {
    spec: RolloutSpec,
    assumptions: Assumptions,
    steps: Vec<StepForecast>,
}

impl Outlook {
    fn of(route: &Route, assumptions: Assumptions) -> Option<Self> {
        let spec = RolloutSpec::of(route)?;
        let steps = forecast(&spec, &assumptions);
        Some(Self {
            spec,
            assumptions,
            steps,
        })
    }

    /// At this rate, and with what is expected of traffic otherwise.
    pub(super) fn at_rate(route: &Route, rps: f64) -> Option<Self> {
        let traffic = Traffic {
            requests_per_second: rps,
            ..Traffic::default()
        };
        let assumptions = Assumptions {
            requests_per_second: rps,
            error_rate: traffic.error_rate,
            clustering: Clustering::Users(traffic),
            median_ms: traffic.median_ms,
        };
        Self::of(route, assumptions)
    }

    /// How long each step takes, and which don't end in time, for people.
    pub(super) fn durations(&self, paint: Paint) -> String {
        text::durations(self, paint)
    }

    /// The steps, for programs.
    pub(super) fn document(&self) -> Vec<Value> {
        document::steps(self)
    }

    /// In the long run.
    fn design_effect(&self) -> f64 {
        self.assumptions.clustering.design_effect(f64::INFINITY)
    }

    fn is_manual(&self) -> bool {
        self.spec.manual_weight().is_some()
    }

    /// All steps together, approvals not counted; infinite when one of them is never left.
    fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }

    /// What is to be said of a step that may outlast its `max_duration`, or is never left.
    fn warning(&self, index: usize, step: &StepForecast) -> Option<String> {
        let number = index + 1;
        let limit = time(step.limit_seconds.unwrap_or(f64::INFINITY));
        match step.ends {
            Ends::InTime => None,
            Ends::Perhaps => Some(format!(
                "step {number} may take up to {} (one time in five even more): longer than its \
                 max_duration of {limit}",
                time(step.likely_seconds)
            )),
            Ends::Late => Some(format!(
                "step {number} can't conclude within its max_duration of {limit}: it takes about {}",
                time(step.seconds)
            )),
            Ends::Never(_) if self.is_manual() => None,
            Ends::Never(why) => Some(format!(
                "step {number} is never left by itself: {}",
                obstacle(why)
            )),
        }
    }
}

fn obstacle(why: Never) -> String {
    match why {
        Never::NothingActs => "every guardrail is a dry run, so nothing is ever proven".to_owned(),
        Never::MostlyFailing => {
            "more than half of the requests fail, and such a canary takes no step".to_owned()
        }
        Never::OutOfReach(metric) => format!(
            "no such number of requests proves {} within its margin",
            metric.name()
        ),
    }
}

fn design_effect(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(deff) if (1.0..=100.0).contains(&deff) => Ok(deff),
        _ => Err("expected a design effect from 1 to 100".to_owned()),
    }
}

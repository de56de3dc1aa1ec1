//! The reference table: what Serin promises about its decisions, measured, beside the usual rule.
//!
//! Each [`Cell`] is a scenario, what is measured in its runs, and the target that it is held to. Requests per
//! second, correlation, share and the interval of looks stand beside every figure. Seeds follow from the
//! cell's place and the run's number, so a table can be made again.

mod cells;
mod merge;

pub use cells::cells;

use std::time::Duration;

use serin_config::model::{
    Analysis, Guardrail, Margin, Method, Metric, OnBreach, Plan, Rollout, Step,
};

use super::run::{End, Run, Scenario};
use super::summary::{Figure, median, proportion};
use crate::rollout::RolloutSpec;

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What is measured.
    pub name: &'static str,
    /// Under which conditions.
    pub conditions: String,
    /// The unit of the figure.
    pub unit: Unit,
    /// What is promised.
    pub target: Target,
    /// What the usual rule gives, where that is worth knowing.
    with_naive: bool,
    measure: Measure,
    scenario: Scenario,
    seed: u64,
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A fraction of the runs.
    Share,
    /// Canary requests, at the median.
    CanaryRequests,
    /// Virtual minutes, at the median.
    Minutes,
}

impl Unit {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Share => "share of runs",
            Self::CanaryRequests => "canary requests, median",
            Self::Minutes => "minutes, median",
        }
    }
}

/// What is promised of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Target {
    /// Whether a figure keeps it.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// What is read off each run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    RolledBack,
    Reaches(f64),
    MinutesToFull,
    RequestsToRollback,
    MinutesToRollback,
    MergesToTheBit,
}

/// What one run of a cell says, ours and the usual rule's. Infinite: it never happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    ours: f64,
    naive: Option<f64>,
}

/// A cell's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Ours.
    pub ours: Figure,
    /// The usual rule's.
    pub naive: Option<Figure>,
    /// How many runs they are made of.
    pub runs: usize,
    /// Whether ours keeps the target.
    pub met: bool,
}

impl Cell {
    /// One run of the cell.
    #[must_use]
    pub fn sample(&self, index: u64) -> Sample {
        let seed = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ index;
        if self.measure == Measure::MergesToTheBit {
            return Sample {
                ours: f64::from(u8::from(merge::merges_to_the_bit(&self.scenario, seed))),
                naive: None,
            };
        }
        let read = |run: &Run| self.measure.of(run);
        Sample {
            ours: read(&self.scenario.run(seed)),
            naive: self
                .with_naive
                .then(|| read(&self.scenario.run_naively(seed))),
        }
    }

    /// What the samples say together; `None` of none.
    #[must_use]
    pub fn outcome(&self, samples: &[Sample]) -> Option<Outcome> {
        let ours = self.figure(samples.iter().map(|sample| sample.ours).collect())?;
        let naive: Vec<f64> = samples.iter().filter_map(|sample| sample.naive).collect();
        Some(Outcome {
            ours,
            naive: self.figure(naive),
            runs: samples.len(),
            met: self.target.is_met(ours.value),
        })
    }

    fn figure(&self, mut values: Vec<f64>) -> Option<Figure> {
        match self.unit {
            Unit::Share => {
                let count = values.iter().filter(|&&value| value > 0.0).count();
                proportion(count, values.len())
            }
            Unit::CanaryRequests | Unit::Minutes => median(&mut values),
        }
    }
}

impl Measure {
    fn of(self, run: &Run) -> f64 {
        let yes = |is: bool| f64::from(u8::from(is));
        let minutes = |ms: u64| ms as f64 / 60_000.0;
        let if_rolled_back = |value: f64| {
            if run.rolled_back() {
                value
            } else {
                f64::INFINITY
            }
        };
        match self {
            Self::RolledBack => yes(run.rolled_back()),
            Self::Reaches(weight) => yes(run.highest_weight >= weight),
            Self::MinutesToFull => match (run.end, run.full_ms) {
                (End::Promoted, Some(at)) => minutes(at),
                _ => f64::INFINITY,
            },
            Self::RequestsToRollback => if_rolled_back(run.canary_requests as f64),
            Self::MinutesToRollback => if_rolled_back(minutes(run.delay_ms())),
            Self::MergesToTheBit => 0.0,
        }
    }
}

/// The default guardrails over these steps, looked at every ten seconds.
fn rollout(steps: Vec<Step>, warmup: Duration) -> RolloutSpec {
    let guardrail = |metric, max_increase| Guardrail {
        metric,
        max_increase,
        max: None,
        on_breach: OnBreach::Rollback,
        min_samples: 0,
        dry_run: false,
    };
    let margin = |absolute, relative| Margin {
        absolute: Some(absolute),
        relative,
    };
    RolloutSpec {
        mirror: None,
        name: "suite".to_owned(),
        baseline_digest: "old".to_owned(),
        canary_digest: "new".to_owned(),
        rollout: Rollout {
            plan: Plan::Steps(steps),
            guardrails: vec![
                guardrail(Metric::ErrorRate, margin(0.005, None)),
                guardrail(Metric::LatencyP95, margin(50.0, Some(0.1))),
            ],
            analysis: Analysis {
                interval: Duration::from_secs(10),
                alpha: 0.05,
                method: Method::Sequential,
                warmup,
            },
            on_breach: OnBreach::Rollback,
            on_sample_ratio_mismatch: OnBreach::Hold,
        },
    }
}

//! The cells, in the table's order.

use std::time::Duration;

use serin_config::model::{Metric, Step};

use super::{Cell, Measure, Target, Unit, rollout};
use crate::simulation::{Effect, Onset, Scenario, Traffic};

const HOUR: Duration = Duration::from_hours(1);
/// Between two looks at a healthy day.
const HEALTHY_LOOKS: Duration = Duration::from_mins(1);
/// The usual warm-up.
const WARMUP: Duration = Duration::from_mins(1);
/// Each step of the ramp lasts at least so long.
const DWELL: Duration = Duration::from_mins(1);

/// Every cell of the table; `seed` chooses among its equals.
#[must_use]
pub fn cells(seed: u64) -> Vec<Cell> {
    let mut cells = Vec::new();
    cells.extend(identical_releases());
    cells.extend(ramp_of_identical_releases());
    cells.extend(fresh_damage());
    cells.extend(damage_after_a_healthy_day());
    cells.extend(harm_that_passes());
    cells.push(merging());
    for (index, cell) in (1..).zip(&mut cells) {
        cell.seed = seed.wrapping_mul(1_000).wrapping_add(index);
    }
    cells
}

fn identical_releases() -> impl Iterator<Item = Cell> {
    [
        ("A/A for 2 h rolled back, independent requests", 0.0),
        ("A/A for 2 h rolled back, ICC 0.1", 0.1),
        ("A/A for 2 h rolled back, ICC 0.3", 0.3),
    ]
    .map(|(name, icc)| {
        let traffic = Traffic {
            icc,
            ..Traffic::default()
        };
        Cell {
            with_naive: true,
            ..cell(
                name,
                Measure::RolledBack,
                Target::AtMost(0.05),
                Scenario {
                    traffic,
                    horizon: 2 * HOUR,
                    ..steady(0.05)
                },
            )
        }
    })
    .into_iter()
}

fn ramp_of_identical_releases() -> impl Iterator<Item = Cell> {
    let scenario = Scenario {
        traffic: Traffic {
            requests_per_second: 100.0,
            ..Traffic::default()
        },
        ..ramp(3 * HOUR)
    };
    [
        Cell {
            with_naive: true,
            ..cell(
                "A/A ramp fully promoted",
                Measure::Reaches(1.0),
                Target::AtLeast(0.95),
                scenario.clone(),
            )
        },
        cell(
            "A/A ramp, minutes to 100 %",
            Measure::MinutesToFull,
            Target::AtMost(25.0),
            scenario,
        ),
    ]
    .into_iter()
}

fn fresh_damage() -> impl Iterator<Item = Cell> {
    let errors = [
        ("+1 pp errors, canary requests to roll back", 0.01, 2_300.0),
        ("+2 pp errors, canary requests to roll back", 0.02, 650.0),
        ("+5 pp errors, canary requests to roll back", 0.05, 190.0),
        ("+20 pp errors, canary requests to roll back", 0.20, 50.0),
        ("fails all, canary requests to roll back", 1.0, 5.0),
    ]
    .map(|(name, more, limit)| {
        let scenario = Scenario {
            effect: Effect::errors(more),
            horizon: 6 * HOUR,
            ..steady(0.05)
        };
        Cell {
            with_naive: more >= 1.0,
            ..requests_to_roll_back(name, limit, scenario)
        }
    });
    let mut first_byte = steady(0.05);
    for guardrail in &mut first_byte.spec.rollout.guardrails {
        if !guardrail.metric.is_rate() {
            guardrail.metric = Metric::TtftP95;
        }
    }
    let slower = Scenario {
        effect: Effect {
            first_byte: 1.5,
            ..Effect::NONE
        },
        onset: Onset::Measured,
        horizon: HOUR,
        ..first_byte
    };
    let slower = Cell {
        with_naive: true,
        ..requests_to_roll_back("TTFT +50 %, canary requests to roll back", 130.0, slower)
    };
    errors.into_iter().chain([slower])
}

fn damage_after_a_healthy_day() -> impl Iterator<Item = Cell> {
    let after = |share, more| Scenario {
        effect: Effect::errors(more),
        onset: Onset::After {
            healthy: 24 * HOUR,
            look_every: Some(HEALTHY_LOOKS),
        },
        horizon: 2 * HOUR,
        ..steady(share)
    };
    let total = [
        ("healthy 24 h, then fails all at 5 %", 0.05, 20.0),
        ("healthy 24 h, then fails all at 25 %", 0.25, 45.0),
        ("healthy 24 h, then fails all at 50 %", 0.5, 80.0),
    ]
    .map(|(name, share, limit)| requests_to_roll_back(name, limit, after(share, 1.0)));
    let partial = cell(
        "healthy 24 h, then +5 pp, minutes to roll back",
        Measure::MinutesToRollback,
        Target::AtMost(10.0),
        after(0.05, 0.05),
    );
    total.into_iter().chain([partial])
}

fn harm_that_passes() -> impl Iterator<Item = Cell> {
    [
        ("+1 pp errors reaching 25 %", 0.01, 0.25),
        ("+0.5 pp errors reaching 100 %", 0.005, 1.0),
    ]
    .map(|(name, more, weight)| {
        let scenario = Scenario {
            effect: Effect::errors(more),
            ..ramp(4 * HOUR)
        };
        cell(
            name,
            Measure::Reaches(weight),
            Target::AtMost(0.05),
            scenario,
        )
    })
    .into_iter()
}

fn merging() -> Cell {
    let scenario = Scenario {
        effect: Effect::errors(0.005),
        horizon: Duration::from_mins(5),
        ..steady(0.25)
    };
    cell(
        "merge of 2, 3 and 8 sidecars identical to one",
        Measure::MergesToTheBit,
        Target::AtLeast(1.0),
        scenario,
    )
}

/// A step that never ends.
fn steady(share: f64) -> Scenario {
    let step = step(share, Duration::from_hours(24 * 365));
    let everything = Step {
        weight: 1.0,
        ..step
    };
    scenario(vec![step, everything], HOUR)
}

/// 5 → 25 → 50 → 100 %.
fn ramp(horizon: Duration) -> Scenario {
    let steps = [0.05, 0.25, 0.5, 1.0].map(|weight| step(weight, DWELL));
    scenario(Vec::from(steps), horizon)
}

fn step(weight: f64, min_duration: Duration) -> Step {
    Step {
        weight,
        shadow: 0.0,
        min_duration,
        min_samples: 0,
        max_duration: None,
        requires_approval: false,
        bake: None,
        holdback: 0.0,
    }
}

fn scenario(steps: Vec<Step>, horizon: Duration) -> Scenario {
    Scenario {
        spec: rollout(steps, WARMUP),
        traffic: Traffic::default(),
        effect: Effect::NONE,
        onset: Onset::Start,
        horizon,
    }
}

fn requests_to_roll_back(name: &'static str, limit: f64, scenario: Scenario) -> Cell {
    cell(
        name,
        Measure::RequestsToRollback,
        Target::AtMost(limit),
        scenario,
    )
}

fn cell(name: &'static str, measure: Measure, target: Target, scenario: Scenario) -> Cell {
    let unit = match measure {
        Measure::RolledBack | Measure::Reaches(_) | Measure::MergesToTheBit => Unit::Share,
        Measure::RequestsToRollback => Unit::CanaryRequests,
        Measure::MinutesToFull | Measure::MinutesToRollback => Unit::Minutes,
    };
    Cell {
        name,
        conditions: conditions(&scenario),
        unit,
        target,
        with_naive: false,
        measure,
        scenario,
        seed: 0,
    }
}

/// What stands beside a figure.
fn conditions(scenario: &Scenario) -> String {
    let traffic = &scenario.traffic;
    let percent = |share: f64| (share * 1_000.0).round() / 10.0;
    let steps = scenario.spec.steps();
    let rests = |step: &Step| step.min_duration > 24 * HOUR;
    let shares: Vec<String> = steps
        .iter()
        .take(if steps.first().is_some_and(rests) {
            1
        } else {
            steps.len()
        })
        .map(|step| percent(step.weight).to_string())
        .collect();
    let analysis = &scenario.spec.rollout.analysis;
    let onset = match scenario.onset {
        Onset::Start => String::new(),
        Onset::Measured => ", broken once latency is compared".to_owned(),
        Onset::After { look_every, .. } => look_every.map_or_else(String::new, |every| {
            format!(", the healthy time looked at every {} s", every.as_secs())
        }),
    };
    format!(
        "{} rps, {} % errors, ICC {}, canary {} %, a look every {} s and at errors, watched for {} h{onset}",
        traffic.requests_per_second,
        percent(traffic.error_rate),
        traffic.icc,
        shares.join(" → "),
        analysis.interval.as_secs(),
        (scenario.horizon.as_secs_f64() / 360.0).round() / 10.0,
    )
}

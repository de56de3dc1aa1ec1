//! `serin check`: proves a configuration and tells what it would do, without doing any of it.
//!
//! Errors go to standard error, all at once, one line each with its place; the exit code is then 2.

mod text;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use serin_config::Loaded;
use serin_config::model::{Plan, Route, Step};

use super::operate::Output;
use super::plan::Outlook;
use super::simulate::rate;
use super::{Answer, Failure};
use crate::term::{Colour, Paint, complain, print, significant};

/// Validate a configuration and print what would run.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  serin check -c serin.yaml\n  serin check -c serin.yaml --rps 100"
)]
pub(crate) struct Check {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Requests per second of each rollout's route: also forecast how long each step takes (1 % errors, ICC
    /// 0.1, median latency 100 ms; `serin plan` takes other numbers).
    #[arg(long, value_name = "N", value_parser = rate, allow_negative_numbers = true)]
    rps: Option<f64>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Check {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let file = self.config.display().to_string();
        match serin_config::load(&self.config) {
            Ok(loaded) => {
                let paint = Paint::stdout();
                print(&match self.output {
                    Output::Text => {
                        let mut text = text::render(&file, &loaded, paint);
                        if let Some(rps) = self.rps {
                            text.push_str(&forecasts(&loaded, rps, paint));
                        }
                        text
                    }
                    Output::Json => format!("{:#}\n", plan(&file, &loaded, self.rps)),
                })?;
                Ok(Answer::Yes)
            }
            Err(diagnostics) => {
                if self.output == Output::Json {
                    let errors = json!({
                        "file": file, "valid": false,
                        "errors": diagnostics.errors(), "omitted": diagnostics.omitted(),
                    });
                    print(&format!("{errors:#}\n"))?;
                }
                Err(refused(&file, &diagnostics))
            }
        }
    }
}

/// Prints every error, as both `check` and `run` do, and says how many there are.
pub(super) fn refused(file: &str, diagnostics: &serin_config::Diagnostics) -> Failure {
    complain(&diagnostics.to_string());
    let count = diagnostics.errors().len() + diagnostics.omitted();
    let errors = if count == 1 { "error" } else { "errors" };
    Failure::usage(format!("{file}: {count} {errors}"))
}

/// What would run, for programs.
fn plan(file: &str, loaded: &Loaded, rps: Option<f64>) -> Value {
    let rollouts: Vec<_> = loaded
        .config
        .routes
        .iter()
        .filter_map(|route| rollout(route, rps))
        .collect();
    json!({
        "file": file, "valid": true,
        "warnings": loaded.warnings,
        "rollouts": rollouts,
        "config": serin_config::effective(&loaded.config),
    })
}

/// How long each step of each rollout takes at this rate, for people.
fn forecasts(loaded: &Loaded, rps: f64, paint: Paint) -> String {
    let routes = loaded.config.routes.iter();
    routes
        .filter_map(|route| Some((route, Outlook::at_rate(route, rps)?)))
        .map(|(route, outlook)| {
            format!(
                "\n{} at {} requests a second\n{}",
                paint.paint(Colour::Strong, &route.name),
                significant(rps),
                outlook.durations(paint)
            )
        })
        .collect()
}

fn rollout(route: &Route, rps: Option<f64>) -> Option<Value> {
    let rollout = route.rollout.as_ref()?;
    let digest = |backend: Option<&serin_config::model::Backend>| {
        Some(backend?.release.as_ref()?.digest.to_string())
    };
    let steps = match &rollout.plan {
        Plan::Steps(steps) => steps.iter().map(step).collect(),
        Plan::Manual(weight) => vec![json!({"weight": weight})],
    };
    Some(json!({
        "name": &*route.name,
        "digest": {"baseline": digest(Some(&route.baseline)), "canary": digest(route.canary.as_ref())},
        "steps": steps,
        "expected_s": shortest(&rollout.plan).map(|time| time.as_secs_f64()),
        "forecast": rps.and_then(|rps| Outlook::at_rate(route, rps)).map(|outlook| outlook.document()),
    }))
}

fn step(step: &Step) -> Value {
    json!({
        "weight": step.weight,
        "shadow": step.shadow,
        "expected_s": dwell(step).as_secs_f64(),
        "min_samples": step.min_samples,
        "requires_approval": step.requires_approval,
    })
}

/// The least time in a step; too little traffic, a person's approval or thin evidence make it longer.
pub(super) fn dwell(step: &Step) -> std::time::Duration {
    step.min_duration.max(step.bake.unwrap_or_default())
}

/// The least time of a whole ramp; none for a weight that is edited by hand.
fn shortest(plan: &Plan) -> Option<std::time::Duration> {
    match plan {
        Plan::Steps(steps) => Some(steps.iter().map(dwell).sum()),
        Plan::Manual(_) => None,
    }
}

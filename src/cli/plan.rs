//! `serin plan`: what each step of a ramp needs, in requests and in time, before a single one was sent.
//!
//! "proves" is what it takes to show that a canary like the baseline is not worse than the margin: what a step
//! waits for. "finds" is what it takes to roll back a canary that is worse by the margin, from nothing. Both are
//! medians; 1.7 times as many suffice four times in five.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use serin_config::model::{Metric, Route};
use serin_config::units::{parse_duration, parse_fraction};
use serin_control::forecast::{Assumptions, Ends, GuardrailForecast, Need, StepForecast, forecast};
use serin_control::rollout::RolloutSpec;
use serin_control::simulation::Traffic;

use super::operate::Output;
use super::simulate::{correlation, rate, the_rollout};
use super::{Answer, Failure, check};
use crate::term::{Align, Colour, Paint, Table, count, percent, points, print, significant, time};

/// Power analysis: requests and time that each step needs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  serin plan -c serin.yaml --rps 100\n  \
                        serin plan -c serin.yaml --rps 100 --baseline-error-rate 0.2% --icc 0")]
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
    #[arg(long, value_name = "N", value_parser = rate)]
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
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "100ms")]
    latency: Duration,
}

impl Expected {
    fn assumptions(&self) -> Assumptions {
        let traffic = Traffic {
            icc: self.icc,
            ..Traffic::default()
        };
        Assumptions {
            requests_per_second: self.rps,
            error_rate: self.baseline_error_rate,
            design_effect: self.deff.unwrap_or_else(|| traffic.design_effect()),
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
        let spec = RolloutSpec::of(route)
            .ok_or_else(|| Failure::usage(format!("route {} has no rollout", route.name)))?;
        let assumptions = self.expected.assumptions();
        let steps = forecast(&spec, &assumptions);
        print(&match self.output {
            Output::Text => text(&spec, &assumptions, &steps, Paint::stdout()),
            Output::Json => format!("{:#}\n", json(&spec, &assumptions, &steps)),
        })?;
        Ok(Answer::Yes)
    }
}

fn text(
    spec: &RolloutSpec,
    assumptions: &Assumptions,
    steps: &[StepForecast],
    paint: Paint,
) -> String {
    let mut text = format!(
        "{}: {} requests a second, {} of baseline's failing, median latency {} ms, design effect {}\n\n",
        paint.paint(Colour::Strong, &spec.name),
        significant(assumptions.requests_per_second),
        percent(assumptions.error_rate),
        significant(assumptions.median_ms),
        significant(assumptions.design_effect),
    );
    let mut table = Table::new(&[
        ("step", Align::Right),
        ("canary", Align::Right),
        ("guardrail", Align::Left),
        ("margin", Align::Right),
        ("proves: requests", Align::Right),
        ("time", Align::Right),
        ("finds: requests", Align::Right),
        ("time", Align::Right),
        ("found by the end", Align::Right),
    ]);
    for (index, step) in steps.iter().enumerate() {
        let (share, nothing) = if step.shadow > 0.0 {
            let copies = format!("shadow {}", percent(step.shadow));
            (copies, "copies, pair by pair")
        } else {
            (percent(step.share), "nothing to compare with")
        };
        let mut place = [(index + 1).to_string(), share];
        if step.guardrails.is_empty() {
            let [number, share] = place;
            let nothing = nothing.to_owned();
            let rest: [String; 6] = Default::default();
            let [a, b, c, d, e, f] = rest;
            table.row([number, share, nothing, a, b, c, d, e, f]);
            continue;
        }
        for guardrail in &step.guardrails {
            let [number, share] = std::mem::take(&mut place);
            let found = guardrail.detectable;
            table.row([
                number,
                share,
                guardrail.metric.name().to_owned(),
                amount(guardrail.metric, guardrail.margin),
                requests(&guardrail.prove),
                time(guardrail.prove.seconds),
                requests(&guardrail.detect),
                time(guardrail.detect.seconds),
                found.map_or_else(String::new, |found| amount(guardrail.metric, found)),
            ]);
        }
    }
    text.push_str(&table.render(paint, "  "));
    text.push('\n');
    text.push_str(&durations(steps, paint));
    text
}

/// The steps of a route's rollout at this rate, and with what is expected of traffic otherwise.
pub(super) fn steps(route: &Route, rps: f64) -> Option<Vec<StepForecast>> {
    let traffic = Traffic::default();
    let assumptions = Assumptions {
        requests_per_second: rps,
        error_rate: traffic.error_rate,
        design_effect: traffic.design_effect(),
        median_ms: traffic.median_ms,
    };
    Some(forecast(&RolloutSpec::of(route)?, &assumptions))
}

/// How long each step takes, and which don't end in time.
pub(super) fn durations(steps: &[StepForecast], paint: Paint) -> String {
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        let _ = writeln!(
            text,
            "  step {} takes about {} ({} canary requests); four times in five at most {}",
            index + 1,
            time(step.seconds),
            whole(step.canary_requests),
            time(step.likely_seconds),
        );
        if let Some(warning) = warning(index, step) {
            let _ = writeln!(text, "  {} {warning}", paint.paint(Colour::Wait, "warning"));
        }
    }
    let all: f64 = steps.iter().map(|step| step.seconds).sum();
    let _ = writeln!(text, "  in all about {}", time(all));
    text
}

/// What is to be said of a step that may outlast its `max_duration`.
fn warning(index: usize, step: &StepForecast) -> Option<String> {
    let number = index + 1;
    match step.ends {
        Ends::InTime => None,
        Ends::Perhaps => Some(format!(
            "step {number} takes up to {} one time in five or more: longer than its max_duration",
            time(step.likely_seconds)
        )),
        Ends::Late => Some(format!(
            "step {number} can't conclude within its max_duration: it takes about {}",
            time(step.seconds)
        )),
    }
}

fn amount(metric: Metric, value: f64) -> String {
    if metric.is_rate() {
        points(value)
    } else {
        format!("{}ms", significant(value))
    }
}

fn requests(need: &Need) -> String {
    whole(need.canary_requests)
}

fn whole(requests: f64) -> String {
    if requests.is_finite() {
        count(requests.ceil() as u64)
    } else {
        "never".to_owned()
    }
}

fn json(spec: &RolloutSpec, assumptions: &Assumptions, steps: &[StepForecast]) -> Value {
    json!({
        "rollout": spec.name,
        "assumptions": {
            "requests_per_second": assumptions.requests_per_second,
            "baseline_error_rate": assumptions.error_rate,
            "design_effect": assumptions.design_effect,
            "median_latency_ms": assumptions.median_ms,
        },
        "steps": steps.iter().enumerate().map(|(index, each)| step(index, each)).collect::<Vec<_>>(),
        "expected_s": finite(steps.iter().map(|step| step.seconds).sum()),
    })
}

/// One step, for programs.
pub(super) fn step(index: usize, step: &StepForecast) -> Value {
    json!({
        "share": step.share,
        "shadow": step.shadow,
        "canary_requests": finite(step.canary_requests),
        "expected_s": finite(step.seconds),
        "likely_s": finite(step.likely_seconds),
        "warning": warning(index, step),
        "guardrails": step.guardrails.iter().map(guardrail).collect::<Vec<_>>(),
    })
}

fn guardrail(guardrail: &GuardrailForecast) -> Value {
    let need = |need: &Need| json!({"canary_requests": finite(need.canary_requests), "seconds": finite(need.seconds)});
    json!({
        "metric": guardrail.metric.name(),
        "margin": guardrail.margin,
        "prove": need(&guardrail.prove),
        "detect": need(&guardrail.detect),
        "detectable": guardrail.detectable,
    })
}

/// JSON knows no infinity: what is never reached has no number.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn design_effect(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(deff) if (1.0..=100.0).contains(&deff) => Ok(deff),
        _ => Err("expected a design effect from 1 to 100".to_owned()),
    }
}

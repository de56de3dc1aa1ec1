//! What the simulated rollouts say, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use serin_config::units::format_duration;
use serin_control::simulation::{End, Run, Scenario, median, proportion, quantile};

use super::effect::Harm;
use super::runs::Simulated;
use crate::term::{count, percent, significant, time};

/// What was asked.
pub(super) struct Question<'a> {
    pub(super) healthy: &'a Scenario,
    pub(super) harmed: Option<&'a Scenario>,
    pub(super) harms: &'a [Harm],
    pub(super) after: Option<Duration>,
    pub(super) seed: u64,
}

/// What some runs have in common.
struct Summary {
    runs: usize,
    rolled_back: usize,
    promoted: usize,
    rules: BTreeMap<&'static str, usize>,
    /// From the break to the rollback, ascending.
    delays_s: Vec<f64>,
    canary_requests: Vec<f64>,
    canary_errors: Vec<f64>,
    /// From the start to 100 %, ascending; of those that stayed there.
    full_s: Vec<f64>,
    highest: Vec<f64>,
}

impl Summary {
    fn of(runs: &[Run]) -> Self {
        let rolled_back = || runs.iter().filter(|run| run.rolled_back());
        let mut rules = BTreeMap::new();
        for run in rolled_back() {
            if let End::RolledBack(Some(rule)) = run.end {
                *rules.entry(rule.name()).or_insert(0) += 1;
            }
        }
        let seconds = |ms: u64| ms as f64 / 1e3;
        Self {
            runs: runs.len(),
            rolled_back: rolled_back().count(),
            promoted: runs.iter().filter(|run| run.end == End::Promoted).count(),
            rules,
            delays_s: ascending(rolled_back().map(|run| seconds(run.delay_ms()))),
            canary_requests: ascending(rolled_back().map(|run| run.canary_requests as f64)),
            canary_errors: ascending(rolled_back().map(|run| run.canary_errors as f64)),
            full_s: ascending(
                runs.iter()
                    .filter(|run| !run.rolled_back())
                    .filter_map(|run| run.full_ms)
                    .map(seconds),
            ),
            highest: ascending(rolled_back().map(|run| run.highest_weight)),
        }
    }
}

fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// For people.
pub(super) fn text(question: &Question<'_>, simulated: &Simulated) -> String {
    let Scenario {
        spec,
        traffic,
        horizon,
        ..
    } = question.healthy;
    let mut text = format!(
        "{} rollouts of {}, each watched for {}\n\
         {} requests a second, {} of them failing, median latency {} ms; ICC {}, {} active users; a look \
         every {} and at every error; seed {}\n",
        count(simulated.healthy.len() as u64),
        spec.name,
        format_duration(*horizon),
        significant(traffic.requests_per_second),
        percent(traffic.error_rate),
        significant(traffic.median_ms),
        traffic.icc,
        count(traffic.active_users() as u64),
        format_duration(spec.rollout.analysis.interval),
        question.seed,
    );
    text.push_str("\na canary like the baseline\n");
    describe(&mut text, &Summary::of(&simulated.healthy), false);
    if question.harmed.is_some() {
        let harms: Vec<String> = question.harms.iter().map(ToString::to_string).collect();
        let when = question.after.map_or_else(String::new, |after| {
            format!(", after {} of health", format_duration(after))
        });
        let _ = write!(text, "\na canary with {}{when}\n", harms.join(", "));
        describe(&mut text, &Summary::of(&simulated.harmed), true);
    }
    text
}

fn describe(text: &mut String, summary: &Summary, harmed: bool) {
    let share = |n: usize| match proportion(n, summary.runs) {
        Some(figure) => format!("{} ± {}", percent(figure.value), percent(figure.std_error)),
        None => String::new(),
    };
    let falsely = if harmed { "" } else { ", falsely" };
    let _ = writeln!(
        text,
        "  rolled back{falsely:9}  {}",
        share(summary.rolled_back)
    );
    if let (Some(half), Some(most)) = (
        quantile(&summary.delays_s, 0.5),
        quantile(&summary.delays_s, 0.9),
    ) {
        let at = |values: &[f64], q| quantile(values, q).map_or_else(String::new, significant);
        let _ = writeln!(
            text,
            "    half of them within {} and {} canary requests, of which {} failed",
            time(half),
            at(&summary.canary_requests, 0.5),
            at(&summary.canary_errors, 0.5),
        );
        let _ = writeln!(
            text,
            "    nine in ten within {} and {} canary requests, at a weight of at most {}",
            time(most),
            at(&summary.canary_requests, 0.9),
            percent(quantile(&summary.highest, 1.0).unwrap_or_default()),
        );
        let rules: Vec<String> = summary
            .rules
            .iter()
            .map(|(rule, n)| format!("{rule} {}", percent(*n as f64 / summary.rolled_back as f64)))
            .collect();
        let _ = writeln!(text, "    by {}", rules.join(", "));
    }
    let _ = writeln!(
        text,
        "  reached 100 %         {}",
        share(summary.full_s.len())
    );
    if let (Some(half), Some(most)) = (
        quantile(&summary.full_s, 0.5),
        quantile(&summary.full_s, 0.9),
    ) {
        let _ = writeln!(
            text,
            "    half of them within {}, nine in ten within {}",
            time(half),
            time(most)
        );
    }
    let neither = summary
        .runs
        .saturating_sub(summary.rolled_back + summary.full_s.len());
    let _ = writeln!(text, "  neither, in that time {}", share(neither));
}

/// For programs.
pub(super) fn json(question: &Question<'_>, simulated: &Simulated) -> Value {
    let Scenario {
        spec,
        traffic,
        horizon,
        ..
    } = question.healthy;
    let harms: Vec<String> = question.harms.iter().map(ToString::to_string).collect();
    json!({
        "rollout": spec.name,
        "assumptions": {
            "requests_per_second": traffic.requests_per_second,
            "baseline_error_rate": traffic.error_rate,
            "icc": traffic.icc,
            "active_users": traffic.active_users(),
            "median_latency_ms": traffic.median_ms,
            "median_first_byte_ms": traffic.first_byte_ms,
            "interval_s": spec.rollout.analysis.interval.as_secs_f64(),
            "watched_s": horizon.as_secs_f64(),
            "seed": question.seed,
        },
        "like_baseline": summarise(&Summary::of(&simulated.healthy)),
        "harmed": question.harmed.map(|_| json!({
            "effects": harms,
            "after_s": question.after.map_or(0.0, |after| after.as_secs_f64()),
            "outcome": summarise(&Summary::of(&simulated.harmed)),
        })),
    })
}

fn summarise(summary: &Summary) -> Value {
    let share = |n: usize| {
        proportion(n, summary.runs)
            .map(|figure| json!({"value": figure.value, "std_error": figure.std_error}))
    };
    let spread = |values: &[f64]| {
        let figure = median(&mut values.to_vec())?;
        Some(json!({
            "median": figure.value,
            "std_error": figure.std_error,
            "p90": quantile(values, 0.9),
        }))
    };
    json!({
        "runs": summary.runs,
        "rolled_back": share(summary.rolled_back),
        "promoted": share(summary.promoted),
        "reached_100": share(summary.full_s.len()),
        "rules": summary.rules,
        "seconds_to_rollback": spread(&summary.delays_s),
        "canary_requests_to_rollback": spread(&summary.canary_requests),
        "canary_errors_to_rollback": spread(&summary.canary_errors),
        "seconds_to_100": spread(&summary.full_s),
    })
}

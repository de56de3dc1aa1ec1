//! What the simulated rollouts say, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use serin_config::model::{Guardrail, Metric, Plan, Step};
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
    copies: Vec<f64>,
    /// Rolled back before a client met the canary.
    unmet: usize,
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
            copies: ascending(rolled_back().map(|run| run.copies as f64)),
            unmet: rolled_back()
                .filter(|run| run.highest_weight <= 0.0)
                .count(),
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
        "{} {} of {}, watched for {}\n\
         {} requests a second, {} of them failing, median latency {} ms; ICC {}, {} active users; a look \
         every {} and at every error; seed {}\n",
        count(simulated.healthy.len() as u64),
        if simulated.healthy.len() == 1 {
            "rollout"
        } else {
            "rollouts, each"
        },
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
    let course = Course::of(&spec.rollout.plan);
    text.push_str("\na canary like the baseline\n");
    describe(&mut text, course, &Summary::of(&simulated.healthy), false);
    if question.harmed.is_some() {
        let harms: Vec<String> = question.harms.iter().map(ToString::to_string).collect();
        let when = question.after.map_or_else(String::new, |after| {
            format!(", after {} of health", format_duration(after))
        });
        let _ = write!(text, "\na canary with {}{when}\n", harms.join(", "));
        describe(&mut text, course, &Summary::of(&simulated.harmed), true);
    }
    for note in notes(question) {
        let _ = write!(text, "\nnote: {note}");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Where a plan leads.
#[derive(Clone, Copy)]
struct Course {
    /// It begins with copies.
    copies: bool,
    /// It ends at 100 %.
    arrives: bool,
}

impl Course {
    fn of(plan: &Plan) -> Self {
        match plan {
            Plan::Steps(steps) => Self {
                copies: steps.iter().any(Step::is_shadow),
                arrives: steps.last().is_some_and(|step| step.weight >= 1.0),
            },
            Plan::Manual(weight) => Self {
                copies: false,
                arrives: *weight >= 1.0,
            },
        }
    }
}

/// What somebody who reads the figures should know beside them.
fn notes(question: &Question<'_>) -> Vec<String> {
    let spec = &question.healthy.spec;
    let mut notes = Vec::new();
    match &spec.rollout.plan {
        Plan::Manual(weight) => notes.push(format!(
            "the weight is edited by hand: it stays at {} unless a breach takes the canary back",
            percent(*weight)
        )),
        Plan::Steps(steps) => {
            if steps.iter().any(|step| step.requires_approval) {
                notes.push("steps that want approval are approved at once".to_owned());
            }
            if let Some(last) = steps.last().filter(|last| last.weight < 1.0) {
                notes.push(format!("the ramp ends at {}", percent(last.weight)));
            }
        }
    }
    if spec.mirror.is_some() {
        notes.push("copies of the standing mirror are left out: they move no rollout".to_owned());
    }
    for harm in question.harms {
        if !is_watched(harm.metric, &spec.rollout.guardrails) {
            notes.push(format!(
                "no guardrail that acts watches what {harm} does: it is found only where hardly any request \
                 succeeds",
            ));
        }
    }
    notes
}

/// Whether a guardrail acts on what an effect on this metric changes.
fn is_watched(metric: Metric, guardrails: &[Guardrail]) -> bool {
    let mut acting = guardrails.iter().filter(|guardrail| !guardrail.dry_run);
    match metric {
        // The rules on first errors need no guardrail, but a dry run silences them.
        Metric::ErrorRate => !guardrails
            .iter()
            .any(|guardrail| guardrail.metric == metric && guardrail.dry_run),
        Metric::RejectedRate | Metric::AbortedRate => {
            acting.any(|guardrail| guardrail.metric == metric)
        }
        Metric::LatencyP50 | Metric::LatencyP90 | Metric::LatencyP95 | Metric::LatencyP99 => acting
            .any(|guardrail| !guardrail.metric.is_rate() && guardrail.metric != Metric::TtftP95),
        // The whole response takes as much longer.
        Metric::TtftP95 => acting.any(|guardrail| !guardrail.metric.is_rate()),
    }
}

fn describe(text: &mut String, course: Course, summary: &Summary, harmed: bool) {
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
        if course.copies {
            let _ = writeln!(
                text,
                "    before a client met the canary: {}, half of all after {} copies",
                percent(summary.unmet as f64 / summary.rolled_back as f64),
                at(&summary.copies, 0.5),
            );
        }
    }
    if !course.arrives {
        let neither = summary.runs.saturating_sub(summary.rolled_back);
        let _ = writeln!(text, "  not rolled back       {}", share(neither));
        return;
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
        "notes": notes(question),
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
        "copies_to_rollback": spread(&summary.copies),
        "rolled_back_before_clients": share(summary.unmet),
        "seconds_to_100": spread(&summary.full_s),
    })
}

//! How a canary earns its traffic: the ramp, or the weight an operator edits.

use std::time::Duration;

use super::guardrail;
use crate::model::{Analysis, Method, OnBreach, Plan, Rollout, Step};
use crate::units;
use crate::walk::{At, Fields, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &[
        "steps",
        "weight",
        "guardrails",
        "analysis",
        "on_breach",
        "on_no_data",
        "on_sample_ratio_mismatch",
    ],
    later: &["segments", "fallback"],
};
pub(crate) const STEP_KEYS: Keys = Keys {
    known: &[
        "weight",
        "shadow",
        "min_duration",
        "min_samples",
        "max_duration",
        "requires_approval",
        "bake",
        "holdback",
    ],
    later: &[],
};
pub(crate) const ANALYSIS_KEYS: Keys = Keys {
    known: &["interval", "alpha", "method", "at_samples", "warmup"],
    later: &[],
};
pub(crate) const ON_BREACH: [(&str, OnBreach); 3] = [
    ("rollback", OnBreach::Rollback),
    ("hold", OnBreach::Hold),
    ("warn", OnBreach::Warn),
];

/// What holds where nothing is written.
pub(crate) const ANALYSIS: Analysis = Analysis {
    interval: Duration::from_secs(5),
    alpha: 0.05,
    method: Method::Sequential,
    warmup: Duration::from_secs(60),
};
/// Evidence decides when a step is left; who wants to watch a daily pattern says how long.
pub(crate) const MIN_DURATION: Duration = Duration::ZERO;
/// A sign of life: silence is no reason to go on. How much evidence is enough is the analysis' question.
pub(crate) const MIN_SAMPLES: u64 = 20;

const MOST_STEPS: usize = 100;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60 * 60);

pub(crate) fn rollout(at: &At<'_>) -> Option<Rollout> {
    let fields = at.fields(KEYS)?;
    let plan = plan(&fields);
    let on_breach = fields.or("on_breach", OnBreach::Rollback, |at| at.choice(&ON_BREACH));
    // Silence is never a pass, and alone never a reason to take a release back.
    fields.or("on_no_data", (), |at| at.choice(&[("hold", ())]));
    let on_sample_ratio_mismatch = fields.or("on_sample_ratio_mismatch", OnBreach::Hold, |at| {
        at.choice(&ON_BREACH)
    });
    let guardrails = match fields.get("guardrails") {
        Some(at) => guardrail::guardrails(at, on_breach),
        None => guardrail::defaults(on_breach),
    };
    let analysis = fields.get("analysis").map_or(ANALYSIS, analysis);
    Some(Rollout {
        plan: plan?,
        guardrails,
        analysis,
        on_breach,
        on_sample_ratio_mismatch,
    })
}

fn plan(fields: &Fields<'_>) -> Option<Plan> {
    match (fields.get("steps"), fields.get("weight")) {
        (Some(at), None) => steps(at).map(Plan::Steps),
        (None, Some(at)) => at.measured(units::parse_fraction).map(Plan::Manual),
        (Some(_), Some(weight)) => {
            weight.refuse_key(
                "`weight` beside `steps`",
                "either an automatic ramp or a weight edited by hand",
                None,
            );
            None
        }
        (None, None) => {
            fields.at.refuse(
                "neither `steps` nor `weight`",
                "`steps`: an automatic ramp, or `weight`: edited by hand",
            );
            None
        }
    }
}

/// Copies come before clients; the share of either rises from step to step.
fn steps(at: &At<'_>) -> Option<Vec<Step>> {
    let items = at.items("at least one step such as {weight: 5%}", MOST_STEPS);
    let mut steps = Vec::with_capacity(items.len());
    let (mut reached, mut copied) = (0.0, 0.0);
    for item in &items {
        let Some(fields) = item.fields(STEP_KEYS) else {
            continue;
        };
        if let Some(at) = fields.get("shadow") {
            let shadow = shadow_share(&fields, at, copied, reached);
            copied = shadow.unwrap_or(copied);
            steps.push(Step {
                weight: 0.0,
                shadow: shadow.unwrap_or(1.0),
                ..step(&fields, None)
            });
            continue;
        }
        let weight = fields
            .require("weight", "the canary's share such as \"5%\"")
            .and_then(|at| step_weight(at, reached));
        reached = weight.unwrap_or(reached);
        steps.push(step(&fields, weight));
    }
    if let (Some(last), Some(item)) = (steps.last(), items.last())
        && last.is_shadow()
        && steps.iter().all(Step::is_shadow)
    {
        item.refuse(
            "a ramp of shadow steps only",
            "a step with a weight after them",
        );
    }
    (!steps.is_empty()).then_some(steps)
}

/// The share that a shadow step copies; it has nothing of a step with clients.
fn shadow_share(fields: &Fields<'_>, at: &At<'_>, copied: f64, reached: f64) -> Option<f64> {
    for name in ["weight", "bake", "holdback"] {
        if let Some(at) = fields.get(name) {
            at.refuse_key(
                &format!("`{name}` in a shadow step"),
                "a step of its own: copies reach no client",
                None,
            );
        }
    }
    if reached > 0.0 {
        at.refuse_key(
            "a shadow step after one with a weight",
            "shadow steps first",
            None,
        );
        return None;
    }
    let share = at.measured(units::parse_fraction)?;
    if share <= copied {
        at.unexpected(&match copied {
            0.0 => "a percentage above 0%, at most 100%".to_owned(),
            before => format!(
                "more than the step before ({}): shares must rise",
                units::format_percent(before)
            ),
        });
        return None;
    }
    Some(share)
}

fn step_weight(at: &At<'_>, reached: f64) -> Option<f64> {
    let weight = at.measured(units::parse_fraction)?;
    if weight <= 0.0 {
        at.unexpected("a percentage above 0%, at most 100%");
        return None;
    }
    if weight <= reached {
        let before = units::format_percent(reached);
        at.unexpected(&format!(
            "more than the step before ({before}): weights must rise"
        ));
        return None;
    }
    Some(weight)
}

/// One step; its weight is absent when it was refused.
fn step(fields: &Fields<'_>, weight: Option<f64>) -> Step {
    let step = Step {
        weight: weight.unwrap_or(1.0),
        shadow: 0.0,
        min_duration: fields.or("min_duration", MIN_DURATION, |at| {
            at.measured(units::parse_duration)
        }),
        min_samples: fields.or("min_samples", MIN_SAMPLES, |at| at.whole(0..=u64::MAX)),
        max_duration: fields.get("max_duration").and_then(At::duration),
        requires_approval: fields.or("requires_approval", false, At::boolean),
        bake: fields.get("bake").and_then(At::duration),
        holdback: fields.or("holdback", 0.0, holdback),
    };
    if let (Some(bake), Some(weight)) = (fields.get("bake"), weight)
        && weight < 1.0
    {
        let here = units::format_percent(weight);
        bake.refuse_key(
            &format!("`bake` at {here}"),
            "it on a step with weight 100%",
            None,
        );
    }
    if let (Some(holdback), None) = (fields.get("holdback"), fields.get("bake")) {
        holdback.refuse_key(
            "`holdback` without `bake`",
            "`bake` beside it: how long users are held back",
            None,
        );
    }
    if let (Some(longest), Some(at)) = (step.max_duration, fields.get("max_duration"))
        && longest < step.min_duration
    {
        let least = units::format_duration(step.min_duration);
        at.unexpected(&format!("no less than the step's `min_duration` ({least})"));
    }
    step
}

fn holdback(at: &At<'_>) -> Option<f64> {
    let share = at.measured(units::parse_fraction)?;
    if share >= 1.0 {
        at.unexpected("a percentage below 100%");
        return None;
    }
    Some(share)
}

fn analysis(at: &At<'_>) -> Analysis {
    let Some(fields) = at.fields(ANALYSIS_KEYS) else {
        return ANALYSIS;
    };
    Analysis {
        method: method(&fields),
        interval: fields.or("interval", ANALYSIS.interval, interval),
        alpha: fields.or("alpha", ANALYSIS.alpha, alpha),
        warmup: fields.or("warmup", ANALYSIS.warmup, |at| {
            at.measured(units::parse_duration)
        }),
    }
}

/// The classic tests are valid at one size, declared beforehand.
fn method(fields: &Fields<'_>) -> Method {
    let fixed = fields.or("method", false, |at| {
        at.choice(&[("sequential", false), ("fixed_horizon", true)])
    });
    let declared = fields.get("at_samples");
    match (fixed, declared) {
        (false, None) => Method::Sequential,
        (false, Some(at)) => {
            at.refuse_key(
                "`at_samples` without `method: fixed_horizon`",
                "`method: fixed_horizon` beside it: sequential tests need no sample size",
                None,
            );
            Method::Sequential
        }
        (true, None) => {
            fields.at.refuse(
                "`method: fixed_horizon` without `at_samples`",
                "`at_samples`: after how many canary requests it is decided, once",
            );
            Method::Sequential
        }
        (true, Some(at)) => Method::FixedHorizon {
            at_samples: at.whole(1..=u64::MAX).unwrap_or(1),
        },
    }
}

fn interval(at: &At<'_>) -> Option<Duration> {
    let interval = at.measured(units::parse_duration)?;
    if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        at.unexpected("a duration from 10ms to 1h");
        return None;
    }
    Some(interval)
}

/// A probability: the one quantity that is written as a bare number, or as a percentage.
fn alpha(at: &At<'_>) -> Option<f64> {
    let written = at.as_number();
    let alpha = written.or_else(|| units::parse_percent(at.as_text()?).ok());
    let alpha = alpha.filter(|alpha| *alpha > 0.0 && *alpha < 0.5);
    if alpha.is_none() {
        at.unexpected("a probability between 0 and 0.5, such as 0.05");
    }
    alpha
}

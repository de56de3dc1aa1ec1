//! The forecast for programs; `docs/forecasts.md` describes the members.

use serde_json::{Value, json};
use serin_control::forecast::{Ends, GuardrailForecast, Need, StepForecast};

use super::Outlook;

/// The whole answer.
pub(super) fn whole(outlook: &Outlook) -> Value {
    let assumptions = &outlook.assumptions;
    json!({
        "rollout": outlook.spec.name,
        "assumptions": {
            "requests_per_second": assumptions.requests_per_second,
            "baseline_error_rate": assumptions.error_rate,
            "design_effect": outlook.design_effect(),
            "median_latency_ms": assumptions.median_ms,
        },
        "steps": steps(outlook),
        "expected_s": finite(outlook.seconds()),
    })
}

/// The steps.
pub(super) fn steps(outlook: &Outlook) -> Vec<Value> {
    let steps = outlook.steps.iter().enumerate();
    steps
        .map(|(index, each)| step(each, outlook.warning(index, each)))
        .collect()
}

fn step(step: &StepForecast, warning: Option<String>) -> Value {
    json!({
        "share": step.share,
        "shadow": step.shadow,
        "requires_approval": step.requires_approval,
        "canary_requests": finite(step.canary_requests),
        "expected_s": finite(step.seconds),
        "likely_s": finite(step.likely_seconds),
        "max_duration_s": step.limit_seconds,
        "ends": match step.ends {
            Ends::InTime => "in_time",
            Ends::Perhaps => "perhaps",
            Ends::Late => "late",
            Ends::Never(_) => "never",
        },
        "warning": warning,
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

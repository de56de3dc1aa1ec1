//! The schema of a rollout: steps, guardrails, analysis.

use serde_json::{Value, json};

use super::route::with_one_key;
use super::{
    boolean, choice, count, described, duration, list, object, one_of, percent, points, with,
    with_default,
};
use crate::compile::{guardrail, rollout};
use crate::units::format_duration;

pub(super) fn rollout() -> Value {
    let schema = object(
        "How the canary earns its traffic: `steps`, or a `weight` that operators edit.",
        rollout::KEYS,
        &[],
        [
            (
                "steps",
                list(
                    "An automatic ramp: copies first if at all, then weights that rise.",
                    step(),
                ),
            ),
            (
                "weight",
                percent("Edited by hand and reloaded; 0% to 100%."),
            ),
            ("guardrails", guardrails()),
            ("analysis", analysis()),
            (
                "on_breach",
                with_default(on_breach("What a breach does."), "rollback"),
            ),
            (
                "on_no_data",
                with_default(choice("What silence does.", ["hold"]), "hold"),
            ),
            (
                "on_sample_ratio_mismatch",
                with_default(on_breach("What a wrong share of users does."), "hold"),
            ),
        ],
    );
    let either = json!([{"required": ["steps"]}, {"required": ["weight"]}]);
    with("oneOf", schema, either)
}

fn on_breach(description: &str) -> Value {
    choice(description, rollout::ON_BREACH.map(|(name, _)| name))
}

fn step() -> Value {
    let dwell = with_default(
        duration("Not left before this has passed."),
        format_duration(rollout::MIN_DURATION),
    );
    let schema = object(
        "One step of the ramp: `weight`, or `shadow`.",
        rollout::STEP_KEYS,
        &[],
        [
            (
                "weight",
                percent("The canary's share; above 0%, at most 100%."),
            ),
            (
                "shadow",
                percent(
                    "Share of baseline's users whose requests are copied to the canary; above 0%, at most 100%.",
                ),
            ),
            ("min_duration", dwell),
            (
                "min_samples",
                count(
                    "Not left before the canary answered this many requests (in a shadow step: copies) in the step.",
                    rollout::MIN_SAMPLES,
                ),
            ),
            (
                "max_duration",
                duration("After this the step counts as stuck: it holds and says so."),
            ),
            (
                "requires_approval",
                boolean("Wait for a person before the step is entered.", false),
            ),
            (
                "bake",
                duration("At 100%: how long to watch before the rollout is done."),
            ),
            (
                "holdback",
                with_default(
                    percent("During `bake`: users kept on the old release."),
                    "0%",
                ),
            ),
        ],
    );
    let either = json!([{"required": ["weight"]}, {"required": ["shadow"]}]);
    with("oneOf", schema, either)
}

fn guardrails() -> Value {
    let relative_or_absolute =
        || one_of([duration("Absolute."), percent("Of the baseline's value.")]);
    let both = list("The larger of both.", relative_or_absolute());
    let latency = one_of([
        duration("Absolute."),
        percent("Of the baseline's value."),
        both,
    ]);
    let rate = |description, margin: &str| {
        let increase = points("How much more than baseline, in percentage points.");
        metric(
            description,
            with_default(increase, margin),
            percent("Absolute limit."),
        )
    };
    let latency = |description| {
        let increase = described("How much more than baseline.", latency.clone());
        metric(
            description,
            with_default(increase, json!(["50ms", "10%"])),
            duration("Absolute limit."),
        )
    };
    let metrics = object(
        "One metric and its bounds.",
        guardrail::METRICS,
        &[],
        [
            (
                "error_rate",
                rate("Share of requests that failed.", "0.5pp"),
            ),
            (
                "rejected_rate",
                rate(
                    "Share of requests that the upstream refused with a 4xx.",
                    "1pp",
                ),
            ),
            (
                "aborted_rate",
                rate("Share of requests whose client left first.", "1pp"),
            ),
            (
                "latency_p50",
                latency("Median of the whole response's time."),
            ),
            (
                "latency_p90",
                latency("90th percentile of the whole response's time."),
            ),
            (
                "latency_p95",
                latency("95th percentile of the whole response's time."),
            ),
            (
                "latency_p99",
                latency("99th percentile of the whole response's time."),
            ),
            (
                "ttft_p95",
                latency("95th percentile of the time to the first byte."),
            ),
        ],
    );
    let default = json!([
        {"error_rate": {"max_increase": "0.5pp"}},
        {"latency_p95": {"max_increase": ["50ms", "10%"]}},
    ]);
    with_default(
        list(
            "What must not get worse; each metric once.",
            with_one_key(metrics),
        ),
        default,
    )
}

fn metric(description: &str, max_increase: Value, max: Value) -> Value {
    object(
        description,
        guardrail::KEYS,
        &[],
        [
            ("max_increase", max_increase),
            ("max", max),
            (
                "on_breach",
                on_breach("What a breach does; else the rollout's."),
            ),
            (
                "min_samples",
                count(
                    "Its tests wait until the canary answered this many requests; the rules for total failure do not.",
                    0,
                ),
            ),
            ("dry_run", boolean("Shown, never acted on.", false)),
        ],
    )
}

fn analysis() -> Value {
    let defaults = rollout::ANALYSIS;
    let time = |description, default| with_default(duration(description), format_duration(default));
    let number = json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5});
    let alpha = one_of([number, percent("As a percentage.")]);
    let alpha = described(
        "Chance of rolling back a harmless canary, over a whole rollout.",
        alpha,
    );
    let schema = object(
        "How the evidence is weighed.",
        rollout::ANALYSIS_KEYS,
        &[],
        [
            (
                "interval",
                time(
                    "Between two regular looks, 10ms to 1h; errors are looked at at once.",
                    defaults.interval,
                ),
            ),
            ("alpha", with_default(alpha, defaults.alpha)),
            (
                "method",
                with_default(
                    choice("How it is decided.", ["sequential", "fixed_horizon"]),
                    "sequential",
                ),
            ),
            (
                "at_samples",
                json!({
                    "description": "With fixed_horizon: after how many canary requests it is decided, once.",
                    "type": "integer",
                    "minimum": 1,
                }),
            ),
            (
                "warmup",
                time("After each step-up: latency is left out.", defaults.warmup),
            ),
        ],
    );
    // The size of a fixed-horizon test is declared beforehand, and means nothing to the others.
    let method = |name: &str| json!({"method": {"const": name}});
    let either = json!([
        {"properties": method("fixed_horizon"), "required": ["method", "at_samples"]},
        {"properties": method("sequential"), "not": {"required": ["at_samples"]}},
    ]);
    with("anyOf", schema, either)
}

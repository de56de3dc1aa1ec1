//! What must not get worse, and by how much.
//!
//! Rates take percentage points for an increase and a percentage for the absolute limit; latencies take
//! durations, and a percentage of the baseline for an increase. A list of both means the larger.

use std::time::Duration;

use super::rollout::ON_BREACH;
use crate::model::{Guardrail, Margin, Metric, MetricKind, OnBreach};
use crate::units;
use crate::walk::{At, Keys};

/// The metrics.
pub(crate) const METRICS: Keys = Keys {
    known: &[
        "error_rate",
        "rejected_rate",
        "aborted_rate",
        "latency_p50",
        "latency_p90",
        "latency_p95",
        "latency_p99",
        "ttft_p95",
    ],
    later: &["business", "drift", "tpot_p95"],
};
pub(crate) const KEYS: Keys = Keys {
    known: &["max_increase", "max", "on_breach", "min_samples", "dry_run"],
    later: &["max_decrease", "segments"],
};

const GUARDRAILS: &str = "at least one guardrail such as {error_rate: {max_increase: 0.5pp}}";
/// More than there are metrics; a doubled one is reported as such.
const MOST_GUARDRAILS: usize = 32;

/// 0.5 percentage points.
const ERROR_RATE_MARGIN: Margin = Margin {
    absolute: Some(0.005),
    relative: None,
};
/// 1 percentage point, for failures that clients have a part in.
const CLIENT_RATE_MARGIN: Margin = Margin {
    absolute: Some(0.01),
    relative: None,
};
/// 50 ms or a tenth, whichever is more.
const LATENCY_MARGIN: Margin = Margin {
    absolute: Some(50.0),
    relative: Some(0.1),
};

/// What is watched where nothing is written.
pub(crate) fn defaults(on_breach: OnBreach) -> Vec<Guardrail> {
    let guardrail = |metric| Guardrail {
        metric,
        max_increase: default_margin(metric),
        max: None,
        on_breach,
        min_samples: 0,
        dry_run: false,
    };
    vec![guardrail(Metric::ErrorRate), guardrail(Metric::LatencyP95)]
}

const fn default_margin(metric: Metric) -> Margin {
    match metric {
        Metric::ErrorRate => ERROR_RATE_MARGIN,
        Metric::RejectedRate | Metric::AbortedRate => CLIENT_RATE_MARGIN,
        Metric::LatencyP50
        | Metric::LatencyP90
        | Metric::LatencyP95
        | Metric::LatencyP99
        | Metric::TtftP95 => LATENCY_MARGIN,
    }
}

pub(crate) fn guardrails(at: &At<'_>, on_breach: OnBreach) -> Vec<Guardrail> {
    let mut guardrails: Vec<Guardrail> = Vec::new();
    for item in at.items(GUARDRAILS, MOST_GUARDRAILS) {
        let Some((at, metric)) = metric(&item) else {
            continue;
        };
        if guardrails.iter().any(|other| other.metric == metric) {
            at.refuse_key(
                &format!("a second guardrail on `{}`", metric.name()),
                "each metric once",
                None,
            );
        }
        guardrails.extend(guardrail(&at, metric, on_breach));
    }
    guardrails
}

/// `{error_rate: …}`: one metric.
fn metric<'a>(item: &At<'a>) -> Option<(At<'a>, Metric)> {
    let fields = item.fields(METRICS)?;
    match fields.entries.as_slice() {
        [(name, at)] => {
            let metric = Metric::ALL
                .into_iter()
                .find(|metric| metric.name() == *name);
            metric.map(|metric| (at.clone(), metric))
        }
        [_, (_, second), ..] => {
            second.refuse_key(
                "two metrics in one guardrail",
                "a list item of its own for each",
                None,
            );
            None
        }
        _ => {
            if item.is_empty() {
                item.refuse(
                    "an empty mapping",
                    "a metric such as {error_rate: {max_increase: 0.5pp}}",
                );
            }
            None
        }
    }
}

fn guardrail(at: &At<'_>, metric: Metric, on_breach: OnBreach) -> Option<Guardrail> {
    let fields = at.fields(KEYS)?;
    let margin = |at: &At<'_>| match metric.kind() {
        MetricKind::Rate => points(at),
        MetricKind::Latency { .. } => latency_margin(at),
    };
    let limit = |at: &At<'_>| match metric.kind() {
        MetricKind::Rate => at.measured(units::parse_fraction),
        MetricKind::Latency { .. } => at.duration().map(in_milliseconds),
    };
    Some(Guardrail {
        metric,
        max_increase: fields.or("max_increase", default_margin(metric), margin),
        max: fields.get("max").and_then(limit),
        on_breach: fields.or("on_breach", on_breach, |at| at.choice(&ON_BREACH)),
        min_samples: fields.or("min_samples", 0, |at| at.whole(0..=u64::MAX)),
        dry_run: fields.or("dry_run", false, At::boolean),
    })
}

fn points(at: &At<'_>) -> Option<Margin> {
    let absolute = Some(at.measured(units::parse_points)?);
    Some(Margin {
        absolute,
        relative: None,
    })
}

/// A duration, a percentage, or a list of one of each.
fn latency_margin(at: &At<'_>) -> Option<Margin> {
    let expected = "a duration such as \"50ms\", a percentage such as \"10%\", or a list of both";
    let mut margin = Margin::default();
    let items = if at.is_list() {
        at.items(expected, 2)
    } else {
        vec![at.clone()]
    };
    for item in &items {
        let text = item.as_text().unwrap_or_default();
        let slot = if let Ok(share) = units::parse_percent(text) {
            margin.relative.replace(share)
        } else if let Ok(duration) = units::parse_duration(text) {
            margin.absolute.replace(in_milliseconds(duration))
        } else {
            item.refuse_with(
                &item.described(),
                expected,
                item.bare_number_hint(&["ms", "%"]),
            );
            continue;
        };
        if slot.is_some() {
            item.refuse(
                &format!("{} as a second of its kind", item.described()),
                "one duration and one percentage",
            );
        }
    }
    (!items.is_empty()).then_some(margin)
}

fn in_milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

//! How a canary earns its traffic, and what must not get worse meanwhile.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a canary earns its traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Automatic ramp, or a weight that operators edit.
    pub plan: Plan,
    /// In the order of the file; at least one.
    pub guardrails: Vec<Guardrail>,
    /// How the evidence is weighed.
    pub analysis: Analysis,
    /// What a breach does, unless a guardrail says otherwise.
    pub on_breach: OnBreach,
    /// What it does when users do not arrive in the declared proportion.
    #[serde(default = "hold")]
    pub on_sample_ratio_mismatch: OnBreach,
}

const fn hold() -> OnBreach {
    OnBreach::Hold
}

/// Automatic ramp, or a weight that operators edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Plan {
    /// At least one; weights rise.
    Steps(Vec<Step>),
    /// A fraction in [0, 1], edited by hand and reloaded.
    Manual(f64),
}

/// One step of a ramp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The canary's weight, in (0, 1]; 0 in a shadow step.
    pub weight: f64,
    /// In a shadow step: the share of requests that are copied to the canary, in (0, 1]; 0 in any other.
    #[serde(default)]
    pub shadow: f64,
    /// Not left before this has passed.
    pub min_duration: Duration,
    /// Not left before the canary answered this many requests (in a shadow step: copies) in the step.
    pub min_samples: u64,
    /// After this the step counts as stuck: it holds and says so.
    pub max_duration: Option<Duration>,
    /// Wait for a person before the step is entered.
    pub requires_approval: bool,
    /// At 100 %: how long to watch before the rollout is done.
    pub bake: Option<Duration>,
    /// During `bake`: users kept on the old release, a fraction in [0, 1).
    pub holdback: f64,
}

impl Step {
    /// Whether the canary gets copies only.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.shadow > 0.0
    }
}

/// One thing that must not get worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guardrail {
    /// What is compared.
    pub metric: Metric,
    /// By how much the canary may be worse: rates as fractions, latencies in milliseconds or relative.
    pub max_increase: Margin,
    /// Absolute limit: a rate as a fraction, a latency in milliseconds.
    pub max: Option<f64>,
    /// What a breach does.
    pub on_breach: OnBreach,
    /// Its tests wait until the canary answered this many requests; the rules for total failure do not.
    pub min_samples: u64,
    /// Shown, never acted on.
    pub dry_run: bool,
}

/// What a guardrail compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of requests that failed.
    ErrorRate,
    /// Share of requests that the upstream refused with a 4xx.
    RejectedRate,
    /// Share of requests whose client left first.
    AbortedRate,
    /// Median of the whole response's time.
    LatencyP50,
    /// 90th percentile of the whole response's time.
    LatencyP90,
    /// 95th percentile of the whole response's time.
    LatencyP95,
    /// 99th percentile of the whole response's time.
    LatencyP99,
    /// 95th percentile of the time to the first byte.
    TtftP95,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// A share of requests.
    Rate,
    /// A quantile of a time in milliseconds.
    Latency {
        /// Which, in (0, 1).
        quantile: f64,
    },
}

impl Metric {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 8] = [
        Self::ErrorRate,
        Self::RejectedRate,
        Self::AbortedRate,
        Self::LatencyP50,
        Self::LatencyP90,
        Self::LatencyP95,
        Self::LatencyP99,
        Self::TtftP95,
    ];

    /// Its name in the config, in JSON and in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::RejectedRate => "rejected_rate",
            Self::AbortedRate => "aborted_rate",
            Self::LatencyP50 => "latency_p50",
            Self::LatencyP90 => "latency_p90",
            Self::LatencyP95 => "latency_p95",
            Self::LatencyP99 => "latency_p99",
            Self::TtftP95 => "ttft_p95",
        }
    }

    /// What kind of number it is.
    #[must_use]
    pub const fn kind(self) -> MetricKind {
        let quantile = match self {
            Self::ErrorRate | Self::RejectedRate | Self::AbortedRate => return MetricKind::Rate,
            Self::LatencyP50 => 0.50,
            Self::LatencyP90 => 0.90,
            Self::LatencyP95 | Self::TtftP95 => 0.95,
            Self::LatencyP99 => 0.99,
        };
        MetricKind::Latency { quantile }
    }

    /// Whether it is a share of requests.
    #[must_use]
    pub const fn is_rate(self) -> bool {
        matches!(self.kind(), MetricKind::Rate)
    }
}

/// A tolerated increase; when both are given the larger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// In the metric's unit (fraction of 1, or milliseconds).
    pub absolute: Option<f64>,
    /// As a fraction of the baseline's value.
    pub relative: Option<f64>,
}

impl Margin {
    /// The increase tolerated over this baseline value, in the metric's unit.
    #[must_use]
    pub fn over(&self, baseline: f64) -> f64 {
        let relative = self.relative.map(|share| share * baseline);
        match (self.absolute, relative) {
            (Some(absolute), Some(relative)) => absolute.max(relative),
            (Some(value), None) | (None, Some(value)) => value,
            (None, None) => 0.0,
        }
    }
}

/// How the evidence is weighed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Between two regular looks; errors are looked at at once.
    pub interval: Duration,
    /// Chance of rolling back a harmless canary, over a whole rollout.
    pub alpha: f64,
    /// When and by what the guardrails are decided.
    #[serde(default)]
    pub method: Method,
    /// After each step-up: latency is left out.
    pub warmup: Duration,
}

/// When and by what the guardrails are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// At every look, by tests that may be watched.
    #[default]
    Sequential,
    /// Once, by the classic tests, when the canary has answered this many requests.
    FixedHorizon {
        /// At least 1.
        at_samples: u64,
    },
}

/// What a breach does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBreach {
    /// Weight 0 at once.
    Rollback,
    /// No further step; alarm.
    Hold,
    /// Alarm only.
    Warn,
}

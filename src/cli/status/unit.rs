//! The unit of a metric: rates in percent and percentage points, latencies in milliseconds.

use crate::term::{percent, points, signed, significant};

/// What a metric is counted in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Rate,
    Milliseconds,
}

impl Unit {
    /// By the metric's name: latencies in milliseconds, the rest are rates.
    pub(super) fn of(metric: &str) -> Self {
        if metric.starts_with("latency") || metric.starts_with("ttft") {
            Self::Milliseconds
        } else {
            Self::Rate
        }
    }

    pub(super) fn value(self, value: f64) -> String {
        match self {
            Self::Rate => percent(value),
            Self::Milliseconds => format!("{}ms", significant(value)),
        }
    }

    pub(super) fn margin(self, value: f64) -> String {
        match self {
            Self::Rate => points(value),
            Self::Milliseconds => self.value(value),
        }
    }

    pub(super) fn difference(self, value: f64) -> String {
        match self {
            Self::Rate => signed(value * 100.0, "pp"),
            Self::Milliseconds => signed(value, "ms"),
        }
    }
}

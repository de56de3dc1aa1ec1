//! What became of telemetry: batches by signal and result, and spans that never arrived.

use std::sync::atomic::{AtomicU64, Ordering};

use serin_stats::metrics::Page;
use serin_stats::names::{self, label};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

/// Counts since the process started.
#[derive(Debug, Default)]
pub(super) struct Tally {
    dropped: AtomicU64,
    traces: Results,
    metrics: Results,
}

#[derive(Debug, Default)]
struct Results {
    sent: AtomicU64,
    failed: AtomicU64,
}

impl Signal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

impl Tally {
    /// These spans will not arrive.
    pub(super) fn dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    /// A batch was sent, or failed.
    pub(super) fn sent(&self, signal: Signal, well: bool) {
        let results = self.results(signal);
        let count = if well { &results.sent } else { &results.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn metrics(&self, page: &mut Page) {
        let exports = page.family(&names::TELEMETRY_EXPORTS);
        for signal in [Signal::Traces, Signal::Metrics] {
            let results = self.results(signal);
            for (result, count) in [("sent", &results.sent), ("failed", &results.failed)] {
                let labels = [(label::SIGNAL, signal.name()), (label::RESULT, result)];
                exports.add(&labels, count.load(Ordering::Relaxed));
            }
        }
        let dropped = page.family(&names::TELEMETRY_SPANS_DROPPED);
        dropped.add(&[], self.dropped.load(Ordering::Relaxed));
    }

    const fn results(&self, signal: Signal) -> &Results {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
        }
    }
}

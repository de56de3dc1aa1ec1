//! The control loop's own metrics as Prometheus text.
//!
//! Label values come from the configuration and from fixed lists, never from clients, so their number is
//! bounded by the configuration.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::control::Control;
use crate::analysis::{GuardrailReport, Verdict};
use crate::rollout::Phase;

/// Upper bounds of the tick histogram's buckets, in seconds.
const TICK_BOUNDS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
];

/// What is counted since the process started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) reloads: Reloads,
    rollbacks: BTreeMap<(String, &'static str), u64>,
    ticks: Ticks,
}

/// Reloads by what came of them.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    pub(super) applied: u64,
    pub(super) refused: u64,
    pub(super) unchanged: u64,
}

/// How long looks took.
#[derive(Debug, Default)]
struct Ticks {
    within: [u64; TICK_BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Counters {
    pub(super) fn rolled_back(&mut self, rollout: &str, rule: &'static str) {
        *self
            .rollbacks
            .entry((rollout.to_owned(), rule))
            .or_default() += 1;
    }

    pub(super) fn tick(&mut self, took: Duration) {
        let ticks = &mut self.ticks;
        for (within, bound) in ticks.within.iter_mut().zip(TICK_BOUNDS) {
            *within += u64::from(took.as_secs_f64() <= bound);
        }
        ticks.count += 1;
        ticks.sum += took;
    }
}

/// Prometheus text in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            _ = write!(self.0, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        _ = writeln!(self.0, "{close} {value}");
    }
}

impl Control {
    /// Everything that is told about rollouts and the control loop.
    pub(super) fn metrics(&self) -> String {
        let mut page = Page::default();
        self.weights_and_phases(&mut page);
        self.guardrail_figures(&mut page);
        self.counts(&mut page);
        page.0
    }

    fn weights_and_phases(&self, page: &mut Page) {
        page.family(
            "serin_weight",
            "gauge",
            "Canary weight as a fraction of 1: desired by plan or operator, actual share in force.",
        );
        for (name, track) in &self.tracks {
            for (kind, value) in [
                ("desired", track.state.desired_weight()),
                ("actual", track.split.share),
            ] {
                page.sample("serin_weight", &[("rollout", name), ("kind", kind)], value);
            }
        }
        page.family(
            "serin_phase",
            "gauge",
            "1 for the phase a rollout is in, 0 for the others.",
        );
        for (name, track) in &self.tracks {
            let now = track.state.visible_phase();
            for phase in Phase::ALL {
                page.sample(
                    "serin_phase",
                    &[("rollout", name), ("phase", phase.name())],
                    u8::from(phase == now),
                );
            }
        }
    }

    fn guardrail_figures(&self, page: &mut Page) {
        let figures: Vec<(&str, &GuardrailReport)> = self
            .tracks
            .iter()
            .flat_map(|(name, track)| {
                let guardrails = track.report.iter().flat_map(|report| &report.guardrails);
                guardrails.map(move |guardrail| (name.as_str(), guardrail))
            })
            .collect();
        page.family(
            "serin_verdict",
            "gauge",
            "Verdict on a guardrail: 0 Inconclusive, 1 Successful, 2 Failed, 3 Error.",
        );
        for (name, guardrail) in &figures {
            let labels = [("rollout", *name), ("metric", guardrail.metric.name())];
            page.sample("serin_verdict", &labels, number(guardrail.verdict));
        }
        page.family(
            "serin_effect",
            "gauge",
            "Canary minus baseline: a fraction of 1 for rates, milliseconds for latencies.",
        );
        for (name, guardrail) in &figures {
            if let Some(effect) = guardrail.effect {
                let labels = [("rollout", *name), ("metric", guardrail.metric.name())];
                page.sample("serin_effect", &labels, effect);
            }
        }
        page.family(
            "serin_samples",
            "gauge",
            "Requests that a guardrail compared since the rollout began.",
        );
        for (name, guardrail) in &figures {
            for (arm, samples) in [
                ("baseline", guardrail.samples.baseline),
                ("canary", guardrail.samples.canary),
            ] {
                let metric = guardrail.metric.name();
                page.sample(
                    "serin_samples",
                    &[("rollout", *name), ("metric", metric), ("arm", arm)],
                    samples,
                );
            }
        }
    }

    fn counts(&self, page: &mut Page) {
        let counters = &self.counters;
        page.family(
            "serin_rollbacks_total",
            "counter",
            "Automatic rollbacks by the rule that was broken.",
        );
        for ((name, rule), count) in &counters.rollbacks {
            let labels = [("rollout", name.as_str()), ("reason", *rule)];
            page.sample("serin_rollbacks_total", &labels, count);
        }
        page.family(
            "serin_config_reloads_total",
            "counter",
            "Configuration reloads by result.",
        );
        for (result, count) in [
            ("applied", counters.reloads.applied),
            ("refused", counters.reloads.refused),
            ("unchanged", counters.reloads.unchanged),
        ] {
            page.sample("serin_config_reloads_total", &[("result", result)], count);
        }
        page.family(
            "serin_journal_failing",
            "gauge",
            "1 while the journal cannot be written and step-ups are frozen.",
        );
        page.sample(
            "serin_journal_failing",
            &[],
            u8::from(self.failing.is_some()),
        );
        let name = "serin_control_tick_seconds";
        page.family(
            name,
            "histogram",
            "Time from a snapshot to the end of what followed from it.",
        );
        let bucket = format!("{name}_bucket");
        for (bound, within) in TICK_BOUNDS.iter().zip(counters.ticks.within) {
            page.sample(&bucket, &[("le", &bound.to_string())], within);
        }
        page.sample(&bucket, &[("le", "+Inf")], counters.ticks.count);
        page.sample(
            &format!("{name}_sum"),
            &[],
            counters.ticks.sum.as_secs_f64(),
        );
        page.sample(&format!("{name}_count"), &[], counters.ticks.count);
    }
}

const fn number(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Inconclusive => 0,
        Verdict::Successful => 1,
        Verdict::Failed => 2,
        Verdict::Error => 3,
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.sample("x", &[("a", "q\"\\\n"), ("b", "c")], 1.5);
        page.sample("y", &[], 2);
        assert_eq!(page.0, "x{a=\"q\\\"\\\\\\n\",b=\"c\"} 1.5\ny 2\n");
    }

    #[test]
    fn ticks_are_cumulative() {
        let mut counters = Counters::default();
        counters.tick(Duration::from_micros(200));
        counters.tick(Duration::from_millis(3));
        counters.tick(Duration::from_secs(5));
        assert_eq!(counters.ticks.within, [0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(counters.ticks.count, 3);
    }
}

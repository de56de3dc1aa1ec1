//! The control loop's own metrics.
//!
//! Label values come from the configuration and from fixed lists, never from clients, so their number is
//! bounded by the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_stats::metrics::{Buckets, Page};
use serin_stats::names::{self, label};

use super::control::Control;
use crate::analysis::{GuardrailReport, Rule, Verdict};
use crate::rollout::{Phase, Verb};

/// Upper bounds of the tick histogram's buckets, in seconds.
static TICK_BOUNDS: [f64; 12] = [
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
    /// By bucket, not cumulative; the last one has no bound.
    buckets: [u64; TICK_BOUNDS.len() + 1],
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
        let at = TICK_BOUNDS.partition_point(|&bound| bound < took.as_secs_f64());
        if let Some(bucket) = ticks.buckets.get_mut(at) {
            *bucket += 1;
        }
        ticks.sum += took;
    }

    /// Of these rollouts from zero on, so that the first rollback is seen as an increase; others that were
    /// taken back keep their count.
    fn write<'a>(&'a self, rollouts: impl Iterator<Item = &'a str>, page: &mut Page) {
        let mut rollbacks: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let reasons = || {
            Rule::ALL
                .into_iter()
                .map(Rule::name)
                .chain([Verb::Undo.name()])
        };
        for name in rollouts {
            rollbacks.extend(reasons().map(|reason| ((name, reason), 0)));
        }
        let counted = self.rollbacks.iter();
        rollbacks.extend(counted.map(|((name, rule), count)| ((name.as_str(), *rule), *count)));
        let family = page.family(&names::ROLLBACKS);
        for ((name, rule), count) in rollbacks {
            family.add(&[(label::ROLLOUT, name), (label::REASON, rule)], count);
        }
        let reloads = page.family(&names::CONFIG_RELOADS);
        for (result, count) in [
            ("applied", self.reloads.applied),
            ("refused", self.reloads.refused),
            ("unchanged", self.reloads.unchanged),
        ] {
            reloads.add(&[(label::RESULT, result)], count);
        }
        let buckets = Buckets {
            bounds: &TICK_BOUNDS,
            counts: self.ticks.buckets.to_vec(),
            sum: self.ticks.sum.as_secs_f64(),
        };
        page.family(&names::CONTROL_TICK).add(&[], buckets);
    }
}

impl Control {
    /// Everything that is told about rollouts and the control loop.
    pub(super) fn metrics(&self) -> Page {
        let mut page = Page::default();
        self.weights_and_phases(&mut page);
        self.guardrail_figures(&mut page);
        self.counters
            .write(self.tracks.keys().map(String::as_str), &mut page);
        let failing = page.family(&names::JOURNAL_FAILING);
        failing.add(&[], self.is_journal_failing());
        page
    }

    fn weights_and_phases(&self, page: &mut Page) {
        let weights = page.family(&names::WEIGHT);
        for (name, track) in &self.tracks {
            for (kind, value) in [
                ("desired", track.state.desired_weight()),
                ("actual", track.split.share),
            ] {
                weights.add(&[(label::ROLLOUT, name), (label::KIND, kind)], value);
            }
        }
        let phases = page.family(&names::PHASE);
        for (name, track) in &self.tracks {
            let now = track.state.visible_phase();
            for phase in Phase::ALL {
                let labels = [
                    (label::ROLLOUT, name.as_str()),
                    (label::PHASE, phase.name()),
                ];
                phases.add(&labels, phase == now);
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
        let labels = |name, guardrail: &GuardrailReport| {
            [
                (label::ROLLOUT, name),
                (label::METRIC, guardrail.metric.name()),
            ]
        };
        let verdicts = page.family(&names::VERDICT);
        for (name, guardrail) in &figures {
            verdicts.add(&labels(name, guardrail), number(guardrail.verdict));
        }
        let effects = page.family(&names::EFFECT);
        for (name, guardrail) in &figures {
            if let Some(effect) = guardrail.effect {
                effects.add(&labels(name, guardrail), effect);
            }
        }
        let samples = page.family(&names::SAMPLES);
        for (name, guardrail) in &figures {
            let [rollout, metric] = labels(name, guardrail);
            for (arm, count) in [
                ("baseline", guardrail.samples.baseline),
                ("canary", guardrail.samples.canary),
            ] {
                samples.add(&[rollout, metric, (label::ARM, arm)], count);
            }
        }
    }
}

const fn number(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Inconclusive => 0,
        Verdict::Successful => 1,
        Verdict::Failed => 2,
        Verdict::Error => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollbacks_count_from_zero() {
        let mut counters = Counters::default();
        counters.rolled_back("a", Rule::Guardrail.name());
        counters.rolled_back("gone", Verb::Undo.name());
        let mut page = Page::default();
        counters.write(["a", "b"].into_iter(), &mut page);
        let text = page.to_text();
        for sample in [
            "serin_rollbacks_total{rollout=\"a\",reason=\"guardrail\"} 1",
            "serin_rollbacks_total{rollout=\"a\",reason=\"catastrophe\"} 0",
            "serin_rollbacks_total{rollout=\"a\",reason=\"undo\"} 0",
            "serin_rollbacks_total{rollout=\"b\",reason=\"guardrail\"} 0",
            "serin_rollbacks_total{rollout=\"gone\",reason=\"undo\"} 1",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
        }
    }

    #[test]
    fn ticks_fall_into_their_buckets() {
        let mut counters = Counters::default();
        counters.tick(Duration::from_micros(200));
        counters.tick(Duration::from_millis(3));
        counters.tick(Duration::from_millis(5));
        counters.tick(Duration::from_secs(5));
        let mut page = Page::default();
        counters.write(std::iter::empty(), &mut page);
        let text = page.to_text();
        for sample in [
            "serin_control_tick_seconds_bucket{le=\"0.0001\"} 0",
            "serin_control_tick_seconds_bucket{le=\"0.00025\"} 1",
            "serin_control_tick_seconds_bucket{le=\"0.005\"} 3",
            "serin_control_tick_seconds_bucket{le=\"1\"} 3",
            "serin_control_tick_seconds_bucket{le=\"+Inf\"} 4",
            "serin_control_tick_seconds_count 4",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
        }
    }
}

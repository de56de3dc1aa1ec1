//! What one look found, in sentences: why a rule was broken, and why nothing is proven yet.

use serin_config::model::Metric;
use serin_stats::snapshot::Outcome;

use super::counts::Totals;
use super::judge::Look;
use super::report::{Breach, Rule, Verdict};
use super::run::Standing;
use super::words::{about, counted, grouped, milliseconds, p_value, percent, points};

impl Look<'_> {
    pub(super) fn worded(&self, mut breach: Breach) -> Breach {
        let facts = match (breach.rule, breach.metric) {
            (Rule::CanaryDown, _) => self.words_of_a_run(),
            (Rule::RecentBreak, _) => self.words_of_a_recent_break(),
            (_, Metric::ErrorRate) => self.words_of_errors(),
            (_, Metric::LatencyP95) => self.words_of_latency(),
        };
        let name = match breach.rule {
            Rule::Guardrail | Rule::Shadow | Rule::ShadowDown => breach.metric.name().to_owned(),
            Rule::AbsoluteLimit => format!("{} over its max", breach.metric.name()),
            rule @ (Rule::CanaryDown | Rule::Catastrophe | Rule::RecentBreak) => {
                rule.name().to_owned()
            }
        };
        let mut proof = Vec::new();
        if let Some(effect) = breach.effect {
            proof.push(match breach.metric {
                Metric::ErrorRate => {
                    format!(
                        "effect {}, margin {}",
                        points(effect),
                        points(breach.margin)
                    )
                }
                Metric::LatencyP95 => format!(
                    "effect {}, margin {}",
                    milliseconds(effect),
                    milliseconds(breach.margin)
                ),
            });
        }
        if let Some(p) = breach.p_value {
            proof.push(format!("always-valid p {}", p_value(p)));
        }
        if let Some(p) = breach.classic_p {
            proof.push(format!("classic p {}", p_value(p)));
        }
        breach.sentence = format!("{name}: {facts} ({})", proof.join("; "));
        breach
    }

    fn words_of_errors(&self) -> String {
        let (baseline, canary) = self.totals();
        format!(
            "{} of {} failed, {} hit, against {} of {} on baseline",
            grouped(canary.errors()),
            counted(canary.requests(), "canary request"),
            counted(self.error.canary_users, "user"),
            grouped(baseline.errors()),
            grouped(baseline.requests()),
        )
    }

    fn words_of_a_run(&self) -> String {
        let (baseline, canary) = self.totals();
        let run = match self.standing {
            Standing::Down(run) | Standing::OneUserFailing(run) => run,
            Standing::Up => 0,
        };
        format!(
            "{} in a row without a success, of {} in all, while {} of {} succeeded on baseline",
            counted(run, "canary request"),
            grouped(canary.requests()),
            grouped(baseline.outcome(Outcome::Success)),
            grouped(baseline.requests()),
        )
    }

    fn words_of_a_recent_break(&self) -> String {
        let Some(recent) = self.recent else {
            return self.words_of_errors();
        };
        format!(
            "within {} minutes {} of {} failed, {} hit, against {} on baseline; {} in all",
            recent.length_ms / 60_000,
            grouped(recent.canary_errors),
            counted(recent.canary_requests, "canary request"),
            counted(recent.users, "user"),
            percent(recent.baseline_rate),
            counted(self.evidence.totals.canary.requests(), "canary request"),
        )
    }

    fn words_of_latency(&self) -> String {
        let report = self
            .guardrails
            .iter()
            .find(|judged| judged.report.metric == Metric::LatencyP95)
            .map(|judged| &judged.report);
        let shown = |value: Option<f64>| value.map_or("nothing".to_owned(), milliseconds);
        format!(
            "P95 {} after {}, against {} on baseline",
            shown(report.and_then(|report| report.canary)),
            counted(self.evidence.totals.canary.requests(), "canary request"),
            shown(report.and_then(|report| report.baseline)),
        )
    }

    /// "latency_p95 is worse beyond chance, but within its margin".
    pub(super) fn words_of_significance(&self) -> String {
        let name = self
            .guardrails
            .iter()
            .find(|judged| judged.evidence.significant())
            .map_or("a guardrail", |judged| judged.report.metric.name());
        format!("{name} is worse beyond chance, but within its margin")
    }

    /// "error_rate inconclusive: 412 of ~1,900 samples".
    pub(super) fn words_of_doubt(&self) -> String {
        let open = self
            .guardrails
            .iter()
            .map(|judged| &judged.report)
            .find(|report| report.verdict != Verdict::Successful && !report.dry_run);
        let Some(report) = open else {
            return "no guardrail is broken".to_owned();
        };
        let (name, samples) = (report.metric.name(), report.samples.canary);
        match (report.verdict, report.samples_needed) {
            (Verdict::Error, _) => format!("{name} cannot be computed"),
            (_, Some(needed)) if needed > samples => format!(
                "{name} inconclusive: {} of {} samples",
                grouped(samples),
                about(needed)
            ),
            (_, _) => format!("{name} inconclusive: {}", counted(samples, "sample")),
        }
    }
    fn totals(&self) -> (&Totals, &Totals) {
        let totals = &self.evidence.totals;
        (&totals.baseline, &totals.canary)
    }
}

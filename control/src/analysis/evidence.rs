//! The memory of one rollout's analysis.
//!
//! Snapshots carry cumulative counts, so absorbing one twice changes nothing and missing one loses nothing;
//! only the sets of erring users are increments. Whoever feeds it leaves out the epochs before the rollout's
//! first: they belong to an earlier rollout. After a restart the stages come back closed, and the recorder's
//! new counts are an epoch of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serin_config::model::Metric;
use serin_stats::histogram::Histogram;
use serin_stats::shift;
use serin_stats::snapshot::{Outcome, StageSnapshot};
use serin_stats::split::LatencyReference;

use super::classic::RankSumFacts;
use super::counts::{BothTotals, Totals};
use super::facts::{Scale, StageFacts};
use super::figures::slow_deff;
use super::first_errors::FirstErrors;
use super::fixed::Settled;
use super::folded::Folded;
use super::forecast::Forecast;
use super::limits::LimitFacts;
use super::policy::Policy;
use super::receipt::{self, Receipt};
use super::recent::Recent;
use super::report::{ArmReport, Arms, LatencyReport, Report};
use super::run::Run;
use super::seen::Seen;
use super::shadow::Shadows;
use super::stage::Stage;
use super::stored;

/// Stages kept apart; the sums of older ones are kept.
const MAX_STAGES: usize = 24;
/// Baseline requests that the latency reference is made of.
const REFERENCE_REQUESTS: u64 = 1_000;
/// More values than this are scaled down, so that sums of squared half ranks stay far from 2⁶⁴.
const REFERENCE_LIMIT: u64 = 10_000;
/// Canary requests that make a stage worth comparing with.
const PREVIOUS_REQUESTS: u64 = 200;
/// Level of the median shift's interval, which is not shown.
const SHIFT_LEVEL: f64 = 0.95;

/// The memory of one rollout's analysis.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    began_ms: u64,
    /// In ascending order of epoch.
    pub(super) stages: Vec<Stage>,
    pub(super) folded: Folded,
    #[serde(with = "stored::totals")]
    pub(super) totals: BothTotals,
    pub(super) first_errors: FirstErrors,
    /// What checkpoints once kept as `seen` lacked the users of one arm whom a new split had moved between two
    /// looks, and an alarm of that made would never end.
    #[serde(default, rename = "arrivals")]
    pub(super) seen: Seen,
    pub(super) recent: Recent,
    pub(super) run: Run,
    /// The largest ln E so far, by guardrail.
    pub(super) largest: BTreeMap<Metric, f64>,
    /// What `method: fixed_horizon` has decided, once and for all.
    pub(super) settled: BTreeMap<Metric, Settled>,
    /// What times to the first byte are ranked against, where a guardrail wants it.
    #[serde(with = "stored::optional_reference")]
    first_byte: Option<Arc<LatencyReference>>,
    #[serde(default)]
    pub(super) shadow: Shadows,
    #[serde(skip)]
    pub(super) forecast: Forecast,
}

impl Evidence {
    /// No evidence yet, for a rollout that begins now.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self {
            began_ms: now_ms,
            stages: Vec::new(),
            folded: Folded::default(),
            totals: BothTotals::default(),
            first_errors: FirstErrors::default(),
            seen: Seen::default(),
            recent: Recent::new(),
            run: Run::default(),
            largest: BTreeMap::new(),
            settled: BTreeMap::new(),
            first_byte: None,
            shadow: Shadows::default(),
            forecast: Forecast::default(),
        }
    }

    /// Takes in what happened; `stages` are those of this rollout's own epochs, in ascending order.
    pub fn absorb(&mut self, stages: &[StageSnapshot], now_ms: u64) {
        self.recent.advance(self.began_ms, now_ms, &self.totals);
        let first = self.folded.next_epoch();
        let ours = stages.iter().filter(|stage| stage.epoch >= first);
        for snapshot in ours.clone() {
            self.update(snapshot);
        }
        self.first_errors.absorb(ours.clone());
        self.seen.absorb(ours.clone());
        self.recent.absorb(ours.clone());
        self.shadow.absorb(ours);
        self.run.absorb(&self.totals);
    }

    fn update(&mut self, snapshot: &StageSnapshot) {
        let at = match self
            .stages
            .binary_search_by_key(&snapshot.epoch, |stage| stage.epoch)
        {
            Ok(at) => at,
            Err(at) => {
                self.stages
                    .insert(at, Stage::new(snapshot.epoch, snapshot.share));
                at
            }
        };
        let Some(stage) = self.stages.get_mut(at) else {
            return;
        };
        if let Some(before) = stage.update(snapshot) {
            let (old, new) = (&before.baseline, &stage.arms.baseline);
            self.totals.baseline.add_growth(old, new);
            let (old, new) = (&before.canary, &stage.arms.canary);
            self.totals.canary.add_growth(old, new);
        }
    }

    /// The latency reference to freeze, once baseline has answered enough measured requests: send it to
    /// the state machine while its own is still missing.
    #[must_use]
    pub fn due_reference(&self) -> Option<Arc<LatencyReference>> {
        let measured = self.totals.baseline.measured();
        if measured < REFERENCE_REQUESTS {
            return None;
        }
        LatencyReference::freeze(bounded(self.totals.baseline.histogram())).map(Arc::new)
    }

    /// Counts of the stages from this epoch on.
    pub(super) fn totals_since(&self, epoch: u64) -> BothTotals {
        let mut sum = BothTotals::default();
        for stage in self.stages.iter().filter(|stage| stage.epoch >= epoch) {
            sum.baseline.add(&stage.arms.baseline);
            sum.canary.add(&stage.arms.canary);
        }
        sum
    }

    /// Holds the evidence against the rules.
    pub fn judge(&mut self, policy: &Policy, now_ms: u64) -> Report {
        self.judge_with_receipt(policy, now_ms).0
    }

    /// Holds the evidence against the rules; the report follows from the receipt alone.
    pub fn judge_with_receipt(&mut self, policy: &Policy, now_ms: u64) -> (Report, Receipt) {
        let receipt = self.receipt(policy, now_ms);
        let mut forecast = std::mem::take(&mut self.forecast);
        let outcome = receipt.evaluate(&mut forecast);
        self.forecast = forecast;
        for judged in &outcome.guardrails {
            let metric = judged.report.metric;
            self.largest.insert(metric, judged.largest);
            if let Some(settled) = judged.settled {
                self.settled.entry(metric).or_insert(settled);
            }
        }
        (outcome.report, receipt)
    }

    /// Reads off everything that a judgement is made of.
    fn receipt(&mut self, policy: &Policy, now_ms: u64) -> Receipt {
        self.freeze_first_byte(policy);
        let shadow = self.shadow.facts(policy);
        let stages = self.facts(policy);
        let deff = slow_deff(&stages, &self.folded);
        let step = self.totals_since(policy.step_epoch);
        let before_step = stages
            .iter()
            .filter(|stage| stage.epoch < policy.step_epoch);
        let previous = before_step
            .map(|stage| stage.error.canary)
            .rfind(|canary| canary.n >= PREVIOUS_REQUESTS);
        let wants = |first_byte: bool| {
            let guardrails = policy.guardrails.iter().map(|guardrail| guardrail.metric);
            let wanted =
                |metric: Metric| !metric.is_rate() && (metric == Metric::TtftP95) == first_byte;
            guardrails.into_iter().find(|&metric| wanted(metric))
        };
        let ranks = [false, true].map(|first_byte| {
            wants(first_byte).and_then(|metric| RankSumFacts::of(&self.totals, metric))
        });
        let (format, version) = receipt::version();
        Receipt {
            format,
            version,
            at_ms: now_ms,
            policy: policy.clone(),
            stages,
            folded: self.folded,
            arms: arms(&self.totals),
            step: arms(&step),
            first_errors: self.first_errors.counts.clone(),
            recent: self.recent.facts(&self.totals),
            previous,
            standing: self.run.standing(&self.totals),
            seen: self.seen.counts.clone(),
            largest: self.largest.clone(),
            settled: self.settled.clone(),
            ranks,
            limits: policy
                .guardrails
                .iter()
                .filter_map(|guardrail| {
                    let alpha = policy.share_of(guardrail.metric);
                    LimitFacts::of(guardrail, &self.totals, deff, alpha)
                })
                .collect(),
            shadow,
        }
    }

    /// Freezes what times to the first byte are ranked against together with the whole response's reference,
    /// from what was counted before that.
    fn freeze_first_byte(&mut self, policy: &Policy) {
        let wanted =
            policy.guardrail(Metric::TtftP95).is_some() && policy.reference_total.is_some();
        if !wanted || self.first_byte.is_some() {
            return;
        }
        let mut before = Histogram::default();
        for stage in &self.stages {
            let latency = &stage.arms.baseline.latency;
            if latency.measured.total() == 0 {
                before.merge(&latency.first_byte);
            }
        }
        if before.total() == 0 {
            let all = self.totals.baseline.times(Metric::TtftP95);
            before = Histogram::from_counts(all.to_vec());
        }
        self.first_byte = LatencyReference::freeze(bounded(before)).map(Arc::new);
        self.stages.iter_mut().for_each(Stage::forget_facts);
    }

    /// What each stage says, oldest first; stages beyond the bound are folded.
    fn facts(&mut self, policy: &Policy) -> Vec<StageFacts> {
        let guardrails = policy.guardrails.iter().map(|guardrail| guardrail.metric);
        let scale = Scale {
            quantiles: guardrails
                .filter(|metric| !metric.is_rate())
                .map(|metric| (metric, policy.share_of(metric)))
                .collect(),
            proof_alpha: Policy::PROOF_ALPHA,
        };
        let first_byte = self.first_byte.as_deref();
        while self.stages.len() > MAX_STAGES {
            let facts = self.stages.remove(0).facts(first_byte, &scale);
            let total = policy.reference_total.unwrap_or(0);
            self.folded.add(&facts, total);
        }
        self.stages
            .iter_mut()
            .map(|stage| stage.facts(first_byte, &scale))
            .collect()
    }

    /// Fills in what takes too long for every look: the median shift of latencies, for whoever reads it.
    pub fn complete(&self, report: &mut Report) {
        for guardrail in &mut report.guardrails {
            let Some(ranks) = &mut guardrail.classic.mann_whitney else {
                continue;
            };
            let times = |arm: &Totals| Histogram::from_counts(arm.times(guardrail.metric).to_vec());
            let (baseline, canary) = (times(&self.totals.baseline), times(&self.totals.canary));
            let shift = shift::from_histograms(&canary, &baseline, SHIFT_LEVEL);
            ranks.hodges_lehmann = shift.map(|shift| shift.estimate);
        }
    }

    /// Everything that has to survive a restart, as JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and nothing here lacks a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// When it is not that, or was damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// The same shape with no more than about [`REFERENCE_LIMIT`] values.
fn bounded(histogram: Histogram) -> Histogram {
    match histogram.total() {
        total if total > REFERENCE_LIMIT => thinned(&histogram, total),
        _ => histogram,
    }
}

/// The same shape with about [`REFERENCE_LIMIT`] values: cumulative counts are scaled and rounded, so that no
/// bin drifts by more than one value.
fn thinned(histogram: &Histogram, total: u64) -> Histogram {
    let scaled = |cumulative: u64| {
        let product = u128::from(cumulative) * u128::from(REFERENCE_LIMIT);
        u64::try_from(product / u128::from(total.max(1))).unwrap_or(u64::MAX)
    };
    let mut cumulative = 0;
    let counts = histogram.counts().iter().map(|&count| {
        let before = scaled(cumulative);
        cumulative += count;
        scaled(cumulative) - before
    });
    Histogram::from_counts(counts.collect())
}

fn arms(totals: &BothTotals) -> Arms {
    Arms {
        baseline: totals.baseline.report(),
        canary: totals.canary.report(),
    }
}

impl Totals {
    fn report(&self) -> ArmReport {
        let latency = self.histogram();
        ArmReport {
            requests: self.requests(),
            errors: self.errors(),
            rejected: self.outcome(Outcome::Rejected),
            aborted: self.outcome(Outcome::Aborted),
            unreachable: self.unreachable,
            latency_ms: LatencyReport {
                p50: latency.quantile_ms(0.50),
                p95: latency.quantile_ms(0.95),
                p99: latency.quantile_ms(0.99),
            },
        }
    }
}

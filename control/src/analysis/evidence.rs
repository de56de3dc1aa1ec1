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
use serin_stats::snapshot::StageSnapshot;
use serin_stats::split::LatencyReference;

use super::counts::{BothTotals, Totals};
use super::first_errors::FirstErrors;
use super::folded::Folded;
use super::forecast::Forecast;
use super::recent::Recent;
use super::run::Run;
use super::shadow::Shadows;
use super::stage::{Effects, Scale, Stage};
use super::stored;

/// Stages kept apart; the sums of older ones are kept.
const MAX_STAGES: usize = 24;
/// Baseline requests that the latency reference is made of.
const REFERENCE_REQUESTS: u64 = 1_000;
/// More values than this are scaled down, so that sums of squared half ranks stay far from 2⁶⁴.
const REFERENCE_LIMIT: u64 = 10_000;

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
    pub(super) recent: Recent,
    pub(super) run: Run,
    /// The largest ln E so far, by guardrail.
    pub(super) largest: BTreeMap<Metric, f64>,
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
            recent: Recent::new(),
            run: Run::default(),
            largest: BTreeMap::new(),
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
        let histogram = self.totals.baseline.histogram();
        let histogram = if measured > REFERENCE_LIMIT {
            thinned(&histogram, measured)
        } else {
            histogram
        };
        LatencyReference::freeze(histogram).map(Arc::new)
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

    /// What each stage says, oldest first; stages beyond the bound are folded.
    pub(super) fn effects(&mut self, scale: Scale) -> Vec<Effects> {
        while self.stages.len() > MAX_STAGES {
            let mut oldest = self.stages.remove(0);
            let effects = oldest.effects(scale);
            self.folded.add(oldest.epoch, &effects);
        }
        self.stages
            .iter_mut()
            .map(|stage| stage.effects(scale))
            .collect()
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

impl Totals {
    pub(super) fn report(&self) -> super::ArmReport {
        use serin_stats::snapshot::Outcome;
        let latency = self.histogram();
        super::ArmReport {
            requests: self.requests(),
            errors: self.errors(),
            rejected: self.outcome(Outcome::Rejected),
            aborted: self.outcome(Outcome::Aborted),
            unreachable: self.unreachable,
            latency_ms: super::LatencyReport {
                p50: latency.quantile_ms(0.50),
                p95: latency.quantile_ms(0.95),
                p99: latency.quantile_ms(0.99),
            },
        }
    }
}

//! One rollout as the control loop carries it: its state, its evidence, its split, and when it is looked at.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serin_stats::snapshot::{Outcome, StageSnapshot};
use serin_stats::split::Split;
use tokio::time::Instant;

use super::aftermath::{Aftermath, Tally, Warning};
use crate::analysis::{Alarm, Evidence, Receipt, Recommendation, Report, Rule, Verdict};
use crate::rollout::{Phase, State};

/// Between two recorded changes of a verdict.
const VERDICT_PAUSE_MS: u64 = 1_000;

/// The kind of the alarm about a release that everybody has.
pub(super) const PROMOTED_FAILING: &str = "promoted_failing";

/// What makes a verdict another one.
type VerdictKey = (Recommendation, Option<Rule>, Vec<Verdict>);

/// What happened since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// And nothing else.
    Successes,
    /// Something but a success was among it.
    Failures,
}

/// One rollout.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) state: State,
    pub(super) split: Arc<Split>,
    pub(super) evidence: Evidence,
    /// The last look at the evidence.
    pub(super) report: Option<Report>,
    /// What that report was computed from.
    pub(super) receipt: Option<Receipt>,
    /// When the evidence is looked at next.
    pub(super) look_at: Instant,
    /// Something was absorbed since the last checkpoint.
    pub(super) unsaved: bool,
    /// When the last minute's summary was written, and what it had seen.
    pub(super) summarised: (u64, u64),
    /// Since when each alarm has been on.
    pub(super) alarms: BTreeMap<&'static str, u64>,
    /// Once everybody has the release.
    aftermath: Aftermath,
    /// Epochs before this were measured by another process.
    own_from: u64,
    failures: u64,
    requests: u64,
    verdict: Option<VerdictKey>,
    verdict_ms: u64,
}

impl Track {
    pub(super) fn new(state: State, evidence: Evidence, now_ms: u64) -> Self {
        Self {
            split: Arc::new(state.split()),
            own_from: state.epoch,
            state,
            evidence,
            report: None,
            receipt: None,
            look_at: Instant::now(),
            unsaved: true,
            summarised: (now_ms, 0),
            alarms: BTreeMap::new(),
            aftermath: Aftermath::default(),
            failures: 0,
            requests: 0,
            verdict: None,
            verdict_ms: 0,
        }
    }

    /// Takes over a state and the split that follows from it.
    pub(super) fn set_state(&mut self, state: State) {
        let split = state.split();
        if *self.split != split {
            self.split = Arc::new(split);
        }
        self.state = state;
    }

    /// Starts counting anew.
    pub(super) fn begin_evidence(&mut self) {
        self.evidence = Evidence::new(self.state.began_ms);
        self.report = None;
        self.receipt = None;
        self.verdict = None;
        self.unsaved = true;
    }

    /// Takes in what happened.
    pub(super) fn absorb(&mut self, stages: &[StageSnapshot], now_ms: u64) -> News {
        let from = self.own_from.max(self.state.first_epoch);
        let own = stages.partition_point(|stage| stage.epoch < from);
        let stages = stages.get(own..).unwrap_or_default();
        if self.is_everybodys() {
            self.look_after(Tally::of(stages), now_ms);
        } else {
            self.aftermath = Aftermath::default();
        }
        if !self.state.is_watched() {
            return News::Nothing;
        }
        let (mut failures, mut requests) = (0, 0);
        for stage in stages {
            for arm in [&stage.arms.baseline, &stage.arms.canary] {
                requests += arm.total();
                failures += arm.total() - arm.outcome(Outcome::Success);
            }
        }
        for copies in stages.iter().flat_map(|stage| stage.shadow.values()) {
            let pairs = copies.pairs();
            requests += copies.offered();
            failures += pairs.only_shadow_failed + pairs.both_failed;
        }
        self.evidence.absorb(stages, now_ms);
        let (failed, moved) = (self.failures != failures, self.requests != requests);
        self.unsaved |= moved;
        (self.failures, self.requests) = (failures, requests);
        match (failed, moved) {
            (true, _) => News::Failures,
            (false, true) => News::Successes,
            (false, false) => News::Nothing,
        }
    }

    /// Looks at the evidence; the report is kept.
    pub(super) fn judge(&mut self, now_ms: u64) -> &Report {
        let policy = self.state.policy(now_ms);
        let (report, receipt) = self.evidence.judge_with_receipt(&policy, now_ms);
        self.receipt = Some(receipt);
        self.note_alarms(&report.alarms, now_ms);
        self.report.insert(report)
    }

    /// Whether everybody has the release, and nothing is compared any more.
    fn is_everybodys(&self) -> bool {
        self.state.phase == Phase::Healthy && !self.state.is_watched()
    }

    /// What people have to know of a release that everybody has.
    pub(super) fn warning(&self) -> Option<&Warning> {
        self.aftermath.alarm().filter(|_| self.is_everybodys())
    }

    /// Everybody has the release.
    fn look_after(&mut self, tally: Tally, now_ms: u64) {
        let was_bad = self.aftermath.alarm().is_some();
        self.aftermath.see(tally, now_ms);
        let rollout = &self.state.spec.name;
        match self.aftermath.alarm() {
            Some(alarm) if !was_bad => {
                tracing::warn!(
                    rollout,
                    alarm = PROMOTED_FAILING,
                    why = alarm.message,
                    "alarm"
                );
            }
            None if was_bad => tracing::info!(rollout, alarm = PROMOTED_FAILING, "alarm is over"),
            Some(_) | None => {}
        }
    }

    /// Since when each alarm has been on; the log hears of those that come and go.
    fn note_alarms(&mut self, alarms: &[Alarm], now_ms: u64) {
        let rollout = &self.state.spec.name;
        self.alarms.retain(|kind, _| {
            let on = alarms.iter().any(|alarm| alarm.kind.name() == *kind);
            if !on {
                tracing::info!(rollout, alarm = kind, "alarm is over");
            }
            on
        });
        for alarm in alarms {
            let kind = alarm.kind.name();
            if let Entry::Vacant(vacant) = self.alarms.entry(kind) {
                vacant.insert(now_ms);
                tracing::warn!(rollout, alarm = kind, why = alarm.message, "alarm");
            }
        }
    }

    /// Whether the last report says something else than the one this last said yes to; at most once a second,
    /// since a verdict that flickers under a storm of errors would keep the disk busy.
    pub(super) fn verdict_changed(&mut self, now_ms: u64) -> bool {
        let Some(report) = &self.report else {
            return false;
        };
        if now_ms.saturating_sub(self.verdict_ms) < VERDICT_PAUSE_MS {
            return false;
        }
        let key = (
            report.recommendation,
            report.breach.as_ref().map(|breach| breach.rule),
            report.guardrails.iter().map(|each| each.verdict).collect(),
        );
        let changed = self.verdict.as_ref() != Some(&key);
        if changed {
            self.verdict = Some(key);
            self.verdict_ms = now_ms;
        }
        changed
    }

    /// Requests seen since the rollout began, both arms.
    pub(super) fn seen(&self) -> u64 {
        self.report.as_ref().map_or(0, |report| {
            report.arms.baseline.requests + report.arms.canary.requests
        })
    }
}

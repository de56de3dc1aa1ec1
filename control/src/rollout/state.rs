//! Where a rollout stands: everything that has to survive a restart, and the split that follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serin_stats::split::{LatencyReference, Split};

use super::{MirrorSpec, RolloutSpec, ramp};
use crate::analysis::{Breach, Policy, ShadowPolicy, stored};

/// Where a rollout stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Not begun: the first step could not be entered yet, or the hand-set weight is 0.
    Pending,
    /// On its way up the ramp, or at a hand-set weight between 0 and 100 %.
    Progressing,
    /// Stopped at a weight by an operator.
    Paused,
    /// The next step wants a person's word.
    WaitingApproval,
    /// At the top, watched for a while before it is done.
    Baking,
    /// Done.
    Healthy,
    /// Taken back by the guardrails, or by `undo` after it was done; stays so until `retry` or a new release.
    RolledBack,
    /// Taken back by an operator; stays so until `retry` or a new release.
    Aborted,
}

impl Phase {
    /// All phases, in the order of a rollout's life.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Progressing,
        Self::Paused,
        Self::WaitingApproval,
        Self::Baking,
        Self::Healthy,
        Self::RolledBack,
        Self::Aborted,
    ];

    /// Its name in JSON, in labels and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Progressing => "Progressing",
            Self::Paused => "Paused",
            Self::WaitingApproval => "WaitingApproval",
            Self::Baking => "Baking",
            Self::Healthy => "Healthy",
            Self::RolledBack => "RolledBack",
            Self::Aborted => "Aborted",
        }
    }

    /// Whether the canary's release is held at weight 0 until `retry`.
    #[must_use]
    pub const fn is_latched(self) -> bool {
        matches!(self, Self::RolledBack | Self::Aborted)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a canary release is held at weight 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latch {
    /// [`Phase::RolledBack`] or [`Phase::Aborted`].
    pub phase: Phase,
    /// Since when, in Unix milliseconds.
    pub at_ms: u64,
    /// In one sentence.
    pub reason: String,
    /// The rule that was broken, when it was the guardrails.
    pub breach: Option<Breach>,
}

/// Why the plan stands still in [`Phase::Paused`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// `pause`: the weight in force stays, and so does the phase to return to.
    Pause(Phase),
    /// `set-weight`: this weight, until `resume` or an edit of the plan.
    Weight(f64),
}

/// One rollout. Cheap to clone but for the spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What the config asks.
    pub spec: RolloutSpec,
    /// Where it stands; [`State::visible_phase`] is what people are told.
    pub phase: Phase,
    /// In one sentence, why it stands there.
    pub reason: String,
    /// Position in the plan, counted from 0.
    pub step: usize,
    /// The canary's weight, before `holdback`.
    pub weight: f64,
    /// Users kept on the old release while baking.
    pub holdback: f64,
    /// Share of baseline's requests that are copied to the canary: a shadow step's.
    #[serde(default)]
    pub shadow: f64,
    /// Why the standing mirror was stopped, if it was.
    #[serde(default)]
    pub mirror_stopped: Option<String>,
    /// The first epoch of the present standing mirror.
    #[serde(default)]
    pub mirror_epoch: u64,
    /// Of the split in force; ascends for ever.
    pub epoch: u64,
    /// Measurements of older epochs belong to an earlier rollout.
    pub first_epoch: u64,
    /// The first epoch of the present step.
    pub step_epoch: u64,
    /// When the rollout began, in Unix milliseconds.
    pub began_ms: u64,
    /// When the present step was entered.
    pub step_began_ms: u64,
    /// When the present phase was entered.
    pub phase_since_ms: u64,
    /// Requests that arrived before this leave latency out.
    pub latency_from_ms: u64,
    /// What latencies are ranked against, once it is frozen.
    #[serde(with = "stored::optional_reference")]
    pub reference: Option<Arc<LatencyReference>>,
    /// Why the plan stands still, in [`Phase::Paused`].
    pub paused: Option<Override>,
    /// Why no step may be taken now; from the latest judgement.
    pub hold: Option<String>,
    /// Releases of this route that are held at weight 0, by digest.
    pub latches: BTreeMap<String, Latch>,
    /// The journal cannot be written: nothing may be raised.
    pub journal_failing: bool,
    /// How a person last promoted it past the evidence, for the reason of a rollback that comes after all.
    #[serde(default)]
    pub promoted: Option<String>,
    /// The phase before the last lowering, and whether that lowering is on disk.
    pub lowered_from: Option<Phase>,
}

impl State {
    /// The split that follows from this state.
    #[must_use]
    pub fn split(&self) -> Split {
        Split {
            epoch: self.epoch,
            share: self.share(),
            latency_from_ms: self.latency_from_ms,
            reference: self.reference.clone(),
            shadow: self.shadow,
            mirror: self.mirrors(),
        }
    }

    /// Whether the standing mirror may copy: not after a breach, and not to a canary that was taken back.
    #[must_use]
    pub fn mirrors(&self) -> bool {
        let has_backend = |mirror: &MirrorSpec| mirror.has_backend || !self.phase.is_latched();
        self.spec.mirror.as_ref().is_some_and(has_backend) && self.mirror_stopped.is_none()
    }

    /// The canary's share of the key space in force: min(weight, 1 − holdback).
    #[must_use]
    pub fn share(&self) -> f64 {
        self.weight.min(1.0 - self.holdback).clamp(0.0, 1.0)
    }

    /// The weight that the config, the plan or the operator's override asks for.
    #[must_use]
    pub fn desired_weight(&self) -> f64 {
        if self.phase.is_latched() {
            return 0.0;
        }
        if let Some(Override::Weight(weight)) = self.paused {
            return weight;
        }
        let first_step = || self.spec.steps().first().map(|step| step.weight);
        match (self.spec.manual_weight(), self.phase) {
            (Some(weight), _) => weight,
            (None, Phase::Pending) => first_step().unwrap_or(self.weight),
            (None, _) => self.weight,
        }
    }

    /// What people are told about why: a rollback that is not on disk yet says so.
    #[must_use]
    pub fn visible_reason(&self) -> String {
        if self.journal_failing && self.lowered_from.is_some() {
            format!(
                "the canary's weight is 0, but the journal cannot be written: {}",
                self.reason
            )
        } else {
            self.reason.clone()
        }
    }

    /// What people are told: a rollback counts as one when it is on disk.
    #[must_use]
    pub fn visible_phase(&self) -> Phase {
        match self.lowered_from {
            Some(before) if self.journal_failing => before,
            _ => self.phase,
        }
    }

    /// Whether snapshots should be absorbed and judged: not after the end, so that the judged numbers stay
    /// visible, and not when there is nobody left to compare the canary with.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        match self.phase {
            Phase::RolledBack | Phase::Aborted => false,
            Phase::Healthy => self.share() < 1.0,
            Phase::Pending
            | Phase::Progressing
            | Phase::Paused
            | Phase::WaitingApproval
            | Phase::Baking => true,
        }
    }

    /// The latch that holds the present canary, if one does.
    #[must_use]
    pub fn latch(&self) -> Option<&Latch> {
        self.latches.get(&self.spec.canary_digest)
    }

    /// Under which rules the evidence has to be judged now.
    #[must_use]
    pub fn policy(&self, now_ms: u64) -> Policy {
        let step = self.spec.steps().get(self.step);
        Policy {
            guardrails: self.spec.rollout.guardrails.clone(),
            analysis: self.spec.rollout.analysis.clone(),
            on_breach: self.spec.rollout.on_breach,
            on_sample_ratio_mismatch: self.spec.rollout.on_sample_ratio_mismatch,
            step_epoch: self.step_epoch,
            step: step.map(|_| self.step),
            steps: self.spec.steps().len(),
            share: self.share(),
            step_min_samples: step.map_or(0, |step| step.min_samples),
            dwell_left_ms: ramp::step_dwell_left(self, now_ms),
            overdue: ramp::step_overdue(self, now_ms),
            reference_total: self.reference.as_ref().map(|reference| reference.total()),
            shadow_steps: self
                .spec
                .steps()
                .iter()
                .take_while(|step| step.is_shadow())
                .count(),
            shadow: ShadowPolicy {
                in_step: self.shadow > 0.0,
                is_mirrored: self.spec.mirror.is_some(),
                has_backend: self
                    .spec
                    .mirror
                    .as_ref()
                    .is_some_and(|mirror| mirror.has_backend),
                mirror_epoch: self.mirror_epoch,
            },
        }
    }
}

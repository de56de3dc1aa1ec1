//! A state in the making: the few moves that every event is made of, and the actions that follow from what
//! they changed.
//!
//! The actions are read off the difference between the former and the next state, so that no event can
//! forget one: a lowered share installs first, everything else is on disk first, and what changes nothing
//! that must survive a restart writes nothing.

use serin_config::model::Step;

use super::{Action, Latch, Phase, State, Transition};
use crate::analysis::Breach;

/// Latches kept per route; beyond that the oldest release is forgotten.
const MAX_LATCHES: usize = 256;

pub(super) struct Draft<'a> {
    from: &'a State,
    pub(super) next: State,
    pub(super) now_ms: u64,
    tick_now: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn of(from: &'a State, now_ms: u64) -> Self {
        Self {
            from,
            next: from.clone(),
            now_ms,
            tick_now: false,
        }
    }

    /// The same, but the next state is a new rollout's.
    pub(super) fn renewed(from: &'a State, next: State, now_ms: u64) -> Self {
        Self {
            from,
            next,
            now_ms,
            tick_now: true,
        }
    }

    /// Asks for a tick at once.
    pub(super) fn tick_now(&mut self) {
        self.tick_now = true;
    }

    /// Moves to a phase and says why.
    pub(super) fn enter_phase(&mut self, phase: Phase, reason: impl Into<String>) {
        if self.next.phase != phase {
            self.next.phase = phase;
            self.next.phase_since_ms = self.now_ms;
        }
        self.next.reason = reason.into();
    }

    /// Starts a new stage of measurement under the same or another split.
    pub(super) fn enter_epoch(&mut self) {
        self.next.epoch = self.from.epoch.saturating_add(1);
    }

    /// Puts a weight in force, and ends a shadow step's copies.
    pub(super) fn set_weight(&mut self, weight: f64, holdback: f64) {
        self.set_shares(weight, holdback, 0.0);
    }

    /// Puts shares in force; the canary warms up when it gets more.
    fn set_shares(&mut self, weight: f64, holdback: f64, shadow: f64) {
        let before = (self.next.share(), self.next.shadow);
        self.next.weight = weight;
        self.next.holdback = holdback;
        self.next.shadow = shadow;
        let after = (self.next.share(), self.next.shadow);
        if after.0 > before.0 || after.1 > before.1 {
            self.next.latency_from_ms = self.now_ms.saturating_add(self.next.spec.warmup_ms());
        }
        if after != before {
            self.enter_epoch();
        }
    }

    /// The standing mirror's copies broke a rule: none are made any more.
    pub(super) fn stop_mirror(&mut self, why: String) {
        self.next.mirror_stopped = Some(why);
        self.enter_epoch();
    }

    /// Another standing mirror: what was said of the former one is forgotten.
    pub(super) fn renew_mirror(&mut self) {
        self.next.mirror_stopped = None;
        self.enter_epoch();
        self.next.mirror_epoch = self.next.epoch;
    }

    /// Starts this step's clock and counts anew, at the weight in force.
    pub(super) fn restart_step(&mut self, index: usize) {
        self.next.step = index;
        self.next.step_began_ms = self.now_ms;
        self.enter_epoch();
        self.next.step_epoch = self.next.epoch;
    }

    /// Enters a step of the plan, at its weight.
    pub(super) fn enter_step(&mut self, index: usize, reason: impl Into<String>) {
        let Some(step) = self.next.spec.steps().get(index).cloned() else {
            return;
        };
        self.next.paused = None;
        self.set_shares(step.weight, holdback(&step), step.shadow);
        self.restart_step(index);
        self.enter_phase(phase_in(&step), reason);
    }

    /// The plan is fulfilled: everybody who is to get the canary gets it.
    pub(super) fn complete(&mut self, reason: impl Into<String>) {
        let weight = self.next.weight;
        self.next.paused = None;
        self.set_weight(weight, 0.0);
        self.enter_phase(Phase::Healthy, reason);
    }

    /// Takes all traffic away and remembers the release.
    pub(super) fn latch(&mut self, phase: Phase, reason: String, breach: Option<Breach>) {
        self.set_weight(0.0, 0.0);
        self.next.paused = None;
        self.next.hold = None;
        self.next.lowered_from = Some(self.from.visible_phase());
        let latch = Latch {
            phase,
            at_ms: self.now_ms,
            reason: reason.clone(),
            breach,
        };
        let digest = self.next.spec.canary_digest.clone();
        self.next.latches.insert(digest.clone(), latch);
        while self.next.latches.len() > MAX_LATCHES {
            let oldest = self
                .next
                .latches
                .iter()
                .filter(|(known, _)| **known != digest)
                .min_by_key(|(_, latch)| latch.at_ms)
                .map(|(known, _)| known.clone());
            let Some(oldest) = oldest else { break };
            self.next.latches.remove(&oldest);
        }
        self.enter_phase(phase, reason);
        if self.next.mirrors() != self.from.mirrors() {
            self.enter_epoch();
        }
    }

    /// The transition, with its actions in the order in which they must happen.
    pub(super) fn finish(self) -> Transition {
        let Self { from, next, .. } = &self;
        let mut actions = Vec::new();
        let copies_more = next.shadow > from.shadow || next.mirrors() && !from.mirrors();
        let lowers = next.share() < from.share() || next.share() <= 0.0 && !copies_more;
        if next.epoch != from.epoch && lowers {
            actions.extend([Action::Install, Action::Record]);
        } else if next.epoch != from.epoch {
            actions.extend([Action::Record, Action::Install]);
        } else if must_survive(from, next) {
            actions.push(Action::Record);
        }
        if next.first_epoch != from.first_epoch {
            actions.push(Action::BeginEvidence);
        }
        if self.tick_now {
            actions.push(Action::TickNow);
        }
        Transition {
            state: self.next,
            actions,
        }
    }
}

/// The phase of a rollout that has just entered this step.
pub(super) fn phase_in(step: &Step) -> Phase {
    if step.bake.is_some() {
        Phase::Baking
    } else {
        Phase::Progressing
    }
}

fn holdback(step: &Step) -> f64 {
    if step.bake.is_some() {
        step.holdback
    } else {
        0.0
    }
}

/// Whether anything changed but what the next judgement brings back anyway.
fn must_survive(from: &State, next: &State) -> bool {
    let mut settled = next.clone();
    settled.hold.clone_from(&from.hold);
    settled.journal_failing = from.journal_failing;
    settled.lowered_from = from.lowered_from;
    if settled.phase == from.phase {
        settled.reason.clone_from(&from.reason);
    }
    settled != *from
}

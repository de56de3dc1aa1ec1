//! One rollout in virtual time: a stream of requests, a recorder, a clock, and the real decision code.
//!
//! The world plays the parts around the pure core and nothing more. It looks when the runtime would look: at
//! every interval, and when an error rings the bell. Every look and every event goes through
//! [`driver`](crate::driver), as in the runtime. A journal that always works stands behind it, and a person
//! who approves at once. In a shadow step the canary answers copies; a standing mirror, which moves no rollout, is
//! left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serin_stats::snapshot::{Arm, Outcome, StageSnapshot};
use serin_stats::split::{LatencyReference, Split};

use super::recorder::{record, record_copy};
use super::traffic::{Effect, Requests, Traffic};
use crate::analysis::{Evidence, Judgement, Receipt, Report};
use crate::driver::{self, BELL_PAUSE, Change, Shell};
use crate::rollout::{Command, Event, Phase, RolloutSpec, State, Verb, begin};

/// When the evidence is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cadence {
    /// As the runtime does: at every interval and at every bell.
    Real,
    /// Every so many milliseconds, whatever happens: for long stretches in which nothing is to be found.
    Every(u64),
}

/// One rollout and the world around it.
#[derive(Clone, Debug)]
pub struct World {
    state: State,
    split: Split,
    evidence: Evidence,
    report: Option<Report>,
    receipt: Option<Receipt>,
    requests: Requests,
    stage: StageSnapshot,
    /// Over, but nobody has looked at them since.
    over: Vec<StageSnapshot>,
    cadence: Cadence,
    /// Of the next request.
    clock: f64,
    now_ms: f64,
    next_look: f64,
    /// When the bell is answered, if it has rung.
    bell: Option<f64>,
    quiet_until: f64,
    canary_requests: u64,
    canary_errors: u64,
    copies: u64,
}

impl World {
    /// A rollout that begins now.
    #[must_use]
    pub fn new(spec: RolloutSpec, traffic: Traffic, seed: u64) -> Self {
        let transition = begin(spec, 0, BTreeMap::new(), 0);
        let mut requests = Requests::new(traffic, seed);
        let first = requests.gap_ms();
        let mut world = Self {
            split: transition.state.split(),
            state: transition.state.clone(),
            evidence: Evidence::new(0),
            report: None,
            receipt: None,
            requests,
            stage: StageSnapshot::default(),
            over: Vec::new(),
            cadence: Cadence::Real,
            clock: first,
            now_ms: 0.0,
            next_look: 0.0,
            bell: None,
            quiet_until: 0.0,
            canary_requests: 0,
            canary_errors: 0,
            copies: 0,
        };
        let mut events = std::collections::VecDeque::new();
        let configured = Event::Configured(Box::new(transition.state.spec.clone()));
        // The journal of this world always works, and a first transition has no phase to be refused in.
        _ = driver::carry_out(&mut world, &configured, transition, &mut events);
        for event in events {
            _ = driver::apply(&mut world, event);
        }
        world
    }

    /// From now on this is wrong with the canary.
    pub fn set_effect(&mut self, effect: Effect) {
        self.requests.set_effect(effect);
    }

    /// From now on the evidence is looked at in this way.
    pub fn set_cadence(&mut self, cadence: Cadence) {
        self.cadence = cadence;
        self.next_look = self.next_look.min(self.now_ms + self.interval_ms());
    }

    /// Goes on to the next request, with the looks before and after it.
    pub fn serve(&mut self) {
        while let Some(at) = self.due() {
            self.now_ms = at;
            self.look();
        }
        self.now_ms = self.clock;
        self.clock += self.requests.gap_ms();
        let Split { share, shadow, .. } = self.split;
        let (answer, copy) = self.requests.next_copied(share, shadow);
        let now_ms = self.now_ms as u64;
        record(&mut self.stage, &self.split, now_ms, &answer);
        // What the proxy rings the bell for.
        let mut rings = match answer.arm {
            Arm::Canary => answer.outcome != Outcome::Success,
            Arm::Baseline => answer.outcome == Outcome::Error,
        };
        if let Some(copy) = &copy {
            record_copy(&mut self.stage, &self.split, now_ms, (&answer, copy));
            self.copies += 1;
            rings |= copy.outcome != Outcome::Success && answer.outcome == Outcome::Success;
        }
        if answer.arm == Arm::Canary {
            self.canary_requests += 1;
            self.canary_errors += u64::from(answer.outcome == Outcome::Error);
        }
        if rings && self.cadence == Cadence::Real && self.bell.is_none() {
            self.bell = Some(self.now_ms.max(self.quiet_until));
        }
        if self.bell.is_some_and(|at| at <= self.now_ms) {
            self.look();
        }
    }

    /// When the next look is due, if that is before the next request.
    fn due(&self) -> Option<f64> {
        let at = self
            .bell
            .map_or(self.next_look, |bell| bell.min(self.next_look));
        (at <= self.clock).then_some(at)
    }

    fn interval_ms(&self) -> f64 {
        match self.cadence {
            Cadence::Real => self.state.spec.rollout.analysis.interval.as_secs_f64() * 1e3,
            Cadence::Every(ms) => ms as f64,
        }
    }

    /// What the control loop does when it wakes up.
    pub fn look(&mut self) {
        if self.bell.is_some_and(|at| at <= self.now_ms) {
            self.bell = None;
            self.quiet_until = self.now_ms + BELL_PAUSE.as_secs_f64() * 1e3;
        }
        if self.next_look <= self.now_ms {
            self.next_look = self.now_ms + self.interval_ms();
        }
        if self.state.is_watched() {
            self.absorb();
        }
        self.over.clear();
        self.stage.erred = Default::default();
        driver::look(self);
        if self.state.phase == Phase::WaitingApproval {
            let approve = Command {
                verb: Verb::Approve,
                reason: None,
                actor: None,
            };
            _ = driver::apply(self, Event::Operator(approve));
        }
    }

    /// Takes in every stage that there was since the last look.
    fn absorb(&mut self) {
        let mut stages = std::mem::take(&mut self.over);
        stages.retain(|stage| stage.epoch >= self.state.first_epoch);
        stages.push(std::mem::take(&mut self.stage));
        self.evidence.absorb(&stages, self.now_ms as u64);
        self.stage = stages.pop().unwrap_or_default();
    }

    /// Lets something else happen to the rollout.
    ///
    /// # Errors
    /// When the phase does not allow it.
    pub fn apply(&mut self, event: Event) -> Result<(), String> {
        driver::apply(self, event)
    }

    /// How the rollout stands.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What is known.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The last look.
    #[must_use]
    pub const fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// What the last look was made of.
    #[must_use]
    pub const fn receipt(&self) -> Option<&Receipt> {
        self.receipt.as_ref()
    }

    /// Virtual milliseconds since the rollout began.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.now_ms as u64
    }

    /// Requests that the canary has answered.
    #[must_use]
    pub const fn canary_requests(&self) -> u64 {
        self.canary_requests
    }

    /// Of those, errors.
    #[must_use]
    pub const fn canary_errors(&self) -> u64 {
        self.canary_errors
    }

    /// Copies that the canary has answered, in shadow steps.
    #[must_use]
    pub const fn copies(&self) -> u64 {
        self.copies
    }

    /// Whether latency is being compared: the reference is frozen and the warm-up is over.
    #[must_use]
    pub fn measures(&self) -> bool {
        self.split.reference.is_some() && self.now_ms as u64 >= self.split.latency_from_ms
    }
}

impl Shell for World {
    fn state(&self) -> Option<&State> {
        Some(&self.state)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms as u64
    }

    fn enter(&mut self, _: &Event, state: State) {
        self.state = state;
    }

    fn install(&mut self) {
        self.split = self.state.split();
        if self.stage.epoch != self.split.epoch {
            let next = StageSnapshot {
                epoch: self.split.epoch,
                share: self.split.share,
                ..StageSnapshot::default()
            };
            self.over.push(std::mem::replace(&mut self.stage, next));
        }
    }

    fn record(&mut self, _: &Change<'_>) -> Result<(), String> {
        Ok(())
    }

    fn begin_evidence(&mut self) {
        self.evidence = Evidence::new(self.state.began_ms);
        self.report = None;
        self.receipt = None;
    }

    fn judge(&mut self) -> Option<Judgement> {
        if !self.state.is_watched() {
            return None;
        }
        let now_ms = self.now_ms as u64;
        let policy = self.state.policy(now_ms);
        let (report, receipt) = self.evidence.judge_with_receipt(&policy, now_ms);
        self.receipt = Some(receipt);
        Some(self.report.insert(report).judgement())
    }

    fn judged(&mut self, _: bool) {}

    fn due_reference(&self) -> Option<Arc<LatencyReference>> {
        self.evidence.due_reference()
    }

    fn complain(&self, _: &str, _: &str) {}
}

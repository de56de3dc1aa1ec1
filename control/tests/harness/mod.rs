//! Whole rollouts in virtual time through the real analysis and rollout code.
//!
//! The harness plays the parts around the pure core: a recorder that fills snapshots, a shell that carries
//! out actions in their order, and a clock. Errors are looked at when they happen, everything else at every
//! interval. It checks the invariants after every event.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "test support: a panic is a failed test"
)]

pub(crate) mod random;
pub(crate) mod traffic;

use std::collections::BTreeMap;

use serin_config::model::{Analysis, Guardrail, Margin, Metric, OnBreach, Plan, Rollout, Step};
use serin_control::analysis::{Evidence, Report};
use serin_control::rollout::{Action, Event, Phase, RolloutSpec, State, begin, step};
use serin_stats::snapshot::{Arm, Outcome, Snapshot, StageSnapshot};

use traffic::{Answer, Behaviour, Requests, Traffic, User};

const NAME: &str = "digits";

/// One rollout and the world around it.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) evidence: Evidence,
    pub(crate) report: Option<Report>,
    pub(crate) now_ms: u64,
    /// Canary requests whose stage had ended by the time they were answered: none here.
    pub(crate) canary_requests: u64,
    requests: Requests,
    snapshot: Snapshot,
    behaviour: Behaviour,
    next_look_ms: u64,
    clock: f64,
}

impl World {
    pub(crate) fn new(
        spec: RolloutSpec,
        traffic: Traffic,
        behaviour: Behaviour,
        seed: u64,
    ) -> Self {
        let transition = begin(spec, 0, BTreeMap::new(), 0);
        let mut world = Self {
            state: transition.state,
            evidence: Evidence::new(0),
            report: None,
            now_ms: 0,
            canary_requests: 0,
            requests: Requests::new(traffic, seed),
            snapshot: Snapshot::default(),
            behaviour,
            next_look_ms: 0,
            clock: 0.0,
        };
        world.carry_out(transition.actions);
        world
    }

    /// Serves requests until a phase is reached or so many were served; whether it was reached.
    pub(crate) fn serve_until(&mut self, phase: Phase, limit: u64) -> bool {
        for _ in 0..limit {
            if self.state.phase == phase {
                return true;
            }
            self.serve();
        }
        self.state.phase == phase
    }

    /// One request.
    pub(crate) fn serve(&mut self) {
        self.clock += self.requests.gap_ms();
        self.now_ms = self.clock as u64;
        if self.now_ms >= self.next_look_ms {
            self.look();
        }
        let user = self.requests.next_user();
        let share = self.state.share();
        let arm = if user.unit < share {
            Arm::Canary
        } else {
            Arm::Baseline
        };
        let healthy = self.requests.healthy(&user);
        let answer = (self.behaviour)(&mut self.requests.random, arm, healthy);
        self.record(&user, arm, answer);
        // The recorder's bell: what the proxy rings it for.
        let rings = match arm {
            Arm::Canary => answer.outcome != Outcome::Success,
            Arm::Baseline => answer.outcome == Outcome::Error,
        };
        if rings {
            self.look();
        }
    }

    fn record(&mut self, user: &User, arm: Arm, answer: Answer) {
        let split = self.state.split();
        let stages = self.snapshot.rollouts.entry(NAME.to_owned()).or_default();
        let stage = stages.last_mut().expect("a split is in force");
        assert_eq!(stage.epoch, split.epoch);
        let counts = stage.arms.get_mut(arm);
        counts.outcomes[answer.outcome as usize] += 1;
        counts.requests.0[user.bucket] += 1;
        match answer.outcome {
            Outcome::Success => {}
            Outcome::Error => {
                counts.errors.0[user.bucket] += 1;
                stage.erred.get_mut(arm).insert(user.slot);
            }
            Outcome::Rejected => counts.rejected.0[user.bucket] += 1,
            Outcome::Aborted => counts.aborted.0[user.bucket] += 1,
        }
        let counts = stage.arms.get_mut(arm);
        counts.unreachable += u64::from(answer.unreachable);
        if self.now_ms >= split.latency_from_ms {
            let latency = &mut counts.latency;
            latency.total.record(answer.latency_ms);
            latency.first_byte.record(answer.latency_ms);
            if let Some(reference) = &split.reference {
                let (half_rank, slow) = reference.rank(answer.latency_ms);
                latency.measured.0[user.bucket] += 1;
                latency.slow.0[user.bucket] += u64::from(slow);
                latency.half_ranks.0[user.bucket] += u64::from(half_rank);
                latency.half_ranks_squared += u64::from(half_rank).pow(2);
            }
        }
        self.canary_requests += u64::from(arm == Arm::Canary);
    }

    /// What the control loop does when it wakes up.
    pub(crate) fn look(&mut self) {
        let interval = self.state.spec.rollout.analysis.interval;
        self.next_look_ms = self.now_ms + interval.as_millis() as u64;
        let stages = self.snapshot.rollouts.entry(NAME.to_owned()).or_default();
        if self.state.is_watched() {
            let first = self.state.first_epoch;
            let own = stages.partition_point(|stage| stage.epoch < first);
            self.evidence.absorb(&stages[own..], self.now_ms);
        }
        for stage in stages.iter_mut() {
            stage.erred = Default::default();
        }
        if !self.state.is_watched() {
            return;
        }
        let policy = self.state.policy(self.now_ms);
        let report = self.evidence.judge(&policy, self.now_ms);
        let judgement = report.judgement();
        self.report = Some(report);
        self.apply(&Event::Judged(Box::new(judgement)));
        if self.state.reference.is_none()
            && let Some(reference) = self.evidence.due_reference()
        {
            self.apply(&Event::ReferenceFrozen(reference));
        }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        let before = self.state.clone();
        let transition = step(&self.state, event, self.now_ms).expect("allowed");
        self.state = transition.state;
        assert!(self.state.epoch >= before.epoch);
        assert!(!self.state.phase.is_latched() || self.state.share() <= 0.0);
        self.carry_out(transition.actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Install => {
                    let stages = self.snapshot.rollouts.entry(NAME.to_owned()).or_default();
                    stages.push(StageSnapshot {
                        epoch: self.state.epoch,
                        share: self.state.share(),
                        ..StageSnapshot::default()
                    });
                    stages.drain(..stages.len().saturating_sub(64));
                }
                Action::Record => self.apply(&Event::Journal { ok: true }),
                Action::BeginEvidence => self.evidence = Evidence::new(self.now_ms),
                Action::TickNow => self.apply(&Event::Tick),
            }
        }
    }
}

/// A step of this weight and number of seconds.
pub(crate) fn at(weight: f64, seconds: u64) -> Step {
    Step {
        weight,
        min_duration: std::time::Duration::from_secs(seconds),
        min_samples: 0,
        max_duration: None,
        requires_approval: false,
        bake: None,
        holdback: 0.0,
    }
}

/// The default guardrails over this plan.
pub(crate) fn rollout(steps: Vec<Step>) -> RolloutSpec {
    let guardrail = |metric, max_increase| Guardrail {
        metric,
        max_increase,
        max: None,
        on_breach: OnBreach::Rollback,
        min_samples: 0,
        dry_run: false,
    };
    let margin = |absolute, relative| Margin {
        absolute: Some(absolute),
        relative,
    };
    RolloutSpec {
        name: NAME.to_owned(),
        baseline_digest: "old".to_owned(),
        canary_digest: "new".to_owned(),
        rollout: Rollout {
            plan: Plan::Steps(steps),
            guardrails: vec![
                guardrail(Metric::ErrorRate, margin(0.005, None)),
                guardrail(Metric::LatencyP95, margin(50.0, Some(0.1))),
            ],
            analysis: Analysis {
                interval: std::time::Duration::from_secs(5),
                alpha: 0.05,
                warmup: std::time::Duration::from_secs(10),
            },
            on_breach: OnBreach::Rollback,
        },
    }
}

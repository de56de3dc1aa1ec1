//! What is simulated, and what came of it.

use std::time::Duration;

use super::naive;
use super::traffic::{Effect, Traffic};
use super::world::{Cadence, World};
use crate::analysis::Rule;
use crate::rollout::{Phase, RolloutSpec};

/// Before something breaks, looks are real for so long that the latency reference is frozen …
const SETTLING: Duration = Duration::from_mins(10);
/// … and again for the last generations before the break.
const ALERT: Duration = Duration::from_mins(2);
/// Attempts at a history in which a healthy canary is not rolled back.
const HISTORIES: u64 = 64;

/// A rollout under some traffic, with something wrong from some moment on.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The rollout.
    pub spec: RolloutSpec,
    /// What comes in.
    pub traffic: Traffic,
    /// What is wrong with the canary.
    pub effect: Effect,
    /// From when on.
    pub onset: Onset,
    /// How long it is watched, from the onset on.
    pub horizon: Duration,
}

/// When something breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Onset {
    /// From the start.
    Start,
    /// When latency begins to be compared: the reference is frozen, the warm-up is over.
    Measured,
    /// After so much health. Runs whose healthy canary was rolled back before are drawn again.
    After {
        /// How long the canary was healthy.
        healthy: Duration,
        /// How often the evidence of that time is looked at; `None`: as usual.
        look_every: Option<Duration>,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Rolled back, by this rule of ours.
    RolledBack(Option<Rule>),
    /// The plan was fulfilled.
    Promoted,
    /// Neither, when time was over.
    #[default]
    Undecided,
}

/// One simulated rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// When, in virtual milliseconds since it began.
    pub ended_ms: u64,
    /// When the canary's weight reached 100 %.
    pub full_ms: Option<u64>,
    /// When something broke.
    pub onset_ms: u64,
    /// Canary requests from then on.
    pub canary_requests: u64,
    /// Of those, errors.
    pub canary_errors: u64,
    /// Copies that the canary answered from then on, in shadow steps.
    pub copies: u64,
    /// The highest weight that the canary had.
    pub highest_weight: f64,
    /// Why it stood where it stood in the end.
    pub reason: String,
}

impl Run {
    /// Whether it was rolled back.
    #[must_use]
    pub const fn rolled_back(&self) -> bool {
        matches!(self.end, End::RolledBack(_))
    }

    /// Milliseconds from the break to the end.
    #[must_use]
    pub const fn delay_ms(&self) -> u64 {
        self.ended_ms.saturating_sub(self.onset_ms)
    }
}

impl Scenario {
    /// One run through the real decision code.
    #[must_use]
    pub fn run(&self, seed: u64) -> Run {
        let mut world = self.world(seed);
        let onset_ms = world.now_ms();
        let (requests, errors) = (world.canary_requests(), world.canary_errors());
        let copies = world.copies();
        if self.effect != Effect::NONE {
            world.set_effect(self.effect);
        }
        let ends = onset_ms + millis(self.horizon);
        let mut run = Run {
            onset_ms,
            highest_weight: world.state().weight,
            ..Run::default()
        };
        while run.end == End::Undecided && world.now_ms() < ends {
            world.serve();
            let state = world.state();
            run.highest_weight = run.highest_weight.max(state.weight);
            if run.full_ms.is_none() && state.weight >= 1.0 {
                run.full_ms = Some(world.now_ms());
            }
            run.end = match state.phase {
                Phase::RolledBack | Phase::Aborted => End::RolledBack(
                    state
                        .latch()
                        .and_then(|latch| latch.breach.as_ref())
                        .map(|breach| breach.rule),
                ),
                Phase::Healthy => End::Promoted,
                Phase::Pending
                | Phase::Progressing
                | Phase::Paused
                | Phase::WaitingApproval
                | Phase::Baking => End::Undecided,
            };
        }
        run.ended_ms = world.now_ms();
        run.canary_requests = world.canary_requests() - requests;
        run.canary_errors = world.canary_errors() - errors;
        run.copies = world.copies() - copies;
        run.reason.clone_from(&world.state().reason);
        run
    }

    /// The same requests under the usual rule.
    #[must_use]
    pub fn run_naively(&self, seed: u64) -> Run {
        naive::run(self, seed)
    }

    /// The world at the moment of the onset.
    fn world(&self, seed: u64) -> World {
        let fresh = |seed| World::new(self.spec.clone(), self.traffic, seed);
        match self.onset {
            Onset::Start => fresh(seed),
            Onset::Measured => {
                let mut world = fresh(seed);
                let limit = millis(self.horizon);
                while !world.measures() && world.now_ms() < limit {
                    world.serve();
                }
                world
            }
            Onset::After {
                healthy,
                look_every,
            } => {
                let mut world = fresh(seed);
                for attempt in 1..=HISTORIES {
                    pass(&mut world, healthy, look_every);
                    if !world.state().phase.is_latched() {
                        break;
                    }
                    world = fresh(seed ^ attempt << 48);
                }
                world
            }
        }
    }
}

/// Health, for so long.
fn pass(world: &mut World, healthy: Duration, look_every: Option<Duration>) {
    let mut until = |cadence, end: Duration| {
        world.set_cadence(cadence);
        while world.now_ms() < millis(end) && !world.state().phase.is_latched() {
            world.serve();
        }
    };
    if let Some(every) = look_every {
        until(Cadence::Real, SETTLING.min(healthy));
        until(Cadence::Every(millis(every)), healthy.saturating_sub(ALERT));
    }
    until(Cadence::Real, healthy);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

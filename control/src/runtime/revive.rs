//! From what the journal remembers to the state to go on from. Pure.
//!
//! The journal is trusted in this order: a latch before anything else, from wherever it was recovered; then
//! the newest state, when it is known to be the newest; else baseline only, until a person says otherwise.

use std::collections::BTreeMap;

use crate::journal::Memory;
use crate::rollout::{Event, Latch, Override, Phase, RolloutSpec, State, begin, step};

const LOST: &str =
    "the journal lost this rollout's newest entries: on baseline only until `resume`";

/// A state to go on from.
#[derive(Debug)]
pub(super) struct Revived {
    pub(super) state: State,
    /// What was measured before counts no longer.
    pub(super) fresh_evidence: bool,
    /// What the journal is told about it.
    pub(super) event: Event,
}

/// Goes on from a memory, under the configuration of now.
pub(super) fn revive(spec: &RolloutSpec, memory: &Memory, now_ms: u64) -> Revived {
    let remembered = memory
        .state
        .as_deref()
        .map(serde_json::from_str::<State>)
        .transpose();
    match remembered {
        Ok(Some(state)) if !memory.lost => resume(state, spec, memory, now_ms),
        Ok(None) if !memory.lost => start(spec, memory, now_ms, false),
        Ok(_) => start(spec, memory, now_ms, true),
        Err(error) => {
            tracing::warn!(rollout = spec.name, %error, "its state makes no sense");
            start(spec, memory, now_ms, true)
        }
    }
}

fn resume(mut state: State, spec: &RolloutSpec, memory: &Memory, now_ms: u64) -> Revived {
    state.epoch = state.epoch.max(memory.epoch);
    for (digest, latch) in latches(memory) {
        state.latches.entry(digest).or_insert(latch);
    }
    hold_latched(&mut state, now_ms);
    let first_epoch = state.first_epoch;
    let configured = Event::Configured(Box::new(spec.clone()));
    for event in [&Event::Restarted, &configured] {
        match step(&state, event, now_ms) {
            Ok(transition) => state = transition.state,
            Err(refused) => tracing::error!(%refused, "a restart was refused"),
        }
    }
    hold_latched(&mut state, now_ms);
    Revived {
        fresh_evidence: state.first_epoch != first_epoch,
        state,
        event: Event::Restarted,
    }
}

fn start(spec: &RolloutSpec, memory: &Memory, now_ms: u64, lost: bool) -> Revived {
    let mut state = begin(spec.clone(), memory.epoch, latches(memory), now_ms).state;
    if lost && !state.phase.is_latched() {
        state.phase = Phase::Paused;
        state.paused = Some(Override::Weight(0.0));
        state.reason = LOST.to_owned();
    }
    Revived {
        state,
        fresh_evidence: true,
        event: Event::Configured(Box::new(spec.clone())),
    }
}

/// A latch that only the marker remembered outweighs the state beside it.
fn hold_latched(state: &mut State, now_ms: u64) {
    if state.phase.is_latched() {
        return;
    }
    if let Some(latch) = state.latch().cloned() {
        state.phase = latch.phase;
        state.reason = latch.reason;
        state.phase_since_ms = now_ms;
        state.weight = 0.0;
        state.holdback = 0.0;
        state.shadow = 0.0;
        state.paused = None;
        state.hold = None;
    }
}

fn latches(memory: &Memory) -> BTreeMap<String, Latch> {
    let phase = |name: &str| {
        if name == Phase::Aborted.name() {
            Phase::Aborted
        } else {
            Phase::RolledBack
        }
    };
    memory
        .latches
        .iter()
        .map(|latch| {
            let held = Latch {
                phase: phase(&latch.phase),
                at_ms: latch.since_ms,
                reason: latch.reason.clone(),
                breach: None,
            };
            (latch.digest.clone(), held)
        })
        .collect()
}

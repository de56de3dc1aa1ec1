//! The one way in: every event, from whomever, goes through [`step`].

use std::collections::BTreeMap;

use super::draft::Draft;
use super::{
    Action, Event, Latch, Phase, Refused, RolloutSpec, State, Transition, operator, ramp, reload,
};

impl State {
    /// A rollout that has not begun: everything to baseline, in the epoch after `after_epoch`. A latched
    /// release stays where its latch put it.
    pub(super) fn fresh(
        spec: RolloutSpec,
        after_epoch: u64,
        latches: BTreeMap<String, Latch>,
        now_ms: u64,
    ) -> Self {
        let epoch = after_epoch.saturating_add(1);
        let (phase, reason) = latches.get(&spec.canary_digest).map_or_else(
            || (Phase::Pending, "not begun".to_owned()),
            |latch| (latch.phase, latch.reason.clone()),
        );
        Self {
            spec,
            phase,
            reason,
            step: 0,
            weight: 0.0,
            holdback: 0.0,
            shadow: 0.0,
            mirror_stopped: None,
            mirror_epoch: epoch,
            epoch,
            first_epoch: epoch,
            step_epoch: epoch,
            began_ms: now_ms,
            step_began_ms: now_ms,
            phase_since_ms: now_ms,
            latency_from_ms: 0,
            reference: None,
            paused: None,
            hold: None,
            latches,
            journal_failing: false,
            promoted: None,
            lowered_from: None,
        }
    }
}

/// A rollout that the journal doesn't know: on baseline, and to be ticked at once. `after_epoch` is the last
/// epoch that anybody remembers for this route (0: none), `latches` the rollbacks that outlived a lost
/// journal.
#[must_use]
pub fn begin(
    spec: RolloutSpec,
    after_epoch: u64,
    latches: BTreeMap<String, Latch>,
    now_ms: u64,
) -> Transition {
    Transition {
        state: State::fresh(spec, after_epoch, latches, now_ms),
        actions: vec![
            Action::Install,
            Action::Record,
            Action::BeginEvidence,
            Action::TickNow,
        ],
    }
}

/// What follows from an event at this moment.
///
/// # Errors
/// [`Refused`] when an operator asks for what the phase doesn't allow; nothing changes then.
pub fn step(state: &State, event: &Event, now_ms: u64) -> Result<Transition, Refused> {
    Ok(match event {
        Event::Configured(spec) => reload::configured(state, spec, now_ms),
        Event::Restarted => restarted(state, now_ms),
        Event::Tick => ramp::tick(state, now_ms),
        Event::Judged(judgement) => ramp::judged(state, judgement, now_ms),
        Event::ReferenceFrozen(reference) => ramp::reference_frozen(state, reference, now_ms),
        Event::Journal { ok } => journal(state, *ok, now_ms),
        Event::Operator(command) => operator::commanded(state, command, now_ms)?,
    })
}

/// The process started over. Its counters start from zero, so what it measures is a stage of its own; what
/// was read from the journal is on disk.
fn restarted(state: &State, now_ms: u64) -> Transition {
    let mut draft = Draft::of(state, now_ms);
    draft.next.journal_failing = false;
    draft.next.lowered_from = None;
    draft.enter_epoch();
    draft.tick_now();
    draft.finish()
}

/// The journal took the last record, or failed to.
fn journal(state: &State, ok: bool, now_ms: u64) -> Transition {
    let mut draft = Draft::of(state, now_ms);
    draft.next.journal_failing = !ok;
    if ok {
        draft.next.lowered_from = None;
    }
    if ok && state.journal_failing {
        draft.tick_now();
    }
    draft.finish()
}

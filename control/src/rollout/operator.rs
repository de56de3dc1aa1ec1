//! What operators may do, phase by phase. Whether a verb is allowed at all stands in the
//! [table](super::table); here stands what it does.

use serin_config::units::format_percent;

use super::draft::{Draft, phase_in};
use super::ramp::{FROZEN, Next, follow_manual_weight, go_on, next, position};
use super::table::{self, Cell, EventKind};
use super::{Command, Override, Phase, Refused, State, Transition, Verb};

/// An operator said something.
pub(super) fn commanded(
    state: &State,
    command: &Command,
    now_ms: u64,
) -> Result<Transition, Refused> {
    let refuse = |why: &str| Refused {
        verb: command.verb.name().to_owned(),
        phase: state.phase,
        why: why.to_owned(),
    };
    if let Cell::Refused(why) = table::cell(EventKind::of_verb(command.verb), state.phase) {
        return Err(refuse(why));
    }
    let mut draft = Draft::of(state, now_ms);
    match command.verb {
        Verb::Promote { full: false } => promote_one_step(&mut draft, command).map_err(refuse)?,
        Verb::Promote { full: true } => promote_in_full(&mut draft, command).map_err(refuse)?,
        Verb::Pause => pause(&mut draft, command).map_err(refuse)?,
        Verb::Resume => resume(&mut draft, command),
        Verb::Abort if state.phase.is_latched() => {}
        Verb::Abort => draft.latch(Phase::Aborted, said(command, "aborted"), None),
        Verb::Retry => {
            let mut latches = state.latches.clone();
            latches.remove(&state.spec.canary_digest);
            let mut next = State::fresh(state.spec.clone(), state.epoch, latches, now_ms);
            next.reason = said(command, "started again");
            draft = Draft::renewed(state, next, now_ms);
        }
        Verb::Undo => draft.latch(Phase::RolledBack, said(command, "promotion undone"), None),
        Verb::SetWeight(weight) => set_weight(&mut draft, weight, command).map_err(refuse)?,
        Verb::Approve => enter_next(&mut draft, &said(command, "approved")),
    }
    let unlatches = state.phase.is_latched() && !draft.next.phase.is_latched();
    if state.journal_failing
        && (unlatches || draft.next.share() > state.share() || draft.next.shadow > state.shadow)
    {
        return Err(refuse(FROZEN));
    }
    Ok(draft.finish())
}

/// "paused by alice: looking into the p95".
fn said(command: &Command, did: &str) -> String {
    let mut text = did.to_owned();
    if let Some(actor) = &command.actor {
        text.push_str(" by ");
        text.push_str(actor);
    }
    if let Some(reason) = &command.reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// Into the next step, without asking for evidence or approval.
fn enter_next(draft: &mut Draft<'_>, reason: &str) {
    match next(&draft.next) {
        Next::Step(index) => draft.enter_step(index, reason),
        Next::Done => draft.complete(reason),
    }
}

fn promote_one_step(draft: &mut Draft<'_>, command: &Command) -> Result<(), &'static str> {
    if draft.next.spec.manual_weight().is_some() {
        return Err("the weight is set by hand in the config: edit it there, or promote in full");
    }
    if let Some(Override::Weight(weight)) = draft.next.paused {
        draft.next.step = position(&draft.next, weight);
    }
    let did = said(command, "promoted one step");
    draft.next.promoted = Some(did.clone());
    enter_next(draft, &did);
    Ok(())
}

fn promote_in_full(draft: &mut Draft<'_>, command: &Command) -> Result<(), &'static str> {
    if draft.next.phase == Phase::Healthy && draft.next.share() >= 1.0 {
        return Err("it is at 100 % already");
    }
    let by_hand = draft.next.spec.manual_weight().is_some();
    draft.next.step = draft.next.spec.steps().len().saturating_sub(1);
    draft.set_weight(1.0, 0.0);
    draft.next.paused = by_hand.then_some(Override::Weight(1.0));
    let did = said(command, "promoted in full");
    draft.next.promoted = Some(did.clone());
    draft.enter_phase(Phase::Healthy, did);
    Ok(())
}

fn pause(draft: &mut Draft<'_>, command: &Command) -> Result<(), &'static str> {
    if draft.next.spec.manual_weight().is_some() {
        return Err("the weight is set by hand in the config and doesn't move by itself");
    }
    draft.next.paused = Some(Override::Pause(draft.next.phase));
    draft.enter_phase(Phase::Paused, said(command, "paused"));
    Ok(())
}

fn resume(draft: &mut Draft<'_>, command: &Command) {
    let reason = said(command, "resumed");
    let Some(paused) = draft.next.paused.take() else {
        return;
    };
    match paused {
        Override::Pause(phase) => {
            draft.enter_phase(phase, reason);
            draft.tick_now();
        }
        Override::Weight(_) if draft.next.spec.manual_weight().is_some() => {
            follow_manual_weight(draft);
        }
        Override::Weight(weight) => {
            let index = position(&draft.next, weight);
            draft.next.step = index;
            if next(&draft.next) == Next::Step(index) {
                return go_on(draft, &reason);
            }
            let phase = draft.next.spec.steps().get(index).map(phase_in);
            draft.restart_step(index);
            draft.enter_phase(phase.unwrap_or(Phase::Progressing), reason);
        }
    }
}

fn set_weight(draft: &mut Draft<'_>, weight: f64, command: &Command) -> Result<(), &'static str> {
    if !(0.0..=1.0).contains(&weight) {
        return Err("a weight is a fraction of 1, from 0 to 1");
    }
    draft.set_weight(weight, 0.0);
    draft.restart_step(position(&draft.next, weight));
    draft.next.paused = Some(Override::Weight(weight));
    let did = format!("weight set to {}", format_percent(weight));
    draft.enter_phase(Phase::Paused, said(command, &did));
    Ok(())
}

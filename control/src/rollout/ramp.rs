//! What time and evidence do to a rollout: begin, step up, wait, bake, end, roll back.
//!
//! A step is left when the analysis says so ("not worse on every guardrail" is proven, and enough was seen in
//! the step), it has lasted `min_duration` (or `bake`), nothing is broken or held, and no more than half of the
//! canary's requests in it failed. A step that ends without evidence holds: it neither passes nor fails. After
//! `max_duration` it holds until a person says how to go on.

use serin_config::model::{OnBreach, Step};
use serin_config::units::format_percent;
use serin_stats::split::LatencyReference;

use super::draft::Draft;
use super::spec::millis;
use super::{Phase, State, Transition};
use crate::analysis::Judgement;

/// Weights closer than this are the same weight.
const SAME_WEIGHT: f64 = 1e-9;

/// Why nothing may be raised while the journal fails.
pub(super) const FROZEN: &str = "the journal cannot be written: step-ups are frozen";

/// Where the plan goes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Into this step.
    Step(usize),
    /// There is nothing beyond.
    Done,
}

/// Where the plan goes from the weight in force.
pub(super) fn next(state: &State) -> Next {
    let steps = state.spec.steps();
    let below = |index: usize| {
        steps.get(index).is_some_and(|step| {
            let copies_less = state.weight <= 0.0 && state.shadow < step.shadow - SAME_WEIGHT;
            state.weight < step.weight - SAME_WEIGHT || copies_less
        })
    };
    if below(state.step) {
        Next::Step(state.step)
    } else if state.step + 1 < steps.len() {
        Next::Step(state.step + 1)
    } else {
        Next::Done
    }
}

/// The first step with at least this weight; the last one when there is none.
pub(super) fn position(state: &State, weight: f64) -> usize {
    let steps = state.spec.steps();
    steps
        .iter()
        .position(|step| step.weight >= weight - SAME_WEIGHT)
        .unwrap_or(steps.len().saturating_sub(1))
}

/// Goes on with the plan: into the next step, to a person who must approve it, or to its end.
pub(super) fn go_on(draft: &mut Draft<'_>, reason: &str) {
    match next(&draft.next) {
        Next::Step(index) => {
            let wants_approval = draft
                .next
                .spec
                .steps()
                .get(index)
                .is_some_and(|step| step.requires_approval);
            if wants_approval {
                draft.next.paused = None;
                let reason = waiting_for(&draft.next, index);
                draft.enter_phase(Phase::WaitingApproval, reason);
            } else {
                draft.enter_step(index, reason);
            }
        }
        Next::Done => draft.complete(reason),
    }
}

fn waiting_for(state: &State, index: usize) -> String {
    format!(
        "{} wants approval before it is entered",
        ordinal(state, index)
    )
}

/// A step as people count: `step 3 of 4`.
fn ordinal(state: &State, index: usize) -> String {
    format!("step {} of {}", index + 1, state.spec.steps().len())
}

/// Follows the weight that is set by hand in the config.
pub(super) fn follow_manual_weight(draft: &mut Draft<'_>) {
    let Some(weight) = draft.next.spec.manual_weight() else {
        return;
    };
    draft.next.paused = None;
    if weight > draft.next.share() && draft.next.journal_failing {
        draft.next.reason = FROZEN.to_owned();
        return;
    }
    let moves = (weight - draft.next.weight).abs() > SAME_WEIGHT || draft.next.shadow > 0.0;
    if moves {
        draft.set_weight(weight, 0.0);
        draft.restart_step(0);
    }
    let phase = if weight <= 0.0 {
        Phase::Pending
    } else if weight < 1.0 {
        Phase::Progressing
    } else {
        Phase::Healthy
    };
    if moves || draft.next.phase != phase {
        let reason = format!("the config sets the weight to {}", format_percent(weight));
        draft.enter_phase(phase, reason);
    }
}

/// Time passed.
pub(super) fn tick(state: &State, now_ms: u64) -> Transition {
    let mut draft = Draft::of(state, now_ms);
    let mut held_back = false;
    if !state.phase.is_latched() && state.paused.is_none() {
        if state.spec.manual_weight().is_some() {
            follow_manual_weight(&mut draft);
        } else if state.phase == Phase::Pending && state.journal_failing {
            draft.next.reason = FROZEN.to_owned();
            held_back = true;
        } else if state.phase == Phase::Pending {
            go_on(&mut draft, "the first step was entered");
        }
    }
    let mut transition = draft.finish();
    // Whatever happened while the journal failed is still to be written.
    if (state.journal_failing || held_back) && !transition.actions.contains(&super::Action::Record)
    {
        transition.actions.push(super::Action::Record);
    }
    transition
}

/// The evidence was looked at.
pub(super) fn judged(state: &State, judgement: &Judgement, now_ms: u64) -> Transition {
    let mut draft = Draft::of(state, now_ms);
    if state.phase.is_latched() {
        return draft.finish();
    }
    draft.next.hold.clone_from(&judgement.hold);
    let breach = judgement
        .breach
        .as_ref()
        .filter(|breach| breach.on_breach == OnBreach::Rollback);
    if let Some(breach) = breach
        && is_exposed(state)
    {
        let reason = match &state.promoted {
            Some(promoted) => format!("{}; it had been {promoted}", breach.sentence),
            None => breach.sentence.clone(),
        };
        draft.latch(Phase::RolledBack, reason, Some(breach.clone()));
        return draft.finish();
    }
    if let Some(breach) = &judgement.shadow.mirror_breach
        && breach.on_breach != OnBreach::Warn
        && state.mirrors()
    {
        draft.stop_mirror(breach.sentence.clone());
    }
    match state.phase {
        Phase::Pending if draft.next.epoch != state.epoch => draft.tick_now(),
        Phase::Pending => return tick(&draft.next, now_ms),
        Phase::Progressing if state.spec.manual_weight().is_some() => {
            draft.next.reason.clone_from(&judgement.reason);
        }
        Phase::Progressing | Phase::Baking => match blocked(state, judgement, now_ms) {
            Some(why) => draft.next.reason = why,
            None => go_on(&mut draft, &passed(state, judgement)),
        },
        Phase::Paused | Phase::WaitingApproval | Phase::Healthy => {}
        Phase::RolledBack | Phase::Aborted => {}
    }
    draft.finish()
}

/// Whether the canary is asked at all, and whether there is anybody to compare it with: at 100 % without
/// holdback a finished rollout has no baseline any more.
fn is_exposed(state: &State) -> bool {
    state.shadow > 0.0
        || state.weight > 0.0 && (state.phase != Phase::Healthy || state.share() < 1.0)
}

fn passed(state: &State, judgement: &Judgement) -> String {
    let step = state.spec.steps().get(state.step);
    let (seen, what) = step.map_or((0, ""), |step| seen(step, judgement));
    format!(
        "{} passed after {seen} {what}: {}",
        ordinal(state, state.step),
        judgement.reason
    )
}

/// What a step's `min_samples` counts.
fn seen(step: &Step, judgement: &Judgement) -> (u64, &'static str) {
    if step.is_shadow() {
        (judgement.shadow.step_pairs, "copies compared")
    } else {
        (judgement.step_canary_requests, "canary requests")
    }
}

/// Why the present step cannot be left yet.
fn blocked(state: &State, judgement: &Judgement, now_ms: u64) -> Option<String> {
    if let Some(hold) = &judgement.hold {
        return Some(hold.clone());
    }
    if judgement.mostly_failing {
        return Some("more than half of the canary's requests in this step failed".to_owned());
    }
    let Some(step) = state.spec.steps().get(state.step) else {
        return Some("the plan has no such step".to_owned());
    };
    if step_dwell_left(state, now_ms) > 0 {
        return Some(judgement.reason.clone());
    }
    if step_overdue(state, now_ms) {
        return Some(format!(
            "{} is stuck: it did not pass within its max_duration; promote, set-weight or abort",
            ordinal(state, state.step)
        ));
    }
    let wanted = step.min_samples.max(1);
    let (seen, what) = seen(step, judgement);
    if seen < wanted {
        return Some(format!("{seen} of {wanted} {what} in this step"));
    }
    if step.is_shadow() {
        if let Some(gate) = &judgement.shadow.gate {
            return Some(gate.clone());
        }
    } else if !judgement.step_up {
        return Some(judgement.reason.clone());
    }
    state.journal_failing.then(|| FROZEN.to_owned())
}

/// How much longer the present step has to last, in milliseconds.
pub(super) fn step_dwell_left(state: &State, now_ms: u64) -> u64 {
    let Some(step) = state.spec.steps().get(state.step) else {
        return 0;
    };
    let dwell = millis(step.min_duration).max(step.bake.map_or(0, millis));
    dwell.saturating_sub(now_ms.saturating_sub(state.step_began_ms))
}

/// Whether the present step has lasted longer than it may.
pub(super) fn step_overdue(state: &State, now_ms: u64) -> bool {
    let step = state.spec.steps().get(state.step);
    let longest = step.and_then(|step| step.max_duration);
    let is_climbing = matches!(state.phase, Phase::Progressing | Phase::Baking);
    is_climbing
        && longest
            .is_some_and(|longest| now_ms.saturating_sub(state.step_began_ms) > millis(longest))
}

/// Enough of baseline's latency was seen: from now on latencies are ranked, in a new epoch.
pub(super) fn reference_frozen(
    state: &State,
    reference: &std::sync::Arc<LatencyReference>,
    now_ms: u64,
) -> Transition {
    let mut draft = Draft::of(state, now_ms);
    if state.reference.is_none() && state.is_watched() {
        draft.next.reference = Some(std::sync::Arc::clone(reference));
        draft.enter_epoch();
    }
    draft.finish()
}

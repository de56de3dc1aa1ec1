//! What a config reload does to a rollout.
//!
//! The same config changes nothing. Another canary release is another rollout, from the first step, unless
//! that release is latched. Another baseline release keeps the weight but starts the evidence anew: numbers
//! of different releases are never mixed. An edited plan clears an override; the weight in force stays and
//! the position becomes the first step that has at least it. Only a weight that is set by hand moves at
//! once, and never one that the control loop lowered.

use serin_config::model::Step;

use super::draft::{Draft, phase_in};
use super::ramp::{follow_manual_weight, position};
use super::{Override, Phase, RolloutSpec, State, Transition};

/// The config was loaded or reloaded.
pub(super) fn configured(state: &State, spec: &RolloutSpec, now_ms: u64) -> Transition {
    let mut draft = Draft::of(state, now_ms);
    if *spec == state.spec {
        return draft.finish();
    }
    if spec.canary_digest != state.spec.canary_digest || spec.name != state.spec.name {
        let mut next = State::fresh(spec.clone(), state.epoch, state.latches.clone(), now_ms);
        next.journal_failing = state.journal_failing;
        if !next.phase.is_latched() {
            next.reason = format!("a new canary release, digest {}", spec.canary_digest);
        }
        return Draft::renewed(state, next, now_ms).finish();
    }
    draft.next.spec = spec.clone();
    draft.next.step = state.step.min(spec.steps().len().saturating_sub(1));
    if spec.baseline_digest != state.spec.baseline_digest && !state.phase.is_latched() {
        renew_evidence(&mut draft);
    }
    if spec.mirror != state.spec.mirror {
        draft.renew_mirror();
    }
    if spec.rollout.plan != state.spec.rollout.plan && !state.phase.is_latched() {
        replan(&mut draft, state);
    }
    draft.finish()
}

/// Baseline is another release: compare with that one only.
fn renew_evidence(draft: &mut Draft<'_>) {
    draft.next.began_ms = draft.now_ms;
    draft.next.reference = None;
    draft.next.latency_from_ms = draft.now_ms.saturating_add(draft.next.spec.warmup_ms());
    draft.restart_step(draft.next.step);
    draft.next.first_epoch = draft.next.epoch;
}

/// The plan was edited.
fn replan(draft: &mut Draft<'_>, state: &State) {
    if draft.next.spec.manual_weight().is_some() {
        return follow_manual_weight(draft);
    }
    if matches!(draft.next.paused, Some(Override::Weight(_))) {
        draft.next.paused = None;
    }
    if state.weight <= 0.0 {
        return replan_before_clients(draft, state);
    }
    let index = position(&draft.next, state.weight);
    let Some(step) = draft.next.spec.steps().get(index).cloned() else {
        return;
    };
    let former = state.spec.steps().get(state.step);
    let same_step = former.is_some_and(|former| former.weight.to_bits() == step.weight.to_bits());
    if same_step {
        draft.next.step = index;
    } else {
        draft.restart_step(index);
    }
    let at_top = index + 1 == draft.next.spec.steps().len() && state.weight >= step.weight;
    match draft.next.paused {
        Some(_) => draft.next.paused = Some(Override::Pause(Phase::Progressing)),
        None if state.phase == Phase::Healthy && at_top => {}
        None if at_top => draft.enter_phase(phase_in(&step), "the plan was edited"),
        None => draft.enter_phase(Phase::Progressing, "the plan was edited"),
    }
}

/// No client has met the canary yet. A shadow step that copies as much as before goes on; otherwise the edited
/// plan begins anew.
fn replan_before_clients(draft: &mut Draft<'_>, state: &State) {
    let copies_as_much = |step: &Step| step.shadow.to_bits() == state.shadow.to_bits();
    let same = draft
        .next
        .spec
        .steps()
        .iter()
        .position(|step| step.is_shadow() && copies_as_much(step));
    if let Some(index) = same {
        draft.next.step = index;
    } else {
        draft.set_weight(0.0, 0.0);
        draft.next.step = 0;
    }
    let phase = match same {
        Some(_) => Phase::Progressing,
        None => Phase::Pending,
    };
    match draft.next.paused {
        Some(_) => draft.next.paused = Some(Override::Pause(phase)),
        None => {
            draft.enter_phase(phase, "the plan was edited before clients met the canary");
            draft.tick_now();
        }
    }
}

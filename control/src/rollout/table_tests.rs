//! Every phase × event pair, driven through `step()` and compared with the table.

use std::collections::{BTreeMap, BTreeSet};

use serin_config::model::OnBreach;

use super::fixtures::{
    MINUTE, approved, at, bake, broken, configured, copying, fine, judged, manual, ramp, reference,
    started, steps, then, verb,
};
use super::table::{Cell, EventKind, cell, kinds, markdown};
use super::{Event, Phase, State, Verb, step};
use crate::analysis::Judgement;

/// When the events of this test happen: long after every step and bake could have passed.
const LATER: u64 = 10_000 * MINUTE;

/// States in this phase that differ in plan and position.
fn states(phase: Phase) -> Vec<State> {
    let at_weight = |state: &State, weight| then(state, &verb(Verb::SetWeight(weight)), 1);
    let ramping = started(ramp(), 0);
    let guarded = started(steps(&[at(0.05), approved(0.5), bake()]), 0);
    let waiting = then(&guarded, &judged(fine(9)), 2 * MINUTE);
    let waiting_for_the_first = started(steps(&[approved(0.05), bake()]), 0);
    let baking = started(steps(&[bake()]), 0);
    let short = started(steps(&[at(0.25)]), 0);
    let copied = started(steps(&[copying(1.0), approved(0.25), bake()]), 0);
    match phase {
        Phase::Pending => {
            // Not ticked yet.
            let begun = |spec| super::begin(spec, 0, BTreeMap::new(), 0).state;
            vec![
                begun(ramp()),
                begun(steps(&[approved(0.05)])),
                begun(steps(&[bake()])),
                begun(manual(1.0)),
                started(manual(0.0), 0),
            ]
        }
        Phase::Progressing => {
            let next_bakes = started(steps(&[at(0.5), bake()]), 0);
            let at_the_top = started(steps(&[at(1.0)]), 0);
            vec![
                ramping,
                guarded,
                next_bakes,
                at_the_top,
                short,
                started(manual(0.3), 0),
                copied,
                started(steps(&[copying(0.1), copying(1.0), at(1.0)]), 0),
            ]
        }
        Phase::Paused => vec![
            then(&ramping, &verb(Verb::Pause), 1),
            then(&waiting, &verb(Verb::Pause), 3 * MINUTE),
            then(&baking, &verb(Verb::Pause), 1),
            at_weight(&ramping, 0.0),
            at_weight(&ramping, 0.3),
            at_weight(&ramping, 0.6),
            at_weight(&ramping, 1.0),
            at_weight(&short, 0.9),
            at_weight(&guarded, 0.3),
            at_weight(&started(manual(0.3), 0), 0.1),
            at_weight(&started(manual(0.0), 0), 0.1),
            at_weight(&started(manual(1.0), 0), 0.1),
            then(&copied, &verb(Verb::Pause), 1),
            at_weight(&copied, 0.0),
            then(
                &super::begin(ramp(), 0, BTreeMap::new(), 0).state,
                &verb(Verb::Pause),
                1,
            ),
        ],
        Phase::WaitingApproval => {
            let before_the_top = started(
                steps(&[
                    at(0.5),
                    serin_config::model::Step {
                        requires_approval: true,
                        ..bake()
                    },
                ]),
                0,
            );
            let before_the_top = then(&before_the_top, &judged(fine(9)), 2 * MINUTE);
            let copying = then(&copied, &judged(fine(9)), 2 * MINUTE);
            vec![waiting, waiting_for_the_first, before_the_top, copying]
        }
        Phase::Baking => vec![baking],
        Phase::Healthy => vec![
            then(&ramping, &verb(Verb::Promote { full: true }), 1),
            then(&short, &judged(fine(9)), 2 * MINUTE),
            started(manual(1.0), 0),
        ],
        Phase::RolledBack => vec![
            then(&ramping, &judged(broken(OnBreach::Rollback)), 1),
            then(
                &started(manual(0.3), 0),
                &judged(broken(OnBreach::Rollback)),
                1,
            ),
        ],
        Phase::Aborted => vec![then(&ramping, &verb(Verb::Abort), 1)],
    }
}

/// Events of this kind, as far as they make sense for the state.
fn events(kind: EventKind, state: &State) -> Vec<Event> {
    let by_hand = state.spec.manual_weight().is_some();
    let with_plan = |plan: &super::RolloutSpec| {
        let mut spec = state.spec.clone();
        spec.rollout.plan = plan.rollout.plan.clone();
        configured(spec)
    };
    match kind {
        EventKind::SameConfig => vec![configured(state.spec.clone())],
        EventKind::StepsEdited => [
            steps(&[at(0.1), at(0.2)]),
            steps(&[at(0.1), at(0.6), at(1.0)]),
            steps(&[approved(0.01), at(0.02), bake()]),
            steps(&[copying(1.0), at(0.2), bake()]),
        ]
        .iter()
        .map(with_plan)
        .collect(),
        EventKind::WeightEdited => [0.0, 0.4, 1.0]
            .map(manual)
            .iter()
            .map(with_plan)
            .filter(|event| *event != configured(state.spec.clone()))
            .collect(),
        EventKind::NewCanary => {
            let mut spec = state.spec.clone();
            spec.canary_digest = "newer".to_owned();
            vec![configured(spec)]
        }
        EventKind::NewBaseline => {
            let mut spec = state.spec.clone();
            spec.baseline_digest = "other".to_owned();
            vec![configured(spec)]
        }
        EventKind::Restarted => vec![Event::Restarted],
        EventKind::Tick => vec![Event::Tick],
        EventKind::NotYet => vec![
            judged(fine(0)),
            judged(Judgement {
                mostly_failing: true,
                ..fine(1_000)
            }),
            judged(broken(OnBreach::Hold)),
        ],
        EventKind::Passed => vec![judged(fine(1_000)), judged(broken(OnBreach::Warn))],
        EventKind::Breached
            if state.weight > 0.0 || state.shadow > 0.0 || state.phase == Phase::Pending =>
        {
            vec![judged(broken(OnBreach::Rollback))]
        }
        EventKind::Breached => vec![],
        EventKind::ReferenceFrozen => vec![Event::ReferenceFrozen(reference())],
        EventKind::Journal => vec![Event::Journal { ok: true }, Event::Journal { ok: false }],
        // What a hand-set plan refuses is no matter of phases.
        EventKind::Promote | EventKind::Pause if by_hand && !state.phase.is_latched() => vec![],
        EventKind::Promote => vec![verb(Verb::Promote { full: false })],
        EventKind::PromoteFull if state.phase == Phase::Healthy && state.share() >= 1.0 => vec![],
        EventKind::PromoteFull => vec![verb(Verb::Promote { full: true })],
        EventKind::Pause => vec![verb(Verb::Pause)],
        EventKind::Resume => vec![verb(Verb::Resume)],
        EventKind::Abort => vec![verb(Verb::Abort)],
        EventKind::Retry => vec![verb(Verb::Retry)],
        EventKind::SetWeight => [0.0, 0.3, 1.0].map(|w| verb(Verb::SetWeight(w))).to_vec(),
        EventKind::Approve => vec![verb(Verb::Approve)],
        EventKind::Undo => vec![verb(Verb::Undo)],
    }
}

/// Latches that a new canary release may run into.
fn with_latch(state: &State, phase: Phase) -> State {
    let mut state = state.clone();
    let latched = states(phase).swap_remove(0);
    let latch = latched.latch().unwrap().clone();
    state.latches.insert("newer".to_owned(), latch);
    state
}

/// What step() does and the table does not say, or the reverse.
fn mismatches(kind: EventKind, phase: Phase) -> Vec<String> {
    let mut states = states(phase);
    assert!(states.iter().all(|state| state.phase == phase), "{phase}");
    if kind == EventKind::NewCanary {
        let known = [Phase::RolledBack, Phase::Aborted].map(|latch| with_latch(&states[0], latch));
        states.extend(known);
    }
    let mut wrong = Vec::new();
    let mut reached = BTreeSet::new();
    for state in &states {
        for event in events(kind, state) {
            let to = match step(state, &event, LATER) {
                Ok(transition) => Some(transition.state.phase),
                Err(refused) => {
                    assert_eq!(refused.phase, phase);
                    None
                }
            };
            let expected = match cell(kind, phase) {
                Cell::Refused(_) => to.is_none(),
                Cell::Stays => to == Some(phase),
                Cell::To(phases) => to.is_some_and(|to| phases.contains(&to)),
            };
            if !expected {
                let plan = (&state.spec.rollout.plan, state.weight);
                wrong.push(format!(
                    "{kind:?} in {phase}: to {to:?}\n  {plan:?}\n  {event:?}"
                ));
            }
            reached.extend(to);
        }
    }
    // The table claims nothing that cannot happen.
    if let Cell::To(phases) = cell(kind, phase) {
        for never in phases.iter().filter(|phase| !reached.contains(phase)) {
            wrong.push(format!("{kind:?} in {phase}: never to {never}"));
        }
    }
    wrong
}

#[test]
fn every_pair_does_what_the_table_says() {
    let wrong: Vec<String> = kinds()
        .flat_map(|kind| Phase::ALL.map(|phase| mismatches(kind, phase)))
        .flatten()
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_markdown_has_a_row_for_every_event_and_a_column_for_every_phase() {
    let text = markdown();
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 2 + kinds().count());
    for row in rows {
        assert_eq!(row.matches('|').count(), Phase::ALL.len() + 2, "{row}");
    }
}

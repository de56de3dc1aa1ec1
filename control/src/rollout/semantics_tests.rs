//! The contract's rollout semantics, sentence by sentence.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serin_config::model::{OnBreach, Step};

use super::fixtures::{
    MINUTE, SECOND, approved, at, bake, broken, configured, fine, judged, manual, ramp, reference,
    settle, started, steps, then, verb,
};
use super::{Action, Event, Phase, State, Transition, Verb, begin, step};
use crate::analysis::Judgement;

/// Judges in steps of ten seconds until the phase is reached; how long it took.
fn judge_until(state: &mut State, phase: Phase, mut now_ms: u64, limit_ms: u64) -> u64 {
    let start = now_ms;
    while state.phase != phase {
        now_ms += 10 * SECOND;
        assert!(
            now_ms - start <= limit_ms,
            "{} after {now_ms} ms",
            state.phase
        );
        *state = then(state, &judged(fine(1_000)), now_ms);
    }
    now_ms - start
}

#[test]
fn a_good_release_climbs_step_by_step_bakes_and_is_done() {
    let mut state = started(ramp(), 0);
    assert_eq!(
        (state.phase, state.weight, state.step),
        (Phase::Progressing, 0.05, 0)
    );
    assert_eq!(
        judge_until(&mut state, Phase::Baking, 0, 10 * MINUTE),
        3 * MINUTE
    );
    assert_eq!(state.share(), 0.95);
    assert_eq!(state.desired_weight(), 1.0);
    judge_until(&mut state, Phase::Healthy, 3 * MINUTE, 10 * MINUTE);
    assert_eq!(state.share(), 1.0);
    assert!(!state.is_watched());
}

#[test]
fn a_step_wants_its_time_its_samples_and_a_canary_that_mostly_works() {
    let state = started(
        steps(&[
            Step {
                min_samples: 100,
                ..at(0.05)
            },
            bake(),
        ]),
        0,
    );
    let check = |judgement: Judgement, now_ms, steps_up| {
        let next = then(&state, &judged(judgement), now_ms);
        assert_eq!(next.weight > state.weight, steps_up, "{}", next.reason);
    };
    check(fine(100), MINUTE - 1, false);
    check(fine(99), MINUTE, false);
    let failing = Judgement {
        mostly_failing: true,
        ..fine(100)
    };
    check(failing, MINUTE, false);
    check(broken(OnBreach::Hold), MINUTE, false);
    check(broken(OnBreach::Warn), MINUTE, true);
    check(fine(100), MINUTE, true);
    // Without a configured number at least one request must have been answered.
    let state = started(ramp(), 0);
    assert_eq!(then(&state, &judged(fine(0)), MINUTE).weight, 0.05);
}

#[test]
fn a_step_beyond_its_max_duration_holds_until_a_person_decides() {
    let limited = Step {
        max_duration: Some(Duration::from_mins(5)),
        ..at(0.05)
    };
    let state = started(steps(&[limited, bake()]), 0);
    let state = then(&state, &judged(fine(0)), 6 * MINUTE);
    let state = then(&state, &judged(fine(1_000)), 7 * MINUTE);
    assert_eq!(state.weight, 0.05);
    assert!(state.reason.contains("max_duration"), "{}", state.reason);
    let state = then(&state, &verb(Verb::Promote { full: false }), 8 * MINUTE);
    assert_eq!(state.phase, Phase::Baking);
}

#[test]
fn lowering_installs_first_and_raising_is_on_disk_first() {
    let state = started(ramp(), 0);
    let actions = |event: &Event| step(&state, event, MINUTE).unwrap().actions;
    let lowers = [Action::Install, Action::Record];
    let raises = [Action::Record, Action::Install];
    assert_eq!(actions(&judged(broken(OnBreach::Rollback))), lowers);
    assert_eq!(actions(&verb(Verb::Abort)), lowers);
    assert_eq!(actions(&verb(Verb::SetWeight(0.01))), lowers);
    assert_eq!(actions(&verb(Verb::SetWeight(0.5))), raises);
    assert_eq!(actions(&judged(fine(9))), raises);
    assert_eq!(actions(&Event::ReferenceFrozen(reference())), raises);
    assert_eq!(actions(&verb(Verb::Pause)), [Action::Record]);
    assert_eq!(actions(&configured(ramp())), []);
    assert_eq!(actions(&Event::Tick), []);
}

#[test]
fn the_latch_holds_through_reloads_edits_and_restarts_until_retry() {
    for (event, phase) in [
        (judged(broken(OnBreach::Rollback)), Phase::RolledBack),
        (verb(Verb::Abort), Phase::Aborted),
    ] {
        let mut state = then(&started(ramp(), 0), &event, MINUTE);
        for round in 0..100 {
            let before = state.clone();
            let reload = step(&state, &configured(ramp()), MINUTE + round).unwrap();
            assert_eq!((&reload.state, reload.actions.len()), (&before, 0));
            state = then(&state, &Event::Restarted, MINUTE + round);
            state = then(
                &state,
                &configured(steps(&[at(0.5), bake()])),
                MINUTE + round,
            );
            state = then(&state, &configured(manual(0.7)), MINUTE + round);
            state = then(&state, &configured(ramp()), MINUTE + round);
            state = then(&state, &judged(fine(1_000)), MINUTE + round);
            assert_eq!((state.phase, state.share()), (phase, 0.0));
        }
        // A second abort is a no-op, whoever took the release back.
        let abort = step(&state, &verb(Verb::Abort), 3 * MINUTE).unwrap();
        assert_eq!((abort.state.phase, abort.actions.len()), (phase, 0));
        let first_epoch = state.first_epoch;
        let retried = settle(
            step(&state, &verb(Verb::Retry), 3 * MINUTE).unwrap(),
            3 * MINUTE,
        );
        assert_eq!(
            (retried.state.phase, retried.state.weight),
            (Phase::Progressing, 0.05)
        );
        assert!(retried.actions.contains(&Action::BeginEvidence));
        assert!(retried.state.first_epoch > first_epoch);
    }
}

#[test]
fn another_release_starts_at_the_first_step_and_a_latched_one_stays_latched() {
    let mut newer = ramp();
    newer.canary_digest = "newer".to_owned();
    let state = then(&started(ramp(), 0), &judged(fine(9)), MINUTE);
    assert_eq!(state.weight, 0.25);
    let state = then(&state, &judged(broken(OnBreach::Rollback)), 2 * MINUTE);
    let fresh = settle(
        step(&state, &configured(newer), 3 * MINUTE).unwrap(),
        3 * MINUTE,
    );
    assert_eq!(
        (fresh.state.phase, fresh.state.weight),
        (Phase::Progressing, 0.05)
    );
    assert!(fresh.actions.contains(&Action::BeginEvidence));
    assert_eq!(fresh.state.reference, None);
    // Back to the release that was taken back: still latched.
    let back = then(&fresh.state, &configured(ramp()), 4 * MINUTE);
    assert_eq!((back.phase, back.share()), (Phase::RolledBack, 0.0));
    // Also for a process that only has the latches left.
    let lost = begin(ramp(), back.epoch, back.latches.clone(), 5 * MINUTE).state;
    let lost = then(&lost, &Event::Tick, 5 * MINUTE);
    assert_eq!((lost.phase, lost.share()), (Phase::RolledBack, 0.0));
    assert!(lost.epoch > back.epoch);
}

#[test]
fn an_override_survives_reloads_and_is_cleared_by_an_edit_of_the_plan() {
    let state = then(&started(ramp(), 0), &verb(Verb::SetWeight(0.3)), MINUTE);
    assert_eq!((state.phase, state.weight), (Phase::Paused, 0.3));
    let mut other_guardrail = ramp();
    other_guardrail.rollout.on_breach = OnBreach::Hold;
    let reloaded = then(&state, &configured(other_guardrail), 2 * MINUTE);
    let reloaded = then(&reloaded, &Event::Restarted, 2 * MINUTE);
    let reloaded = then(&reloaded, &judged(fine(1_000)), 9 * MINUTE);
    assert_eq!((reloaded.phase, reloaded.weight), (Phase::Paused, 0.3));
    // Resume goes on at the first step with at least that weight.
    let resumed = then(&reloaded, &verb(Verb::Resume), 9 * MINUTE);
    assert_eq!(
        (resumed.phase, resumed.weight, resumed.step),
        (Phase::Progressing, 0.5, 2)
    );
    // An edit of the steps clears it: the weight stays, the position is the first step with at least it.
    let edited = then(
        &state,
        &configured(steps(&[at(0.1), at(0.4), bake()])),
        2 * MINUTE,
    );
    assert_eq!(
        (edited.phase, edited.weight, edited.step, edited.paused),
        (Phase::Progressing, 0.3, 1, None)
    );
    let later = then(&edited, &judged(fine(9)), 3 * MINUTE);
    assert_eq!((later.weight, later.step), (0.4, 1));
    // A weight set by hand is followed at once.
    let by_hand = then(&state, &configured(manual(0.1)), 2 * MINUTE);
    assert_eq!((by_hand.phase, by_hand.weight), (Phase::Progressing, 0.1));
}

#[test]
fn resume_after_an_override_asks_for_the_approval_that_the_step_wants() {
    let guarded = steps(&[at(0.05), approved(0.5), bake()]);
    let state = then(&started(guarded, 0), &verb(Verb::SetWeight(0.3)), MINUTE);
    let state = then(&state, &verb(Verb::Resume), 2 * MINUTE);
    assert_eq!((state.phase, state.weight), (Phase::WaitingApproval, 0.3));
    let state = then(&state, &verb(Verb::Approve), 3 * MINUTE);
    assert_eq!((state.phase, state.weight), (Phase::Progressing, 0.5));
}

#[test]
fn a_pause_stays_a_pause_and_returns_to_where_it_was() {
    let guarded = started(steps(&[at(0.05), approved(0.5)]), 0);
    let waiting = then(&guarded, &judged(fine(9)), MINUTE);
    let paused = then(&waiting, &verb(Verb::Pause), 2 * MINUTE);
    let paused = then(&paused, &judged(fine(9)), 20 * MINUTE);
    assert_eq!((paused.phase, paused.weight), (Phase::Paused, 0.05));
    let resumed = then(&paused, &verb(Verb::Resume), 21 * MINUTE);
    assert_eq!(resumed.phase, Phase::WaitingApproval);
    // Guardrails act while it is paused.
    let broken = then(&paused, &judged(broken(OnBreach::Rollback)), 22 * MINUTE);
    assert_eq!((broken.phase, broken.share()), (Phase::RolledBack, 0.0));
}

#[test]
fn hand_set_weights_name_their_phase_and_never_revive_a_latched_release() {
    let mut state = started(manual(0.0), 0);
    for (weight, phase) in [
        (0.0, Phase::Pending),
        (0.3, Phase::Progressing),
        (1.0, Phase::Healthy),
        (0.2, Phase::Progressing),
    ] {
        state = then(&state, &configured(manual(weight)), MINUTE);
        assert_eq!((state.phase, state.weight), (phase, weight));
    }
    state = then(&state, &judged(broken(OnBreach::Rollback)), 2 * MINUTE);
    state = then(&state, &configured(manual(0.9)), 3 * MINUTE);
    assert_eq!((state.phase, state.weight), (Phase::RolledBack, 0.0));
}

#[test]
fn a_failing_journal_freezes_what_would_raise_but_never_what_lowers() {
    let failing = Event::Journal { ok: false };
    let state = then(&started(ramp(), 0), &failing, MINUTE);
    let stuck = then(&state, &judged(fine(1_000)), 5 * MINUTE);
    assert_eq!(stuck.weight, 0.05);
    assert!(step(&state, &verb(Verb::Promote { full: true }), MINUTE).is_err());
    assert!(step(&state, &verb(Verb::SetWeight(0.5)), MINUTE).is_err());
    // Weight 0 acts at once; people hear of a rollback when it is on disk.
    let lowered = then(&state, &judged(broken(OnBreach::Rollback)), 6 * MINUTE);
    assert_eq!(lowered.share(), 0.0);
    assert_eq!(lowered.visible_phase(), Phase::Progressing);
    assert!(lowered.visible_reason().contains("journal"));
    assert!(step(&lowered, &verb(Verb::Retry), 7 * MINUTE).is_err());
    // Ticks try the journal again; once it works the rollback shows.
    let tick = step(&lowered, &Event::Tick, 7 * MINUTE).unwrap();
    assert!(tick.actions.contains(&Action::Record));
    let recorded = then(&tick.state, &Event::Journal { ok: true }, 7 * MINUTE);
    assert_eq!(recorded.visible_phase(), Phase::RolledBack);
    // A new rollout waits on baseline until the journal can be written.
    let waiting = begin(ramp(), 0, BTreeMap::new(), 0).state;
    let waiting = then(&then(&waiting, &failing, 0), &Event::Tick, 0);
    assert_eq!((waiting.phase, waiting.share()), (Phase::Pending, 0.0));
    let begun = then(&waiting, &Event::Journal { ok: true }, 1);
    assert_eq!(begun.phase, Phase::Progressing);
}

#[test]
fn the_canary_warms_up_after_a_step_up_and_not_after_a_step_down() {
    let state = started(ramp(), 7);
    assert_eq!(state.split().latency_from_ms, 7 + MINUTE);
    let up = then(&state, &verb(Verb::SetWeight(0.4)), 10 * MINUTE);
    assert_eq!(up.split().latency_from_ms, 11 * MINUTE);
    let down = then(&up, &verb(Verb::SetWeight(0.2)), 20 * MINUTE);
    assert_eq!(down.split().latency_from_ms, 11 * MINUTE);
    assert!(down.epoch > up.epoch);
}

#[test]
fn another_baseline_keeps_the_weight_and_forgets_the_evidence() {
    let mut other = ramp();
    other.baseline_digest = "other".to_owned();
    let state = then(&started(ramp(), 0), &judged(fine(9)), MINUTE);
    let state = then(&state, &Event::ReferenceFrozen(reference()), MINUTE);
    let next = step(&state, &configured(other), 2 * MINUTE).unwrap();
    assert!(next.actions.contains(&Action::BeginEvidence));
    assert_eq!(
        (next.state.weight, next.state.phase),
        (0.25, Phase::Progressing)
    );
    assert_eq!(next.state.reference, None);
    assert_eq!(next.state.first_epoch, next.state.epoch);
}

#[test]
fn a_state_survives_being_written_down() {
    let state = then(
        &started(ramp(), 0),
        &Event::ReferenceFrozen(reference()),
        MINUTE,
    );
    let state = then(&state, &judged(broken(OnBreach::Rollback)), 2 * MINUTE);
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    let event = Event::ReferenceFrozen(reference());
    let text = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
}

/// Any event, with plans and weights of all kinds.
fn any_event() -> impl Strategy<Value = Event> {
    let plans = || {
        prop_oneof![
            Just(ramp()),
            Just(steps(&[at(0.1), approved(0.4), at(1.0)])),
            Just(steps(&[at(0.02), bake()])),
            (0..=4_u8).prop_map(|quarter| manual(f64::from(quarter) / 4.0)),
        ]
    };
    let verbs = prop_oneof![
        any::<bool>().prop_map(|full| Verb::Promote { full }),
        Just(Verb::Pause),
        Just(Verb::Resume),
        Just(Verb::Abort),
        Just(Verb::Retry),
        Just(Verb::Undo),
        (-0.5..1.5_f64).prop_map(Verb::SetWeight),
        Just(Verb::Approve),
    ];
    let judgements = prop_oneof![
        4 => (0..2_000_u64).prop_map(fine),
        1 => Just(broken(OnBreach::Rollback)),
        1 => Just(broken(OnBreach::Hold)),
        1 => Just(broken(OnBreach::Warn)),
    ];
    prop_oneof![
        (plans(), 0..3_u8, 0..2_u8).prop_map(|(mut spec, canary, baseline)| {
            spec.canary_digest = format!("canary {canary}");
            spec.baseline_digest = format!("baseline {baseline}");
            configured(spec)
        }),
        plans().prop_map(configured),
        Just(Event::Restarted),
        Just(Event::Tick),
        judgements.prop_map(judged),
        Just(Event::ReferenceFrozen(reference())),
        any::<bool>().prop_map(|ok| Event::Journal { ok }),
        verbs.prop_map(verb),
    ]
}

/// What must hold after every event, whatever happened before.
fn check_invariants(before: &State, event: &Event, transition: &Transition) {
    let Transition { state, actions } = transition;
    let raises = state.share() > before.share();
    if state.phase.is_latched() {
        assert_eq!(
            state.share(),
            0.0,
            "traffic for a release that was taken back"
        );
        assert!(state.latch().is_some());
    }
    let lasting = |state: &State| {
        let split = state.split();
        (
            split.share.to_bits(),
            split.latency_from_ms,
            split.reference,
        )
    };
    if lasting(before) != lasting(state) {
        assert!(
            state.epoch > before.epoch,
            "a new split without a new epoch"
        );
    }
    assert!(state.epoch >= before.epoch);
    let position = |wanted| actions.iter().position(|&action| action == wanted);
    let (install, record) = (position(Action::Install), position(Action::Record));
    assert_eq!(install.is_some(), state.epoch != before.epoch, "{event:?}");
    if raises {
        assert!(record < install, "raised before it was on disk");
        assert!(!before.journal_failing, "raised while the journal fails");
    }
    if state.share() < before.share() {
        assert!(install < record, "written before it acted");
    }
    if let Event::Configured(spec) = event
        && raises
    {
        assert!(
            spec.manual_weight().is_some() && !before.phase.is_latched()
                || spec.canary_digest != before.spec.canary_digest,
            "a reload raised a weight"
        );
    }
    let latched_before = before.phase.is_latched();
    let same_release = state.spec.canary_digest == before.spec.canary_digest;
    if latched_before && !state.phase.is_latched() && same_release {
        let retried = matches!(event, Event::Operator(command) if command.verb == Verb::Retry);
        assert!(retried, "revived by {event:?}");
    }
    assert!((0.0..=1.0).contains(&state.share()));
    assert!(state.step == 0 || state.step < state.spec.steps().len());
    assert!(state.first_epoch <= state.step_epoch && state.step_epoch <= state.epoch);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_event(
        events in proptest::collection::vec((any_event(), 0..5 * MINUTE), 1..60),
    ) {
        let mut now_ms = 0;
        let mut state = begin(ramp(), 0, BTreeMap::new(), now_ms).state;
        for (event, pause_ms) in events {
            now_ms += pause_ms;
            let mut next = Some(event);
            while let Some(event) = next.take() {
                let Ok(transition) = step(&state, &event, now_ms) else { continue };
                check_invariants(&state, &event, &transition);
                if transition.actions.contains(&Action::TickNow) {
                    next = Some(Event::Tick);
                }
                state = transition.state;
            }
        }
    }

    #[test]
    fn a_ramp_only_rises_while_nothing_is_wrong(
        weights in proptest::collection::btree_set(1..100_u32, 1..8),
        pauses in proptest::collection::vec(0..2 * MINUTE, 1..60),
    ) {
        let plan: Vec<Step> = weights.iter().map(|&w| at(f64::from(w) / 100.0)).collect();
        let mut state = started(steps(&plan), 0);
        let mut now_ms = 0;
        for pause_ms in pauses {
            now_ms += pause_ms;
            let next = then(&state, &judged(fine(10)), now_ms);
            prop_assert!(next.share() >= state.share());
            prop_assert!(next.step <= state.step + 1);
            if next.share() > state.share() {
                prop_assert!(now_ms - state.step_began_ms >= MINUTE);
            }
            state = next;
        }
    }
}

//! Shadow steps and standing mirrors, event by event.

use super::fixtures::{
    MINUTE, at, bake, broken, configured, copying, fine, judged, manual, settle, started, steps,
    then, verb,
};
use super::{Action, Event, MirrorSpec, Phase, RolloutSpec, State, Verb, step};
use crate::analysis::{Judgement, ShadowJudgement};
use serin_config::model::{OnBreach, Step};

/// Copies to half, then all; then clients.
fn plan() -> RolloutSpec {
    steps(&[copying(0.5), copying(1.0), at(0.25), bake()])
}

fn mirrored(has_backend: bool) -> RolloutSpec {
    RolloutSpec {
        mirror: Some(MirrorSpec {
            share: 0.1,
            has_backend,
            digest: None,
        }),
        ..steps(&[at(0.25), bake()])
    }
}

fn shares(state: &State) -> (f64, f64) {
    let split = state.split();
    (split.share, split.shadow)
}

/// So many copies were compared, and this keeps the step.
fn compared(step_pairs: u64, gate: Option<&str>) -> Event {
    judged(Judgement {
        shadow: ShadowJudgement {
            step_pairs,
            gate: gate.map(str::to_owned),
            mirror_breach: None,
        },
        ..fine(0)
    })
}

fn mirror_broken(on_breach: OnBreach) -> Event {
    judged(Judgement {
        shadow: ShadowJudgement {
            mirror_breach: broken(on_breach).breach,
            ..ShadowJudgement::default()
        },
        ..fine(0)
    })
}

#[test]
fn copies_first_and_clients_when_the_copies_were_good() {
    let mut state = started(plan(), 0);
    assert_eq!(
        (state.phase, shares(&state)),
        (Phase::Progressing, (0.0, 0.5))
    );
    for (at_minute, event, expected) in [
        (0, compared(9, None), (0.0, 0.5)),
        (1, compared(0, None), (0.0, 0.5)),
        (1, compared(9, Some("slow")), (0.0, 0.5)),
        (1, compared(9, None), (0.0, 1.0)),
        // Requests that the canary answered are no copies.
        (
            2,
            judged(Judgement {
                shadow: ShadowJudgement::default(),
                ..fine(9)
            }),
            (0.0, 1.0),
        ),
        (2, compared(9, None), (0.25, 0.0)),
        (3, judged(fine(9)), (0.95, 0.0)),
    ] {
        let before = state.epoch;
        state = then(&state, &event, at_minute * MINUTE);
        assert_eq!(shares(&state), expected, "{at_minute}: {event:?}");
        assert!(state.epoch >= before);
    }
    assert_eq!(state.phase, Phase::Baking);
}

#[test]
fn a_breach_of_copies_takes_the_canary_back_before_any_client_met_it() {
    let state = started(plan(), 0);
    for event in [verb(Verb::Pause), Event::Tick] {
        let state = then(&state, &event, 1);
        let next = step(&state, &judged(broken(OnBreach::Rollback)), 2).unwrap();
        assert_eq!(next.state.phase, Phase::RolledBack);
        assert_eq!(shares(&next.state), (0.0, 0.0));
        assert!(next.state.latch().is_some());
        // Less is copied at once; it is written down next.
        assert_eq!(next.actions[..2], [Action::Install, Action::Record]);
    }
    let held = then(&state, &judged(broken(OnBreach::Hold)), 2 * MINUTE);
    assert_eq!(
        (held.phase, shares(&held)),
        (Phase::Progressing, (0.0, 0.5))
    );
}

#[test]
fn what_copies_more_is_on_disk_first() {
    let asked = Step {
        requires_approval: true,
        ..copying(1.0)
    };
    let waiting = started(steps(&[asked, at(1.0)]), 0);
    assert_eq!(
        (waiting.phase, shares(&waiting)),
        (Phase::WaitingApproval, (0.0, 0.0))
    );
    let approved = then(&waiting, &verb(Verb::Approve), 1);
    assert_eq!(
        (approved.phase, shares(&approved)),
        (Phase::Progressing, (0.0, 1.0))
    );
    let begun = super::begin(plan(), 0, Default::default(), 0).state;
    let entered = step(&begun, &Event::Tick, 1).unwrap();
    assert_eq!(shares(&entered.state), (0.0, 0.5));
    assert_eq!(entered.actions[..2], [Action::Record, Action::Install]);
    let mut failing = started(plan(), 0);
    failing = then(&failing, &verb(Verb::SetWeight(0.0)), 1);
    assert_eq!(shares(&failing), (0.0, 0.0));
    failing.journal_failing = true;
    assert!(step(&failing, &verb(Verb::Resume), 2).is_err());
}

#[test]
fn operators_move_in_and_out_of_a_shadow_step() {
    let copied = started(plan(), 0);
    let moved = |verbs: &[Verb]| {
        let each = |state, asked: &Verb| then(&state, &verb(*asked), 1);
        let state = verbs.iter().fold(copied.clone(), each);
        (state.phase, state.step, shares(&state))
    };
    let promote = Verb::Promote { full: false };
    let full = Verb::Promote { full: true };
    use Phase::{Aborted, Healthy, Paused, Progressing};
    assert_eq!(moved(&[Verb::Pause]), (Paused, 0, (0.0, 0.5)));
    assert_eq!(
        moved(&[Verb::Pause, Verb::Resume]),
        (Progressing, 0, (0.0, 0.5))
    );
    assert_eq!(moved(&[promote]), (Progressing, 1, (0.0, 1.0)));
    assert_eq!(moved(&[promote, promote]), (Progressing, 2, (0.25, 0.0)));
    assert_eq!(moved(&[full]), (Healthy, 3, (1.0, 0.0)));
    assert_eq!(moved(&[Verb::Abort]), (Aborted, 0, (0.0, 0.0)));
    assert_eq!(moved(&[Verb::SetWeight(0.1)]), (Paused, 2, (0.1, 0.0)));
    assert_eq!(moved(&[Verb::SetWeight(0.0)]), (Paused, 0, (0.0, 0.0)));
    let back = [Verb::SetWeight(0.0), Verb::Resume];
    assert_eq!(moved(&back), (Progressing, 0, (0.0, 0.5)));
    let on = [Verb::SetWeight(0.1), Verb::Resume];
    assert_eq!(moved(&on), (Progressing, 2, (0.25, 0.0)));
}

#[test]
fn an_edited_plan_keeps_a_step_that_copies_as_much() {
    let copied = then(&started(plan(), 0), &compared(9, None), MINUTE);
    assert_eq!((copied.step, shares(&copied)), (1, (0.0, 1.0)));
    let edit = |state: &State, spec: &RolloutSpec| {
        let next = settle(
            step(state, &configured(spec.clone()), 2 * MINUTE).unwrap(),
            2 * MINUTE,
        );
        (next.state.phase, next.state.step, shares(&next.state))
    };
    let kept = steps(&[copying(1.0), at(0.1), bake()]);
    assert_eq!(edit(&copied, &kept), (Phase::Progressing, 0, (0.0, 1.0)));
    let clients = steps(&[at(0.1), bake()]);
    assert_eq!(edit(&copied, &clients), (Phase::Progressing, 0, (0.1, 0.0)));
    assert_eq!(edit(&copied, &manual(0.0)), (Phase::Pending, 0, (0.0, 0.0)));
    let paused = then(&copied, &verb(Verb::Pause), MINUTE);
    assert_eq!(edit(&paused, &kept), (Phase::Paused, 0, (0.0, 1.0)));
    assert_eq!(edit(&paused, &clients), (Phase::Paused, 0, (0.0, 0.0)));
    let resumed = then(
        &then(&paused, &configured(clients), MINUTE),
        &verb(Verb::Resume),
        MINUTE,
    );
    assert_eq!(
        (resumed.phase, shares(&resumed)),
        (Phase::Progressing, (0.1, 0.0))
    );
}

#[test]
fn a_restart_goes_on_copying_in_an_epoch_of_its_own() {
    let copied = started(plan(), 0);
    let restarted = then(&copied, &Event::Restarted, 5);
    assert_eq!(shares(&restarted), (0.0, 0.5));
    assert!(restarted.epoch > copied.epoch);
}

#[test]
fn a_broken_mirror_stops_and_the_rollout_goes_on() {
    for has_backend in [true, false] {
        let state = started(mirrored(has_backend), 0);
        assert!(state.split().mirror);
        let warned = then(&state, &mirror_broken(OnBreach::Warn), 1);
        assert!(warned.split().mirror);
        let next = step(&state, &mirror_broken(OnBreach::Rollback), 1).unwrap();
        let stopped = next.state;
        assert!(!stopped.split().mirror && stopped.epoch > state.epoch);
        assert!(next.actions.contains(&Action::Install));
        assert_eq!(
            (stopped.phase, shares(&stopped)),
            (Phase::Progressing, (0.25, 0.0))
        );
        // Said again, nothing happens; another mirror is tried anew.
        let again = then(&stopped, &mirror_broken(OnBreach::Rollback), 2);
        assert_eq!(again.epoch, stopped.epoch);
        let mut spec = stopped.spec.clone();
        assert!(!then(&stopped, &configured(spec.clone()), 3).split().mirror);
        spec.mirror.as_mut().unwrap().share = 0.2;
        let renewed = then(&stopped, &configured(spec), 3);
        assert!(renewed.split().mirror);
        assert_eq!(renewed.mirror_epoch, renewed.epoch);
    }
}

#[test]
fn a_canary_that_was_taken_back_gets_no_copies() {
    for (has_backend, goes_on) in [(true, true), (false, false)] {
        let pending = super::begin(mirrored(has_backend), 0, Default::default(), 0).state;
        for state in [pending, started(mirrored(has_backend), 0)] {
            let aborted = step(&state, &verb(Verb::Abort), 1).unwrap();
            assert_eq!(aborted.state.split().mirror, goes_on);
            assert_eq!(
                aborted.actions.contains(&Action::Install),
                !goes_on || state.share() > 0.0
            );
        }
    }
}

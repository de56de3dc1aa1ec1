//! Rollouts to test with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serin_config::model::{
    Analysis, Guardrail, Margin, Method, Metric, OnBreach, Plan, Rollout, Step,
};
use serin_stats::histogram::Histogram;
use serin_stats::split::LatencyReference;

use super::{Action, Command, Event, RolloutSpec, State, Transition, Verb, begin, step};
use crate::analysis::{Breach, Judgement, Recommendation, Rule, ShadowJudgement};

pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;

/// A step of one minute.
pub(crate) fn at(weight: f64) -> Step {
    Step {
        weight,
        shadow: 0.0,
        min_duration: Duration::from_mins(1),
        min_samples: 0,
        max_duration: None,
        requires_approval: false,
        bake: None,
        holdback: 0.0,
    }
}

/// A step that copies this share of the requests.
pub(super) fn copying(shadow: f64) -> Step {
    Step { shadow, ..at(0.0) }
}

/// A step that wants a person's word.
pub(super) fn approved(weight: f64) -> Step {
    Step {
        requires_approval: true,
        ..at(weight)
    }
}

/// The last step: ten minutes of baking with 5 % held back.
pub(super) fn bake() -> Step {
    Step {
        bake: Some(Duration::from_mins(10)),
        holdback: 0.05,
        ..at(1.0)
    }
}

pub(super) fn spec(plan: Plan) -> RolloutSpec {
    RolloutSpec {
        name: "digits".to_owned(),
        baseline_digest: "old".to_owned(),
        canary_digest: "new".to_owned(),
        rollout: Rollout {
            plan,
            guardrails: vec![Guardrail {
                metric: Metric::ErrorRate,
                max_increase: Margin {
                    absolute: Some(0.005),
                    relative: None,
                },
                max: None,
                on_breach: OnBreach::Rollback,
                min_samples: 0,
                dry_run: false,
            }],
            analysis: Analysis {
                interval: Duration::from_secs(5),
                alpha: 0.05,
                method: Method::Sequential,
                warmup: Duration::from_mins(1),
            },
            on_breach: OnBreach::Rollback,
            on_sample_ratio_mismatch: OnBreach::Hold,
        },
        mirror: None,
    }
}

pub(crate) fn steps(steps: &[Step]) -> RolloutSpec {
    spec(Plan::Steps(steps.to_vec()))
}

pub(super) fn manual(weight: f64) -> RolloutSpec {
    spec(Plan::Manual(weight))
}

/// 5 → 25 → 50 → 100 % with a bake.
pub(super) fn ramp() -> RolloutSpec {
    steps(&[at(0.05), at(0.25), at(0.5), bake()])
}

/// A new rollout, ticked once.
pub(super) fn started(spec: RolloutSpec, now_ms: u64) -> State {
    let state = begin(spec, 0, BTreeMap::new(), now_ms).state;
    then(&state, &Event::Tick, now_ms)
}

/// The next state; ticks that are asked for are given.
pub(super) fn then(state: &State, event: &Event, now_ms: u64) -> State {
    settle(step(state, event, now_ms).unwrap(), now_ms).state
}

/// Gives the tick that a transition asks for; the actions of both.
pub(super) fn settle(transition: Transition, now_ms: u64) -> Transition {
    if !transition.actions.contains(&Action::TickNow) {
        return transition;
    }
    let Transition { state, mut actions } = transition;
    let next = step(&state, &Event::Tick, now_ms).unwrap();
    actions.extend(next.actions);
    Transition {
        state: next.state,
        actions,
    }
}

pub(super) fn verb(verb: Verb) -> Event {
    Event::Operator(Command {
        verb,
        reason: Some("to see".to_owned()),
        actor: Some("alice".to_owned()),
    })
}

pub(super) fn configured(spec: RolloutSpec) -> Event {
    Event::Configured(Box::new(spec))
}

/// Nothing is wrong, and this many canary requests in the step proved it; none prove nothing.
pub(super) fn fine(step_canary_requests: u64) -> Judgement {
    Judgement {
        recommendation: if step_canary_requests > 0 {
            Recommendation::ProceedToFullRollout
        } else {
            Recommendation::MonitorClosely
        },
        reason: "not worse".to_owned(),
        breach: None,
        hold: None,
        step_up: step_canary_requests > 0,
        step_canary_requests,
        overdue: false,
        mostly_failing: false,
        shadow: ShadowJudgement {
            step_pairs: step_canary_requests,
            ..ShadowJudgement::default()
        },
    }
}

pub(super) fn judged(judgement: Judgement) -> Event {
    Event::Judged(Box::new(judgement))
}

/// A broken guardrail that does this.
pub(super) fn broken(on_breach: OnBreach) -> Judgement {
    Judgement {
        breach: Some(Breach {
            rule: Rule::Guardrail,
            metric: Metric::ErrorRate,
            on_breach,
            at_ms: 0,
            canary_requests: 100,
            canary_errors: 50,
            canary_failures: 50,
            canary_users: 20,
            baseline_requests: 1_900,
            baseline_errors: 2,
            effect: Some(0.5),
            margin: 0.005,
            p_value: Some(0.001),
            classic_p: Some(1e-9),
            sentence: "error_rate: 50 of 100 canary requests failed".to_owned(),
        }),
        hold: (on_breach == OnBreach::Hold).then(|| "error_rate is broken".to_owned()),
        ..fine(1_000)
    }
}

pub(super) fn reference() -> Arc<LatencyReference> {
    let mut histogram = Histogram::default();
    for ms in 1..=1_000 {
        histogram.record(f64::from(ms));
    }
    Arc::new(LatencyReference::freeze(histogram).unwrap())
}

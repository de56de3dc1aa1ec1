//! Driving one rollout: what an event leads to, and what a look at the evidence leads to, in their order.
//!
//! The runtime drives rollouts with a journal and a proxy around them, the simulation with neither; the order
//! of things is here, once for both, so that what was simulated is what runs. Nothing is decided here:
//! [`analysis`](crate::analysis) judges and [`rollout`](crate::rollout) decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serin_stats::split::LatencyReference;

use crate::analysis::Judgement;
use crate::rollout::{Action, Event, State, Transition, step};

/// Between two looks that the bell asked for: it is answered at once after quiet, and no more often than this.
pub(crate) const BELL_PAUSE: Duration = Duration::from_millis(2);

/// Events that may follow from one; a bound, not a number that is reached.
const MOST_EVENTS: usize = 16;

/// What stands around one rollout.
pub(crate) trait Shell {
    /// How it stands; `None` when it is gone.
    fn state(&self) -> Option<&State>;

    /// Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// From now on this is how it stands.
    fn enter(&mut self, event: &Event, state: State);

    /// Puts the split of the state in force to work.
    fn install(&mut self);

    /// Writes down what an event made of `before`.
    ///
    /// # Errors
    /// Why it is not on disk.
    fn record(&mut self, change: &Change<'_>) -> Result<(), String>;

    /// Forgets the evidence.
    fn begin_evidence(&mut self);

    /// Judges the evidence; `None` when there is nothing to judge.
    fn judge(&mut self) -> Option<Judgement>;

    /// The judgement has been acted on; `moved` when the split changed.
    fn judged(&mut self, moved: bool);

    /// The latency reference to freeze, once enough was seen.
    fn due_reference(&self) -> Option<Arc<LatencyReference>>;

    /// Says that something could not be done: the next look tries again.
    fn complain(&self, what: &str, why: &str);
}

/// What is to be written down.
pub(crate) struct Change<'a> {
    pub(crate) event: &'a Event,
    pub(crate) before: Option<&'a State>,
    pub(crate) state: &'a State,
    /// The evidence begins anew.
    pub(crate) fresh: bool,
}

/// Lets something happen to a rollout, and whatever follows from it.
///
/// # Errors
/// Why not: the phase does not allow it, or it could not be written down and so did not happen.
pub(crate) fn apply(shell: &mut impl Shell, event: Event) -> Result<(), String> {
    let mut outcome = None;
    let mut events = VecDeque::from([event]);
    for _ in 0..MOST_EVENTS {
        let (Some(event), Some(state)) = (events.pop_front(), shell.state()) else {
            break;
        };
        let done = match step(state, &event, shell.now_ms()) {
            Ok(transition) => carry_out(shell, &event, transition, &mut events),
            Err(refused) => Err(refused.to_string()),
        };
        // What follows an event may fail for reasons of its own; the asker asked for the first.
        outcome.get_or_insert(done);
    }
    outcome.unwrap_or(Ok(()))
}

/// Does what a transition asks for, in its order; what has to happen next is added to `events`.
pub(crate) fn carry_out(
    shell: &mut impl Shell,
    event: &Event,
    transition: Transition,
    events: &mut VecDeque<Event>,
) -> Result<(), String> {
    let Transition { state, actions } = transition;
    let at = |action| actions.iter().position(|&each| each == action);
    let (record, install) = (at(Action::Record), at(Action::Install));
    let raises = record
        .zip(install)
        .is_some_and(|(record, install)| record < install);
    let before = record.and_then(|_| shell.state().cloned());
    if !raises {
        shell.enter(event, state.clone());
    }
    for action in &actions {
        match action {
            Action::Install => shell.install(),
            Action::Record => {
                let change = Change {
                    event,
                    before: before.as_ref(),
                    state: &state,
                    fresh: actions.contains(&Action::BeginEvidence),
                };
                match shell.record(&change) {
                    Ok(()) => {
                        if raises {
                            shell.enter(event, state.clone());
                        }
                        events.push_back(Event::Journal { ok: true });
                    }
                    Err(why) if raises => {
                        return Err(format!("the journal cannot be written: {why}"));
                    }
                    Err(_) => {}
                }
            }
            Action::BeginEvidence => shell.begin_evidence(),
            Action::TickNow => events.push_back(Event::Tick),
        }
    }
    Ok(())
}

/// Judges a rollout and acts on the judgement; once enough of baseline was seen, later latencies are ranked
/// against it.
pub(crate) fn look(shell: &mut impl Shell) {
    let Some(judgement) = shell.judge() else {
        return;
    };
    let epoch = shell.state().map(|state| state.epoch);
    if let Err(why) = apply(shell, Event::Judged(Box::new(judgement))) {
        shell.complain("a judgement could not be acted on", &why);
    }
    shell.judged(shell.state().map(|state| state.epoch) != epoch);
    let wanted = |state: &State| state.reference.is_none() && state.is_watched();
    let reference = shell
        .state()
        .filter(|state| wanted(state))
        .and_then(|_| shell.due_reference());
    if let Some(reference) = reference
        && let Err(why) = apply(shell, Event::ReferenceFrozen(reference))
    {
        shell.complain("the latency reference is not in force", &why);
    }
}

//! Doing what `step()` says, in the order it says, and writing it down.

use serde_json::json;

use super::control::{Control, Failing};
use super::role::Role;
use super::scribe::{LITTLE_PATIENCE, PATIENCE, Posted, Scribe};
use crate::analysis::Evidence;
use crate::driver;
use crate::journal::{Entry, Journal, JournalError, Latch, NewDecision, TransitionRow};
use crate::rollout::{Event, Phase, State, Verb, step};

impl Control {
    /// Lets something happen to a rollout.
    ///
    /// # Errors
    /// Why not: the phase does not allow it, or it could not be written down and so did not happen.
    pub(super) fn apply(&mut self, name: &str, event: Event) -> Result<(), String> {
        let Some(before) = self.standing(name) else {
            return Ok(());
        };
        let done = driver::apply(&mut self.guided(name), event);
        self.tell_change(name, before);
        done
    }

    /// From now on this is how the rollout stands.
    pub(super) fn enter(&mut self, name: &str, event: &Event, state: State) {
        if let Some(track) = self.tracks.get_mut(name) {
            if state.phase == Phase::RolledBack
                && track.state.phase != Phase::RolledBack
                && matches!(event, Event::Judged(_))
            {
                let breach = state.latch().and_then(|latch| latch.breach.as_ref());
                let rule = breach.map_or("unknown", |breach| breach.rule.name());
                self.counters.rolled_back(name, rule);
            }
            let undone = matches!(event, Event::Operator(command) if command.verb == Verb::Undo);
            if undone && state.phase != track.state.phase {
                self.counters.rolled_back(name, Verb::Undo.name());
            }
            track.set_state(state);
        }
    }

    /// Judges a rollout and acts on the judgement.
    pub(super) fn judge(&mut self, name: &str) {
        let Some(before) = self.standing(name) else {
            return;
        };
        driver::look(&mut self.guided(name));
        self.tell_change(name, before);
    }

    /// What people are told of: the phase, and the canary's share.
    fn standing(&self, name: &str) -> Option<(Phase, f64)> {
        let track = self.tracks.get(name)?;
        Some((track.state.visible_phase(), track.split.share))
    }

    /// Says what changed: in the log, and to whoever listens.
    fn tell_change(&self, name: &str, before: (Phase, f64)) {
        let Some(track) = self.tracks.get(name) else {
            return;
        };
        let (phase, share) = (track.state.visible_phase(), track.split.share);
        if (phase, share.to_bits()) == (before.0, before.1.to_bits()) {
            return;
        }
        let reason = &track.state.reason;
        // One line for both: somebody may look for the message, and somebody for what is not routine.
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    rollout = name,
                    from = %before.0,
                    to = %phase,
                    weight = share,
                    epoch = track.split.epoch,
                    reason,
                    "rollout moved"
                )
            };
        }
        if phase == Phase::RolledBack {
            tell!(warn);
        } else {
            tell!(info);
        }
        self.notify(
            "phase",
            json!({
                "rollout": name,
                "from": before.0.name(),
                "phase": phase.name(),
                "weight": {"desired": track.state.desired_weight(), "actual": share},
                "epoch": track.split.epoch,
                "reason": reason,
            }),
        );
    }

    /// A transition as it is written down.
    pub(super) fn entry(
        &self,
        name: &str,
        event: &Event,
        before: Option<&State>,
        state: &State,
        fresh: bool,
    ) -> Entry {
        let now_ms = self.now_ms();
        let track = self.tracks.get(name);
        let report = track.and_then(|track| track.report.as_ref());
        let moved = before.is_none_or(|before| {
            (before.phase, before.step) != (state.phase, state.step)
                || before.share().to_bits() != state.share().to_bits()
        });
        let matters = matches!(event, Event::Judged(_) | Event::Operator(_));
        let evidence = if fresh {
            Some(Evidence::new(state.began_ms).to_bytes())
        } else {
            track
                .filter(|_| moved && matters)
                .map(|track| track.evidence.to_bytes())
        };
        let decision = moved.then(|| NewDecision {
            kind: "transition",
            recommendation: report
                .map(|report| name_of(&report.recommendation))
                .unwrap_or_default(),
            summary: format!("{}: {}", state.phase, state.reason),
            report: json!({
                "event": event,
                "from": before.map(|before| json!({
                    "phase": before.phase, "step": before.step, "weight": before.share(),
                })),
                "to": {"phase": state.phase, "step": state.step, "weight": state.share()},
                "report": report,
                "receipt": track.and_then(|track| track.receipt.as_ref()),
            })
            .to_string(),
        });
        Entry {
            row: row(name, event, state, now_ms),
            latches: latches(state),
            evidence,
            decision,
        }
    }

    /// Writes down a rollout as it is, for what did not come from an event.
    pub(super) fn record_as_is(&mut self, name: &str, event: &Event) -> Result<(), String> {
        let Some(track) = self.tracks.get(name) else {
            return Ok(());
        };
        let mut entry = self.entry(name, event, Some(&track.state), &track.state, false);
        entry.evidence = Some(track.evidence.to_bytes());
        let written = self.with_journal(move |journal| journal.record(&entry));
        self.note_write(written)
    }

    /// Writes down a decision that changed nothing.
    pub(super) fn decide(&mut self, name: &str, kind: &'static str) {
        let Some((track, report)) = self
            .tracks
            .get(name)
            .and_then(|track| Some((track, track.report.as_ref()?)))
        else {
            return;
        };
        let decision = NewDecision {
            kind,
            recommendation: name_of(&report.recommendation),
            summary: report.reason.clone(),
            report: json!({"report": report, "receipt": track.receipt}).to_string(),
        };
        let evidence = (kind == "verdict").then(|| track.evidence.to_bytes());
        let epoch = track.state.epoch;
        let now_ms = self.now_ms();
        self.notify(
            "decision",
            json!({
                "rollout": name,
                "kind": kind,
                "recommendation": decision.recommendation,
                "summary": decision.summary,
            }),
        );
        let rollout = name.to_owned();
        let posted = self.post(None, move |journal| {
            journal.decide(&rollout, now_ms, epoch, &decision, evidence.as_deref())
        });
        _ = posted.or_else(|why| self.note_write(Err(why)));
    }

    /// Saves the evidence of every rollout that has new one.
    pub(super) fn checkpoint(&mut self) {
        let now_ms = self.now_ms();
        let due: Vec<_> = self
            .tracks
            .iter()
            .filter(|(_, track)| track.unsaved)
            .filter_map(|(name, track)| {
                let state = serde_json::to_string(&track.state).ok()?;
                Some((name.clone(), state, track.evidence.to_bytes()))
            })
            .collect();
        for (name, state, evidence) in due {
            let rollout = name.clone();
            let posted = self.post(Some(name.clone()), move |journal| {
                journal.checkpoint(&rollout, now_ms, &state, &evidence)
            });
            let posted = posted.or_else(|why| self.note_write(Err(why)));
            if let Some(track) = self.tracks.get_mut(&name) {
                track.unsaved = posted.is_err();
            }
        }
    }

    /// Does something with the journal, if this process may and there is one.
    pub(super) fn with_journal<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, String> {
        let patience = match self.failing {
            Some(_) => LITTLE_PATIENCE,
            None => PATIENCE,
        };
        self.scribe()?.ask(patience, work)
    }

    /// Has something written that nothing waits for; how it went is heard at the next housekeeping.
    pub(super) fn post(
        &mut self,
        checkpoint: Option<String>,
        work: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), String> {
        self.scribe()?.post(checkpoint, work);
        Ok(())
    }

    fn scribe(&mut self) -> Result<&mut Scribe, String> {
        match &mut self.role {
            Role::Deciding {
                journal: Some(scribe),
                ..
            } => Ok(scribe),
            Role::Deciding { journal: None, .. } => Err("it cannot be opened".to_owned()),
            Role::Waiting { why, .. } => Err(why.to_string()),
        }
    }

    /// Waits until everything that was posted is on disk.
    pub(super) fn settle(&mut self) {
        if let Err(why) = self.with_journal(|_| Ok(())) {
            tracing::warn!(why, "what was last learnt may not be on disk");
        }
        self.hear_scribe();
    }

    /// Takes note of how what was posted went.
    pub(super) fn hear_scribe(&mut self) {
        let reports = self.scribe().map(|scribe| scribe.reports());
        for Posted {
            checkpoint,
            written,
        } in reports.unwrap_or_default()
        {
            let saved = self.note_write(written).is_ok();
            if let Some(track) = checkpoint.and_then(|name| self.tracks.get_mut(&name)) {
                track.unsaved |= !saved;
            }
        }
    }

    /// Takes note of how a write went: while the journal fails, every rollout is frozen.
    pub(super) fn note_write(&mut self, written: Result<(), String>) -> Result<(), String> {
        if matches!(self.role, Role::Waiting { .. }) {
            return written;
        }
        match &written {
            Ok(()) => {
                if let Some(failing) = self.failing.take() {
                    tracing::info!(after = failing.message, "the journal can be written again");
                }
            }
            Err(message) => {
                if self.failing.is_none() {
                    tracing::error!(
                        error = message,
                        "the journal cannot be written: step-ups freeze"
                    );
                    self.failing = Some(Failing {
                        message: message.clone(),
                        since_ms: self.now_ms(),
                    });
                }
                let now_ms = self.now_ms();
                for track in self.tracks.values_mut() {
                    if let Ok(frozen) = step(&track.state, &Event::Journal { ok: false }, now_ms) {
                        track.set_state(frozen.state);
                    }
                }
            }
        }
        written
    }

    /// Time passes for every rollout; one whose configuration could not be taken over gets it again.
    pub(super) fn tick_all(&mut self) {
        let names: Vec<String> = self.tracks.keys().cloned().collect();
        for name in names {
            if let Some(spec) = self.spec(&name)
                && self
                    .tracks
                    .get(&name)
                    .is_some_and(|track| track.state.spec != spec)
            {
                _ = self.apply(&name, Event::Configured(Box::new(spec)));
            }
            _ = self.apply(&name, Event::Tick);
        }
    }
}

fn row(name: &str, event: &Event, state: &State, now_ms: u64) -> TransitionRow {
    let (cause, actor) = match event {
        Event::Configured(_) => ("configured", None),
        Event::Restarted => ("restarted", None),
        Event::Tick => ("tick", None),
        Event::Judged(_) => ("judged", None),
        Event::ReferenceFrozen(_) => ("reference_frozen", None),
        Event::Journal { .. } => ("journal", None),
        Event::Operator(command) => (command.verb.name(), command.actor.as_deref()),
    };
    TransitionRow {
        seq: 0,
        at_ms: now_ms,
        rollout: name.to_owned(),
        digest: state.spec.canary_digest.clone(),
        epoch: state.epoch,
        share: state.share(),
        phase: state.phase.name().to_owned(),
        cause: cause.to_owned(),
        actor: actor.unwrap_or("serin").to_owned(),
        reason: state.reason.clone(),
        event: serde_json::to_string(event).unwrap_or_default(),
        state: serde_json::to_string(state).unwrap_or_default(),
    }
}

fn latches(state: &State) -> Vec<Latch> {
    state
        .latches
        .iter()
        .map(|(digest, latch)| Latch {
            digest: digest.clone(),
            since_ms: latch.at_ms,
            phase: latch.phase.name().to_owned(),
            reason: latch.reason.clone(),
        })
        .collect()
}

/// The word that serde writes for a unit variant.
fn name_of(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

//! Looking at what happened: snapshot → evidence → report → event.
//!
//! A snapshot drains who erred, for all rollouts at once; so all of them absorb it, whatever made us look, and
//! only those are judged that are due or that something happened to.

use std::time::Instant as StdInstant;

use tokio::time::Instant;

use super::control::Control;
use super::role::Role;
use crate::rollout::Event;

impl Control {
    /// An error rang: judge every rollout that something but a success happened to.
    pub(super) fn look_at_bell(&mut self) {
        if matches!(self.role, Role::Deciding { .. }) {
            self.look(None);
        }
    }

    /// Judges the rollouts whose interval is over.
    pub(super) fn look_at_due(&mut self, now: Instant) {
        let due = self.tracks.values().any(|track| track.look_at <= now);
        if due && matches!(self.role, Role::Deciding { .. }) {
            self.look(Some(now));
        }
    }

    fn look(&mut self, due: Option<Instant>) {
        let started = StdInstant::now();
        let snapshot = self.plane.snapshot();
        let now_ms = self.now_ms();
        let mut names = Vec::new();
        for (name, track) in &mut self.tracks {
            let stages = snapshot.rollouts.get(name).map(Vec::as_slice);
            let failed = track.absorb(stages.unwrap_or_default(), now_ms);
            let is_due = due.is_some_and(|now| track.look_at <= now);
            if is_due {
                track.look_at = Instant::now() + track.state.spec.rollout.analysis.interval;
            }
            if is_due || failed {
                names.push(name.clone());
            }
        }
        for name in names {
            self.judge(&name);
        }
        self.counters.tick(started.elapsed());
    }

    fn judge(&mut self, name: &str) {
        let now_ms = self.now_ms();
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        if !track.state.is_watched() {
            // Its last numbers stay visible; after a restart they are computed once more.
            if track.report.is_none() {
                track.judge(now_ms);
                track.verdict_changed(now_ms);
            }
            return;
        }
        let epoch = track.state.epoch;
        let judgement = track.judge(now_ms).judgement();
        let changed = track.verdict_changed(now_ms);
        if let Err(why) = self.apply(name, Event::Judged(Box::new(judgement))) {
            tracing::warn!(rollout = name, why, "a judgement could not be acted on");
        }
        let moved = self
            .tracks
            .get(name)
            .is_none_or(|track| track.state.epoch != epoch);
        if changed && !moved {
            self.decide(name, "verdict");
        }
        self.freeze_reference(name);
    }

    /// Once enough of baseline was seen, later latencies are ranked against it.
    fn freeze_reference(&mut self, name: &str) {
        let reference = self
            .tracks
            .get(name)
            .filter(|track| track.state.reference.is_none() && track.state.is_watched())
            .and_then(|track| track.evidence.due_reference());
        if let Some(reference) = reference
            && let Err(why) = self.apply(name, Event::ReferenceFrozen(reference))
        {
            tracing::warn!(rollout = name, why, "the latency reference is not in force");
        }
    }
}

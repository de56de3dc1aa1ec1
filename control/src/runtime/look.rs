//! Looking at what happened: snapshot → evidence → report → event.
//!
//! A snapshot drains who erred, for all rollouts at once; so all of them absorb it, whatever made us look, and
//! only those are judged that are due or that something happened to.

use std::time::Instant as StdInstant;

use tokio::time::Instant;

use super::control::Control;
use super::role::Role;

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
}

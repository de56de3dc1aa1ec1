//! Looking at what happened: snapshot → evidence → report → event.
//!
//! A snapshot drains who erred, for all rollouts at once; so all of them absorb it, whatever made us look, and
//! only those are judged that are due or that something happened to. A person who asks wants to see what happened
//! until now: looking more often costs nothing, since the tests are valid at every moment.

use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

use super::control::Control;
use super::role::Role;
use super::track::News;

/// Between two looks because somebody asked.
const ASKED_PAUSE: Duration = Duration::from_millis(200);

/// What makes us look.
#[derive(Clone, Copy)]
enum Because {
    /// Something but a success happened.
    Bell,
    /// An interval may be over.
    Due(Instant),
    /// Somebody wants to know.
    Asked,
}

impl Control {
    /// An error rang: judge every rollout that something but a success happened to.
    pub(super) fn look_at_bell(&mut self) {
        if matches!(self.role, Role::Deciding { .. }) {
            self.look(Because::Bell);
        }
    }

    /// Somebody asks how things stand: judge what has moved, unless that was done just now.
    pub(super) fn look_when_asked(&mut self) {
        let now = Instant::now();
        // Who asks should not have to wait for a disk in trouble, too.
        let is_able = self.failing.is_none() && matches!(self.role, Role::Deciding { .. });
        if is_able && now >= self.asked_look_at {
            self.asked_look_at = now + ASKED_PAUSE;
            self.look(Because::Asked);
        }
    }

    /// Judges the rollouts whose interval is over.
    pub(super) fn look_at_due(&mut self, now: Instant) {
        let due = self.tracks.values().any(|track| track.look_at <= now);
        if due && matches!(self.role, Role::Deciding { .. }) {
            self.look(Because::Due(now));
        }
    }

    fn look(&mut self, because: Because) {
        let started = StdInstant::now();
        let snapshot = self.plane.snapshot();
        let now_ms = self.now_ms();
        let mut names = Vec::new();
        for (name, track) in &mut self.tracks {
            let stages = snapshot.rollouts.get(name).map(Vec::as_slice);
            let news = track.absorb(stages.unwrap_or_default(), now_ms);
            let is_due = matches!(because, Because::Due(now) if track.look_at <= now);
            if is_due {
                track.look_at = Instant::now() + track.state.spec.rollout.analysis.interval;
            }
            let matters = match because {
                Because::Bell | Because::Due(_) => news == News::Failures,
                Because::Asked => news != News::Nothing,
            };
            if is_due || matters {
                names.push(name.clone());
            }
        }
        for name in names {
            self.judge(&name);
        }
        self.counters.tick(started.elapsed());
    }
}

//! One rollout of the control thread, as [`driver`](crate::driver) drives it: journal, proxy and log around it.

use std::sync::Arc;

use serin_stats::split::LatencyReference;

use super::control::Control;
use super::track::Track;
use crate::analysis::Judgement;
use crate::driver::{Change, Shell};
use crate::rollout::{Event, State};

/// One rollout among those of the control thread.
pub(super) struct Guided<'a> {
    control: &'a mut Control,
    name: &'a str,
    /// The last judgement says something else than the one before.
    changed: bool,
}

impl Control {
    /// One rollout, to be driven.
    pub(super) const fn guided<'a>(&'a mut self, name: &'a str) -> Guided<'a> {
        Guided {
            control: self,
            name,
            changed: false,
        }
    }
}

impl Guided<'_> {
    fn track(&self) -> Option<&Track> {
        self.control.tracks.get(self.name).map(Box::as_ref)
    }
}

impl Shell for Guided<'_> {
    fn state(&self) -> Option<&State> {
        self.track().map(|track| &track.state)
    }

    fn now_ms(&self) -> u64 {
        self.control.now_ms()
    }

    fn enter(&mut self, event: &Event, state: State) {
        self.control.enter(self.name, event, state);
    }

    fn install(&mut self) {
        self.control.install();
    }

    fn record(&mut self, change: &Change<'_>) -> Result<(), String> {
        let entry = self.control.entry(
            self.name,
            change.event,
            change.before,
            change.state,
            change.fresh,
        );
        let written = self
            .control
            .with_journal(move |journal| journal.record(&entry));
        self.control.note_write(written)
    }

    fn begin_evidence(&mut self) {
        if let Some(track) = self.control.tracks.get_mut(self.name) {
            track.begin_evidence();
        }
    }

    fn judge(&mut self) -> Option<Judgement> {
        let now_ms = self.control.now_ms();
        let track = self.control.tracks.get_mut(self.name)?;
        if !track.state.is_watched() {
            // Its last numbers stay visible; after a restart they are computed once more.
            if track.report.is_none() {
                track.judge(now_ms);
                track.verdict_changed(now_ms);
            }
            return None;
        }
        let judgement = track.judge(now_ms).judgement();
        self.changed = track.verdict_changed(now_ms);
        Some(judgement)
    }

    fn judged(&mut self, moved: bool) {
        if self.changed && !moved {
            self.control.decide(self.name, "verdict");
        }
    }

    fn due_reference(&self) -> Option<Arc<LatencyReference>> {
        self.track()?.evidence.due_reference()
    }

    fn complain(&self, what: &str, why: &str) {
        tracing::warn!(rollout = self.name, why, "{what}");
    }
}

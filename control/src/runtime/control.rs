//! Everything the control thread owns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serin_config::model::Config;
use serin_stats::split::Split;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::Options;
use super::mending::Mending;
use super::metrics::Counters;
use super::role::{Role, Waiting};
use super::track::Track;
use crate::admin::desk::Notice;
use crate::admin::pulse::Pulse;
use crate::{DataPlane, NowMs};

/// Between two rounds of housekeeping.
pub(super) const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Between two rounds of forgetting.
const PRUNE_MS: u64 = 3_600_000;
/// Between two summaries of a rollout that went on as before.
const SUMMARY_MS: u64 = 60_000;

/// The journal's trouble, while it lasts.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub(super) message: String,
    pub(super) since_ms: u64,
}

/// The state of the control thread.
pub(super) struct Control {
    pub(super) config: Arc<Config>,
    pub(super) loaded_at_ms: u64,
    /// The last reload that was refused, while nothing better came.
    pub(super) refused: Option<String>,
    pub(super) plane: Arc<dyn DataPlane>,
    pub(super) now: NowMs,
    pub(super) pulse: Arc<Pulse>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) options: Options,
    pub(super) role: Role,
    /// Boxed: a map makes room for eleven at once.
    pub(super) tracks: BTreeMap<String, Box<Track>>,
    pub(super) counters: Counters,
    /// What was found broken when the journal was opened, and when.
    pub(super) damage: Option<(String, u64)>,
    pub(super) failing: Option<Failing>,
    /// Installs wait until all rollouts were dealt with.
    pub(super) gathering: bool,
    pub(super) install_wanted: bool,
    pub(super) checkpoint_at: Instant,
    pub(super) role_at: Instant,
    /// When somebody who asks gets a new look again.
    pub(super) asked_look_at: Instant,
    mend_at: Instant,
    /// The journal is being opened again.
    pub(super) mending: Option<Mending>,
    pruned_ms: u64,
}

impl Control {
    pub(super) fn new(
        config: Arc<Config>,
        plane: Arc<dyn DataPlane>,
        now: NowMs,
        pulse: Arc<Pulse>,
        notices: broadcast::Sender<Notice>,
        options: Options,
    ) -> Self {
        let started_ms = now();
        let mut control = Self {
            config,
            loaded_at_ms: started_ms,
            refused: None,
            plane,
            now,
            pulse,
            notices,
            checkpoint_at: Instant::now() + options.checkpoint,
            role_at: Instant::now(),
            asked_look_at: Instant::now(),
            options,
            role: Role::Waiting {
                why: Waiting::ForLock { holder: None },
                reader: None,
                since_ms: started_ms,
            },
            tracks: BTreeMap::new(),
            counters: Counters::default(),
            damage: None,
            failing: None,
            gathering: false,
            install_wanted: false,
            mend_at: Instant::now(),
            mending: None,
            pruned_ms: 0,
        };
        control.find_role();
        control.pulse.set_installed();
        control
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.now)()
    }

    /// Puts the configuration and every split in force; later, while rollouts are being dealt with together.
    pub(super) fn install(&mut self) {
        if self.gathering {
            self.install_wanted = true;
            return;
        }
        let splits: BTreeMap<String, Arc<Split>> = self
            .tracks
            .iter()
            .map(|(name, track)| (name.clone(), Arc::clone(&track.split)))
            .collect();
        self.plane.install(&self.config, &splits);
    }

    /// Tells whoever listens; nobody has to.
    pub(super) fn notify(&self, kind: &'static str, data: serde_json::Value) {
        _ = self.notices.send(Notice { kind, data });
    }

    /// When something is to be done next.
    pub(super) fn next_due(&self) -> Instant {
        let housekeeping = self.role_at.min(self.checkpoint_at);
        match self.role {
            Role::Waiting { .. } => housekeeping,
            Role::Deciding { .. } => self
                .tracks
                .values()
                .map(|track| track.look_at)
                .fold(housekeeping, Instant::min),
        }
    }

    /// What is due by time: looks, ticks, checkpoints, summaries, forgetting, another try at the folder.
    pub(super) fn on_time(&mut self) {
        let now = Instant::now();
        self.look_at_due(now);
        if now >= self.role_at {
            self.beat();
            self.keep_house();
            self.remark();
            self.role_at = now
                + match self.role {
                    Role::Waiting { .. } => self.options.standby_poll,
                    Role::Deciding { .. } => HOUSEKEEPING,
                };
        }
        if now >= self.checkpoint_at {
            self.checkpoint();
            self.checkpoint_at = now + self.options.checkpoint;
        }
    }

    fn beat(&self) {
        let longest = self
            .tracks
            .values()
            .map(|track| track.state.spec.rollout.analysis.interval)
            .max()
            .unwrap_or_default();
        let tolerated = (longest * 3).max(Duration::from_secs(10));
        self.pulse
            .beat(u64::try_from(tolerated.as_millis()).unwrap_or(u64::MAX));
    }

    /// Says beside being ready what is not well.
    fn remark(&self) {
        self.pulse.set_remark(match &self.role {
            Role::Waiting { why, .. } => why.remark(),
            Role::Deciding { .. } if self.failing.is_some() => {
                "the journal cannot be written, step-ups are frozen"
            }
            Role::Deciding { .. } => "",
        });
    }

    /// Whether it cannot be opened or written.
    pub(super) fn is_journal_failing(&self) -> bool {
        let waits = |role: &Role| match role {
            Role::Waiting { why, .. } => matches!(why, Waiting::ForJournal { .. }),
            Role::Deciding { .. } => false,
        };
        self.failing.is_some() || waits(&self.role)
    }

    fn keep_house(&mut self) {
        if matches!(self.role, Role::Waiting { .. }) {
            self.find_role();
            return;
        }
        self.hear_scribe();
        self.tick_all();
        let is_due = self.mending.is_some() || Instant::now() >= self.mend_at;
        if self.failing.is_some() && is_due {
            self.mend_at = Instant::now() + self.options.mend;
            self.mend_journal();
        }
        self.summarise();
        let now_ms = self.now_ms();
        if now_ms.saturating_sub(self.pruned_ms) >= PRUNE_MS {
            self.pruned_ms = now_ms;
            let posted = self.post(None, move |journal| journal.prune(now_ms));
            _ = posted.or_else(|why| self.note_write(Err(why)));
        }
    }

    /// Once a minute, one line about each rollout that saw traffic.
    fn summarise(&mut self) {
        let now_ms = self.now_ms();
        let mut due = Vec::new();
        for (name, track) in &mut self.tracks {
            let (at_ms, seen) = track.summarised;
            if now_ms.saturating_sub(at_ms) >= SUMMARY_MS && track.seen() != seen {
                track.summarised = (now_ms, track.seen());
                due.push(name.clone());
            }
        }
        for name in due {
            self.decide(&name, "summary");
        }
    }

    /// The journal's alarms, beside those of each rollout.
    pub(super) fn alarms(&self) -> Vec<serde_json::Value> {
        let alarm = |kind: &str, message: &str, since_ms: u64| json!({"kind": kind, "message": message, "since": super::stamp::rfc3339(since_ms)});
        let mut alarms = Vec::new();
        if let Some((message, since_ms)) = &self.damage {
            alarms.push(alarm("journal_damaged", message, *since_ms));
        }
        if let Some(failing) = &self.failing {
            alarms.push(alarm("journal_failing", &failing.message, failing.since_ms));
        }
        if let Role::Waiting { why, since_ms, .. } = &self.role {
            alarms.push(alarm(why.kind(), &why.to_string(), *since_ms));
        }
        alarms
    }
}

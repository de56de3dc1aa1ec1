//! Where rollouts come from: the journal at the start, at a take-over and at a reload; and the part of a
//! process that stands by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::control::{Control, Failing};
use super::controller::Reload;
use super::mending::Mending;
use super::revive::{Revived, revive};
use super::role::{Role, Waiting, try_decide};
use super::scribe::{LITTLE_PATIENCE, Scribe};
use super::track::Track;
use crate::analysis::Evidence;
use crate::journal::{Journal, Marker, Memory, Reader};
use crate::rollout::{Event, RolloutSpec, State};

impl Control {
    /// What the configuration asks of a rollout.
    pub(super) fn spec(&self, name: &str) -> Option<RolloutSpec> {
        RolloutSpec::of(self.config.route(name)?)
    }

    fn specs(&self) -> Vec<RolloutSpec> {
        let routes = self.config.routes.iter();
        routes.filter_map(|route| RolloutSpec::of(route)).collect()
    }

    /// Tries to become the one that decides; stands by otherwise.
    pub(super) fn find_role(&mut self) {
        let now_ms = self.now_ms();
        match try_decide(&self.config.state, now_ms) {
            Ok((lock, journal)) => {
                self.damage = journal.damage().map(|damage| {
                    tracing::error!(damage = damage.message, "the journal was damaged");
                    (damage.message.clone(), damage.at_ms)
                });
                let taken_over = match Scribe::start(journal) {
                    Ok(scribe) => {
                        let journal = Some(scribe);
                        let lock = Arc::new(lock);
                        self.role = Role::Deciding { journal, lock };
                        self.take_over()
                    }
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = taken_over {
                    self.wait(Waiting::ForJournal { error });
                }
            }
            Err(why) => self.wait(why),
        }
    }

    /// Serves what the journal says.
    fn wait(&mut self, why: Waiting) {
        let now_ms = self.now_ms();
        let former = match &mut self.role {
            Role::Waiting {
                why: former,
                reader,
                since_ms,
            } if *former == why => Some((reader.take(), *since_ms)),
            Role::Waiting { .. } | Role::Deciding { .. } => None,
        };
        if former.is_none() {
            tracing::warn!(%why, "this process does not decide");
        }
        let (reader, since_ms) = former.unwrap_or((None, now_ms));
        let held = matches!(why, Waiting::ForLock { .. });
        // Without the lock's holder nobody vouches for the journal: baseline only.
        let reader = reader
            .or_else(|| Reader::open(&self.config.state).ok())
            .filter(|_| held);
        self.failing = None;
        self.follow(reader.as_ref());
        self.role = Role::Waiting {
            why,
            reader,
            since_ms,
        };
    }

    /// Installs what another process decided.
    fn follow(&mut self, reader: Option<&Reader>) {
        let now_ms = self.now_ms();
        let latches = Marker::read(&self.config.state).ok().flatten();
        let mut changed = self.tracks.is_empty();
        let mut followed = BTreeMap::new();
        for spec in self.specs() {
            let memory = reader
                .and_then(|reader| reader.recall(&spec.name).ok())
                .unwrap_or_else(|| Memory {
                    latches: marked(latches.as_ref(), &spec.name),
                    ..Memory::default()
                });
            let state = memory
                .state
                .as_deref()
                .and_then(|state| serde_json::from_str::<State>(state).ok())
                .filter(|state| state.spec.canary_digest == spec.canary_digest);
            let state = state.unwrap_or_else(|| {
                let nothing = Memory {
                    state: None,
                    lost: false,
                    ..memory.clone()
                };
                revive(&spec, &nothing, now_ms).state
            });
            let known = self.tracks.remove(&spec.name);
            let track = match known {
                Some(track)
                    if track.state.epoch == state.epoch && track.state.phase == state.phase =>
                {
                    track
                }
                _ => {
                    changed = true;
                    let evidence = evidence(&memory, &state);
                    let mut track = Track::new(state, evidence, now_ms);
                    track.judge(now_ms);
                    Box::new(track)
                }
            };
            followed.insert(spec.name, track);
        }
        changed |= !self.tracks.is_empty();
        self.tracks = followed;
        if changed {
            self.install();
        }
    }

    /// Restores every rollout from the journal, writes down that it goes on, and puts all in force.
    fn take_over(&mut self) -> Result<(), String> {
        self.tracks.clear();
        self.gathering = true;
        let restored = self.specs().iter().try_for_each(|spec| self.restore(spec));
        self.gathering = false;
        restored?;
        tracing::info!(
            rollouts = self.tracks.len(),
            state = %self.config.state.display(),
            "this process decides"
        );
        self.install();
        self.tick_all();
        Ok(())
    }

    /// Takes a rollout up from the journal.
    fn restore(&mut self, spec: &RolloutSpec) -> Result<(), String> {
        let now_ms = self.now_ms();
        let name = spec.name.clone();
        let memory = self.with_journal(move |journal| journal.recall(&name))?;
        if memory.lost && self.damage.is_none() {
            let message = format!("the journal lacks the newest entries of {}", spec.name);
            self.damage = Some((message, now_ms));
        }
        let Revived {
            state,
            fresh_evidence,
            event,
        } = revive(spec, &memory, now_ms);
        let evidence = if fresh_evidence {
            no_evidence(&state)
        } else {
            evidence(&memory, &state)
        };
        let track = Track::new(state, evidence, now_ms);
        tracing::info!(
            rollout = spec.name,
            phase = %track.state.phase,
            weight = track.split.share,
            epoch = track.split.epoch,
            reason = track.state.reason,
            "rollout restored"
        );
        self.tracks.insert(spec.name.clone(), Box::new(track));
        self.record_as_is(&spec.name, &event)
    }

    /// Takes note of a reload, and takes it over when it was good.
    pub(super) fn reload(&mut self, reload: Reload) {
        match reload {
            Reload::Unchanged => {
                self.counters.reloads.unchanged += 1;
                self.refused = None;
            }
            Reload::Refused(report) => {
                self.counters.reloads.refused += 1;
                tracing::warn!(
                    report,
                    "configuration refused: the last good one stays in force"
                );
                self.notify("reload", json!({"result": "refused", "report": report}));
                self.refused = Some(report);
            }
            Reload::Applied { config, summary } => {
                self.counters.reloads.applied += 1;
                self.refused = None;
                self.loaded_at_ms = self.now_ms();
                tracing::info!(summary, "configuration taken over");
                self.notify("reload", json!({"result": "applied", "summary": summary}));
                // The folder stays the one that is locked until a restart.
                let mut config = config;
                if config.state != self.config.state {
                    let mut own = (*config).clone();
                    own.state.clone_from(&self.config.state);
                    config = own.into();
                }
                self.config = config;
                self.reconfigure();
            }
        }
    }

    /// Takes every rollout to the present configuration, and then installs all at once: a new release must
    /// not be served under the former one's split.
    fn reconfigure(&mut self) {
        if matches!(self.role, Role::Waiting { .. }) {
            self.tracks.clear();
            self.find_role();
            return;
        }
        self.checkpoint();
        let specs = self.specs();
        self.tracks
            .retain(|name, _| specs.iter().any(|spec| spec.name == *name));
        self.gathering = true;
        for spec in specs {
            let name = spec.name.clone();
            let done = if self.tracks.contains_key(&name) {
                self.apply(&name, Event::Configured(Box::new(spec.clone())))
            } else {
                self.restore(&spec)
            };
            if let Err(why) = done {
                tracing::warn!(rollout = name, why, "its new configuration waits");
            }
        }
        self.gathering = false;
        self.install();
        self.tick_all();
    }

    /// A journal that fails for good, or was deleted, is opened anew; what is in memory is then written to it. A thread
    /// of its own opens it: a disk that hangs must not keep the control loop from its next look.
    pub(super) fn mend_journal(&mut self) {
        if self.failing.is_none() {
            return;
        }
        if let Some(mending) = &mut self.mending {
            let opened = mending.opened(Duration::ZERO);
            return self.mended(opened);
        }
        let now_ms = self.now_ms();
        let Role::Deciding { journal, lock } = &mut self.role else {
            return;
        };
        if journal.as_mut().is_some_and(Scribe::hangs) {
            return;
        }
        // An open handle on a deleted file would go on failing, or worse, go on succeeding.
        *journal = None;
        match Mending::start(Arc::clone(lock), now_ms) {
            Ok(mut mending) => {
                let opened = mending.opened(LITTLE_PATIENCE);
                self.mending = Some(mending);
                self.mended(opened);
            }
            Err(error) => self.still_failing(error.to_string()),
        }
    }

    /// Takes over the journal that was opened, once it was.
    fn mended(&mut self, opened: Option<Result<Journal, String>>) {
        let Some(opened) = opened else {
            return;
        };
        self.mending = None;
        let started = opened.and_then(|opened| {
            let damage = opened.damage().map(|damage| damage.message.clone());
            let scribe = Scribe::start(opened).map_err(|error| error.to_string())?;
            Ok((scribe, damage))
        });
        let now_ms = self.now_ms();
        match (started, &mut self.role) {
            (Ok((scribe, damage)), Role::Deciding { journal, .. }) => {
                if let Some(message) = damage {
                    self.damage = Some((message, now_ms));
                }
                *journal = Some(scribe);
            }
            (Ok(_), Role::Waiting { .. }) => return,
            (Err(message), _) => return self.still_failing(message),
        }
        let names: Vec<String> = self.tracks.keys().cloned().collect();
        for name in names {
            if self
                .record_as_is(&name, &Event::Journal { ok: true })
                .is_ok()
            {
                _ = self.apply(&name, Event::Journal { ok: true });
            }
        }
    }

    fn still_failing(&mut self, message: String) {
        let since_ms = self.failing.as_ref().map(|failing| failing.since_ms);
        self.failing = Some(Failing {
            message,
            since_ms: since_ms.unwrap_or_else(|| self.now_ms()),
        });
    }
}

/// The evidence of a memory; a checkpoint that makes no sense counts as none.
fn evidence(memory: &Memory, state: &State) -> Evidence {
    memory
        .evidence
        .as_deref()
        .and_then(|bytes| {
            Evidence::from_bytes(bytes)
                .inspect_err(|error| tracing::warn!(%error, "a checkpoint makes no sense"))
                .ok()
        })
        .unwrap_or_else(|| no_evidence(state))
}

fn no_evidence(state: &State) -> Evidence {
    Evidence::new(state.began_ms)
}

fn marked(marker: Option<&Marker>, rollout: &str) -> Vec<crate::journal::Latch> {
    marker
        .and_then(|marker| marker.rollouts.get(rollout))
        .map(|mark| mark.latches.clone())
        .unwrap_or_default()
}

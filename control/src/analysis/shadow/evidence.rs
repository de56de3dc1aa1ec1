//! The memory of one target's copies.
//!
//! Counts are cumulative per epoch, so absorbing them twice changes nothing. A user with one bad request may
//! send it again and again; so of each user bucket only the first pair counts in which one side failed alone.
//! If copy and original are equally good, either side is as likely to be that one: the first-error process of
//! the arms applies with a share of one half, exactly, however the requests of a user hang together. It can
//! speak of 256 users at most: enough for a release that is clearly worse, while one that is slightly worse is
//! held back by the gate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_stats::first_error::{StageErrors, ln_e_stages};
use serin_stats::shadow::{CopyResult, ShadowCounts};
use serin_stats::snapshot::USER_BUCKETS;

use crate::analysis::stored;

/// Epochs kept apart; the sums of older ones are kept.
const MAX_EPOCHS: usize = 24;
/// Copies in a row without a success that make a target down.
const RUN: u64 = 20;
/// Users they must come from.
const USERS: usize = 2;

const NOBODY: u64 = 0;
const BY_SHADOW: u64 = 1;
const BY_BASELINE: u64 = 2;
/// Both sides failed alone before anybody looked.
const BY_BOTH: u64 = 3;

/// One target's copies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Copies {
    /// Epochs before this belong to another release or an earlier mirror.
    since: u64,
    #[serde(with = "stored::shadow_epochs")]
    epochs: BTreeMap<u64, ShadowCounts>,
    /// Epochs up to here are no longer kept apart.
    folded_through: Option<u64>,
    /// Their counts.
    #[serde(with = "stored::shadow_counts")]
    folded: ShadowCounts,
    /// By user bucket: which side was the first to fail alone.
    #[serde(with = "stored::counts")]
    claims: Vec<u64>,
    at_success: Mark,
    /// Pairs per user bucket at the last success.
    #[serde(with = "stored::counts")]
    paired_then: Vec<u64>,
    /// The largest ln E so far.
    pub(super) largest: f64,
}

/// Counts at the last success of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    judged: u64,
    ok: u64,
    unreachable: u64,
    pairs: u64,
    baseline_ok: u64,
}

impl Mark {
    fn of(counts: &ShadowCounts) -> Self {
        let pairs = counts.pairs();
        Self {
            judged: counts.judged(),
            ok: counts.result(CopyResult::Ok),
            unreachable: counts.result(CopyResult::Unreachable)
                + counts.result(CopyResult::Timeout),
            pairs: pairs.total(),
            baseline_ok: pairs.both_ok + pairs.only_shadow_failed,
        }
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            since: 0,
            epochs: BTreeMap::new(),
            folded_through: None,
            folded: ShadowCounts::default(),
            claims: vec![NOBODY; USER_BUCKETS],
            at_success: Mark::default(),
            paired_then: vec![0; USER_BUCKETS],
            largest: 0.0,
        }
    }
}

impl Copies {
    /// What was counted before this epoch belongs to another mirror.
    pub(super) fn begin_at(&mut self, epoch: u64) {
        if epoch != self.since {
            let epochs = self.epochs.split_off(&epoch);
            *self = Self {
                since: epoch,
                epochs,
                ..Self::default()
            };
            self.claim();
        }
    }

    /// Takes over newer counts of an epoch; they never shrink.
    pub(super) fn update(&mut self, epoch: u64, counts: &ShadowCounts) {
        if epoch < self.since || self.folded_through >= Some(epoch) {
            return;
        }
        let known = self.epochs.entry(epoch).or_default();
        if counts.offered() > known.offered() {
            known.clone_from(counts);
        }
        while self.epochs.len() > MAX_EPOCHS {
            if let Some((oldest, counts)) = self.epochs.pop_first() {
                self.folded.merge(&counts);
                self.folded_through = Some(oldest);
            }
        }
    }

    /// Says of each user bucket which side failed alone first, once that is known.
    pub(super) fn claim(&mut self) {
        if self.is_empty() {
            return;
        }
        let totals = self.totals();
        let failures = totals
            .only_shadow_failed
            .0
            .iter()
            .zip(&totals.only_baseline_failed.0);
        for (claim, (shadow, baseline)) in self.claims.iter_mut().zip(failures) {
            if *claim == NOBODY {
                *claim = match (*shadow > 0, *baseline > 0) {
                    (false, false) => NOBODY,
                    (true, false) => BY_SHADOW,
                    (false, true) => BY_BASELINE,
                    (true, true) => BY_BOTH,
                };
            }
        }
        let mark = Mark::of(&totals);
        if mark.ok > self.at_success.ok {
            self.at_success = mark;
            self.paired_then.clone_from(&totals.paired.0);
        }
        self.largest = self.largest.max(self.ln_e());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.epochs.is_empty() && self.folded.offered() == 0
    }

    /// Everything counted.
    pub(super) fn totals(&self) -> ShadowCounts {
        let mut sum = self.folded.clone();
        self.epochs.values().for_each(|counts| sum.merge(counts));
        sum
    }

    /// What was counted from this epoch on.
    pub(super) fn totals_since(&self, epoch: u64) -> ShadowCounts {
        let mut sum = ShadowCounts::default();
        let recent = self.epochs.range(epoch..);
        recent.for_each(|(_, counts)| sum.merge(counts));
        sum
    }

    /// Users whose first lone failure was the shadow's.
    pub(super) fn claimed_by_shadow(&self) -> u64 {
        self.claimed(BY_SHADOW)
    }

    fn claimed(&self, by: u64) -> u64 {
        self.claims.iter().filter(|claim| **claim == by).count() as u64
    }

    /// ln E against "the copies fail no more often than their originals".
    pub(super) fn ln_e(&self) -> f64 {
        let shadow = self.claimed_by_shadow();
        ln_e_stages(&[StageErrors {
            canary: shadow,
            total: shadow + self.claimed(BY_BASELINE),
            share: 0.5,
        }])
    }

    /// How many copies in a row failed, when that makes the target down: meanwhile most originals were
    /// answered well, and it was no single user's doing.
    pub(super) fn down(&self, totals: &ShadowCounts) -> Option<u64> {
        let (now, then) = (Mark::of(totals), self.at_success);
        let failed = now.judged.saturating_sub(then.judged);
        let answered = now.baseline_ok.saturating_sub(then.baseline_ok);
        let asked = now.pairs.saturating_sub(then.pairs);
        let unreachable = now.unreachable.saturating_sub(then.unreachable);
        let users = self
            .paired_then
            .iter()
            .zip(&totals.paired.0)
            .filter(|(then, now)| now > then)
            .count();
        let is_down = failed >= RUN
            && answered > 0
            && 2 * answered > asked
            && (unreachable >= failed || users >= USERS);
        is_down.then_some(failed)
    }
}

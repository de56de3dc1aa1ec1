//! Whose slot is it? Each of 65,536 user slots is claimed once in a rollout, by the arm in which its user was
//! first seen to do something (err, or come at all), and stays claimed.
//!
//! A slot that both arms claim between two snapshots is credited to nobody (which came first is unknown), but
//! is taken.

use serde::{Deserialize, Serialize};
use serin_stats::snapshot::{PerArm, SlotSet, StageSnapshot, USER_SLOTS};

use super::stored;

const WORDS: usize = USER_SLOTS / 64;

/// Slots that can't be claimed any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// As a bitmap; empty while there are none.
    #[serde(with = "stored::words")]
    taken: Vec<u64>,
}

/// Slots that were claimed in one stage just now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Credit {
    pub(super) epoch: u64,
    pub(super) share: f64,
    pub(super) baseline: u64,
    pub(super) canary: u64,
}

impl Claims {
    /// Takes in the sets of these stages, and says who claimed what.
    pub(super) fn absorb<'a>(
        &mut self,
        stages: impl Iterator<Item = &'a StageSnapshot> + Clone,
        sets: fn(&StageSnapshot) -> &PerArm<SlotSet>,
    ) -> Vec<Credit> {
        let stages = stages.filter(|stage| {
            let sets = sets(stage);
            !(sets.baseline.is_empty() && sets.canary.is_empty())
        });
        let (mut baseline, mut canary) = (Vec::new(), Vec::new());
        for stage in stages.clone() {
            unite(&mut baseline, sets(stage).baseline.words());
            unite(&mut canary, sets(stage).canary.words());
        }
        if baseline.is_empty() && canary.is_empty() {
            return Vec::new();
        }
        self.taken.resize(WORDS, 0);
        let both = baseline.iter().zip(&canary);
        let contested: Vec<u64> = both.map(|(baseline, canary)| baseline & canary).collect();
        unite(&mut self.taken, &contested);
        stages
            .map(|stage| Credit {
                epoch: stage.epoch,
                share: stage.share,
                baseline: self.claim(sets(stage).baseline.words()),
                canary: self.claim(sets(stage).canary.words()),
            })
            .filter(|credit| credit.baseline + credit.canary > 0)
            .collect()
    }

    /// Takes the free ones of these slots and says how many they were.
    fn claim(&mut self, words: &[u64]) -> u64 {
        let mut claimed = 0;
        for (taken, wanted) in self.taken.iter_mut().zip(words) {
            claimed += u64::from((wanted & !*taken).count_ones());
            *taken |= wanted;
        }
        claimed
    }
}

fn unite(words: &mut Vec<u64>, others: &[u64]) {
    if words.len() < others.len() {
        words.resize(others.len(), 0);
    }
    for (word, other) in words.iter_mut().zip(others) {
        *word |= other;
    }
}

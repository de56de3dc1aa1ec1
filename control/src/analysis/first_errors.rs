//! Who erred first, and in which arm: the counts behind the exact first-error process.
//!
//! A user slot counts once, for the arm and the stage in which it first erred, whatever that user does later
//! or the process restarts. A slot that erred in both arms between two snapshots is claimed by nobody (which
//! came first is unknown), but is taken. Each stage has its own share θ, and the stages' ln E add up.

use serde::{Deserialize, Serialize};
use serin_stats::first_error::{self, MIN_CANARY_USERS};
use serin_stats::snapshot::{StageSnapshot, USER_SLOTS};

use super::stored;

const WORDS: usize = USER_SLOTS / 64;
/// Stages kept apart; older ones are folded into one sum.
const MAX_STRATA: usize = 32;

/// First errors since some moment, by stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FirstErrors {
    /// Slots that can't be claimed any more, as a bitmap; empty while there are none.
    #[serde(with = "stored::words")]
    taken: Vec<u64>,
    /// In ascending order of epoch.
    strata: Vec<Stratum>,
    folded: Folded,
}

/// First errors of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Stratum {
    epoch: u64,
    share: f64,
    canary: u64,
    total: u64,
    /// Of these counts; kept because most looks change nothing.
    ln_e: f64,
}

/// The sums of stages that are no longer kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Folded {
    canary: u64,
    total: u64,
    ln_e: f64,
}

impl FirstErrors {
    /// Takes in who erred since the last snapshot.
    pub(super) fn absorb<'a>(&mut self, stages: impl Iterator<Item = &'a StageSnapshot> + Clone) {
        let erring = stages
            .filter(|stage| !(stage.erred.baseline.is_empty() && stage.erred.canary.is_empty()));
        let (mut baseline, mut canary) = (Vec::new(), Vec::new());
        for stage in erring.clone() {
            unite(&mut baseline, stage.erred.baseline.words());
            unite(&mut canary, stage.erred.canary.words());
        }
        if baseline.is_empty() && canary.is_empty() {
            return;
        }
        self.taken.resize(WORDS, 0);
        let contested: Vec<u64> = baseline
            .iter()
            .zip(&canary)
            .map(|(baseline, canary)| baseline & canary)
            .collect();
        unite(&mut self.taken, &contested);
        for stage in erring {
            let in_baseline = self.claim(stage.erred.baseline.words());
            let in_canary = self.claim(stage.erred.canary.words());
            self.credit(stage.epoch, stage.share, in_canary, in_baseline);
        }
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

    fn credit(&mut self, epoch: u64, share: f64, canary: u64, baseline: u64) {
        if canary + baseline == 0 {
            return;
        }
        let at = match self
            .strata
            .binary_search_by_key(&epoch, |stratum| stratum.epoch)
        {
            Ok(at) => at,
            Err(at) => {
                let fresh = Stratum {
                    epoch,
                    share,
                    canary: 0,
                    total: 0,
                    ln_e: 0.0,
                };
                self.strata.insert(at, fresh);
                at
            }
        };
        if let Some(stratum) = self.strata.get_mut(at) {
            stratum.canary += canary;
            stratum.total += canary + baseline;
            stratum.ln_e = first_error::ln_e(stratum.canary, stratum.total, stratum.share);
        }
        if self.strata.len() > MAX_STRATA {
            let oldest = self.strata.remove(0);
            self.folded.canary += oldest.canary;
            self.folded.total += oldest.total;
            self.folded.ln_e += oldest.ln_e;
        }
    }

    /// ln E over all stages; at most 0 until enough canary users have erred.
    pub(super) fn ln_e(&self) -> f64 {
        let sum = self
            .strata
            .iter()
            .map(|stratum| stratum.ln_e)
            .fold(self.folded.ln_e, |sum, ln_e| sum + ln_e);
        if self.canary_users() < MIN_CANARY_USERS {
            sum.min(0.0)
        } else {
            sum
        }
    }

    /// Users who erred first in the canary.
    pub(super) fn canary_users(&self) -> u64 {
        let apart: u64 = self.strata.iter().map(|stratum| stratum.canary).sum();
        self.folded.canary + apart
    }

    /// Users who erred first in baseline.
    pub(super) fn baseline_users(&self) -> u64 {
        let apart: u64 = self.strata.iter().map(|stratum| stratum.total).sum();
        self.folded.total + apart - self.canary_users()
    }
}

fn unite(into: &mut Vec<u64>, words: &[u64]) {
    if words.is_empty() {
        return;
    }
    into.resize(WORDS, 0);
    for (into, word) in into.iter_mut().zip(words) {
        *into |= word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_stats::snapshot::SlotSet;

    fn stage(epoch: u64, share: f64, baseline: &[usize], canary: &[usize]) -> StageSnapshot {
        let set = |slots: &[usize]| {
            let mut set = SlotSet::default();
            slots.iter().for_each(|&slot| set.insert(slot));
            set
        };
        let mut stage = StageSnapshot {
            epoch,
            share,
            ..StageSnapshot::default()
        };
        stage.erred.baseline = set(baseline);
        stage.erred.canary = set(canary);
        stage
    }

    #[test]
    fn a_user_counts_once_and_for_the_first_arm() {
        let mut errors = FirstErrors::default();
        errors.absorb([stage(1, 0.5, &[1, 2], &[3])].iter());
        errors.absorb([stage(1, 0.5, &[1, 3], &[2, 3]), stage(2, 0.5, &[4], &[])].iter());
        assert_eq!((errors.canary_users(), errors.baseline_users()), (1, 3));
    }

    #[test]
    fn a_slot_that_erred_in_both_arms_at_once_is_taken_by_nobody() {
        let mut errors = FirstErrors::default();
        // Also across stages: a user who moved to the canary when the share rose.
        errors.absorb([stage(1, 0.05, &[7, 8], &[7]), stage(2, 0.25, &[], &[8, 9])].iter());
        assert_eq!((errors.canary_users(), errors.baseline_users()), (1, 0));
        errors.absorb([stage(2, 0.25, &[], &[7, 8])].iter());
        assert_eq!((errors.canary_users(), errors.baseline_users()), (1, 0));
    }

    #[test]
    fn five_users_at_five_percent_are_a_catastrophe_and_four_say_nothing() {
        let mut errors = FirstErrors::default();
        errors.absorb([stage(1, 0.05, &[], &[1, 2, 3, 4])].iter());
        assert_eq!(errors.ln_e(), 0.0);
        errors.absorb([stage(1, 0.05, &[], &[5])].iter());
        assert!(errors.ln_e() > 80_f64.ln());
    }

    #[test]
    fn folding_old_stages_changes_no_number() {
        let stages: Vec<StageSnapshot> = (0..100)
            .map(|epoch| {
                let slot = epoch as usize * 3;
                stage(epoch, 0.1, &[slot, slot + 1], &[slot + 2])
            })
            .collect();
        let mut errors = FirstErrors::default();
        errors.absorb(stages.iter());
        assert_eq!((errors.canary_users(), errors.baseline_users()), (100, 200));
        assert!(errors.strata.len() <= MAX_STRATA);
        let expected = 100.0 * first_error::ln_e(1, 3, 0.1);
        assert!((errors.ln_e() - expected).abs() < 1e-9);
    }
}

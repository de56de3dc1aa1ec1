//! Who erred first, and in which arm: the counts behind the exact first-error process.
//!
//! A user slot counts once, for the arm and the stage in which it first erred, whatever that user does later
//! or the process restarts. Each stage has its own share θ, and the stages' ln E add up.

use serde::{Deserialize, Serialize};
use serin_stats::first_error::{self, MIN_CANARY_USERS};
use serin_stats::snapshot::StageSnapshot;

use super::slots::{Claims, Credit};

/// Stages kept apart; older ones are folded into one sum.
const MAX_STRATA: usize = 32;

/// First errors since some moment, by stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FirstErrors {
    claims: Claims,
    pub(super) counts: FirstErrorFacts,
}

/// How many users erred first in which arm, by stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FirstErrorFacts {
    /// In ascending order of epoch.
    strata: Vec<Stratum>,
    folded: Folded,
}

/// First errors of one stage.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stratum {
    epoch: u64,
    share: f64,
    canary: u64,
    total: u64,
    /// Of these counts; kept because most looks change nothing, and never written down.
    #[serde(skip)]
    ln_e: Option<f64>,
}

impl PartialEq for Stratum {
    fn eq(&self, other: &Self) -> bool {
        let counts = |one: &Self| (one.epoch, one.share.to_bits(), one.canary, one.total);
        counts(self) == counts(other)
    }
}

impl Stratum {
    fn ln_e(&self) -> f64 {
        self.ln_e
            .unwrap_or_else(|| first_error::ln_e(self.canary, self.total, self.share))
    }
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
        for credit in self.claims.absorb(stages, |stage| &stage.erred) {
            self.counts.credit(credit);
        }
    }
}

impl FirstErrorFacts {
    fn credit(&mut self, credit: Credit) {
        let epoch = credit.epoch;
        let at = match self
            .strata
            .binary_search_by_key(&epoch, |stratum| stratum.epoch)
        {
            Ok(at) => at,
            Err(at) => {
                let fresh = Stratum {
                    epoch,
                    share: credit.share,
                    canary: 0,
                    total: 0,
                    ln_e: None,
                };
                self.strata.insert(at, fresh);
                at
            }
        };
        if let Some(stratum) = self.strata.get_mut(at) {
            stratum.canary += credit.canary;
            stratum.total += credit.canary + credit.baseline;
            stratum.ln_e = None;
            stratum.ln_e = Some(stratum.ln_e());
        }
        if self.strata.len() > MAX_STRATA {
            let oldest = self.strata.remove(0);
            self.folded.canary += oldest.canary;
            self.folded.total += oldest.total;
            self.folded.ln_e += oldest.ln_e();
        }
    }

    /// ln E over all stages; at most 0 until enough canary users have erred.
    pub(super) fn ln_e(&self) -> f64 {
        let sum = self
            .strata
            .iter()
            .map(Stratum::ln_e)
            .fold(self.folded.ln_e, |sum, ln_e| sum + ln_e);
        if self.canary_users() < MIN_CANARY_USERS {
            sum.min(0.0)
        } else {
            sum
        }
    }

    /// Users who erred first in the canary.
    pub(super) fn canary_users(&self) -> u64 {
        let strata = self.strata.iter().map(|stratum| stratum.canary);
        self.folded.canary + strata.sum::<u64>()
    }

    /// Users who erred first in the baseline.
    pub(super) fn baseline_users(&self) -> u64 {
        let strata = self
            .strata
            .iter()
            .map(|stratum| stratum.total - stratum.canary);
        self.folded.total - self.folded.canary + strata.sum::<u64>()
    }

    /// Stage by stage: (share, canary users, all users); folded stages are left out.
    pub(super) fn strata(&self) -> impl Iterator<Item = (f64, u64, u64)> + '_ {
        let strata = self.strata.iter();
        strata.map(|stratum| (stratum.share, stratum.canary, stratum.total))
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
        assert_eq!(
            (errors.counts.canary_users(), errors.counts.baseline_users()),
            (1, 3)
        );
    }

    #[test]
    fn a_slot_that_erred_in_both_arms_of_a_stage_is_taken_by_nobody() {
        let mut errors = FirstErrors::default();
        errors.absorb([stage(1, 0.05, &[7, 8], &[7])].iter());
        errors.absorb([stage(1, 0.05, &[], &[7, 8]), stage(2, 0.25, &[7], &[])].iter());
        assert_eq!(
            (errors.counts.canary_users(), errors.counts.baseline_users()),
            (0, 1)
        );
    }

    #[test]
    fn who_erred_under_two_splits_between_looks_counts_for_the_earlier_one() {
        let counted = |stages: &[StageSnapshot]| {
            let mut errors = FirstErrors::default();
            errors.absorb(stages.iter());
            errors.counts.strata().collect::<Vec<_>>()
        };
        // A slot each that went on in baseline, that moved, and that was the canary's already.
        let up = [stage(1, 0.1, &[1, 2], &[3]), stage(2, 0.9, &[1], &[2, 3])];
        assert_eq!(counted(&up), [(0.1, 1, 3)]);
        let down = [stage(3, 0.9, &[1], &[2, 3]), stage(4, 0.1, &[1, 2], &[3])];
        assert_eq!(counted(&down), [(0.9, 2, 3)]);
    }

    #[test]
    fn five_users_at_five_percent_are_a_catastrophe_and_four_say_nothing() {
        let mut errors = FirstErrors::default();
        errors.absorb([stage(1, 0.05, &[], &[1, 2, 3, 4])].iter());
        assert_eq!(errors.counts.ln_e(), 0.0);
        errors.absorb([stage(1, 0.05, &[], &[5])].iter());
        assert!(errors.counts.ln_e() > 80_f64.ln());
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
        assert_eq!(
            (errors.counts.canary_users(), errors.counts.baseline_users()),
            (100, 200)
        );
        assert!(errors.counts.strata.len() <= MAX_STRATA);
        let expected = 100.0 * first_error::ln_e(1, 3, 0.1);
        assert!((errors.counts.ln_e() - expected).abs() < 1e-9);
    }
}

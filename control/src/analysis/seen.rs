//! Do users arrive in the declared proportion? The counts behind the sample-ratio process: users whose slot
//! was first seen in either arm, stage by stage. Each stage's E starts afresh, and they multiply.

use serde::{Deserialize, Serialize};
use serin_stats::chi_squared;
use serin_stats::sequential::always_valid_p;
use serin_stats::snapshot::StageSnapshot;
use serin_stats::srm::{self, CONCENTRATION};

use super::report::{ChiSquared, SampleRatio};
use super::slots::{Claims, Credit};

/// Stages kept apart; older ones are folded into one sum.
const MAX_STRATA: usize = 32;

/// Users seen since the rollout began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    claims: Claims,
    pub(super) counts: SeenFacts,
}

/// How many users were first seen in which arm, by stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SeenFacts {
    /// In ascending order of epoch.
    strata: Vec<Stratum>,
    /// Σ ln E of the stages that are no longer kept apart.
    folded_ln_e: f64,
    folded: [u64; 2],
    /// The largest ln E before the last look.
    largest: f64,
}

/// New users of one stage: baseline's and the canary's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Stratum {
    epoch: u64,
    share: f64,
    users: [u64; 2],
}

impl Stratum {
    fn ln_e(&self) -> f64 {
        srm::ln_e(&self.users, &[1.0 - self.share, self.share], CONCENTRATION)
    }

    /// Whether both arms could be reached.
    fn is_split(&self) -> bool {
        self.share > 0.0 && self.share < 1.0
    }
}

impl Seen {
    /// Takes in who was seen; the sets are cumulative, so nothing is counted twice.
    pub(super) fn absorb<'a>(&mut self, stages: impl Iterator<Item = &'a StageSnapshot> + Clone) {
        let largest = self.counts.largest.max(self.counts.ln_e());
        self.counts.largest = largest;
        for credit in self.claims.absorb(stages, |stage| &stage.seen) {
            self.counts.credit(credit);
        }
    }
}

impl SeenFacts {
    fn credit(&mut self, credit: Credit) {
        let users = [credit.baseline, credit.canary];
        match self
            .strata
            .binary_search_by_key(&credit.epoch, |stratum| stratum.epoch)
        {
            Ok(at) => {
                if let Some(stratum) = self.strata.get_mut(at) {
                    add(&mut stratum.users, users);
                }
            }
            Err(at) => self.strata.insert(
                at,
                Stratum {
                    epoch: credit.epoch,
                    share: credit.share,
                    users,
                },
            ),
        }
        if self.strata.len() > MAX_STRATA {
            let oldest = self.strata.remove(0);
            self.folded_ln_e += oldest.ln_e();
            add(&mut self.folded, oldest.users);
        }
    }

    /// Over all stages.
    fn ln_e(&self) -> f64 {
        let strata = self.strata.iter().map(Stratum::ln_e);
        strata.fold(self.folded_ln_e, |sum, ln_e| sum + ln_e)
    }

    /// Users of baseline and of the canary, over all stages.
    pub(super) fn users(&self) -> [u64; 2] {
        let mut users = self.folded;
        for stratum in &self.strata {
            add(&mut users, stratum.users);
        }
        users
    }

    pub(super) fn report(&self) -> SampleRatio {
        let [baseline, canary] = self.users();
        // The newest split, where it can be seen what is wrong now; fixed-horizon, for reading only.
        let newest = self.strata.iter().rev().find(|stratum| stratum.is_split());
        let chi_squared = newest.and_then(|stratum| {
            let shares = [1.0 - stratum.share, stratum.share];
            let test = chi_squared::goodness_of_fit(&stratum.users, &shares)?;
            Some(ChiSquared {
                statistic: test.statistic,
                p_value: test.p,
            })
        });
        let ln_e = self.ln_e();
        SampleRatio {
            baseline,
            canary,
            expected: newest.map(|stratum| stratum.share),
            observed: newest.map(|stratum| {
                let [baseline, canary] = stratum.users;
                canary as f64 / (baseline + canary).max(1) as f64
            }),
            ln_e,
            p_value: always_valid_p(self.largest.max(ln_e)),
            chi_squared,
        }
    }
}

fn add(sum: &mut [u64; 2], more: [u64; 2]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

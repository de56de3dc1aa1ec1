//! Knows every stage: makes them when a split comes down, reads them all when a snapshot goes up.
//!
//! Workers never come here: they hold their stages through the routing table. The lock is between the two
//! callers of the control side (install and snapshot) and the metrics.
//!
//! A stage lives on after its epoch until no request holds it and its last counts went up; then it is
//! dropped. At most [`MAX_STAGES`] are kept per rollout, oldest dropped first: what then still ends under a
//! dropped one counts for the metrics alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serin_config::model::{Config, Plan, Route, Step};
use serin_stats::metrics::Page;
use serin_stats::names::{self, label};
use serin_stats::shadow::CopyResult;
use serin_stats::snapshot::{Arm, Outcome, Snapshot, StageSnapshot};
use serin_stats::split::Split;
use tokio::sync::Notify;

use super::copies::CopyTotals;
use super::stage::Stage;
use super::totals::{ArmTotals, Durations, Totals};

/// Stages kept per rollout.
pub const MAX_STAGES: usize = 64;

/// All stages of all routes.
#[derive(Debug)]
pub struct Measurements {
    workers: usize,
    bell: Arc<Notify>,
    routes: Mutex<BTreeMap<String, RouteStages>>,
}

#[derive(Debug)]
struct RouteStages {
    totals: Arc<Totals>,
    has_canary: bool,
    /// Its requests may be copied.
    is_copied: bool,
    plain: Arc<Stage>,
    /// The epoch in force; never dropped.
    current: Option<u64>,
    by_epoch: BTreeMap<u64, Kept>,
}

#[derive(Debug)]
struct Kept {
    stage: Arc<Stage>,
    /// How many records the last snapshot saw; `None` before the first.
    sent: Option<u64>,
}

impl Measurements {
    /// For this many workers; alarming records ring the bell.
    #[must_use]
    pub fn new(workers: usize, bell: Arc<Notify>) -> Self {
        Self {
            workers,
            bell,
            routes: Mutex::default(),
        }
    }

    /// The stages of a configuration's routes, in its order, under these splits: the stage in force stays
    /// while its epoch does. Routes that left the configuration are forgotten. A route without a rollout, or
    /// whose split is not known yet, serves its baseline and is not judged.
    #[must_use]
    pub fn install(
        &self,
        config: &Config,
        splits: &BTreeMap<String, Arc<Split>>,
    ) -> Vec<Arc<Stage>> {
        let mut routes = self.lock();
        routes.retain(|name, _| config.route(name).is_some());
        let stages = config.routes.iter().map(|route| {
            let known = routes
                .entry(route.name.to_string())
                .or_insert_with(|| RouteStages::new(self.workers));
            known.has_canary = route.canary.is_some();
            known.is_copied = is_copied(route);
            match split_of(route, splits) {
                Some(split) => known.enter(split, self.workers, &self.bell),
                None => known.leave(),
            }
        });
        stages.collect()
    }

    /// Everything counted so far, summed over the workers, and who erred since the last snapshot. Stages that
    /// did not change since then are left out.
    ///
    /// One caller: the slots of who erred are taken, not copied.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (name, route) in self.lock().iter_mut() {
            let stages = route.take_snapshots();
            if !stages.is_empty() {
                snapshot.rollouts.insert(name.clone(), stages);
            }
        }
        snapshot
    }

    /// Writes the metrics of all routes onto the page.
    pub fn metrics(&self, page: &mut Page) {
        let totals = self.totals();
        let requests = page.family(&names::REQUESTS);
        for (route, arm, totals) in &totals {
            for outcome in Outcome::ALL {
                let labels = [
                    (label::ROLLOUT, route.as_str()),
                    (label::ARM, arm.name()),
                    (label::OUTCOME, outcome.name()),
                ];
                requests.add(&labels, totals.outcome(outcome));
            }
        }
        let mut write = |metric, read: fn(&ArmTotals) -> &Durations| {
            let family = page.family(metric);
            for (route, arm, totals) in &totals {
                let labels = [(label::ARM, arm.name()), (label::ROUTE, route.as_str())];
                family.add(&labels, read(totals).to_buckets());
            }
        };
        write(&names::SERVER_DURATION, |totals| &totals.server);
        write(&names::CLIENT_DURATION, |totals| &totals.client);
        let copies = self.copies();
        let family = page.family(&names::SHADOW);
        for (route, copies) in &copies {
            for (result, count) in CopyResult::ALL.into_iter().zip(copies.read()) {
                let labels = [
                    (label::ROLLOUT, route.as_str()),
                    (label::RESULT, result.name()),
                ];
                family.add(&labels, count);
            }
        }
        let family = page.family(&names::SHADOW_IN_FLIGHT);
        for (route, copies) in &copies {
            family.add(&[(label::ROLLOUT, route.as_str())], copies.in_flight());
        }
    }

    /// Every route's totals by arm, the canary's only where there is one.
    #[must_use]
    pub fn totals(&self) -> Vec<(String, Arm, ArmTotals)> {
        let routes = self.lock();
        let arms = routes.iter().flat_map(|(name, route)| {
            Arm::ALL
                .into_iter()
                .filter(|&arm| arm == Arm::Baseline || route.has_canary)
                .map(|arm| (name.clone(), arm, route.totals.read(arm)))
        });
        arms.collect()
    }

    /// The copies of every route whose requests may be copied.
    #[must_use]
    pub fn copies(&self) -> Vec<(String, Arc<CopyTotals>)> {
        let routes = self.lock();
        let copied = routes.iter().filter(|(_, route)| route.is_copied);
        copied
            .map(|(name, route)| (name.clone(), Arc::clone(&route.totals.copies)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, RouteStages>> {
        // Nothing in here is left half-changed by a panic.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RouteStages {
    fn new(workers: usize) -> Self {
        let totals = Arc::new(Totals::new(workers));
        Self {
            plain: Arc::new(Stage::plain(Arc::clone(&totals))),
            totals,
            has_canary: false,
            is_copied: false,
            current: None,
            by_epoch: BTreeMap::new(),
        }
    }

    fn leave(&mut self) -> Arc<Stage> {
        self.current = None;
        Arc::clone(&self.plain)
    }

    fn enter(&mut self, split: &Arc<Split>, workers: usize, bell: &Arc<Notify>) -> Arc<Stage> {
        self.current = Some(split.epoch);
        let kept = self.by_epoch.entry(split.epoch).or_insert_with(|| Kept {
            stage: Arc::new(Stage::judged(
                Arc::clone(split),
                Arc::clone(&self.totals),
                workers,
                Arc::clone(bell),
            )),
            sent: None,
        });
        let stage = Arc::clone(&kept.stage);
        while self.by_epoch.len() > MAX_STAGES {
            self.by_epoch.pop_first();
        }
        stage
    }

    fn take_snapshots(&mut self) -> Vec<StageSnapshot> {
        let mut snapshots = Vec::new();
        let current = self.current;
        self.by_epoch.retain(|&epoch, kept| {
            // Asked before reading: what was counted until then is read, and nothing can follow.
            let over = current != Some(epoch) && Arc::get_mut(&mut kept.stage).is_some();
            snapshots.extend(kept.take_snapshot_if_changed());
            !over
        });
        snapshots
    }
}

impl Kept {
    fn take_snapshot_if_changed(&mut self) -> Option<StageSnapshot> {
        let records = self.stage.records();
        if self.sent == Some(records) {
            return None;
        }
        self.sent = Some(records);
        self.stage.take_snapshot()
    }
}

/// By a standing mirror, or in a step of the plan.
fn is_copied(route: &Route) -> bool {
    let plan = route.rollout.as_ref().map(|rollout| &rollout.plan);
    let in_a_step = match plan {
        Some(Plan::Steps(steps)) => steps.iter().any(Step::is_shadow),
        Some(Plan::Manual(_)) | None => false,
    };
    route.mirror.is_some() || in_a_step
}

fn split_of<'s>(route: &Route, splits: &'s BTreeMap<String, Arc<Split>>) -> Option<&'s Arc<Split>> {
    route.rollout.as_ref()?;
    splits.get(&*route.name)
}

#[cfg(test)]
mod tests;

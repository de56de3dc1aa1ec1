//! What the control loop needs of a data plane: the whole seam between the two wings.
//!
//! A [`Snapshot`] comes up, [`Split`]s go down; the rest is for metrics. The wings never import each other, so
//! this trait is implemented for the proxy where both are visible, and by a recorded plane in tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serin_config::model::Config;
use serin_stats::metrics::Page;
use serin_stats::snapshot::Snapshot;
use serin_stats::split::Split;

/// A data plane, as the control loop sees it. No method waits for a request.
pub trait DataPlane: Send + Sync + 'static {
    /// What happened so far; drains the sets of users that erred, so only the control loop may call it.
    fn snapshot(&self) -> Snapshot;

    /// Puts a configuration and the split of every rollout in force, for all workers at once.
    fn install(&self, config: &Arc<Config>, splits: &BTreeMap<String, Arc<Split>>);

    /// Writes the data plane's metrics onto the page.
    fn metrics(&self, page: &mut Page);

    /// Requests that are being answered now.
    fn in_flight(&self) -> usize;
}

/// Unix milliseconds from the process' one clock.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

//! The whole page of metrics, gathered from every part of the process.
//!
//! `/metrics` and the OTLP exporter read the same page. The control loop is asked like anybody asks it; when it
//! does not answer in time, the others' metrics are told alone.

use std::sync::Arc;
use std::time::Duration;

use serin_stats::metrics::Page;
use serin_stats::names;

use super::desk::{Desk, Question, Reply};
use super::pulse::Pulse;
use crate::DataPlane;

/// For the control loop's share.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads all metrics; can be cloned.
#[derive(Clone)]
pub struct Meter {
    plane: Arc<dyn DataPlane>,
    desk: Desk,
    pulse: Arc<Pulse>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    pub(crate) fn new(plane: Arc<dyn DataPlane>, desk: Desk, pulse: Arc<Pulse>) -> Self {
        Self { plane, desk, pulse }
    }

    /// All metrics as they are now.
    pub async fn page(&self) -> Page {
        let mut page = Page::default();
        self.plane.metrics(&mut page);
        match self.desk.ask_within(Question::Metrics, PATIENCE).await {
            Ok(Reply::Metrics(own)) => page.append(own),
            Ok(Reply::Json(_)) => {}
            // It may have handed over already.
            Err(_) if self.pulse.is_draining() => {}
            Err(error) => tracing::warn!(%error, "metrics without those of the control loop"),
        }
        let ready = page.family(&names::READY);
        ready.add(&[], self.pulse.ready().is_ok());
        page
    }
}

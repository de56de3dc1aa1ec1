//! From a configuration to running parts, and back to silence: the one place that sees both wings.
//!
//! **Start.** The listeners are opened first, or taken over from the process that serves now, and connections wait
//! in the kernel's queue; the controller then restores every rollout from the journal and installs the first split,
//! which makes the process ready; last the file is watched.
//!
//! **Stop.** `/readyz` turns false, so that nobody sends new traffic; the file is watched no longer; the data
//! plane closes its listeners and finishes what is in flight, while the control loop still watches and may
//! still roll back; then what is left of telemetry is sent; last the controller writes its checkpoint and lets go of
//! the journal's lock, which is what a process standing by waits for. Where that process has taken the listeners
//! over, the traffic is already its own, and so is the watch over it: the controller goes first then, and what is in
//! flight here is finished unwatched.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serin_config::model::Config;
use serin_config::watch::{self, Watcher};
use serin_config::{Diagnostics, Loaded};
use serin_control::NowMs;
use serin_control::runtime::{Controller, Options, Reload};
use serin_proxy::{BindError, Clock, DataPlane};
use serin_stats::metrics::Page;
use serin_stats::snapshot::Snapshot;
use serin_stats::split::Split;
use tokio::sync::Notify;

use crate::descriptors;
use crate::telemetry::{self, Figures, Reporting, Telemetry};

/// Everything that runs.
pub(crate) struct App {
    plane: DataPlane,
    controller: Arc<Controller>,
    watcher: Watcher,
    reporting: Option<Reporting>,
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration is broken.
    #[error("{0}")]
    Config(Diagnostics),
    /// A listener or a thread is not to be had.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The control loop could not be started.
    #[error("{0}")]
    Control(#[from] serin_control::runtime::StartError),
    /// Telemetry cannot be sent where it should be.
    #[error("{0}")]
    Telemetry(#[from] telemetry::Unusable),
    /// The configuration cannot be watched.
    #[error("cannot watch the configuration: {0}")]
    Watch(std::io::Error),
}

impl App {
    /// Reads the configuration and starts everything in it.
    pub(crate) fn start(path: &Path) -> Result<Self, StartError> {
        let loaded = serin_config::load(path).map_err(StartError::Config)?;
        warn_of(&loaded);
        descriptors::warn_if_few(descriptors::raise(), loaded.config.limits.max_connections);
        let clock = Clock::start();
        let bell = Arc::new(Notify::new());
        let plane = DataPlane::start(&loaded.config, Arc::clone(&bell), clock)?;
        let now: NowMs = Arc::new(move || clock.now_ms());
        let telemetry = loaded.config.telemetry.as_ref();
        let telemetry = telemetry.map(Telemetry::prepare).transpose()?;
        if telemetry.is_some() {
            plane.trace(Telemetry::links());
        }
        let seam = Arc::new(Seam {
            plane: plane.clone(),
            figures: telemetry
                .as_ref()
                .map(Telemetry::figures)
                .unwrap_or_default(),
        });
        let config = Arc::clone(&loaded.config);
        let controller = Controller::start(config, seam, bell, now, Options::default())?;
        let controller = Arc::new(controller);
        let watcher = watch(path, &loaded, &controller).map_err(StartError::Watch)?;
        let reporting = telemetry.map(|telemetry| telemetry.start(controller.meter()));
        Ok(Self {
            reporting: reporting.transpose().map_err(BindError::Thread)?,
            plane,
            controller,
            watcher,
        })
    }

    /// Where clients are accepted.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.plane.addresses()
    }

    /// Where the admin API listens; not yet while another process has its port.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.controller.admin_address()
    }

    /// Reads the configuration again, changed or not.
    pub(crate) fn reload(&self) {
        self.watcher.trigger();
    }

    /// Drains and stops.
    pub(crate) async fn stop(self) {
        let Self {
            plane,
            controller,
            watcher,
            reporting,
        } = self;
        let limit = watcher.current().limits.drain;
        controller.set_draining();
        // Its thread ends with it, and with that the only other owner of the controller.
        drop(watcher);
        let followed = plane.is_followed();
        let (now, last) = match followed {
            true => (Some(controller), None),
            false => (None, Some(controller)),
        };
        tracing::info!(in_flight = plane.in_flight(), ?limit, followed, "draining");
        tokio::join!(drain(&plane, limit), release(now));
        if let Some(reporting) = reporting {
            reporting.stop().await;
        }
        release(last).await;
    }
}

async fn drain(plane: &DataPlane, limit: Duration) {
    let drained = plane.drain(limit).await;
    if drained.finished {
        tracing::info!("every request in flight was finished");
    } else {
        tracing::warn!(
            cut = drained.cut,
            "requests were cut off at the drain's limit"
        );
    }
}

/// Looks a last time, and gives decisions, journal and admin port to whoever waits for them.
async fn release(controller: Option<Arc<Controller>>) {
    match controller.map(Arc::try_unwrap) {
        Some(Ok(controller)) => controller.stop().await,
        Some(Err(_)) => tracing::error!("the controller is still in use, no last checkpoint"),
        None => {}
    }
}

/// Hands every look at the file to the control loop; what is in force is the control loop's to say.
fn watch(path: &Path, loaded: &Loaded, controller: &Arc<Controller>) -> std::io::Result<Watcher> {
    let controller = Arc::clone(controller);
    let watcher = Watcher::start(path, loaded, move |outcome| {
        controller.reload(told(outcome));
    })?;
    if let Some(why) = watcher.polling_only() {
        tracing::warn!(
            why,
            "no file events: changes of the configuration are noticed by polling"
        );
    }
    Ok(watcher)
}

/// A look at the file in the control loop's words, which logs what it makes of it.
fn told(outcome: watch::Reload) -> Reload {
    match outcome {
        watch::Reload::Applied(loaded, diff) => {
            warn_of(&loaded);
            Reload::Applied {
                config: loaded.config,
                summary: diff.to_string(),
            }
        }
        watch::Reload::Unchanged => Reload::Unchanged,
        watch::Reload::Refused(diagnostics) => Reload::Refused(diagnostics.to_string()),
    }
}

fn warn_of(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
}

/// The proxy as the control loop sees it.
struct Seam {
    plane: DataPlane,
    figures: Figures,
}

impl serin_control::DataPlane for Seam {
    fn snapshot(&self) -> Snapshot {
        self.plane.snapshot()
    }

    fn install(&self, config: &Arc<Config>, splits: &BTreeMap<String, Arc<Split>>) {
        self.plane.install(config, splits);
    }

    fn metrics(&self, page: &mut Page) {
        self.plane.metrics(page);
        self.figures.metrics(page);
    }

    fn in_flight(&self) -> usize {
        self.plane.in_flight()
    }
}

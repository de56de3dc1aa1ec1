//! The handle to the control loop: starts it on a thread of its own, and hands it what the process learns.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serin_config::model::Config;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use super::control::Control;
use super::turn::{Order, turn};
use crate::admin::AdminServer;
use crate::admin::desk::{Desk, NOTICES, QUEUE};
use crate::admin::meter::Meter;
use crate::admin::pulse::Pulse;
use crate::{DataPlane, NowMs};

/// Reloads that may wait for the control loop.
const ORDERS: usize = 32;

/// How often things are done that have no place in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Between two checkpoints of evidence that changed.
    pub checkpoint: Duration,
    /// Between two attempts of a process that stands by to take over.
    pub standby_poll: Duration,
    /// Between two attempts to open a failing journal anew; writing to it is tried every second.
    pub mend: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checkpoint: Duration::from_secs(30),
            standby_poll: Duration::from_millis(250),
            mend: Duration::from_secs(5),
        }
    }
}

/// What came of reading the configuration again.
#[derive(Clone, Debug)]
pub enum Reload {
    /// It is good and different.
    Applied {
        /// What is to be in force.
        config: Arc<Config>,
        /// What is different, for the log.
        summary: String,
    },
    /// It has mistakes; this is their report. Nothing changes.
    Refused(String),
    /// It is what is in force already.
    Unchanged,
}

/// Why the control loop could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no thread or no event queue.
    #[error("cannot start the control loop: {0}")]
    System(#[from] std::io::Error),
    /// It ended before anything was in force.
    #[error("the control loop ended while it started")]
    Ended,
}

/// A running control loop with its admin API. Dropped without [`stop`](Self::stop), it ends without saving
/// anything more than what is on disk already.
pub struct Controller {
    orders: mpsc::Sender<Order>,
    pulse: Arc<Pulse>,
    meter: Meter,
    admin: AdminServer,
    thread: JoinHandle<()>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("admin", &self.admin_address())
            .field("pulse", &self.pulse)
            .finish_non_exhaustive()
    }
}

impl Controller {
    /// Opens the journal, restores every rollout, puts configuration and splits in force, and goes on from
    /// there. When another process decides for the state folder, or it cannot be written, this one stands by.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        config: Arc<Config>,
        plane: Arc<dyn DataPlane>,
        bell: Arc<Notify>,
        now: NowMs,
        options: Options,
    ) -> Result<Self, StartError> {
        let pulse = Arc::new(Pulse::new(Arc::clone(&now)));
        let (orders, order_queue) = mpsc::channel(ORDERS);
        let (asks, ask_queue) = mpsc::channel(QUEUE);
        let (notices, _) = broadcast::channel(NOTICES);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let thread = {
            let (config, plane) = (Arc::clone(&config), Arc::clone(&plane));
            let (pulse, notices) = (Arc::clone(&pulse), notices.clone());
            std::thread::Builder::new()
                .name("serin-control".to_owned())
                .spawn(move || {
                    let beat = Arc::clone(&pulse);
                    let run = || {
                        let _within = runtime.enter();
                        let mut control = Control::new(config, plane, now, pulse, notices, options);
                        _ = ready.send(());
                        runtime.block_on(turn(&mut control, bell, ask_queue, order_queue));
                    };
                    // The data plane must outlive whatever goes wrong here; the panic hook has said what.
                    if catch_unwind(AssertUnwindSafe(run)).is_err() {
                        tracing::error!("the control loop panicked; the last split keeps serving");
                    }
                    beat.set_ended();
                })?
        };
        started.recv().map_err(|_| StartError::Ended)?;
        let desk = Desk::new(asks, notices);
        let meter = Meter::new(plane, desk.clone(), Arc::clone(&pulse));
        let admin = AdminServer::start(&config, desk, Arc::clone(&pulse), meter.clone())?;
        Ok(Self {
            orders,
            pulse,
            meter,
            admin,
            thread,
        })
    }

    /// Hands over what came of reading the configuration again.
    pub fn reload(&self, outcome: Reload) {
        if let Reload::Applied { config, .. } = &outcome {
            self.admin.reload(&config.admin);
        }
        if let Err(error) = self.orders.try_send(Order::Reload(outcome)) {
            tracing::error!(%error, "the control loop takes no reload");
        }
    }

    /// Where the admin API listens; `None` while its port is busy.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Where the probe listener listens, when there is one and its port is free.
    #[must_use]
    pub fn probe_address(&self) -> Option<SocketAddr> {
        self.admin.probe_address()
    }

    /// Reads all metrics, as `/metrics` tells them.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// From now on `/readyz` says no.
    pub fn set_draining(&self) {
        self.pulse.set_draining();
    }

    /// Saves the evidence and ends; the state folder and the admin port are free afterwards.
    pub async fn stop(self) {
        let (done, stopped) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).await.is_ok() {
            _ = stopped.await;
        }
        let Self { admin, thread, .. } = self;
        let ended = tokio::task::spawn_blocking(move || {
            admin.stop();
            thread.join().is_err()
        });
        if ended.await.unwrap_or(true) {
            tracing::error!("the control thread did not end well");
        }
    }
}

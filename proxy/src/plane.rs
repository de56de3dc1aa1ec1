//! The data plane as the rest of the house sees it: started once, told the rules, asked what happened, drained.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as blocking;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serin_config::model::{Config, Limits};
use serin_stats::metrics::Page;
use serin_stats::names::{self, label};
use serin_stats::snapshot::Snapshot;
use serin_stats::split::Split;
use tokio::runtime::{Builder, LocalRuntime};
use tokio::sync::{Notify, mpsc, watch};

use crate::Clock;
use crate::descriptors::affordable_connections;
use crate::gauge::Gauges;
use crate::listener::{self, Acceptor, BindError, Listener};
use crate::measure::Measurements;
use crate::observe::{Sampling, SpanLinks};
use crate::route::Table;
use crate::shadow::Memory;
use crate::succession::Inheritance;
use crate::tls::{Handshakes, Port};
use crate::upstream::{Clusters, overseer};
use crate::worker::{self, Desk};

/// Connections that may wait to be taken by one worker.
const HANDOVERS: usize = 1024;
/// How long threads may take to end once nothing is left to do.
const THREADS_END: Duration = Duration::from_secs(5);

/// The running data plane: a handle that can be cloned.
#[derive(Clone)]
pub struct DataPlane {
    shared: Arc<Shared>,
    signal: Arc<watch::Sender<Signal>>,
    addresses: Arc<[SocketAddr]>,
    clock: Clock,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Every request in flight was finished.
    pub finished: bool,
    /// Requests that were cut off.
    pub cut: usize,
}

/// What all threads share.
pub(crate) struct Shared {
    /// What is in force; `None` before the first install.
    pub(crate) rules: Arc<ArcSwapOption<Rules>>,
    /// Until then.
    pub(crate) first_limits: Limits,
    /// Client connections that there are file descriptors for.
    affordable: usize,
    /// What is going on.
    pub(crate) gauges: Arc<Gauges>,
    /// By listener.
    pub(crate) ports: Box<[Port]>,
    /// With clients, on listeners with TLS.
    pub(crate) handshakes: Handshakes,
    /// What copies of requests may hold.
    pub(crate) copies: Arc<Memory>,
    /// Who collects spans of exchanges.
    pub(crate) span_links: OnceLock<Arc<dyn SpanLinks>>,
    /// The backends in force, for whom it concerns beside the workers.
    pub(crate) clusters: watch::Sender<Arc<Clusters>>,
    measurements: Measurements,
}

/// What a request is served by: swapped as one.
pub(crate) struct Rules {
    /// Bounds on what clients may do.
    pub(crate) limits: Limits,
    /// Which requests are traced.
    pub(crate) sampling: Sampling,
    /// Routes and splits.
    pub(crate) table: Table,
    /// Their backends.
    pub(crate) clusters: Arc<Clusters>,
}

/// What the threads are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    /// How far the data plane is in its life.
    pub(crate) phase: Phase,
}

/// How far the data plane is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Connections are accepted.
    Serving,
    /// No new connections, no new requests on old ones.
    Draining,
    /// What is left is cut off.
    Stopped,
}

impl DataPlane {
    /// Opens the listeners, or takes them over from the process that serves now, and starts the threads.
    /// Connections wait in the kernel's queue until the first [`install`](Self::install).
    ///
    /// # Errors
    ///
    /// When an address cannot be bound or a thread cannot be started; nothing runs then.
    pub fn start(config: &Arc<Config>, bell: Arc<Notify>, clock: Clock) -> Result<Self, BindError> {
        let addresses: Vec<SocketAddr> = config.listeners.iter().map(|each| each.address).collect();
        let mut inheritance = Inheritance::claim(&config.state, &addresses);
        let listeners = Listener::open_all(&addresses, &mut inheritance)?;
        let addresses: Vec<SocketAddr> = listeners.iter().map(Listener::address).collect();
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let workers = config.workers.unwrap_or(cores).get();
        let (signal, _) = watch::channel(Signal {
            phase: Phase::Serving,
        });
        let shared = Arc::new(Shared::new(config, workers, bell));
        let plane = Self {
            shared,
            signal: Arc::new(signal),
            addresses: addresses.into(),
            clock,
        };
        plane
            .start_threads(workers, listeners, inheritance, config, clock)
            .map_err(BindError::Thread)?;
        Ok(plane)
    }

    /// Where clients are accepted, with the real ports.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.to_vec()
    }

    /// Puts routes, limits, certificates and splits in force, for all workers at once. Listeners' addresses and
    /// the number of workers stay as they were started.
    pub fn install(&self, config: &Arc<Config>, splits: &BTreeMap<String, Arc<Split>>) {
        let telemetry = config.telemetry.as_ref();
        let sampling = telemetry.map(|telemetry| telemetry.trace_sample);
        let former = Arc::clone(&self.shared.clusters.borrow());
        let clusters = Arc::new(Clusters::new(config, Some(&former)));
        let rules = Rules {
            clusters: Arc::clone(&clusters),
            limits: config.limits.clone(),
            sampling: sampling.map(Sampling::of).unwrap_or_default(),
            table: Table::new(config, splits, &self.shared.measurements),
        };
        self.shared.rules.store(Some(Arc::new(rules)));
        self.shared.gauges.look_for_room();
        self.shared.clusters.send_replace(clusters);
        for (port, listener) in self.shared.ports.iter().zip(&config.listeners) {
            port.reload(listener);
        }
        // Workers read the rules at every request; this makes idle ones let go of the old.
        self.signal.send_modify(|_| {});
    }

    /// From now on requests are traced, those that callers or the configuration's `trace_sample` choose. Who
    /// collects the spans is given once; later ones are ignored.
    pub fn trace(&self, collector: Arc<dyn SpanLinks>) {
        _ = self.shared.span_links.set(collector);
    }

    /// What happened. Takes the slots of users that erred: there is one caller, the control loop.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.measurements.snapshot()
    }

    /// Writes the data plane's metrics onto the page.
    pub fn metrics(&self, page: &mut Page) {
        self.shared.measurements.metrics(page);
        let clusters = Arc::clone(&self.shared.clusters.borrow());
        clusters.metrics(page, self.clock.now_ms());
        let active = page.family(&names::ACTIVE_REQUESTS);
        active.add(&[], self.in_flight());
        let connections = page.family(&names::CONNECTIONS);
        connections.add(&[], self.connections());
        let Handshakes { completed, failed } = &self.shared.handshakes;
        let handshakes = page.family(&names::TLS_HANDSHAKES);
        for (result, count) in [("completed", completed), ("failed", failed)] {
            handshakes.add(&[(label::RESULT, result)], count.load(Ordering::Relaxed));
        }
    }

    /// Requests in flight, responses that are still streaming included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.gauges.in_flight()
    }

    /// Whether another process has taken listeners over, and stays when this one leaves.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.shared.gauges.heirs() > 0
    }

    /// Client connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.gauges.connections()
    }

    /// Closes the listeners, asks every connection to end (`Connection: close`, GOAWAY), waits until all are
    /// gone or the limit has passed, then cuts off what is left and ends the threads. Everything is recorded
    /// when this returns.
    pub async fn drain(&self, limit: Duration) -> Drained {
        let gauges = &self.shared.gauges;
        self.tell(Phase::Draining);
        let gone = gauges.until(|gauges| gauges.connections() == 0 && gauges.acceptors() == 0);
        let finished = tokio::time::timeout(limit, gone).await.is_ok();
        let cut = if finished { 0 } else { gauges.in_flight() };
        self.tell(Phase::Stopped);
        let ended = gauges.until(|gauges| gauges.threads() == 0);
        if tokio::time::timeout(THREADS_END, ended).await.is_err() {
            tracing::error!(threads = gauges.threads(), "data-plane threads don't end");
        }
        Drained {
            finished: cut == 0,
            cut,
        }
    }

    fn tell(&self, phase: Phase) {
        self.signal.send_modify(|signal| signal.phase = phase);
    }

    /// All threads, or none: a failure tells those that run to stop.
    fn start_threads(
        &self,
        workers: usize,
        listeners: Vec<Listener>,
        mut inheritance: Inheritance,
        config: &Config,
        clock: Clock,
    ) -> std::io::Result<()> {
        let start = || {
            let mut queues = Vec::with_capacity(workers);
            for number in 0..workers {
                let (queue, handovers) = mpsc::channel(HANDOVERS);
                queues.push(queue);
                let (shared, signal) = (Arc::clone(&self.shared), self.signal.subscribe());
                self.spawn(format!("serin-worker-{number}"), move |runtime| {
                    let desk = Rc::new(Desk::new(number, shared, clock));
                    runtime.block_on(worker::run(desk, handovers, signal));
                })?;
            }
            let (clusters, signal) = (self.shared.clusters.subscribe(), self.signal.subscribe());
            self.spawn("serin-overseer".to_owned(), move |runtime| {
                runtime.block_on(overseer::run(clusters, signal));
            })?;
            let acceptor = Acceptor {
                shared: Arc::clone(&self.shared),
                workers: queues.into(),
                state: config.state.clone(),
                bond: inheritance.bond(),
            };
            let signal = self.signal.subscribe();
            let accepting = self.shared.gauges.accepting();
            self.spawn("serin-acceptor".to_owned(), move |runtime| {
                let _accepting = accepting;
                runtime.block_on(listener::run(acceptor, listeners, signal));
            })
        };
        start().inspect_err(|_| self.tell(Phase::Stopped))
    }

    /// Starts a thread with a runtime of its own; returns when the runtime stands.
    fn spawn(
        &self,
        name: String,
        body: impl FnOnce(&LocalRuntime) + Send + 'static,
    ) -> std::io::Result<()> {
        let running = self.shared.gauges.running();
        let (started, outcome) = blocking::sync_channel(1);
        std::thread::Builder::new().name(name).spawn(move || {
            let _running = running;
            match Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
            {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    body(&runtime);
                    // Here, not in a later thread-local destructor: what is cut off is recorded.
                    // Nobody waits for a name that is being looked up.
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
        let died = |_| Err(std::io::Error::other("the thread died"));
        outcome.recv().unwrap_or_else(died)
    }
}

impl Shared {
    /// Of so many workers; nothing is in force yet.
    pub(crate) fn new(config: &Config, workers: usize, bell: Arc<Notify>) -> Self {
        Self {
            rules: Arc::default(),
            first_limits: config.limits.clone(),
            gauges: Arc::new(Gauges::new(workers)),
            ports: config.listeners.iter().map(Port::new).collect(),
            handshakes: Handshakes::default(),
            copies: Arc::default(),
            span_links: OnceLock::new(),
            clusters: watch::Sender::default(),
            measurements: Measurements::new(workers, bell),
            affordable: affordable_connections(),
        }
    }

    /// Client connections that may be open: as many as was said, and never so many that nothing is left of the file
    /// descriptors for the endpoints, for probes and for operators.
    pub(crate) fn max_connections(&self) -> usize {
        let wanted = match &*self.rules.load() {
            Some(rules) => rules.limits.max_connections,
            None => self.first_limits.max_connections,
        };
        wanted.min(self.affordable)
    }
}

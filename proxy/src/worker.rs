//! One data-plane thread: its own runtime, its own upstream connections, its own counters.
//!
//! Nothing on a request's way leaves the thread. The acceptor hands connections over; a signal tells of new
//! rules, of draining and of the end.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Cache};
use tokio::sync::{Notify, mpsc, watch};

use crate::Clock;
use crate::connection::{self, Activity};
use crate::gauge::{Gauges, Seat};
use crate::identity::Identity;
use crate::observe::Arrival;
use crate::plane::{Phase, Rules, Shared, Signal};
use crate::upstream::Upstreams;

/// How often idle upstream connections are looked at.
const REAP_EVERY: Duration = Duration::from_secs(10);

/// A connection for a worker.
pub(crate) struct Handover {
    /// Non-blocking.
    pub(crate) stream: TcpStream,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Counts it while it lives.
    pub(crate) seat: Seat,
}

/// What every exchange on this worker uses.
pub(crate) struct Desk {
    /// This worker's number.
    pub(crate) worker: usize,
    /// Connections to upstreams.
    pub(crate) upstreams: Upstreams,
    /// Names and dice.
    pub(crate) identity: Identity,
    /// Set once no more requests are wanted.
    pub(crate) closing: Closing,
    shared: Arc<Shared>,
    clock: Clock,
    rules: RefCell<RulesCache>,
}

type RulesCache = Cache<Arc<ArcSwapOption<Rules>>, Option<Arc<Rules>>>;

/// Tells every connection of the worker that it is to end.
#[derive(Default)]
pub(crate) struct Closing {
    begun: Cell<bool>,
    begins: Notify,
}

/// A request in flight: counted for its worker, and for its connection's idleness.
pub(crate) struct InFlight {
    desk: Rc<Desk>,
    activity: Rc<Activity>,
}

impl Desk {
    pub(crate) fn new(worker: usize, shared: Arc<Shared>, clock: Clock) -> Self {
        Self {
            worker,
            upstreams: Upstreams::default(),
            identity: Identity::default(),
            closing: Closing::default(),
            rules: RefCell::new(Cache::new(Arc::clone(&shared.rules))),
            shared,
            clock,
        }
    }

    /// The rules in force: read once per request.
    pub(crate) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.borrow_mut().load().clone()
    }

    /// Bounds for connections; the start's, until rules are installed.
    pub(crate) fn with_limits<T>(&self, read: impl FnOnce(&serin_config::model::Limits) -> T) -> T {
        match self.rules.borrow_mut().load() {
            Some(rules) => read(&rules.limits),
            None => read(&self.shared.first_limits),
        }
    }

    /// A request's head has arrived.
    pub(crate) fn arrival(&self) -> Arrival {
        let at = Instant::now();
        Arrival {
            at,
            unix_ms: self.clock.at(at),
        }
    }

    fn gauges(&self) -> &Gauges {
        &self.shared.gauges
    }

    /// New rules came: lets go of the old ones, and of endpoints that left.
    fn refresh(&self) {
        if let Some(rules) = self.rules() {
            self.upstreams.retain(&rules.table);
        }
    }
}

impl Closing {
    /// Waits until no more requests are wanted.
    pub(crate) async fn begun(&self) {
        let begins = self.begins.notified();
        if !self.begun.get() {
            begins.await;
        }
    }

    fn begin(&self) {
        self.begun.set(true);
        self.begins.notify_waiters();
    }
}

impl InFlight {
    /// A request begins.
    pub(crate) fn begin(desk: &Rc<Desk>, activity: &Rc<Activity>) -> Self {
        desk.gauges().request_began(desk.worker);
        activity.request_began();
        Self {
            desk: Rc::clone(desk),
            activity: Rc::clone(activity),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.desk.gauges().request_ended(self.desk.worker);
        self.activity.request_ended();
    }
}

/// Serves what is handed over until told to stop.
pub(crate) async fn run(
    desk: Rc<Desk>,
    mut handovers: mpsc::Receiver<Handover>,
    mut signal: watch::Receiver<Signal>,
) {
    let mut reap = tokio::time::interval(REAP_EVERY);
    let mut accepting = true;
    loop {
        tokio::select! {
            handover = handovers.recv(), if accepting => match handover {
                Some(handover) => {
                    tokio::task::spawn_local(connection::serve(Rc::clone(&desk), handover));
                }
                None => accepting = false,
            },
            changed = signal.changed() => {
                let phase = signal.borrow_and_update().phase;
                match phase {
                    _ if changed.is_err() => return,
                    Phase::Serving => desk.refresh(),
                    Phase::Draining => desk.closing.begin(),
                    Phase::Stopped => return,
                }
            }
            _ = reap.tick() => desk.upstreams.reap(Instant::now()),
        }
    }
}

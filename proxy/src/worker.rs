//! One data-plane thread: its own runtime, its own upstream connections, its own counters.
//!
//! Nothing on a request's way leaves the thread. The acceptor hands connections over; a signal tells of new
//! rules, of draining and of the end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwapOption, Cache};
use tokio::sync::{Notify, mpsc, watch};

use crate::Clock;
use crate::buffer::Buffers;
use crate::connection;
use crate::exchange::Budgets;
use crate::gauge::{Gauges, Seat};
use crate::identity::Identity;
use crate::observe::{Arrival, SpanLinks};
use crate::plane::{Phase, Rules, Shared, Signal};
use crate::shadow::Mirror;
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
    /// How to shake hands, on a listener with TLS.
    pub(crate) greeting: Option<Arc<rustls::ServerConfig>>,
}

/// What every exchange on this worker uses.
pub(crate) struct Desk {
    /// This worker's number.
    pub(crate) worker: usize,
    /// Connections to upstreams.
    pub(crate) upstreams: Upstreams,
    /// Copies of requests.
    pub(crate) mirror: Rc<Mirror>,
    /// Names and dice.
    pub(crate) identity: Identity,
    /// How often upstreams may be asked again.
    pub(crate) budgets: Budgets,
    /// Memory that connections borrow.
    pub(crate) buffers: Rc<Buffers>,
    /// Set once no more requests are wanted.
    pub(crate) closing: Closing,
    shared: Arc<Shared>,
    clock: Clock,
    rules: RefCell<RulesCache>,
    date: Cell<(u64, [u8; 29])>,
}

type RulesCache = Cache<Arc<ArcSwapOption<Rules>>, Option<Arc<Rules>>>;

/// Tells every connection of the worker that it is to end.
#[derive(Default)]
pub(crate) struct Closing {
    begun: Cell<bool>,
    begins: Notify,
    /// Tasks that look for themselves once they are woken.
    told: RefCell<HashMap<u64, Waker>>,
    next: Cell<u64>,
}

/// A task is woken when no more requests are wanted, as long as it holds this.
pub(crate) struct Told {
    desk: Rc<Desk>,
    number: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.desk.closing.told.borrow_mut().remove(&self.number);
    }
}

/// A request in flight, counted for its worker.
pub(crate) struct InFlight {
    desk: Rc<Desk>,
}

impl Desk {
    pub(crate) fn new(worker: usize, shared: Arc<Shared>, clock: Clock) -> Self {
        Self {
            worker,
            upstreams: Upstreams::new(clock),
            mirror: Rc::new(Mirror::new(Arc::clone(&shared.copies))),
            identity: Identity::default(),
            budgets: Budgets::default(),
            buffers: Rc::default(),
            closing: Closing::default(),
            rules: RefCell::new(Cache::new(Arc::clone(&shared.rules))),
            shared,
            clock,
            date: Cell::new((u64::MAX, [b' '; 29])),
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

    /// Bounds until rules are installed.
    pub(crate) fn first_limits(&self) -> &serin_config::model::Limits {
        &self.shared.first_limits
    }

    /// A request's head has arrived.
    pub(crate) fn arrival(&self) -> Arrival {
        let at = Instant::now();
        Arrival {
            at,
            unix_ms: self.clock.at(at),
        }
    }

    /// The `Date` at this moment: written once a second.
    pub(crate) fn date(&self, unix_ms: u64) -> [u8; 29] {
        let second = unix_ms / 1000;
        let (written, date) = self.date.get();
        if written == second {
            return date;
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let text = httpdate::fmt_http_date(now);
        let date = text.as_bytes().try_into().unwrap_or(date);
        self.date.set((second, date));
        date
    }

    /// A handshake with a client ended.
    pub(crate) fn shook_hands(&self, is_completed: bool) {
        self.shared.handshakes.count(is_completed);
    }

    /// Who collects spans, if anybody does.
    pub(crate) fn span_links(&self) -> Option<&Arc<dyn SpanLinks>> {
        self.shared.span_links.get()
    }

    fn gauges(&self) -> &Gauges {
        &self.shared.gauges
    }

    /// Has the present task woken when no more requests are wanted.
    pub(crate) async fn tell(self: &Rc<Self>) -> Told {
        let closing = &self.closing;
        let number = closing.next.get();
        closing.next.set(number + 1);
        std::future::poll_fn(|cx| {
            let waker = cx.waker().clone();
            closing.told.borrow_mut().insert(number, waker);
            Poll::Ready(())
        })
        .await;
        Told {
            desk: Rc::clone(self),
            number,
        }
    }

    /// New rules came: lets go of the old ones, and of endpoints that left.
    fn refresh(&self) {
        if let Some(rules) = self.rules() {
            self.mirror.retain(&rules.table);
        }
        self.upstreams.let_go();
    }
}

impl Closing {
    /// Whether no more requests are wanted.
    pub(crate) const fn has_begun(&self) -> bool {
        self.begun.get()
    }

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
        let told = self.told.borrow();
        told.values().for_each(Waker::wake_by_ref);
    }
}

impl InFlight {
    /// A request begins.
    pub(crate) fn begin(desk: &Rc<Desk>) -> Self {
        desk.gauges().request_began(desk.worker);
        Self {
            desk: Rc::clone(desk),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.desk.gauges().request_ended(self.desk.worker);
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
                    Phase::Draining => {
                        desk.closing.begin();
                        desk.mirror.close();
                    }
                    Phase::Stopped => return,
                }
            }
            _ = reap.tick() => {
                let now = Instant::now();
                desk.upstreams.reap(now);
                desk.mirror.reap(now);
            }
        }
    }
}

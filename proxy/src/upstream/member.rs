//! One address of a backend, as all workers see it: how loaded it is, and whether it is to be asked.
//!
//! Everything is an atomic of its own: workers note what they see and wait for nobody. A lost update of a
//! latency is one sample less.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use serin_config::model::Endpoint;
use serin_config::tls::ClientTls;
use xxhash_rust::xxh3::xxh3_64;

use super::balance::{Candidate, PeakEwma};
use super::dial::Wire;
use super::ejection::Past;
use super::quota::Quota;

/// What a name stands for; all its members share it.
pub(super) type Siblings = Arc<ArcSwap<Vec<SocketAddr>>>;

/// One address of an endpoint; the endpoint itself, where the address is its name or is not known yet.
#[derive(Debug)]
pub(crate) struct Member {
    /// Unlike any other of this process.
    pub(super) id: u64,
    /// As configured.
    pub(crate) endpoint: Endpoint,
    /// Where it is reached; looked up at every connect when there is none.
    pub(super) address: Option<SocketAddr>,
    /// All addresses of its name, its own among them; none where an address was configured.
    pub(super) siblings: Siblings,
    /// How it is recognised.
    pub(super) tls: Option<ClientTls>,
    /// Names it in this process and any other.
    seed: u64,
    /// Its connections, where their number is bounded.
    pub(super) quota: Arc<Quota>,
    in_flight: AtomicUsize,
    latency: AtomicU64,
    /// Exchanges that just failed here and look for another.
    shunned: AtomicUsize,
    /// In a row.
    failures: AtomicU32,
    times: AtomicU32,
    until_ms: AtomicU64,
    ejected_ms: AtomicU64,
    /// It sent requests away: until when that is taken to go on.
    busy_until_ms: AtomicU64,
    /// When its failures were last told of in the log, or 0; and how many were not since.
    told_ms: AtomicU64,
    untold: AtomicU32,
    /// It did when it was last offered both.
    chose_http1: AtomicBool,
    /// What checks say; well until they say otherwise.
    is_unwell: AtomicBool,
    /// Checks have not found it well yet.
    is_unproven: AtomicBool,
    /// It left the configuration, or its name.
    is_retired: AtomicBool,
}

/// What becomes of an endpoint at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is asked.
    Healthy,
    /// Checks say that it is unwell.
    Unhealthy,
    /// It failed its clients and is left alone for a while.
    Ejected,
}

/// Who is asked before whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It is asked.
    Good,
    /// It failed its clients some time ago, or no check has found it well yet: asked when there is nobody better, as
    /// when the others are restarted.
    Doubtful,
    /// It has just failed an exchange that looks for another.
    Shunned,
    /// Checks say that it is unwell.
    Unwell,
}

impl State {
    /// In the order of [`name`](Self::name)s.
    pub(super) const ALL: [Self; 3] = [Self::Healthy, Self::Unhealthy, Self::Ejected];

    /// As metrics name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}

impl Member {
    pub(super) fn new(
        endpoint: &Endpoint,
        address: Option<SocketAddr>,
        siblings: Siblings,
        tls: Option<ClientTls>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let address = address.or_else(|| {
            let ip = endpoint.host.parse().ok()?;
            Some(SocketAddr::new(ip, endpoint.port))
        });
        let name = match address {
            Some(address) => address.to_string(),
            None => endpoint.authority(),
        };
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            endpoint: endpoint.clone(),
            address,
            siblings,
            tls,
            seed: xxh3_64(name.as_bytes()),
            quota: Arc::default(),
            in_flight: AtomicUsize::new(0),
            latency: AtomicU64::new(PeakEwma::default().to_bits()),
            shunned: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            times: AtomicU32::new(0),
            until_ms: AtomicU64::new(0),
            ejected_ms: AtomicU64::new(0),
            busy_until_ms: AtomicU64::new(0),
            told_ms: AtomicU64::new(0),
            untold: AtomicU32::new(0),
            chose_http1: AtomicBool::new(false),
            is_unwell: AtomicBool::new(false),
            is_unproven: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
        }
    }

    /// One more exchange.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// One less.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// An exchange looks for another, or has found one.
    pub(super) fn shun(&self, begins: bool) {
        if begins {
            self.shunned.fetch_add(1, Relaxed);
        } else {
            self.shunned.fetch_sub(1, Relaxed);
        }
    }

    /// Whether others are rather chosen at this moment.
    pub(super) fn is_shunned(&self) -> bool {
        self.shunned.load(Relaxed) > 0
    }

    /// What it costs to ask it.
    pub(super) fn load(&self, now_ms: u64) -> f64 {
        /// More than any that are not avoided; these are still compared with each other.
        const AVOIDED: f64 = 1e12;
        let latency = PeakEwma::from_bits(self.latency.load(Relaxed));
        let load = latency.load(self.in_flight.load(Relaxed), now_ms);
        if self.is_shunned() || now_ms < self.busy_until_ms.load(Relaxed) {
            AVOIDED + load
        } else {
            load
        }
    }

    /// It sent a request away: others are rather chosen for a moment.
    pub(super) fn is_busy_at(&self, now_ms: u64) {
        /// In milliseconds.
        const MOMENT: u64 = 1_000;
        self.busy_until_ms.store(now_ms + MOMENT, Relaxed);
    }

    /// As a key sees it.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            seed: self.seed,
            in_flight: self.in_flight.load(Relaxed),
        }
    }

    /// An answer took this long; `at_least` for one that was not waited for.
    pub(super) fn saw(&self, latency_ms: f32, at_least: bool, now_ms: u64) {
        let known = PeakEwma::from_bits(self.latency.load(Relaxed));
        if !at_least || latency_ms > known.latency_ms {
            let seen = known.seen(latency_ms, now_ms);
            self.latency.store(seen.to_bits(), Relaxed);
        }
    }

    /// It did well.
    pub(super) fn forgive(&self) {
        // Seldom anything else: a read leaves the line where it is.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// It failed: how often in a row by now.
    pub(super) fn blame(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// It gave no answer. How many times since that was last told of, this one among them, if it is to be told of now:
    /// the first time, and then no more than six times a minute, however many clients it fails.
    pub(super) fn is_to_be_told(&self, now_ms: u64) -> Option<u32> {
        /// In milliseconds.
        const PAUSE: u64 = 10_000;
        self.untold.fetch_add(1, Relaxed);
        let told = self.told_ms.load(Relaxed);
        let is_soon = told != 0 && now_ms < told + PAUSE;
        let now_ms = now_ms.max(1);
        let is_ours = !is_soon
            && (self.told_ms)
                .compare_exchange(told, now_ms, Relaxed, Relaxed)
                .is_ok();
        is_ours.then(|| self.untold.swap(0, Relaxed))
    }

    pub(super) fn past(&self) -> Past {
        Past {
            times: self.times.load(Relaxed),
            until_ms: self.until_ms.load(Relaxed),
        }
    }

    /// Leaves it alone for a while.
    pub(super) fn eject(&self, past: Past, now_ms: u64) {
        self.failures.store(0, Relaxed);
        self.ejected_ms.store(now_ms, Relaxed);
        self.times.store(past.times, Relaxed);
        self.until_ms.store(past.until_ms, Relaxed);
    }

    /// It is left alone until this moment, and no longer.
    pub(super) fn pardon(&self, now_ms: u64) {
        self.until_ms.fetch_min(now_ms, Relaxed);
    }

    /// Since when it is left alone, if it is.
    pub(super) fn ejected_since(&self, now_ms: u64) -> Option<u64> {
        (!self.past().is_over(now_ms)).then(|| self.ejected_ms.load(Relaxed))
    }

    /// It answered well, asked at this time: who is asked while it is left alone, for want of others, and answers, is
    /// well again. An answer to who asked before says nothing of that.
    pub(super) fn redeem(&self, asked_ms: u64, now_ms: u64) {
        if self
            .ejected_since(now_ms)
            .is_some_and(|since| asked_ms > since)
        {
            self.pardon(now_ms);
        }
    }

    /// What it chose when it was offered both, or that it may choose otherwise now.
    pub(super) fn chose(&self, wire: Option<Wire>) {
        let is_http1 = wire == Some(Wire::Http1);
        self.chose_http1.store(is_http1, Relaxed);
    }

    /// Whether it is known that HTTP/1.1 is spoken where that is its choice. Without TLS nobody asks.
    pub(super) fn speaks_http1(&self) -> bool {
        self.tls.is_none() || self.chose_http1.load(Relaxed)
    }

    /// What checks say.
    pub(super) fn set_well(&self, is_well: bool) {
        self.is_unwell.store(!is_well, Relaxed);
    }

    /// Whether a check has found it well yet, where there are checks.
    pub(super) fn set_proven(&self, is_proven: bool) {
        self.is_unproven.store(!is_proven, Relaxed);
    }

    /// What checks said last.
    pub(super) fn is_well(&self) -> bool {
        !self.is_unwell.load(Relaxed)
    }

    pub(super) fn state(&self, now_ms: u64) -> State {
        if !self.is_well() {
            State::Unhealthy
        } else if self.past().is_over(now_ms) {
            State::Healthy
        } else {
            State::Ejected
        }
    }

    pub(super) fn standing(&self, now_ms: u64) -> Standing {
        match self.state(now_ms) {
            State::Unhealthy => Standing::Unwell,
            _ if self.is_shunned() => Standing::Shunned,
            State::Healthy if !self.is_unproven.load(Relaxed) => Standing::Good,
            State::Healthy | State::Ejected => Standing::Doubtful,
        }
    }

    /// Whether it is to be asked.
    pub(super) fn is_available(&self, now_ms: u64) -> bool {
        self.state(now_ms) == State::Healthy
    }

    pub(super) fn retire(&self) {
        self.is_retired.store(true, Relaxed);
    }

    /// Whether nobody asks it any more.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Relaxed)
    }
}

//! One endpoint's connections on one worker.
//!
//! HTTP/1.1: idle connections, the latest used first, so that surplus ones grow old and are closed; one is used
//! again only when it is still open and silent. HTTP/2: one connection that all exchanges share; who finds it
//! closed opens the next, the others wait for that one attempt.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use hyper::client::conn::{http1, http2};
use serin_config::model::Endpoint;
use serin_config::tls::ClientTls;

use super::dial::{self, Wire};
use super::lease::{Connection, Lease};
use super::line::Resting;
use super::{IDLE_LIMIT, MAX_IDLE};
use crate::error::Failure;
use crate::exchange::Upload;
use crate::socket::{Probe, Stream};

type SharedHttp2 = Shared<LocalBoxFuture<'static, Result<http2::SendRequest<Upload>, Rc<Failure>>>>;

/// One endpoint.
pub(crate) struct Upstream {
    endpoint: Endpoint,
    tls: Option<ClientTls>,
    outstanding: Cell<usize>,
    /// The longest idle first.
    idle: RefCell<Vec<Idle>>,
    resting: Resting,
    http2: RefCell<Option<SharedHttp2>>,
}

/// A connection that nobody uses.
struct Idle {
    sender: http1::SendRequest<Upload>,
    probe: Probe,
    since: Instant,
}

/// One exchange that asks an endpoint: counted while it lasts.
pub(crate) struct Booking(Rc<Upstream>);

impl Upstream {
    pub(super) fn new(endpoint: Endpoint, tls: Option<ClientTls>) -> Self {
        Self {
            endpoint,
            tls,
            outstanding: Cell::new(0),
            idle: RefCell::default(),
            resting: Resting::default(),
            http2: RefCell::default(),
        }
    }

    /// Whether the endpoint is to be recognised like this.
    pub(super) fn is_secured_by(&self, tls: Option<&ClientTls>) -> bool {
        self.tls.as_ref() == tls
    }

    /// Exchanges in flight.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.get()
    }

    /// A new connection.
    pub(super) async fn open(&self, wire: Wire, limit: Duration) -> Result<Stream, Failure> {
        dial::connect(&self.endpoint, self.tls.as_ref(), wire, limit).await
    }

    /// Connections on which we speak HTTP/1.1 ourselves.
    pub(super) const fn resting(&self) -> &Resting {
        &self.resting
    }

    /// Keeps a connection for the next exchange.
    pub(super) fn keep(&self, sender: http1::SendRequest<Upload>, probe: Probe) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(Idle {
                sender,
                probe,
                since: Instant::now(),
            });
        }
    }

    /// Closes connections that were idle for too long.
    pub(super) fn reap(&self, now: Instant) {
        self.resting.reap(now);
        self.idle.borrow_mut().retain(|idle| {
            now.saturating_duration_since(idle.since) < IDLE_LIMIT && !idle.sender.is_closed()
        });
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        while let Some(last) = idle.pop() {
            if last.sender.is_ready() && last.probe.is_quiet() {
                return Some(last);
            }
        }
        None
    }

    async fn shared_http2(
        &self,
        limit: Duration,
    ) -> Result<(http2::SendRequest<Upload>, bool), Rc<Failure>> {
        let open = self.http2.borrow().clone();
        if let Some(open) = open {
            let is_reused = open.peek().is_some();
            match open.await {
                Ok(sender) if !sender.is_closed() => return Ok((sender, is_reused)),
                // The attempt that all waited for failed.
                Err(failure) if !is_reused => return Err(failure),
                _ => {}
            }
        }
        let next = self.open_http2(limit);
        Ok((next.await?, false))
    }

    /// Opens the next shared connection, unless another exchange did so meanwhile.
    fn open_http2(&self, limit: Duration) -> SharedHttp2 {
        let mut slot = self.http2.borrow_mut();
        let usable = slot.as_ref().filter(|open| match open.peek() {
            None => true,
            Some(Ok(sender)) => !sender.is_closed(),
            Some(Err(_)) => false,
        });
        if let Some(open) = usable {
            return open.clone();
        }
        let (endpoint, tls) = (self.endpoint.clone(), self.tls.clone());
        let dialing = async move {
            let dialing = dial::http2(&endpoint, tls.as_ref(), limit);
            dialing.await.map_err(Rc::new)
        };
        let dialing = dialing.boxed_local().shared();
        *slot = Some(dialing.clone());
        dialing
    }
}

impl Booking {
    pub(super) fn new(upstream: Rc<Upstream>) -> Self {
        upstream.outstanding.set(upstream.outstanding.get() + 1);
        Self(upstream)
    }

    /// The endpoint that is asked.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Counts one more exchange there: as long as this is held, others are rather chosen.
    pub(crate) fn shun(&self) -> Self {
        Self::new(Rc::clone(&self.0))
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.0
    }

    /// A connection: an idle one if there is one and `fresh` doesn't forbid it, else a new one.
    pub(crate) async fn lease(
        self,
        wire: Wire,
        fresh: bool,
        limit: Duration,
    ) -> Result<Lease, Rc<Failure>> {
        match wire {
            Wire::Http1 => {
                let idle = if fresh { None } else { self.0.take_idle() };
                let is_reused = idle.is_some();
                let (sender, probe) = match idle {
                    Some(idle) => (idle.sender, idle.probe),
                    None => dial::http1(&self.0.endpoint, self.0.tls.as_ref(), limit).await?,
                };
                let connection = Connection::Http1 { sender, probe };
                Ok(Lease::new(self, connection, is_reused))
            }
            Wire::Http2 => {
                let (sender, is_reused) = self.0.shared_http2(limit).await?;
                Ok(Lease::new(self, Connection::Http2(sender), is_reused))
            }
        }
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        let upstream = &self.0;
        upstream
            .outstanding
            .set(upstream.outstanding.get().saturating_sub(1));
    }
}

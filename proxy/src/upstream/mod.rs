//! Which endpoint is asked, over which connection.
//!
//! Each worker has its own pools, so nothing here is shared between threads: [`pool`] keeps an endpoint's
//! connections, [`dial`] opens them, [`lease`] is one exchange's hold on one, [`Upstreams`] finds the endpoint.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serin_config::model::{Backend, Endpoint};

use crate::identity::Identity;
use crate::route::Table;

mod dial;
mod lease;
mod line;
mod pool;

pub(crate) use dial::{SameThread, Wire, connect};
pub(crate) use lease::{Lease, Unsent};
pub(crate) use line::Line;
pub(crate) use pool::{Booking, Upstream};

/// Idle HTTP/1.1 connections kept per endpoint and worker.
const MAX_IDLE: usize = 512;
/// An idle connection is closed after this.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// All endpoints that this worker has asked.
#[derive(Default)]
pub(crate) struct Upstreams {
    known: RefCell<HashMap<Endpoint, Rc<Upstream>>>,
}

impl Upstreams {
    /// The less loaded of two of the backend's endpoints, chosen at random; `None` when it has none.
    pub(crate) fn choose(&self, backend: &Backend, dice: &Identity) -> Option<Booking> {
        let endpoints = backend.endpoints.as_slice();
        let upstream = match endpoints {
            [] => return None,
            [only] => self.upstream(only, backend),
            several => {
                let count = several.len() as u64;
                let draw = dice.draw();
                // Two different ones: the second is any of the others.
                let first = (draw >> 32) % count;
                let second = (first + 1 + (draw & 0xffff_ffff) % (count - 1)) % count;
                let first = self.upstream(several.get(first as usize)?, backend);
                let second = self.upstream(several.get(second as usize)?, backend);
                if second.outstanding() < first.outstanding() {
                    second
                } else {
                    first
                }
            }
        };
        Some(Booking::new(upstream))
    }

    /// Forgets the endpoints that left the configuration (exchanges that ask them go on).
    pub(crate) fn retain(&self, table: &Table) {
        let routes = table.entries().iter().map(|entry| &entry.route);
        let backends = routes.flat_map(|route| [Some(&route.baseline), route.canary.as_ref()]);
        let wanted: HashSet<&Endpoint> = backends
            .flatten()
            .flat_map(|backend| &backend.endpoints)
            .collect();
        self.known
            .borrow_mut()
            .retain(|endpoint, _| wanted.contains(endpoint));
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn reap(&self, now: Instant) {
        for upstream in self.known.borrow().values() {
            upstream.reap(now);
        }
    }

    /// One that is to be recognised differently, after a reload, is another one.
    fn upstream(&self, endpoint: &Endpoint, backend: &Backend) -> Rc<Upstream> {
        let tls = backend.tls.as_ref();
        if let Some(known) = self.known.borrow().get(endpoint)
            && known.is_secured_by(tls)
        {
            return Rc::clone(known);
        }
        let upstream = Rc::new(Upstream::new(endpoint.clone(), tls.cloned()));
        let mut known = self.known.borrow_mut();
        known.insert(endpoint.clone(), Rc::clone(&upstream));
        upstream
    }
}

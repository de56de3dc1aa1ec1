//! Which endpoint is asked, over which connection.
//!
//! A backend is a [`cluster`] of [`member`]s, which all workers share: what is known of them is atomics.
//! [`balance`], [`ejection`] and [`health`] say who is asked, [`admission`] how much at once, [`overseer`] looks
//! names and health up, away from the workers. Connections are each worker's own: [`pool`] keeps a member's,
//! [`dial`] opens them, [`line`] is one of HTTP/1.1 in use; where their number is bounded, [`quota`] counts them for
//! all workers. Requests whose body is pulled (those of HTTP/2 clients)
//! go out by a [`lease`], over HTTP/1.1 as a [`talk`] in [`wording`], over [`http2`] on a stream of a connection that
//! all share.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::Clock;
use crate::error::Failure;
use crate::identity::Identity;

mod admission;
mod balance;
mod booking;
mod cluster;
mod clusters;
mod dial;
mod ejection;
mod health;
mod http2;
mod lease;
mod line;
mod member;
pub(crate) mod overseer;
mod pool;
mod quota;
mod talk;
mod wording;

pub(crate) use booking::{Booking, Shunned};
pub(crate) use cluster::Cluster;
pub(crate) use clusters::Clusters;
pub(crate) use dial::{SameThread, Wire, open};
pub(crate) use lease::{Answer, Fate, Lease, Reading, Unanswered};
pub(crate) use line::Line;
pub(crate) use pool::Upstream;

use member::Member;

/// The members that this worker has asked.
pub(crate) struct Upstreams {
    clock: Clock,
    /// By the member's id, which rises.
    known: RefCell<Vec<Rc<Upstream>>>,
}

impl Upstreams {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self {
            clock,
            known: RefCell::new(Vec::new()),
        }
    }

    /// Someone to ask, as soon as the backend has room for one more. `key` is who asks, for backends that
    /// tie keys to endpoints.
    pub(crate) async fn book(
        &self,
        cluster: &Arc<Cluster>,
        key: u64,
        now_ms: u64,
        dice: &Identity,
    ) -> Result<Booking, Failure> {
        let place = match &cluster.admission {
            // Boxed: a queue costs the connections nothing that have none.
            Some(admission) => Box::pin(admission.enter()).await?,
            None => admission::Place::default(),
        };
        let booking = self.choose(cluster, key, now_ms, dice);
        Ok(booking.ok_or_else(Failure::no_endpoint)?.at(place))
    }

    /// Someone to ask; `None` when there is nobody.
    pub(crate) fn choose(
        &self,
        cluster: &Arc<Cluster>,
        key: u64,
        now_ms: u64,
        dice: &Identity,
    ) -> Option<Booking> {
        cluster.with_members(|members| match members {
            [] => None,
            [only] => Some(Booking::of_the_only(self.upstream(cluster, only))),
            several => {
                let member = cluster.pick(several, key, now_ms, dice)?;
                Some(Booking::of_several(self.upstream(cluster, member)))
            }
        })
    }

    /// Forgets the members that nobody is to ask any more (exchanges that ask them go on).
    pub(crate) fn let_go(&self) {
        self.known
            .borrow_mut()
            .retain(|upstream| !upstream.member().is_retired());
    }

    /// Closes connections that were idle for too long, and those of members that are gone.
    pub(crate) fn reap(&self, now: Instant) {
        self.let_go();
        for upstream in self.known.borrow().iter() {
            upstream.reap(now);
        }
    }

    fn upstream(&self, cluster: &Arc<Cluster>, member: &Arc<Member>) -> Rc<Upstream> {
        let mut known = self.known.borrow_mut();
        let place = known.binary_search_by_key(&member.id, |upstream| upstream.member().id);
        match place {
            Ok(at) => match known.get_mut(at) {
                // After a reload the member is another cluster's.
                Some(upstream) if !upstream.is_in(cluster) => {
                    let moved = Rc::new(upstream.moved_to(cluster));
                    *upstream = Rc::clone(&moved);
                    moved
                }
                Some(upstream) => Rc::clone(upstream),
                None => Rc::new(Upstream::new(cluster, member, self.clock)),
            },
            Err(at) => {
                let upstream = Rc::new(Upstream::new(cluster, member, self.clock));
                known.insert(at, Rc::clone(&upstream));
                upstream
            }
        }
    }
}

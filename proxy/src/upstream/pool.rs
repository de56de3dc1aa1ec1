//! One member's connections on one worker.
//!
//! HTTP/1.1: idle connections, the latest used first, so that surplus ones grow old and are closed; one is used
//! again only when it is still open and silent. HTTP/2: one connection that all exchanges share; who finds it
//! closed, or with as many streams as the endpoint takes, opens the next, the others wait for that one attempt. Where the endpoint chooses what is spoken, that
//! attempt finds it out for all: when it is HTTP/1.1 each goes on to a connection of its own.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use serin_config::model::Pool;

use super::cluster::Cluster;
use super::dial::{self, Wire};
use super::http2::Http2;
use super::line::{Held, Resting};
use super::member::Member;
use super::quota::Counted;
use crate::Clock;
use crate::error::Failure;
use crate::socket::Stream;

/// `None` when the endpoint chose HTTP/1.1; the connection rests then.
type Opened = Result<Option<Http2>, Rc<Failure>>;

/// Connections of HTTP/2 at once: who finds them all full waits.
const MOST_SHARED: usize = 8;

/// An attempt to open a shared connection.
#[derive(Clone)]
struct Attempt {
    wanted: Option<Wire>,
    opened: Shared<LocalBoxFuture<'static, Opened>>,
}

/// One member, as one worker reaches it.
#[derive(Clone)]
pub(crate) struct Upstream {
    reach: Reach,
    kept: Rc<Kept>,
}

/// A member, and who is told how it does.
#[derive(Clone)]
pub(super) struct Reach {
    cluster: Arc<Cluster>,
    member: Arc<Member>,
    clock: Clock,
}

/// Its connections.
#[derive(Default)]
struct Kept {
    resting: Resting,
    http2: RefCell<Vec<Attempt>>,
}

impl Upstream {
    pub(super) fn new(cluster: &Arc<Cluster>, member: &Arc<Member>, clock: Clock) -> Self {
        let reach = Reach {
            cluster: Arc::clone(cluster),
            member: Arc::clone(member),
            clock,
        };
        Self {
            reach,
            kept: Rc::default(),
        }
    }

    /// The same member and connections, in the cluster that a reload made.
    pub(super) fn moved_to(&self, cluster: &Arc<Cluster>) -> Self {
        Self {
            reach: Reach {
                cluster: Arc::clone(cluster),
                ..self.reach.clone()
            },
            kept: Rc::clone(&self.kept),
        }
    }

    pub(super) fn is_in(&self, cluster: &Arc<Cluster>) -> bool {
        Arc::ptr_eq(&self.reach.cluster, cluster)
    }

    /// Whether its backend has other members.
    pub(super) fn has_others(&self) -> bool {
        self.reach.cluster.with_members(|members| members.len() > 1)
    }

    pub(super) fn member(&self) -> &Member {
        &self.reach.member
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.reach.clock.now_ms()
    }

    /// The member failed a client.
    pub(super) fn blame(&self) {
        self.reach.blame();
    }

    /// The member answered. Who says no, of whatever kind, is soon done with it, and counts as no faster than answers
    /// are that are good.
    pub(super) fn answered_in(&self, took: Duration, is_good: bool) {
        let mut latency_ms = took.as_secs_f32() * 1e3;
        if is_good {
            self.reach.cluster.succeeded_in(latency_ms);
        } else {
            latency_ms = latency_ms.max(self.reach.cluster.typical_ms());
        }
        self.member().saw(latency_ms, false, self.now_ms());
    }

    /// The member gave a client no answer.
    pub(super) fn complain(&self, failure: &Failure) {
        let Reach {
            cluster, member, ..
        } = &self.reach;
        cluster.complain(member, failure, self.now_ms());
    }

    /// How many idle connections are kept, and how long.
    pub(super) fn limits(&self) -> &Pool {
        &self.reach.cluster.backend.handling.pool
    }

    /// An idle HTTP/1.1 connection, if there is one.
    pub(super) fn idle(&self, now: Instant) -> Option<Held> {
        let pool = self.limits();
        let Some(most) = pool.max_connections else {
            let stream = self.kept.resting.take(now, pool.idle_timeout)?;
            return Some(Held {
                stream,
                is_reused: true,
                counted: None,
            });
        };
        let grant = self.member().quota.idle(most, now, pool.idle_timeout)?;
        let (counted, stream) = grant.take();
        Some(Held {
            stream: stream?,
            is_reused: true,
            counted: Some(counted),
        })
    }

    /// A new HTTP/1.1 connection, or one that came free meanwhile.
    pub(super) async fn new_connection(&self, limit: Duration) -> Result<Held, Failure> {
        let (counted, free) = self.reach.leave().await?;
        let is_reused = free.is_some();
        let stream = match free {
            Some(stream) => stream,
            None => self.reach.open(Some(Wire::Http1), limit).await?,
        };
        Ok(Held {
            stream,
            is_reused,
            counted,
        })
    }

    /// Keeps an HTTP/1.1 connection that nobody uses, if there are not so many.
    pub(super) fn keep(&self, stream: Stream, counted: Option<Counted>, now: Instant, most: usize) {
        match (counted, self.limits().max_connections) {
            (Some(counted), Some(_)) => counted.keep(stream, now, most),
            // From before a reload that bounds them: it was not counted.
            (None, Some(_)) => {}
            (_, None) => self.kept.resting.put(stream, now, most),
        }
    }

    /// Closes connections that were idle for too long.
    pub(super) fn reap(&self, now: Instant) {
        let pool = self.limits();
        let own = match pool.max_connections {
            // From before a reload, like those that `keep` closes.
            Some(_) => Duration::ZERO,
            None => pool.idle_timeout,
        };
        self.kept.resting.reap(now, own);
        self.kept.reap_shared();
        self.member().quota.reap(now, pool.idle_timeout);
    }

    /// The connection that all share, and whether it was there; `None` when the endpoint has the choice and chose
    /// HTTP/1.1.
    pub(super) async fn shared_http2(
        &self,
        wanted: Option<Wire>,
        limit: Duration,
    ) -> Result<Option<(Http2, bool)>, Rc<Failure>> {
        let last = self.kept.best();
        if let Some(last) = last {
            let is_reused = last.opened.peek().is_some();
            match last.opened.await {
                Ok(Some(shared)) if self.kept.suits(&shared) => {
                    return Ok(Some((shared, is_reused)));
                }
                // What came of the attempt that all waited for.
                Ok(None) if !is_reused && wanted.is_none() => return Ok(None),
                Err(failure) if !is_reused && last.wanted == wanted => return Err(failure),
                _ => {}
            }
        }
        let next = self.open_http2(wanted, limit);
        Ok(next.await?.map(|shared| (shared, false)))
    }

    /// Opens the next shared connection, unless another exchange did so meanwhile.
    fn open_http2(
        &self,
        wanted: Option<Wire>,
        limit: Duration,
    ) -> Shared<LocalBoxFuture<'static, Opened>> {
        let usable = self.kept.best().filter(|last| match last.opened.peek() {
            None => last.wanted == wanted,
            Some(_) => true,
        });
        if let Some(last) = usable {
            return last.opened;
        }
        let own = self.clone();
        // On a task of its own: who began it may leave while others wait.
        let opening = tokio::task::spawn_local(async move {
            let (counted, free) = match wanted {
                Some(_) => (None, None),
                // It counts if it turns out to be one of HTTP/1.1.
                None => own.reach.leave().await?,
            };
            let stream = match free {
                Some(stream) => stream,
                None => own.reach.open(wanted, limit).await?,
            };
            match Wire::on(&stream, wanted) {
                Wire::Http2 => Ok(Some(Http2::hello(stream).await?)),
                Wire::Http1 => {
                    own.keep(stream, counted, Instant::now(), usize::MAX);
                    Ok(None)
                }
            }
        });
        let opened = opening.map(|opened| match opened {
            Ok(opened) => opened.map_err(Rc::new),
            Err(stopped) => Err(Rc::new(Failure::Connect(stopped.to_string()))),
        });
        let opened = opened.boxed_local().shared();
        // Whether it is over shows only where it is polled: when all who waited have left, who comes next would take
        // what came of it long ago for news.
        tokio::task::spawn_local(opened.clone());
        self.kept.http2.borrow_mut().push(Attempt {
            wanted,
            opened: opened.clone(),
        });
        opened
    }
}

impl Attempt {
    /// What came of it, if that is of use still.
    fn shared(&self) -> Option<&Http2> {
        match self.opened.peek() {
            Some(Ok(Some(shared))) if !shared.is_closed() => Some(shared),
            _ => None,
        }
    }
}

impl Kept {
    /// The shared connection, or the attempt to open one, for the next exchange; `None` when one more is to be opened.
    fn best(&self) -> Option<Attempt> {
        let mut attempts = self.http2.borrow_mut();
        attempts.retain(|one| one.opened.peek().is_none() || one.shared().is_some());
        let load = |one: &Attempt| one.shared().map_or(0, Http2::open);
        let is_taken = |one: &Attempt| one.shared().is_some_and(Http2::is_taken);
        let free = attempts.iter().find(|one| !is_taken(one));
        let all_taken = attempts.len() >= MOST_SHARED;
        let least = || attempts.iter().min_by_key(|one| load(one));
        free.or_else(|| least().filter(|_| all_taken)).cloned()
    }

    /// Whether a connection is to be used, rather than another one.
    fn suits(&self, shared: &Http2) -> bool {
        let all_taken = self.http2.borrow().len() >= MOST_SHARED;
        !shared.is_closed() && (all_taken || !shared.is_taken())
    }

    /// Lets go of all shared connections but one that nobody uses.
    fn reap_shared(&self) {
        let mut attempts = self.http2.borrow_mut();
        let mut is_first = true;
        attempts.retain(|one| {
            let is_idle = one.shared().is_some_and(|shared| shared.open() == 0);
            std::mem::take(&mut is_first) || !is_idle
        });
    }
}

impl Reach {
    /// Waits until one more HTTP/1.1 connection may be opened, where that is bounded, or one is free.
    async fn leave(&self) -> Result<(Option<Counted>, Option<Stream>), Failure> {
        let pool = &self.cluster.backend.handling.pool;
        let Some(most) = pool.max_connections else {
            return Ok((None, None));
        };
        let quota = &self.member.quota;
        let claimed = quota.claim(most, Instant::now(), pool.idle_timeout);
        let grant = match (claimed, &self.cluster.admission) {
            (Ok(grant), _) => grant,
            (Err(coming), Some(admission)) => admission.queue(coming).await?,
            (Err(_), None) => return Err(Failure::Overloaded),
        };
        let (counted, free) = grant.take();
        Ok((Some(counted), free))
    }

    /// Opens a stream to the member, or to another address of its name when its own doesn't answer: then the
    /// member is to blame, and the client need not know.
    pub(super) async fn open(
        &self,
        wire: Option<Wire>,
        limit: Duration,
    ) -> Result<Stream, Failure> {
        let member = &*self.member;
        let siblings = member.siblings.load_full();
        let others = siblings
            .iter()
            .filter(|&&other| Some(other) != member.address);
        let mut others: Vec<SocketAddr> = others.copied().collect();
        // Shared out: an address that swallows everything must leave time for another.
        let each = limit / (others.len().min(2) as u32 + 1);
        let mut failure = match dial::connect(member, member.address, wire, each).await {
            Ok(stream) => return Ok(stream),
            Err(failure) => failure,
        };
        others.truncate(2);
        for other in others {
            match dial::connect(member, Some(other), wire, each).await {
                Ok(stream) => {
                    self.blame();
                    return Ok(stream);
                }
                Err(another) => failure = another,
            }
        }
        Err(failure)
    }

    fn blame(&self) {
        self.cluster.blame(&self.member, self.clock.now_ms());
    }
}

//! One exchange that asks a member: counted while it lasts, and how the member did is noted once.
//!
//! Where there is nobody else to ask, nothing is noted: there is no choice to make. An exchange that is given up
//! before its answer says that the answer takes at least as long.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serin_config::model::Endpoint;

use super::admission::Place;
use super::dial::Wire;
use super::lease::Lease;
use super::pool::Upstream;
use super::talk::Talk;
use crate::buffer::Buffers;
use crate::error::{Blame, Failure};

/// One exchange that asks a member.
pub(crate) struct Booking {
    upstream: Rc<Upstream>,
    watch: Option<Watch>,
    place: Place,
}

/// A member that is asked.
pub(crate) struct Whom(Rc<Upstream>);

impl Whom {
    /// As long as this is held, others are rather chosen.
    pub(crate) fn shun(&self) -> Shunned {
        self.0.member().shun(true);
        Shunned(Rc::clone(&self.0))
    }
}

/// A member that was asked and failed: as long as this is held, others are rather chosen.
pub(crate) struct Shunned(Rc<Upstream>);

impl Shunned {
    /// Whether there are others.
    pub(crate) fn leaves_others(&self) -> bool {
        self.0.has_others()
    }
}

impl Drop for Shunned {
    fn drop(&mut self) {
        self.0.member().shun(false);
    }
}

/// What is noted where there are several.
struct Watch {
    since: Instant,
    is_noted: Cell<bool>,
}

const TOO_MANY_REQUESTS: u16 = 429;
/// What is said by who takes nothing at this moment, whatever the request: it, or who stands behind it.
const SENDS_AWAY: [u16; 4] = [TOO_MANY_REQUESTS, 502, 503, 504];

impl Booking {
    pub(super) fn of_the_only(upstream: Rc<Upstream>) -> Self {
        Self {
            upstream,
            watch: None,
            place: Place::default(),
        }
    }

    pub(super) fn of_several(upstream: Rc<Upstream>) -> Self {
        upstream.member().begin();
        Self {
            upstream,
            watch: Some(Watch {
                since: Instant::now(),
                is_noted: Cell::new(false),
            }),
            place: Place::default(),
        }
    }

    /// Holds this place as long as it lasts.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Whether the backend lets only so many in at once, so that there may have been a queue.
    pub(crate) const fn is_limited(&self) -> bool {
        self.place.is_held()
    }

    /// The endpoint that is asked.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.upstream.member().endpoint
    }

    /// Who is asked.
    pub(crate) fn whom(&self) -> Whom {
        Whom(Rc::clone(&self.upstream))
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The response's head came, with this status. 5xx is a failure of the member.
    pub(crate) fn answered(&self, status: u16) {
        let Some(since) = self.begin_note() else {
            return;
        };
        let is_failure = status >= 500;
        let took = since.elapsed();
        self.upstream.answered_in(took, status < 400);
        if SENDS_AWAY.contains(&status) {
            self.upstream.member().is_busy_at(self.upstream.now_ms());
        }
        if is_failure {
            self.upstream.blame();
        } else {
            let (member, now_ms) = (self.upstream.member(), self.upstream.now_ms());
            member.forgive();
            member.redeem(now_ms.saturating_sub(took.as_millis() as u64), now_ms);
        }
    }

    /// There was no connection, or no response, and the member is to blame.
    fn failed(&self) {
        if let Some(since) = self.begin_note() {
            self.saw(since.elapsed(), true);
            self.upstream.blame();
        }
    }

    /// A connection: an idle one if there is one and `fresh` doesn't forbid it, else a new one. What is spoken is the
    /// endpoint's choice unless it is said.
    pub(crate) async fn lease(
        self,
        wire: Option<Wire>,
        fresh: bool,
        limit: Duration,
        buffers: &Rc<Buffers>,
    ) -> Result<Lease, Rc<Failure>> {
        let is_http1 = match wire {
            Some(wire) => wire == Wire::Http1,
            None => self.upstream.member().speaks_http1(),
        };
        if !is_http1 {
            let shared = self.upstream.shared_http2(wire, limit).await;
            if let Some((connection, is_reused)) =
                shared.inspect_err(|failure| self.note(failure))?
            {
                return Ok(Lease::Http2 {
                    booking: self,
                    connection,
                    is_reused,
                });
            }
        }
        // What was just opened to find out is there.
        let line = match (fresh && is_http1, self) {
            (true, booking) => booking.new_line(limit).await?,
            (false, booking) => match booking.idle_line(Instant::now()) {
                Ok(line) => line,
                Err(booking) => booking.new_line(limit).await?,
            },
        };
        Ok(Lease::Http1(Talk::new(line, buffers)))
    }

    /// Notes that there was no connection, or no response.
    pub(crate) fn note(&self, failure: &Failure) {
        // That all its connections are in use is no failure of the member.
        let is_full = matches!(failure, Failure::Overloaded);
        if failure.blame() == Blame::Upstream && !is_full {
            self.upstream.complain(failure);
            // It may be another server by now, that chooses otherwise.
            self.upstream.member().chose(None);
            self.failed();
        }
    }

    /// Since when it has been asked, the first time that something is noted.
    fn begin_note(&self) -> Option<Instant> {
        let watch = self.watch.as_ref()?;
        (!watch.is_noted.replace(true)).then_some(watch.since)
    }

    fn saw(&self, latency: Duration, at_least: bool) {
        let latency_ms = latency.as_secs_f32() * 1e3;
        let now_ms = self.upstream.now_ms();
        self.upstream.member().saw(latency_ms, at_least, now_ms);
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        if let Some(since) = self.begin_note() {
            self.saw(since.elapsed(), true);
        }
        if self.watch.is_some() {
            self.upstream.member().end();
        }
    }
}

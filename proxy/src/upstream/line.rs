//! Connections on which we speak HTTP/1.1 ourselves.
//!
//! An endpoint keeps those that nobody uses, the latest used first. One is used again only when it is still
//! open and silent: what the last turn of the event loop knows of it is free to ask; one that has lain for a
//! while is looked at itself.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::booking::{Booking, Shunned};
use super::quota::Counted;
use crate::error::Failure;
use crate::socket::Stream;

/// How old the event loop's knowledge of an idle connection may be.
const FRESH: Duration = Duration::from_millis(5);

/// One exchange's connection. Dropping it closes it.
pub(crate) struct Line {
    booking: Booking,
    /// The connection.
    pub(crate) stream: Stream,
    is_reused: bool,
    counted: Option<Counted>,
}

/// A connection that nobody uses yet.
pub(super) struct Held {
    pub(super) stream: Stream,
    /// It served others before.
    pub(super) is_reused: bool,
    /// Where their number is bounded.
    pub(super) counted: Option<Counted>,
}

/// An endpoint's connections that nobody uses.
#[derive(Default)]
pub(super) struct Resting(RefCell<Vec<Rest>>);

struct Rest {
    stream: Stream,
    since: Instant,
}

impl Line {
    fn of(booking: Booking, held: Held) -> Self {
        Self {
            booking,
            stream: held.stream,
            is_reused: held.is_reused,
            counted: held.counted,
        }
    }

    /// Whether the connection served others before: the endpoint may be about to close it.
    pub(crate) const fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// While this is held, other endpoints are rather chosen.
    pub(crate) fn shun(&self) -> Shunned {
        self.booking.whom().shun()
    }

    /// The response's head came, with this status.
    pub(crate) fn answered(&self, status: u16) {
        self.booking.answered(status);
    }

    /// Notes that there was no response, and why.
    pub(crate) fn note(&self, failure: &Failure) {
        self.booking.note(failure);
    }

    /// The exchange is over, and nothing is left on the connection: it may serve the next.
    pub(crate) fn keep(self, now: Instant) {
        let Self {
            booking,
            stream,
            counted,
            ..
        } = self;
        let upstream = booking.upstream();
        let most = upstream.limits().max_idle;
        upstream.keep(stream, counted, now, most);
    }
}

impl Booking {
    /// An idle connection, if there is one.
    pub(crate) fn idle_line(self, now: Instant) -> Result<Line, Self> {
        match self.upstream().idle(now) {
            Some(held) => Ok(Line::of(self, held)),
            None => Err(self),
        }
    }

    /// A new connection; where their number is bounded perhaps one that came free while that was waited for.
    pub(crate) async fn new_line(self, limit: Duration) -> Result<Line, Failure> {
        // Boxed: connections are opened seldom, and a handshake is large.
        let opened = Box::pin(self.upstream().new_connection(limit)).await;
        let held = opened.inspect_err(|failure| self.note(failure))?;
        Ok(Line::of(self, held))
    }
}

impl Resting {
    pub(super) fn put(&self, stream: Stream, now: Instant, most: usize) {
        let mut resting = self.0.borrow_mut();
        if resting.len() < most {
            resting.push(Rest { stream, since: now });
        }
    }

    /// One that has rested for less than `limit`. The others may be closed by their server at this very moment, and who
    /// sends then gets nothing: a POST can't be sent again.
    pub(super) fn take(&self, now: Instant, limit: Duration) -> Option<Stream> {
        let mut resting = self.0.borrow_mut();
        while let Some(mut last) = resting.pop() {
            let rested = now.saturating_duration_since(last.since);
            if rested < limit && last.stream.is_quiet(rested >= FRESH) {
                return Some(last.stream);
            }
        }
        None
    }

    /// Closes those that have rested too long, or were closed by the other side.
    pub(super) fn reap(&self, now: Instant, limit: Duration) {
        self.0.borrow_mut().retain_mut(|rest| {
            now.saturating_duration_since(rest.since) < limit && rest.stream.is_quiet(false)
        });
    }
}

//! Connections on which we speak HTTP/1.1 ourselves.
//!
//! An endpoint keeps those that nobody uses, the latest used first. One is used again only when it is still
//! open and silent: what the last turn of the event loop knows of it is free to ask; one that has lain for a
//! while is looked at itself.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::booking::{Booking, Shunned};
use super::dial::Wire;
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
}

/// An endpoint's connections that nobody uses.
#[derive(Default)]
pub(super) struct Resting(RefCell<Vec<Rest>>);

struct Rest {
    stream: Stream,
    since: Instant,
}

impl Line {
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
            booking, stream, ..
        } = self;
        let upstream = booking.upstream();
        let most = upstream.limits().max_idle;
        upstream.resting().put(stream, now, most);
    }
}

impl Booking {
    /// An idle connection, if there is one.
    pub(crate) fn idle_line(self, now: Instant) -> Result<Line, Self> {
        let upstream = self.upstream();
        let limit = upstream.limits().idle_timeout;
        match upstream.resting().take(now, limit) {
            Some(stream) => Ok(Line {
                booking: self,
                stream,
                is_reused: true,
            }),
            None => Err(self),
        }
    }

    /// A new connection.
    pub(crate) async fn new_line(self, limit: Duration) -> Result<Line, Failure> {
        // Boxed: connections are opened seldom, and a handshake is large.
        let opening = Box::pin(self.upstream().reach().open(Some(Wire::Http1), limit));
        let opened = opening.await;
        let stream = opened.inspect_err(|failure| self.note(failure))?;
        Ok(Line {
            booking: self,
            stream,
            is_reused: false,
        })
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
    fn take(&self, now: Instant, limit: Duration) -> Option<Stream> {
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

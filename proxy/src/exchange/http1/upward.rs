//! A request on its way up: its head and the body's beginning in one write, then the rest as it comes.
//!
//! While all of the request is still held here it can be sent again.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::copied::Copied;
use crate::buffer::{Buffers, poll_write_all};
use crate::connection::Client;
use crate::error::Failure;
use crate::h1::body::{Body, BodyError, Relayed};
use crate::socket::Stream;
use crate::upstream::Line;

/// A request on its way to the upstream.
pub(super) struct Upward {
    /// The head, and what follows it in the same write.
    out: Vec<u8>,
    sent: usize,
    /// So many bytes at the front of the client's input come next.
    region: usize,
    region_sent: usize,
    body: Body,
    copied: Copied,
    /// All of the request that was read so far stands in `out`.
    is_whole: bool,
    is_untouched: bool,
    /// `out` takes on what comes of the body, up to this length.
    holds: usize,
    /// The client's turn, rather than the upstream's.
    awaits_client: bool,
    /// The upstream does not take what is there.
    is_held_up: bool,
    /// Since when nothing has moved.
    still_since: Instant,
}

/// Why a request did not get through.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The client broke off, or broke the rules.
    Client(Failure),
    /// The upstream takes no more.
    Upstream,
}

impl Upward {
    /// A request whose head is this, and whose body begins in the client's input.
    pub(super) fn new(
        head: Vec<u8>,
        body: Body,
        copied: Copied,
        client: &mut Client,
        now: Instant,
    ) -> Result<Self, BodyError> {
        let mut upward = Self {
            out: head,
            sent: 0,
            region: 0,
            region_sent: 0,
            body,
            copied,
            is_whole: true,
            is_untouched: true,
            holds: 0,
            awaits_client: false,
            is_held_up: false,
            still_since: now,
        };
        if !upward.body.is_done() && !client.input.is_empty() {
            upward.append(client)?;
        } else if upward.body.is_done() {
            upward.copied.end();
        }
        client.input.release(&client.desk.buffers);
        Ok(upward)
    }

    /// It has to wait until it can be sent: holds no more memory than it needs.
    pub(super) fn settle(&mut self, buffers: &Buffers) {
        buffers.fit(&mut self.out);
    }

    /// Holds what comes, so that the request can be sent again, as long as it is no longer than this.
    pub(super) const fn hold(&mut self, most: usize) {
        self.holds = most;
    }

    /// The client sends no more of this request.
    pub(super) const fn is_read(&self) -> bool {
        self.body.is_done()
    }

    /// Nothing was sent of it, and what was read of it is here.
    pub(super) const fn is_untouched(&self) -> bool {
        self.is_untouched && self.is_whole
    }

    /// Whether all of it is here, to be sent again.
    pub(super) const fn is_replayable(&self) -> bool {
        self.is_whole && self.body.is_done()
    }

    /// Whether what was sent of it is here still, whether or not more is to come.
    pub(super) const fn can_rewind(&self) -> bool {
        self.is_whole
    }

    /// Sends it again from the start.
    pub(super) const fn rewind(&mut self, now: Instant) {
        self.sent = 0;
        self.still_since = now;
    }

    /// What had to be waited for before it could be sent is over: the upstream's time begins.
    pub(super) fn go(&mut self) {
        self.still_since = Instant::now();
    }

    /// Since when it is the upstream's turn; `None` when it is the client's.
    pub(super) const fn upstreams_turn_since(&self) -> Option<Instant> {
        if self.awaits_client {
            None
        } else {
            Some(self.still_since)
        }
    }

    /// More of it is here than the upstream takes.
    pub(super) const fn is_stalled(&self) -> bool {
        !self.awaits_client && !self.body.is_done()
    }

    /// When the client has kept us waiting too long.
    pub(super) fn late_at(&self, patience: Duration) -> Option<Instant> {
        self.awaits_client.then(|| self.still_since + patience)
    }

    /// Leaves the upstream. One that was told only a part, and may take nothing of it now, hears that at once.
    pub(super) fn leave(&self, line: &Line) {
        if !self.is_read() {
            line.stream.break_off();
        }
    }

    /// Gives the memory back.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.out
    }

    /// Goes on; ready when all was sent.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        stream: &mut Stream,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            ready!(self.poll_send(cx, client, stream)).map_err(|_| Stopped::Upstream)?;
            if self.body.is_done() {
                self.awaits_client = false;
                return Poll::Ready(Ok(()));
            }
            if !self.awaits_client {
                self.awaits_client = true;
                self.still_since = Instant::now();
            }
            // Some may have come already, while it was watched whether the client leaves.
            if client.input.is_empty() && !matches!(ready!(client.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(Err(Stopped::Client(Failure::BodyBroken)));
            }
            self.awaits_client = false;
            self.still_since = Instant::now();
            self.accept(client)
                .map_err(|error| Stopped::Client(error.into()))?;
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        let before = (self.sent, self.region_sent);
        let written = self.poll_send_all(cx, client, stream);
        let has_moved = (self.sent, self.region_sent) != before;
        self.is_untouched &= !has_moved;
        // What leaves without a pause leaves when it came.
        if written.is_pending() && has_moved || written.is_ready() && self.is_held_up {
            self.still_since = Instant::now();
        }
        self.is_held_up = written.is_pending();
        written
    }

    fn poll_send_all(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        ready!(poll_write_all(cx, stream, &self.out, &mut self.sent))?;
        if self.region > 0 {
            let region = client.input.unused().get(..self.region);
            let region = region.unwrap_or_default();
            ready!(poll_write_all(cx, stream, region, &mut self.region_sent))?;
            client.input.consume(self.region);
            (self.region, self.region_sent) = (0, 0);
        }
        Poll::Ready(Ok(()))
    }

    /// More of the body came.
    fn accept(&mut self, client: &mut Client) -> Result<(), BodyError> {
        if self.is_whole && self.out.len() + client.input.unused().len() <= self.holds {
            return self.append(client);
        }
        let relayed = self.relay(client)?;
        if std::mem::take(&mut self.is_whole) && self.holds > 0 {
            // What was held for another sending is of no use any more.
            self.out = Vec::new();
        }
        self.out.clear();
        self.sent = 0;
        if relayed.passed == relayed.taken {
            self.region = relayed.passed;
            return Ok(());
        }
        // In the trailer section: what goes on is no longer what came.
        self.take(client, relayed.taken, relayed.passed);
        Ok(())
    }

    fn append(&mut self, client: &mut Client) -> Result<(), BodyError> {
        let relayed = self.relay(client)?;
        self.take(client, relayed.taken, relayed.passed);
        Ok(())
    }

    /// Looks at what came, and shows it to the copy.
    fn relay(&mut self, client: &Client) -> Result<Relayed, BodyError> {
        let input = client.input.unused();
        let relayed = self.body.relay(input)?;
        self.copied
            .pass(input.get(..relayed.taken).unwrap_or_default());
        if self.body.is_done() {
            self.copied.end();
        }
        Ok(relayed)
    }

    fn take(&mut self, client: &mut Client, taken: usize, passed: usize) {
        let input = client.input.unused();
        self.out
            .extend_from_slice(input.get(..passed).unwrap_or_default());
        self.out.extend(self.body.take_trailer());
        client.input.consume(taken);
    }
}

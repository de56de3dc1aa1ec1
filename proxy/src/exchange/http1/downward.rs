//! A response on its way down: its head and the body's beginning in one write, then the rest as it comes.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::buffer::{Buffer, Buffers, poll_write_all};
use crate::h1::body::Body;
use crate::h1::head::Framing;
use crate::h1::write;
use crate::socket::Stream;

/// What becomes of the body's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// It is passed on as it is.
    AsItIs,
    /// The client knows no chunks.
    Unchunked,
    /// The upstream's end of connection becomes a last chunk.
    Chunked,
}

/// A response on its way to the client.
pub(super) struct Downward {
    /// What was read of the upstream and not yet used.
    pub(super) answer: Buffer,
    /// The head, and what follows it in the same write.
    pub(super) out: Vec<u8>,
    sent: usize,
    /// So many bytes at the front of the answer come next.
    region: usize,
    region_sent: usize,
    body: Body,
    coding: Coding,
    /// The trailer section, for those who read a status in it.
    pub(super) trailer: Vec<u8>,
    is_complete: bool,
    has_content: bool,
    /// Who has kept the other waiting, and since when.
    pub(super) awaits: Awaits,
    pub(super) still_since: Instant,
}

/// A response's head as it goes out, and what follows it.
pub(super) struct Begun {
    pub(super) out: Vec<u8>,
    pub(super) body: Body,
    pub(super) coding: Coding,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    Client,
    Upstream,
}

/// Why a response did not get through.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client is gone.
    Client,
    /// The upstream broke off, or broke the rules.
    Upstream(String),
}

impl Downward {
    /// Nothing came yet.
    pub(super) fn nothing(now: Instant) -> Self {
        let body = Body::unlimited(Framing::Empty);
        Self {
            answer: Buffer::default(),
            out: Vec::new(),
            sent: 0,
            region: 0,
            region_sent: 0,
            is_complete: body.is_done(),
            has_content: false,
            body,
            coding: Coding::AsItIs,
            trailer: Vec::new(),
            awaits: Awaits::Upstream,
            still_since: now,
        }
    }

    /// A response begins, and its body in `answer`: what is there of it goes out with the head.
    pub(super) fn begin(&mut self, begun: Begun, now: Instant) -> Result<(), Broken> {
        let Begun { out, body, coding } = begun;
        self.out = out;
        self.is_complete = body.is_done();
        self.body = body;
        self.coding = coding;
        self.still_since = now;
        if !self.is_complete && !self.answer.is_empty() {
            self.has_content = true;
            self.append()?;
        }
        Ok(())
    }

    /// Forgets what came: somebody else is asked.
    pub(super) fn clear(&mut self, buffers: &Buffers) {
        if self.answer.has_memory() || self.out.capacity() > 0 {
            let now = self.still_since;
            std::mem::replace(self, Self::nothing(now)).give_back(buffers);
        }
    }

    /// The upstream sends no more of this response.
    pub(super) const fn is_read(&self) -> bool {
        self.is_complete
    }

    /// Something of the body came.
    pub(super) const fn has_content(&self) -> bool {
        self.has_content
    }

    /// Gives the memory back.
    pub(super) fn give_back(self, buffers: &Buffers) {
        buffers.give(self.out);
        self.answer.give_back(buffers);
    }

    /// Goes on; ready when all was sent.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        upstream: &mut Stream,
        buffers: &Buffers,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match self.poll_send(cx, client) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => {
                    self.turn(Awaits::Client);
                    return Poll::Pending;
                }
            }
            if self.is_complete {
                return Poll::Ready(Ok(()));
            }
            self.turn(Awaits::Upstream);
            match ready!(self.answer.poll_fill(cx, upstream, buffers)) {
                Ok(0) => self.end()?,
                Ok(_) => {
                    self.still_since = Instant::now();
                    self.accept()?;
                }
                Err(error) => return Poll::Ready(Err(Broken::Upstream(error.to_string()))),
            }
        }
    }

    fn turn(&mut self, awaits: Awaits) {
        if self.awaits != awaits {
            self.awaits = awaits;
            self.still_since = Instant::now();
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>> {
        let before = self.sent + self.region_sent;
        let sent = self.poll_send_all(cx, client);
        if sent.is_pending() && self.sent + self.region_sent > before {
            self.still_since = Instant::now();
        }
        sent
    }

    fn poll_send_all(&mut self, cx: &mut Context<'_>, client: &mut Stream) -> Poll<io::Result<()>> {
        ready!(poll_write_all(cx, client, &self.out, &mut self.sent))?;
        if self.region > 0 {
            let region = self.answer.unused().get(..self.region);
            let region = region.unwrap_or_default();
            ready!(poll_write_all(cx, client, region, &mut self.region_sent))?;
            self.answer.consume(self.region);
            (self.region, self.region_sent) = (0, 0);
        }
        Poll::Ready(Ok(()))
    }

    /// More of the body came.
    fn accept(&mut self) -> Result<(), Broken> {
        self.has_content = true;
        self.out.clear();
        self.sent = 0;
        if self.coding != Coding::AsItIs {
            return self.append();
        }
        let relayed = self.body.relay(self.answer.unused()).map_err(broken)?;
        if relayed.passed == relayed.taken {
            self.region = relayed.passed;
            self.is_complete = self.body.is_done();
            return Ok(());
        }
        self.take(relayed.taken, relayed.passed);
        Ok(())
    }

    fn append(&mut self) -> Result<(), Broken> {
        let answer = self.answer.unused();
        match self.coding {
            Coding::AsItIs => {
                let relayed = self.body.relay(answer).map_err(broken)?;
                self.take(relayed.taken, relayed.passed);
                return Ok(());
            }
            Coding::Unchunked => {
                let taken = self.body.content(answer, &mut self.out).map_err(broken)?;
                self.answer.consume(taken);
            }
            Coding::Chunked => {
                let relayed = self.body.relay(answer).map_err(broken)?;
                let content = answer.get(..relayed.passed).unwrap_or_default();
                write::chunk(&mut self.out, content);
                self.answer.consume(relayed.taken);
            }
        }
        self.is_complete = self.body.is_done();
        Ok(())
    }

    fn take(&mut self, taken: usize, passed: usize) {
        let answer = self.answer.unused();
        self.out
            .extend_from_slice(answer.get(..passed).unwrap_or_default());
        self.answer.consume(taken);
        self.is_complete = self.body.is_done();
        if self.is_complete {
            self.end_with_trailer();
        }
    }

    fn end_with_trailer(&mut self) {
        let trailer = self.body.take_trailer();
        if !trailer.is_empty() {
            self.out.extend_from_slice(&trailer);
            self.trailer = trailer;
        }
    }

    /// The upstream's connection ended.
    fn end(&mut self) -> Result<(), Broken> {
        if !self.body.ends_with_connection() {
            return Err(Broken::Upstream("the body broke off".to_owned()));
        }
        self.is_complete = true;
        self.out.clear();
        self.sent = 0;
        if self.coding == Coding::Chunked {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }
}

fn broken(error: crate::h1::body::BodyError) -> Broken {
    Broken::Upstream(error.to_string())
}

//! An HTTP/1.1 client's connection: its stream, what was read of it and not yet used, and its one timer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Peer;
use super::alarm::Alarm;
use crate::buffer::{Buffer, poll_write_all};
use crate::socket::Stream;
use crate::worker::Desk;

/// Idle connections wait for one more request when draining, but not longer.
const LINGER: Duration = Duration::from_secs(2);
/// How long a client may go on sending when its connection ends.
const LONGEST_FAREWELL: Duration = Duration::from_secs(30);
/// How long it may pause meanwhile.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
/// How often a client is looked at of which nothing is read, since what came of it cannot be taken yet.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A client's connection.
pub(crate) struct Client {
    /// The worker that serves it.
    pub(crate) desk: Rc<Desk>,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// The client's address as text.
    pub(crate) address: Box<str>,
    /// The connection itself.
    pub(crate) stream: Stream,
    /// What was read and not yet used.
    pub(crate) input: Buffer,
    /// Its timer.
    pub(crate) alarm: Alarm,
    next_look: Instant,
    /// When its last request was over.
    pub(crate) served_at: Instant,
}

/// Why reading gave nothing.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client sends no more, or its connection broke.
    Gone,
    /// The deadline passed.
    Late,
}

impl Client {
    pub(super) fn new(desk: Rc<Desk>, peer: Peer, stream: Stream, deadline: Instant) -> Self {
        Self {
            desk,
            peer,
            address: peer.ip.to_canonical().to_string().into(),
            stream,
            input: Buffer::default(),
            alarm: Alarm::new(deadline),
            next_look: deadline,
            served_at: Instant::now(),
        }
    }

    /// Waits until a request begins; false when the connection is to end instead.
    ///
    /// Once no more requests are wanted the client may be writing one this moment: it is waited for a little, and
    /// answered with `Connection: close`, where closing at once would cost the client an error.
    pub(super) async fn begins(&mut self) -> bool {
        if !self.input.is_empty() {
            return true;
        }
        self.input.release(&self.desk.buffers);
        let mut deadline = None;
        let mut is_closing = false;
        poll_fn(|cx| {
            if let Poll::Ready(read) = self.poll_fill(cx) {
                return Poll::Ready(matches!(read, Ok(1..)));
            }
            let idle = self.desk.with_limits(|limits| limits.idle_timeout);
            let deadline = deadline.get_or_insert_with(|| self.served_at + idle);
            if self.desk.closing.has_begun() && !is_closing {
                is_closing = true;
                *deadline = (*deadline).min(Instant::now() + self.moment());
            }
            self.alarm.poll_due(cx, *deadline).map(|()| false)
        })
        .await
    }

    /// Reads on.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input
            .poll_fill(cx, &mut self.stream, &self.desk.buffers)
    }

    /// Reads on, until the deadline.
    pub(crate) async fn fill(&mut self, deadline: Instant) -> Result<(), Ended> {
        poll_fn(|cx| {
            if let Poll::Ready(read) = self.poll_fill(cx) {
                return Poll::Ready(match read {
                    Ok(1..) => Ok(()),
                    Ok(0) | Err(_) => Err(Ended::Gone),
                });
            }
            ready!(self.alarm.poll_due(cx, deadline));
            Poll::Ready(Err(Ended::Late))
        })
        .await
    }

    /// Ready when the client is gone. What it sends meanwhile is its next request, and waits: nothing is read
    /// behind it, and so the client is looked at now and then.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.input.is_empty() {
            let is_readable = ready!(self.stream.poll_readable(cx)).is_ok();
            if !is_readable || !matches!(ready!(self.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        self.poll_hung_up(cx)
    }

    /// Ready when the deadline has passed. A client of which more came than can be taken tells by nothing that it
    /// leaves: with `stalled` it is looked at now and then.
    pub(crate) fn poll_late(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
        stalled: bool,
    ) -> Poll<Ended> {
        if stalled && self.poll_hung_up(cx).is_ready() {
            return Poll::Ready(Ended::Gone);
        }
        self.alarm.poll_due(cx, deadline).map(|()| Ended::Late)
    }

    /// Looks now and then whether the client has hung up; ready when it has.
    #[cold]
    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let latest = Instant::now() + LOOK_EVERY;
        self.next_look = self.next_look.min(latest);
        loop {
            ready!(self.alarm.poll_due(cx, self.next_look));
            if self.stream.has_hung_up() {
                return Poll::Ready(());
            }
            self.next_look = latest;
        }
    }

    /// Writes all of it, as long as the client takes something.
    pub(crate) async fn write(&mut self, words: &[u8], patience: Duration) -> io::Result<()> {
        let mut sent = 0;
        let mut deadline = Instant::now() + patience;
        poll_fn(|cx| {
            let before = sent;
            if let Poll::Ready(result) = poll_write_all(cx, &mut self.stream, words, &mut sent) {
                return Poll::Ready(result);
            }
            if sent > before {
                deadline = Instant::now() + patience;
            }
            ready!(self.alarm.poll_due(cx, deadline));
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// Ends a connection on which nothing is under way: over TLS that is said (RFC 8446, section 6.1), if there is room
    /// for it.
    pub(super) fn part(mut self) {
        if self.stream.is_tls() {
            let mut nobody = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut nobody);
        }
    }

    /// Ends a connection on which the client may still be sending: it is told that nothing follows, and what it
    /// sends is taken in as long as it goes on, so many bytes `at_most`. A connection that is closed on unread bytes is
    /// reset, and then the client may never see the answer.
    pub(crate) async fn linger(mut self, at_most: Option<usize>) {
        let mut left = at_most.unwrap_or(usize::MAX);
        let mut heard_at = Instant::now();
        let mut latest = heard_at + LONGEST_FAREWELL;
        let (mut is_shut, mut is_closing) = (false, false);
        poll_fn(|cx| {
            if !is_shut && let Poll::Ready(shut) = Pin::new(&mut self.stream).poll_shutdown(cx) {
                is_shut = true;
                if shut.is_err() {
                    return Poll::Ready(());
                }
            }
            if self.desk.closing.has_begun() && !is_closing {
                is_closing = true;
                latest = latest.min(Instant::now() + self.moment());
            }
            self.input.clear();
            while let Poll::Ready(read) = self.poll_fill(cx) {
                let taken = read.unwrap_or(0);
                if taken == 0 || left < taken {
                    return Poll::Ready(());
                }
                left -= taken;
                self.input.clear();
                heard_at = Instant::now();
            }
            let deadline = latest.min(heard_at + LONGEST_SILENCE);
            self.alarm.poll_due(cx, deadline)
        })
        .await;
    }

    /// What a connection gets that is to end, since no more requests are wanted.
    fn moment(&self) -> Duration {
        self.desk.with_limits(|limits| LINGER.min(limits.drain / 4))
    }
}

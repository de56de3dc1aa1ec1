//! HTTP/2 clients: one task that reads and writes the connection, and one for each request.
//!
//! [`inbound`] says what frames do, [`session`] holds what the tasks share, [`respond`] is a request's task. When a
//! connection has been idle, or busy with nothing, for too long is decided here.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use crate::buffer::poll_write_all;
use crate::h2::frame::{HEAD, Head};
use crate::h2::request::Bounds;
use crate::h2::settings::Key;
use crate::h2::{Reason, Wrong, write};

mod body;
mod inbound;
mod past;
mod respond;
mod session;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use body::{Interim, RequestBody};

use inbound::{Inbound, MAX_STREAMS, STREAM_WINDOW};
use session::{CONNECTION_WINDOW, SEND_BUFFER, Session};

/// A client of which nothing is heard is asked whether it is alive.
const PING_EVERY: Duration = Duration::from_secs(30);
/// … and given up when it doesn't answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to see that no more requests are wanted.
const LAST_CALL: Duration = Duration::from_secs(1);
/// A client that sends and sends lets others have their turn.
const READS_IN_A_ROW: usize = 8;
/// What clients are asked.
const ALIVE: [u8; 8] = *b"alive?..";
const SEEN: [u8; 8] = *b"goaway..";

/// What is read of a client behind our farewell.
const LAST_WORDS: usize = 1024 * 1024;

/// Serves a connection to its end.
pub(super) async fn serve(client: Client) {
    let mut connection = Connection::new(client);
    // What was read to find the protocol.
    connection.read();
    let ended = poll_fn(|cx| {
        connection.session.begin_turn(cx);
        let ended = connection.poll(cx);
        connection.session.end_turn();
        ended
    })
    .await;
    connection.session.end();
    if ended == Ended::Politely {
        // There is no upload that goes on: whoever has much to say now does not listen.
        connection.client.linger(Some(LAST_WORDS)).await;
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// We said so: the client may not have read it yet.
    Politely,
    /// There is nobody to say anything to.
    Cut,
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// It is not to end.
    No,
    /// The client was told, and may have sent requests before it knew.
    Told(Instant),
    /// It knows: those that were sent are served.
    Known,
    /// It is at fault, and is told so.
    Fault,
}

struct Connection {
    client: Client,
    session: Rc<Session>,
    inbound: Inbound,
    closing: Closing,
    /// For the first frames, and for blocks of fields.
    head_limit: Duration,
    /// Without a request, or without taking what we send.
    idle_limit: Duration,
    began: Instant,
    /// What of the output is written.
    sent: usize,
    stuck_since: Option<Instant>,
    heard: Instant,
    asked: Option<Instant>,
    /// When to look for streams that are stuck.
    next_look: Instant,
}

impl Connection {
    fn new(client: Client) -> Self {
        let (bounds, head_limit, idle_limit) = client.desk.with_limits(|limits| {
            let bounds = Bounds {
                fields: limits.max_header_bytes + limits.max_uri_bytes,
                target: limits.max_uri_bytes,
            };
            (bounds, limits.header_timeout, limits.idle_timeout)
        });
        let session = Session::new(Rc::clone(&client.desk), client.peer);
        session.put(|out| {
            let most = u32::try_from(bounds.fields).unwrap_or(u32::MAX);
            let ours = [
                (Key::MaxConcurrentStreams, MAX_STREAMS),
                (Key::InitialWindowSize, STREAM_WINDOW),
                (Key::MaxHeaderListSize, most),
            ];
            write::settings(out, &ours);
            write::window_update(out, 0, CONNECTION_WINDOW - 65_535);
        });
        let now = Instant::now();
        Self {
            client,
            session,
            inbound: Inbound::new(bounds),
            closing: Closing::No,
            head_limit,
            idle_limit,
            began: now,
            sent: 0,
            stuck_since: None,
            heard: now,
            asked: None,
            next_look: now + idle_limit / 4,
        }
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut reads = 0;
        loop {
            let is_written = match self.poll_write(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Cut),
                Poll::Pending => false,
            };
            if is_written && self.is_done() {
                return Poll::Ready(Ended::Politely);
            }
            // Who doesn't take our answers is not read: neither are we asked for more then.
            let may_read = self.closing != Closing::Fault && self.session.waits() < 2 * SEND_BUFFER;
            if may_read {
                match self.client.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => {
                        self.read();
                        reads += 1;
                        if reads == READS_IN_A_ROW {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        continue;
                    }
                    Poll::Ready(_) => return Poll::Ready(Ended::Cut),
                    Poll::Pending => {}
                }
            }
            if self.client.desk.closing.has_begun() && self.closing == Closing::No {
                self.close();
                continue;
            }
            match self.poll_time(cx) {
                Poll::Ready(Some(ended)) => return Poll::Ready(ended),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let (stream, sent) = (&mut self.client.stream, &mut self.sent);
        let before = *sent;
        let written = self.session.with_out(|out| {
            if out.is_empty() {
                return None;
            }
            Some(poll_write_all(cx, stream, out, sent))
        });
        match written {
            None => {
                self.stuck_since = None;
                Poll::Ready(Ok(()))
            }
            Some(Poll::Ready(Ok(()))) => {
                self.sent = 0;
                self.stuck_since = None;
                self.session.flushed();
                Poll::Ready(Ok(()))
            }
            Some(Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            Some(Poll::Pending) => {
                if self.sent > before || self.stuck_since.is_none() {
                    self.stuck_since = Some(Instant::now());
                }
                Poll::Pending
            }
        }
    }

    /// Takes the frames out of what came.
    fn read(&mut self) {
        self.heard = Instant::now();
        let was_asked = self.asked.take().is_some();
        if let Err(wrong) = self.take_frames(was_asked) {
            tracing::debug!(%wrong, "an HTTP/2 client is at fault");
            if let Wrong::Connection(reason, _) = wrong {
                self.fail(reason);
            }
        }
        self.client.input.release(&self.client.desk.buffers);
    }

    fn take_frames(&mut self, was_asked: bool) -> Result<(), Wrong> {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        if !self.inbound.has_preface {
            let came = self.client.input.unused();
            if came.len() < PREFACE.len() && PREFACE.starts_with(came) {
                return Ok(());
            }
            if !came.starts_with(PREFACE) {
                return Err(Wrong::protocol("this is no HTTP/2"));
            }
            self.client.input.consume(PREFACE.len());
            self.inbound.has_preface = true;
        }
        while let Some(head) = Head::read(self.client.input.unused()) {
            let size = HEAD + head.length;
            let mut seen = head.check();
            if matches!(seen, Err(Wrong::Connection(..))) {
                return seen;
            }
            let Some(payload) = self.client.input.unused().get(HEAD..size) else {
                break;
            };
            if seen.is_ok() {
                seen = self.inbound.see(&self.session, head, payload);
            }
            self.client.input.consume(size);
            match seen {
                Err(Wrong::Stream(id, reason, what)) => self.mistake(id, reason, what)?,
                seen => seen?,
            }
            match self.inbound.answered.take() {
                Some(SEEN) if matches!(self.closing, Closing::Told(_)) => self.last_call(),
                Some(ALIVE) if was_asked => self.session.heard_us(),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// A client's mistake that concerns one stream.
    fn mistake(&self, id: u32, reason: Reason, what: &'static str) -> Result<(), Wrong> {
        tracing::debug!(id, ?reason, what, "an HTTP/2 stream is reset");
        let mut toll = self.session.toll().get();
        let owed = toll.mistake();
        self.session.toll().set(toll);
        if owed.is_err() {
            let what = "too many mistakes";
            return Err(Wrong::Connection(Reason::EnhanceYourCalm, what));
        }
        match self.session.find(id) {
            Some(stream) => self.session.reset(&stream, reason),
            None if id > self.inbound.last => return Err(Wrong::Connection(reason, what)),
            None => self.session.reset_past(id, reason),
        }
        Ok(())
    }

    /// Tells the client that no more requests are wanted; what it sent before it knows is served.
    fn close(&mut self) {
        self.closing = Closing::Told(Instant::now());
        self.session.put(|out| {
            write::go_away(out, i32::MAX as u32, Reason::No);
            write::ping(out, &SEEN, false);
        });
    }

    fn last_call(&mut self) {
        self.closing = Closing::Known;
        let last = self.inbound.last;
        self.inbound.serves_up_to = last;
        self.session
            .put(|out| write::go_away(out, last, Reason::No));
    }

    fn fail(&mut self, reason: Reason) {
        self.closing = Closing::Fault;
        // What was said of the last stream holds.
        let last = self.inbound.last.min(self.inbound.serves_up_to);
        self.session.put(|out| write::go_away(out, last, reason));
    }

    /// All that was to be said is said.
    fn is_done(&self) -> bool {
        match self.closing {
            Closing::Fault => true,
            Closing::Known => self.session.count() == 0,
            Closing::No | Closing::Told(_) => false,
        }
    }

    /// Does what it is time for: ready when there is something to be written, or with the end.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        let due = self.due();
        std::task::ready!(self.client.alarm.poll_due(cx, due));
        let now = Instant::now();
        let over = |since: Option<Instant>, limit| since.is_some_and(|since| since + limit <= now);
        let is_late = over(self.late_from(), self.head_limit);
        if over(self.stuck_since, self.idle_limit) || over(self.asked, PING_TIMEOUT) {
            tracing::debug!("an HTTP/2 client takes nothing, or is gone");
            self.client.stream.break_off();
            return Poll::Ready(Some(Ended::Cut));
        }
        if is_late {
            self.fail(Reason::EnhanceYourCalm);
            return Poll::Ready(None);
        }
        if let Closing::Told(since) = self.closing
            && since + LAST_CALL <= now
        {
            self.last_call();
            return Poll::Ready(None);
        }
        let is_idle = self.session.count() == 0
            && over(Some(self.session.idle_since().get()), self.idle_limit);
        if is_idle && self.closing == Closing::No {
            self.close();
            return Poll::Ready(None);
        }
        if self.asked.is_none() && over(Some(self.heard), PING_EVERY) {
            self.asked = Some(now);
            self.session.put(|out| write::ping(out, &ALIVE, false));
            return Poll::Ready(None);
        }
        if self.next_look <= now {
            self.next_look = now + self.idle_limit / 4;
            self.give_up_stuck(now);
        }
        // Something was written for the streams that were given up, or it is not time yet for anything.
        Poll::Ready(None)
    }

    /// The earliest moment at which there is something to do.
    fn due(&self) -> Instant {
        let mut due = match self.asked {
            Some(asked) => asked + PING_TIMEOUT,
            None => self.heard + PING_EVERY,
        };
        let mut sooner = |at: Instant| due = due.min(at);
        if let Some(since) = self.late_from() {
            sooner(since + self.head_limit);
        }
        if let Some(since) = self.stuck_since {
            sooner(since + self.idle_limit);
        }
        if let Closing::Told(since) = self.closing {
            sooner(since + LAST_CALL);
        }
        if self.session.count() > 0 {
            sooner(self.next_look);
        } else if self.closing == Closing::No {
            sooner(self.session.idle_since().get() + self.idle_limit);
        }
        due
    }

    /// Since when the first frame, or the rest of a block of fields, is waited for.
    fn late_from(&self) -> Option<Instant> {
        match self.closing {
            Closing::Fault => None,
            _ if !self.inbound.has_begun => Some(self.began),
            _ => self.inbound.waits_since(),
        }
    }

    /// A response that waited for its window through a whole idle timeout is given up, and everything behind it.
    fn give_up_stuck(&self, now: Instant) {
        for stream in self.session.each() {
            let since = stream.stuck_since.get();
            if since.is_some_and(|since| since + self.idle_limit <= now) {
                tracing::debug!(id = stream.id, "the client takes nothing of a response");
                self.session.reset(&stream, Reason::Cancel);
            }
        }
    }
}

//! Sends a request to one of the arm's endpoints and waits for the response's head, within the deadlines.
//!
//! A connection that served others before may be closed by the endpoint just now. A request that met such a
//! connection is sent once more on a fresh one, if that is safe: nothing of it was sent, or nothing was
//! answered and sending it twice does no harm.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use serin_config::model::Retries;
use tokio::time::{Instant, timeout_at};

use super::asked::{Answered, Asked, Trouble};
use super::downward::{Begun, Broken, Coding, Downward};
use super::heads::{self, Answer, Sent};
use super::order::Traits;
use super::upward::{Stopped, Upward};
use crate::connection::{Client, Ended};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::exchange::retry::{self, Why};
use crate::h1::body::Body;
use crate::h1::head::{self, Framing, LARGEST_HEAD, ResponseHead, Room};
use crate::observe::relay::Meaning;
use crate::observe::{Ticket, grpc, outcome};
use crate::upstream::{Line, Shunned};

/// What a client is told that waits for leave to send its body.
pub(in crate::exchange) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How an attempt ended without a response.
enum Failed {
    Gone,
    /// The connection ended without a byte of a response.
    Silent(Failure),
    Otherwise(Failure),
}

/// Asks the request's arm, and baseline if that fails and the route wants it covered. What comes of the response is
/// left in `downward`.
pub(super) async fn ask(
    client: &mut Client,
    exchange: &Exchange<'_>,
    ticket: &mut Ticket,
    traits: Traits,
    (upward, downward): (&mut Upward, &mut Downward),
) -> Result<Asked, Trouble> {
    let has_fallback = retry::has_fallback(&ticket.entry().route, ticket.arm());
    if has_fallback {
        upward.hold(exchange.rules.limits.max_buffered_body);
    } else if traits.is_idempotent {
        upward.hold(retry::MOST_KEPT);
    }
    let mut waits = traits.expect_continue && upward.is_untouched();
    let ways = (&mut *upward, &mut *downward);
    let asked = ask_arm(client, exchange, ticket, traits, ways, &mut waits).await;
    let (fails, unreachable) = match &asked {
        Ok(Asked::Answered { answer, .. }) => (retry::is_covered_status(answer.status), false),
        Err(Trouble::Failed(failure)) => (retry::is_covered(failure), failure.is_unreachable()),
        Ok(Asked::Switched { .. }) | Err(Trouble::Gone) => (false, false),
    };
    if !has_fallback || !fails || !upward.is_replayable() {
        return asked;
    }
    drop(asked);
    ticket.cover(unreachable);
    upward.rewind(Instant::now());
    let ways = (upward, downward);
    ask_arm(client, exchange, ticket, traits, ways, &mut waits).await
}

/// Asks the endpoints of one arm, again if that is safe and the policy allows it.
async fn ask_arm(
    client: &mut Client,
    exchange: &Exchange<'_>,
    ticket: &mut Ticket,
    traits: Traits,
    (upward, downward): (&mut Upward, &mut Downward),
    waits: &mut bool,
) -> Result<Asked, Trouble> {
    let budgets = &exchange.desk.budgets;
    let (mut made, mut fresh) = (0, false);
    // Who failed is asked again only when there is nobody else.
    let mut shunned = None;
    loop {
        let mut has_waited = false;
        let connected = {
            let mut connecting = pin!(connect(exchange, ticket, fresh, &mut shunned));
            poll_fn(|cx| match connecting.as_mut().poll(cx) {
                Poll::Ready(connected) => Poll::Ready(Some(connected)),
                Poll::Pending => {
                    has_waited = true;
                    upward.settle(&exchange.desk.buffers);
                    // Who leaves meanwhile is not asked for.
                    client.poll_gone(cx).map(|()| None)
                }
            })
            .await
        };
        let mut line = match connected {
            Some(Ok(line)) => line,
            None => return Err(Trouble::Gone),
            Some(Err(failure)) => {
                let elsewhere = shunned.as_ref().is_some_and(Shunned::leaves_others);
                if retry::is_of_connecting(&failure, elsewhere)
                    && budgets.allow(policy(ticket), Why::Connect { elsewhere }, made, true)
                {
                    made += 1;
                    continue;
                }
                return Err(failure.into());
            }
        };
        if std::mem::take(waits) && !upward.is_read() {
            let patience = super::patience(exchange.desk);
            let said = client.write(CONTINUE, patience).await;
            said.map_err(|_| Trouble::Gone)?;
        }
        if has_waited {
            upward.go();
        }
        // What an attempt before left is not this one's answer.
        downward.clear(&exchange.desk.buffers);
        let mut attempt = Attempt {
            exchange,
            ticket,
            traits,
            downward: &mut *downward,
            looked_at: 0,
            has_spoken: false,
        };
        let (why, outcome) = match attempt.run(client, upward, &mut line).await {
            Ok(Came::Answered(answer)) => {
                ticket.see_answer(answer.status);
                line.answered(answer.status);
                let why = Some(Why::Status(answer.status));
                (why, Ok(Asked::Answered { line, answer }))
            }
            Ok(Came::Switched(head)) => {
                let answer = std::mem::take(&mut downward.answer);
                line.answered(101);
                return Ok(Asked::Switched { line, head, answer });
            }
            Err(Failed::Gone) => {
                upward.leave(&line);
                return Err(Trouble::Gone);
            }
            Err(Failed::Otherwise(failure)) => {
                upward.leave(&line);
                line.note(&failure);
                return Err(failure.into());
            }
            Err(Failed::Silent(failure)) => {
                let harmless = upward.is_untouched() || traits.is_idempotent;
                if line.is_reused() && harmless && upward.can_rewind() {
                    // It was closed while it lay idle: that is no failed attempt.
                    upward.rewind(Instant::now());
                    fresh = true;
                    continue;
                }
                line.note(&failure);
                (Some(Why::Reset), Err(failure.into()))
            }
        };
        let harmless = upward.is_untouched() || traits.is_idempotent && upward.is_replayable();
        match why {
            Some(why) if budgets.allow(policy(ticket), why, made, harmless) => {
                made += 1;
                shunned = match &outcome {
                    Ok(Asked::Answered { line, .. } | Asked::Switched { line, .. }) => {
                        Some(line.shun())
                    }
                    Err(_) => None,
                };
                upward.rewind(Instant::now());
            }
            _ => return outcome,
        }
    }
}

/// When the route asks again.
fn policy(ticket: &Ticket) -> (usize, &Retries) {
    let entry = ticket.entry();
    (entry.index, &entry.route.retries)
}

/// A connection to one of the endpoints of who answers.
async fn connect(
    exchange: &Exchange<'_>,
    ticket: &mut Ticket,
    fresh: bool,
    shunned: &mut Option<Shunned>,
) -> Result<Line, Rc<Failure>> {
    let (arm, key) = (ticket.answerer(), ticket.place());
    let failed = shunned.take();
    let booking = exchange.book(ticket.entry(), arm, key).await?;
    drop(failed);
    // Nothing was waited for since a first try's request came.
    let at = if ticket.is_unasked() && !booking.is_limited() {
        exchange.arrival.at
    } else {
        std::time::Instant::now()
    };
    ticket.asks(ticket.answerer(), booking.endpoint(), at);
    let booking = if fresh {
        booking
    } else {
        match booking.idle_line(exchange.arrival.at) {
            Ok(line) => return Ok(line),
            Err(booking) => booking,
        }
    };
    let whom = booking.whom();
    let timeouts = ticket.entry().route.timeouts;
    let connecting = booking.new_line(timeouts.connect);
    let connected = match exchange.end(ticket) {
        Some(end) => timeout_at(end, connecting)
            .await
            .unwrap_or(Err(Failure::ConnectLate)),
        None => connecting.await,
    };
    if connected.is_err() {
        *shunned = Some(whom.shun());
    }
    Ok(connected?)
}

/// One request on one connection, until the response's head.
struct Attempt<'a> {
    exchange: &'a Exchange<'a>,
    ticket: &'a Ticket,
    traits: Traits,
    /// Takes what the upstream says.
    downward: &'a mut Downward,
    /// So much of the answer was searched for a head.
    looked_at: usize,
    /// An interim response came.
    has_spoken: bool,
}

/// What the upstream's first bytes are.
enum Read {
    Partial,
    Interim(Vec<u8>),
    Final(Came),
}

/// A final response.
enum Came {
    Answered(Answered),
    /// The head of a 101, for the client.
    Switched(Vec<u8>),
}

impl Attempt<'_> {
    async fn run(
        &mut self,
        client: &mut Client,
        upward: &mut Upward,
        line: &mut Line,
    ) -> Result<Came, Failed> {
        let mut is_stopped = false;
        loop {
            let read = poll_fn(|cx| self.poll(cx, client, upward, line, &mut is_stopped)).await?;
            match read {
                Read::Final(came) => return Ok(came),
                Read::Interim(words) => {
                    let patience = super::patience(self.exchange.desk);
                    let written = client.write(&words, patience).await;
                    written.map_err(|_| Failed::Gone)?;
                }
                Read::Partial => {}
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upward: &mut Upward,
        line: &mut Line,
        is_stopped: &mut bool,
    ) -> Poll<Result<Read, Failed>> {
        let mut all_sent = *is_stopped;
        if !*is_stopped {
            match upward.poll(cx, client, &mut line.stream) {
                Poll::Ready(Ok(())) => all_sent = true,
                Poll::Ready(Err(Stopped::Client(failure))) => {
                    return Poll::Ready(Err(match failure {
                        Failure::BodyBroken => Failed::Gone,
                        failure => Failed::Otherwise(failure),
                    }));
                }
                // It may have said why before it closed.
                Poll::Ready(Err(Stopped::Upstream)) => *is_stopped = true,
                Poll::Pending => {}
            }
        }
        // Interim responses leave what follows them.
        if !self.downward.answer.is_empty() {
            match self.read(upward) {
                Ok(Read::Partial) => {}
                read => return Poll::Ready(read),
            }
        }
        let buffers = &self.exchange.desk.buffers;
        let stream = &mut line.stream;
        while let Poll::Ready(filled) = self.downward.answer.poll_fill(cx, stream, buffers) {
            match filled {
                Ok(1..) => match self.read(upward) {
                    Ok(Read::Partial) => {}
                    read => return Poll::Ready(read),
                },
                Ok(0) => return Poll::Ready(Err(self.ended("the connection was closed".into()))),
                Err(error) => return Poll::Ready(Err(self.ended(error.into()))),
            }
        }
        if all_sent && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failed::Gone));
        }
        let stalled = !all_sent && upward.is_stalled();
        self.poll_late(cx, client, upward, stalled)
    }

    fn poll_late<T>(
        &self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upward: &Upward,
        stalled: bool,
    ) -> Poll<Result<T, Failed>> {
        let timeouts = self.ticket.entry().route.timeouts;
        let (mut due, mut failure) = match upward.upstreams_turn_since() {
            Some(since) => (since + timeouts.response, Failure::ResponseLate),
            None => {
                let patience = self.exchange.rules.limits.body_timeout;
                let late = upward.late_at(patience);
                (late.unwrap_or_else(Instant::now), Failure::BodyLate)
            }
        };
        if let Some(end) = self.exchange.end(self.ticket)
            && end < due
        {
            (due, failure) = (end, Failure::ResponseLate);
        }
        client.poll_late(cx, due, stalled).map(|ended| {
            Err(match ended {
                Ended::Late => Failed::Otherwise(failure),
                Ended::Gone => Failed::Gone,
            })
        })
    }

    fn ended(&self, error: crate::error::BoxError) -> Failed {
        let is_silent = !self.has_spoken && self.downward.answer.is_empty();
        let failure = Failure::BadResponse(error);
        if is_silent {
            Failed::Silent(failure)
        } else {
            Failed::Otherwise(failure)
        }
    }

    /// Looks for a head in what came.
    fn read(&mut self, upward: &Upward) -> Result<Read, Failed> {
        let bad = |what: &str| Failed::Otherwise(Failure::BadResponse(what.into()));
        let input = self.downward.answer.unused();
        let new = input.get(self.looked_at..).unwrap_or_default();
        // A head ends with a line; without one there is nothing new to be found.
        let may_end = self.looked_at == 0 || memchr::memchr(b'\n', new).is_some();
        self.looked_at = input.len();
        if input.len() > LARGEST_HEAD {
            return Err(bad("the head is too large"));
        }
        if !may_end {
            return Ok(Read::Partial);
        }
        let mut room = Room::new();
        let mut large = None;
        let head = match head::response(input, (&mut room, &mut large), self.traits.is_head) {
            Ok(None) => return Ok(Read::Partial),
            Ok(Some(head)) => head,
            Err(error) => return Err(bad(&error.to_string())),
        };
        let length = head.len;
        let read = match head.status {
            101 if self.switches(&head) => {
                let mut out = Vec::new();
                heads::switched(&mut out, &head, &self.answer_of(Sent::Nothing, true));
                Read::Final(Came::Switched(out))
            }
            101 => return Err(bad("101 that nobody asked for")),
            100..200 => {
                let mut words = Vec::new();
                // HTTP/1.0 knows no interim responses, and leave to continue was given already.
                let is_known =
                    self.traits.version_11 && !(head.status == 100 && self.traits.expect_continue);
                if is_known {
                    heads::interim(&mut words, &head);
                }
                Read::Interim(words)
            }
            _ => {
                let behind = input.get(length..).unwrap_or_default();
                let is_over = upward.is_read() || may_outlast_request(&head, behind);
                let (answered, begun) = self.answered(&head, is_over);
                self.downward.answer.consume(length);
                if let Err(Broken::Upstream(error)) = self.downward.begin(begun, answered.at) {
                    return Err(bad(&error));
                }
                return Ok(Read::Final(Came::Answered(answered)));
            }
        };
        self.has_spoken = true;
        self.downward.answer.consume(length);
        self.looked_at = 0;
        Ok(read)
    }

    /// Whether a 101 switches to what the client asked for.
    fn switches(&self, head: &ResponseHead<'_>) -> bool {
        let protocols = &self.ticket.entry().route.upgrade;
        let is_allowed = |to: &[u8]| {
            let mut protocols = protocols.iter();
            protocols.any(|one| one.as_bytes().eq_ignore_ascii_case(to))
        };
        self.traits.switches && head.upgrade.is_some_and(is_allowed)
    }

    fn answer_of(&self, sent: Sent, keep_alive: bool) -> Answer<'_> {
        Answer {
            exchange: self.exchange,
            ticket: self.ticket,
            traits: self.traits,
            sent,
            keep_alive,
        }
    }

    /// `is_over` says that the request is, or may be when the response is.
    fn answered(&self, head: &ResponseHead<'_>, is_over: bool) -> (Answered, Begun) {
        let traits = self.traits;
        let bodiless = traits.is_head || matches!(head.status, 204 | 304);
        let (sent, coding) = match head.framing {
            _ if bodiless => (Sent::Nothing, Coding::AsItIs),
            Framing::Empty => (Sent::Length(0), Coding::AsItIs),
            Framing::Length(length) => (Sent::Length(length), Coding::AsItIs),
            Framing::Chunked if traits.version_11 => (Sent::Chunked, Coding::AsItIs),
            Framing::UntilClose if traits.version_11 => (Sent::Chunked, Coding::Chunked),
            Framing::Chunked => (Sent::UntilClose, Coding::Unchunked),
            Framing::UntilClose => (Sent::UntilClose, Coding::AsItIs),
        };
        let closing = self.exchange.desk.closing.has_begun();
        let client_stays = traits.keep_alive && sent != Sent::UntilClose && is_over && !closing;
        let mut out = self.exchange.desk.buffers.take();
        heads::response(&mut out, head, &self.answer_of(sent, client_stays));
        let meaning = match head.status {
            200 if traits.is_call => grpc::meaning(&head.fields),
            status => Meaning::Known(outcome::of_code(status)),
        };
        let answered = Answered {
            status: head.status,
            at: Instant::now(),
            meaning,
            // Python's model servers close the connection a moment after a 500, see `upstream::lease`.
            upstream_stays: head.keep_alive && head.status != 500,
            client_stays,
            until_close: sent == Sent::UntilClose,
        };
        let begun = Begun {
            out,
            // A response may be as long as it likes.
            body: Body::unlimited(head.framing),
            coding,
        };
        (answered, begun)
    }
}

/// Whether the rest of a request may come before the end of the response that begins so. Who refuses a request in the
/// middle of it rarely waits for its rest, and who has said all waits for nothing.
fn may_outlast_request(head: &ResponseHead<'_>, behind: &[u8]) -> bool {
    let mut body = Body::unlimited(head.framing);
    let is_whole = body.relay(behind).is_ok() && body.is_done();
    head.status < 400 && !is_whole
}

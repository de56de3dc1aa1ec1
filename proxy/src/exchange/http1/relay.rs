//! Brings a response to the client, while the rest of the request may still be on its way up.

use std::future::poll_fn;
use std::task::{Context, Poll};

use serin_stats::snapshot::Outcome;

use super::Next;
use super::asked::Answered;
use super::downward::{Awaits, Broken, Downward};
use super::upward::{Stopped, Upward};
use crate::connection::{Client, Ended};
use crate::exchange::Exchange;
use crate::observe::relay::Meaning;
use crate::observe::{Ticket, grpc};
use crate::upstream::Line;

/// How a response ended.
enum End {
    Whole,
    /// The client left, or takes nothing any more.
    Gone,
    /// The upstream broke off.
    Broken(String),
}

/// Relays the response to its end, counts the request, and keeps what can be used again.
pub(super) async fn relay(
    client: &mut Client,
    exchange: &Exchange<'_>,
    ticket: &mut Ticket,
    (upward, downward): (&mut Upward, &mut Downward),
    mut line: Line,
    answered: Answered,
) -> Next {
    let Answered {
        at,
        meaning,
        upstream_stays,
        client_stays,
        until_close,
        ..
    } = answered;
    if downward.is_read() || downward.has_content() {
        ticket.see_first_byte_at(at.into_std());
    }
    let mut relay = Relaying {
        exchange,
        ticket: &mut *ticket,
        upward,
        downward: &mut *downward,
        line: &mut line,
        is_stopped: false,
    };
    let end = poll_fn(|cx| relay.poll(cx, client)).await;
    match end {
        End::Whole => {
            let outcome = match meaning {
                Meaning::Known(outcome) => outcome,
                Meaning::InTrailers { .. } => {
                    grpc::outcome_in(&downward.trailer).unwrap_or(Outcome::Error)
                }
            };
            let now = ticket.close(outcome, false);
            client.served_at = now.into();
            let is_read = upward.is_read();
            if upstream_stays && is_read && downward.answer.is_empty() {
                line.keep(now);
            }
            if client_stays && is_read {
                Next::Again
            } else {
                Next::Close
            }
        }
        End::Gone => {
            ticket.close(Outcome::Aborted, false);
            upward.leave(&line);
            Next::Cut
        }
        End::Broken(error) => {
            tracing::debug!(%error, "a response broke off");
            ticket.close(Outcome::Error, false);
            if until_close {
                client.stream.break_off();
            }
            Next::Cut
        }
    }
}

struct Relaying<'a> {
    exchange: &'a Exchange<'a>,
    ticket: &'a mut Ticket,
    upward: &'a mut Upward,
    downward: &'a mut Downward,
    line: &'a mut Line,
    /// The upstream takes no more of the request.
    is_stopped: bool,
}

impl Relaying<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<End> {
        let mut all_sent = self.is_stopped;
        if !self.is_stopped {
            match self.upward.poll(cx, client, &mut self.line.stream) {
                Poll::Ready(Ok(())) => all_sent = true,
                Poll::Ready(Err(Stopped::Client(_))) => return Poll::Ready(End::Gone),
                Poll::Ready(Err(Stopped::Upstream)) => self.is_stopped = true,
                Poll::Pending => {}
            }
        }
        let buffers = &self.exchange.desk.buffers;
        let stream = &mut self.line.stream;
        let polled = self.downward.poll(cx, &mut client.stream, stream, buffers);
        if self.downward.has_content() {
            self.ticket.see_first_byte();
        }
        match polled {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Whole),
            Poll::Ready(Err(Broken::Client)) => return Poll::Ready(End::Gone),
            Poll::Ready(Err(Broken::Upstream(error))) => return Poll::Ready(End::Broken(error)),
            Poll::Pending => {}
        }
        if all_sent && client.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        self.poll_late(cx, client, !all_sent && self.upward.is_stalled())
    }

    fn poll_late(&mut self, cx: &mut Context<'_>, client: &mut Client, stalled: bool) -> Poll<End> {
        let limits = &self.exchange.rules.limits;
        let late = || End::Broken("the response stalled".to_owned());
        let (mut due, mut by_client) = match self.downward.awaits {
            Awaits::Client => (self.downward.still_since + limits.idle_timeout, true),
            Awaits::Upstream => {
                let idle = self.ticket.entry().route.timeouts.idle;
                (self.downward.still_since + idle, false)
            }
        };
        if let Some(end) = self.exchange.end(self.ticket)
            && end < due
        {
            (due, by_client) = (end, false);
        }
        // Who listens need not speak.
        let listened_until = self.downward.still_since + limits.body_timeout;
        if let Some(body) = self.upward.late_at(limits.body_timeout)
            && let body = body.max(listened_until)
            && !self.is_stopped
            && body < due
        {
            (due, by_client) = (body, true);
        }
        client.poll_late(cx, due, stalled).map(|ended| match ended {
            Ended::Late if !by_client => late(),
            Ended::Late | Ended::Gone => End::Gone,
        })
    }
}

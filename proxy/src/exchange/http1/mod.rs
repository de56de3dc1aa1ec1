//! An exchange between an HTTP/1.1 client and an HTTP/1.1 upstream, on the client's own task.
//!
//! [`order`] makes of the client's head what goes upstream, [`ask`] sends it and waits for the response's head,
//! [`relay`] brings the response to the client; [`upward`] and [`downward`] are the two directions, [`copied`]
//! what of a request is shown to its copy, [`heads`] what is written; after a switch of protocols there is a
//! [`tunnel`]. Routing, arms, deadlines, outcomes and failures are those of every other exchange.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::{Exchange, Refused, backend, heads as shared, translate};
use serin_stats::snapshot::Outcome;

use crate::connection::{Client, Ended};
use crate::error::Failure;
use crate::h1::body::Body;
use crate::h1::head::{Framing, asks_for_head};
use crate::observe::Ticket;
use crate::plane::Rules;
use crate::route;
use crate::worker::{Desk, InFlight};

mod ask;
mod asked;
mod copied;
mod downward;
pub(super) mod heads;
pub(super) mod order;
mod relay;
mod tunnel;
mod upward;

pub(super) use ask::CONTINUE;
use asked::{Asked, Trouble};
use copied::Copied;
use downward::Downward;
use heads::Sent;
use order::{Order, Outgoing, Taken, Traits};
use upward::Upward;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It may send another request.
    Again,
    /// Nothing more is said on it, but the client may still be sending.
    Close,
    /// It ends at once: the client is gone, or must see that a response is incomplete.
    Cut,
}

/// What the client's buffer holds.
pub(crate) enum Opened {
    /// A head that isn't complete.
    Partial,
    /// A request was served, or refused.
    Served(Next),
}

/// Serves the request that stands at the beginning of the client's buffer, if its head is complete.
pub(crate) async fn serve(client: &mut Client) -> Opened {
    let desk = Rc::clone(&client.desk);
    let rules = desk.rules();
    let rules = rules.as_deref();
    let unread = route::Body::Unread;
    let taken = order::take(&desk, rules, client, unread);
    let (taken, _in_flight) = match taken {
        Taken::Partial => return Opened::Partial,
        Taken::BodyNeeded(traits) => {
            let in_flight = InFlight::begin(&desk);
            match Box::pin(read_ahead(&desk, rules, client, traits)).await {
                Some(taken) => (taken, in_flight),
                None => return Opened::Served(Next::Cut),
            }
        }
        taken => (taken, InFlight::begin(&desk)),
    };
    Opened::Served(match taken {
        Taken::Order(mut order) => {
            client.input.consume(order.traits.length);
            match order.head {
                Outgoing::Direct(head) => {
                    let (exchange, ticket) = (&order.exchange, &mut order.ticket);
                    direct(client, exchange, ticket, order.traits, head).await
                }
                Outgoing::Translated(head) => {
                    let Order {
                        exchange,
                        ticket,
                        traits,
                        ..
                    } = *order;
                    Box::pin(translate::serve(client, &exchange, ticket, traits, *head)).await
                }
            }
        }
        Taken::Refused(refused, traits) => {
            let read = match traits {
                Some(traits) => {
                    client.input.consume(traits.length);
                    pass_over(client, traits)
                }
                None => false,
            };
            refuse(client, refused, traits, read).await
        }
        // The whole body was read, or was found too large to be read: neither can be asked for again.
        Taken::Partial | Taken::BodyNeeded(_) => Next::Cut,
    })
}

/// Reads what routing needs of the body, behind the head in the client's buffer. `None` when the client is gone.
async fn read_ahead<'d>(
    desk: &'d Desk,
    rules: Option<&'d Rules>,
    client: &mut Client,
    traits: Traits,
) -> Option<Taken<'d>> {
    let limits = rules.map_or(desk.first_limits(), |rules| &rules.limits);
    let most = limits.max_buffered_body;
    let refused = |failure: Failure| Some(Taken::Refused(failure.into(), None));
    let mut content = Vec::new();
    let mut body = match Body::new(traits.framing, limits.max_body) {
        Ok(body) => body,
        Err(error) => return refused(error.into()),
    };
    let mut is_too_large =
        matches!(traits.framing, Framing::Length(length) if length > most as u64);
    let mut looked_at = traits.length;
    let mut waits = traits.expect_continue;
    while !is_too_large {
        let more = client.input.unused().get(looked_at..).unwrap_or_default();
        match body.content(more, &mut content) {
            Ok(taken) => looked_at += taken,
            Err(error) => return refused(error.into()),
        }
        // Framing is held too: as much of it as of content, and not more.
        is_too_large = content.len() > most || looked_at > traits.length + 2 * most + 1024;
        if body.is_done() || is_too_large {
            break;
        }
        if std::mem::take(&mut waits) && looked_at == traits.length {
            client
                .write(ask::CONTINUE, limits.body_timeout)
                .await
                .ok()?;
        }
        match client
            .fill(tokio::time::Instant::now() + limits.body_timeout)
            .await
        {
            Ok(()) => {}
            Err(Ended::Late) => return refused(Failure::BodyLate),
            Err(Ended::Gone) => return None,
        }
    }
    let seen = if is_too_large {
        route::Body::TooLarge
    } else {
        route::Body::Whole(&content)
    };
    let mut taken = order::take(desk, rules, client, seen);
    if let Taken::Order(order) = &mut taken {
        order.traits.expect_continue &= waits;
    }
    Some(taken)
}

/// Asks an upstream that speaks HTTP/1.1, and brings its response to the client.
async fn direct(
    client: &mut Client,
    exchange: &Exchange<'_>,
    ticket: &mut Ticket,
    traits: Traits,
    head: Vec<u8>,
) -> Next {
    let limits = &exchange.rules.limits;
    let copied = Copied::begin(exchange, ticket, traits, &head);
    let upward = Body::new(traits.framing, limits.max_body)
        .and_then(|body| Upward::new(head, body, copied, client, exchange.arrived()));
    let mut upward = match upward {
        Ok(upward) => upward,
        Err(error) => {
            let refused = Refused::counted(Failure::from(error).into(), ticket);
            return refuse(client, refused, Some(traits), false).await;
        }
    };
    let mut downward = Downward::nothing(exchange.arrived());
    let ways = (&mut upward, &mut downward);
    let asked = ask::ask(client, exchange, ticket, traits, ways).await;
    let next = match asked {
        Ok(Asked::Answered { line, answer }) => {
            let ways = (&mut upward, &mut downward);
            relay::relay(client, exchange, ticket, ways, line, answer).await
        }
        Ok(Asked::Switched {
            mut line,
            head,
            answer,
        }) => {
            ticket.see_answer(101);
            ticket.see_first_byte();
            ticket.close(Outcome::Success, false);
            if client.write(&head, patience(exchange.desk)).await.is_ok() {
                let idle = ticket.entry().route.timeouts.idle;
                tunnel::tunnel(client, &mut line.stream, answer, idle).await;
            }
            Next::Cut
        }
        Err(Trouble::Gone) => Next::Cut,
        Err(Trouble::Failed(failure)) => {
            tracing::debug!(
                route = %ticket.entry().route.name,
                arm = ticket.arm().name(),
                %failure,
                "no response to relay"
            );
            let read = upward.is_read();
            let refused = Refused::counted(failure, ticket);
            refuse(client, refused, Some(traits), read).await
        }
    };
    exchange.desk.buffers.give(upward.into_buffer());
    downward.give_back(&exchange.desk.buffers);
    next
}

/// Passes over a body that stands in the client's buffer already; whether it ended there.
fn pass_over(client: &mut Client, traits: Traits) -> bool {
    let mut body = Body::unlimited(traits.framing);
    if let Ok(relayed) = body.relay(client.input.unused()) {
        client.input.consume(relayed.taken);
    }
    body.is_done()
}

/// Tells the client why there is no response. The connection can be used again when all of the request was read.
pub(super) async fn refuse(
    client: &mut Client,
    refused: Refused,
    traits: Option<Traits>,
    read: bool,
) -> Next {
    let is_call = traits.is_some_and(|traits| traits.is_call);
    let mut response = refused.failure.to_response(is_call);
    if let Some((entry, arm, request_id)) = refused.entry {
        let backend = backend(&entry, arm);
        let expose = entry.route.expose;
        shared::expose(response.headers_mut(), expose, arm, backend, request_id);
    }
    let keep_alive = read && traits.is_some_and(|traits| traits.keep_alive);
    say(client, &response, traits, keep_alive).await
}

/// Says something of our own.
async fn say(
    client: &mut Client,
    response: &Response<Bytes>,
    traits: Option<Traits>,
    keep_alive: bool,
) -> Next {
    let desk = Rc::clone(&client.desk);
    let keep_alive = keep_alive && !desk.closing.has_begun();
    // A head that made no sense stands in the buffer still.
    let (is_head, version_11) = match traits {
        Some(traits) => (traits.is_head, traits.version_11),
        None => (asks_for_head(client.input.unused()), true),
    };
    let (status, body) = (response.status(), response.body());
    let mut out = desk.buffers.take();
    let sent = Sent::Length(body.len() as u64);
    let how = (version_11, keep_alive);
    heads::own(&mut out, status, response.headers(), sent, how, &desk);
    if !is_head {
        out.extend_from_slice(body);
    }
    let said = client.write(&out, patience(&desk)).await;
    client.served_at = Instant::now();
    desk.buffers.give(out);
    match said {
        Ok(()) if keep_alive => Next::Again,
        Ok(()) => Next::Close,
        Err(_) => Next::Cut,
    }
}

/// Refuses a connection that begins no request, or doesn't end its head.
pub(crate) async fn turn_away(client: &mut Client, failure: Failure) -> Next {
    refuse(client, failure.into(), None, false).await
}

/// How long a client may take nothing of what we send.
pub(super) fn patience(desk: &Desk) -> Duration {
    desk.with_limits(|limits| limits.idle_timeout)
}

//! The two heads as they go on over HTTP/1.1: the request's to the upstream, the response's to the client.
//!
//! The same fields as [`heads`](crate::exchange::heads) gives to messages of HTTP/2, written straight from one
//! buffer into another.

use http::{HeaderMap, StatusCode};
use serin_config::model::Backend;
use serin_stats::snapshot::Arm;

use super::order::Traits;
use crate::connection::Peer;
use crate::exchange::{Exchange, backend};
use crate::h1::field::{self, Known};
use crate::h1::head::{Fields, Framing, RequestHead, ResponseHead};
use crate::h1::write;
use crate::identity::is_traceparent;
use crate::observe::traceparent::Traceparent;
use crate::observe::{Ticket, TracedHead};
use crate::worker::Desk;

/// How a response's body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum Sent {
    /// There is none; the upstream's `Content-Length` (of a HEAD, of a 304) is passed on.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes.
    UntilClose,
}

/// Appends the head of a request to an upstream; `ours` is its `traceparent` when it is traced.
pub(super) fn request(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    exchange: &Exchange<'_>,
    address: &str,
    host: &str,
    ours: Option<Traceparent>,
    switch: Option<&[u8]>,
) {
    write::request_line(out, head.method, head.target);
    write::named(out, b"host: ", host.as_bytes());
    let mut said = Said::default();
    for (kind, field) in head.fields.iter() {
        match kind {
            Known::Other if head.fields.is_named(kind, field) => continue,
            Known::Other | Known::ContentType | Known::Date | Known::RoutingKey => {}
            Known::ForwardedProto => said.proto = true,
            Known::ForwardedHost => said.host = true,
            Known::Via => {
                said.via = true;
                continue;
            }
            Known::ForwardedFor => {
                said.for_whom = true;
                continue;
            }
            _ => continue,
        }
        write::field(out, field.name.as_bytes(), field.value);
    }
    let before = said.via.then_some(head.fields);
    via(out, before, head.version_11);
    let before = said.for_whom.then_some(head.fields);
    list(
        out,
        b"x-forwarded-for: ",
        before,
        Known::ForwardedFor,
        address.as_bytes(),
    );
    if !said.proto {
        out.extend_from_slice(if exchange.peer.is_secure {
            b"x-forwarded-proto: https\r\n"
        } else {
            b"x-forwarded-proto: http\r\n"
        });
    }
    if !said.host {
        write::named(out, b"x-forwarded-host: ", host.as_bytes());
    }
    let id = exchange.request_id;
    write::named(out, b"x-serin-request-id: ", id.as_bytes());
    trace(out, &head.fields, exchange, ours);
    if let Some(protocol) = switch {
        write::field(out, b"upgrade", protocol);
        out.extend_from_slice(b"connection: upgrade\r\n");
    } else if head.takes_trailers {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    match head.framing {
        Framing::Length(length) => write::content_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // A body is what the method expects: its absence is said.
        Framing::Empty if expects_body(head.method) => write::content_length(out, 0),
        Framing::Empty | Framing::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// What a client's head says already.
#[derive(Default)]
struct Said {
    via: bool,
    for_whom: bool,
    proto: bool,
    host: bool,
}

fn expects_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

/// Says that a message of this version passed here, after others that say so.
fn via(out: &mut Vec<u8>, before: Option<Fields<'_>>, version_11: bool) {
    match (before, version_11) {
        (None, true) => out.extend_from_slice(b"via: 1.1 serin\r\n"),
        (before, true) => list(out, b"via: ", before, Known::Via, b"1.1 serin"),
        (before, false) => list(out, b"via: ", before, Known::Via, b"1.0 serin"),
    }
}

/// Appends a list: what the message's fields say, without empty members, and one more, in one line.
fn list(
    out: &mut Vec<u8>,
    name: &'static [u8],
    before: Option<Fields<'_>>,
    kind: Known,
    member: &[u8],
) {
    out.extend_from_slice(name);
    for value in before.into_iter().flat_map(|fields| fields.values(kind)) {
        for before in field::options(value) {
            out.extend_from_slice(before);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(member);
    out.extend_from_slice(b"\r\n");
}

/// What a trace tells of a request's head.
pub(super) fn traced<'a>(head: &RequestHead<'a>, path: &'a str, peer: Peer) -> TracedHead<'a> {
    TracedHead {
        method: head.method,
        path,
        is_secure: peer.is_secure,
        version: if head.version_11 { "1.1" } else { "1.0" },
        traceparent: traceparent(&head.fields),
    }
}

/// The only one.
fn traceparent<'b>(fields: &Fields<'b>) -> Option<&'b [u8]> {
    let mut given = fields.values(Known::Traceparent);
    given.next().filter(|_| given.next().is_none())
}

/// Makes the upstream a part of the trace that we record, or else passes a valid trace on, or else begins one. A
/// state that came with no valid parent goes.
fn trace(
    out: &mut Vec<u8>,
    fields: &Fields<'_>,
    exchange: &Exchange<'_>,
    ours: Option<Traceparent>,
) {
    let given = traceparent(fields).filter(|parent| is_traceparent(parent));
    match (ours, given) {
        (Some(ours), _) => write::field(out, b"traceparent", ours.to_string().as_bytes()),
        (None, Some(parent)) => write::named(out, b"traceparent: ", parent),
        (None, None) => {
            let trace = exchange.desk.identity.new_trace(exchange.request_id);
            write::named(out, b"traceparent: ", &trace);
        }
    }
    if given.is_some() {
        for state in fields.values(Known::Tracestate) {
            write::field(out, b"tracestate", state);
        }
    }
}

/// What a response's head says beside what the upstream said.
pub(super) struct Answer<'a> {
    pub(super) exchange: &'a Exchange<'a>,
    pub(super) ticket: &'a Ticket,
    pub(super) traits: Traits,
    pub(super) sent: Sent,
    /// The connection is used again.
    pub(super) keep_alive: bool,
}

/// Appends the head of an upstream's response to the client.
pub(super) fn response(out: &mut Vec<u8>, head: &ResponseHead<'_>, answer: &Answer<'_>) {
    let traits = answer.traits;
    write::status_line(out, traits.version_11, head.status, head.reason);
    let (mut has_date, mut has_via) = (false, false);
    for (kind, field) in head.fields.iter() {
        match kind {
            Known::Other if head.fields.is_named(kind, field) => continue,
            Known::Date => has_date = true,
            Known::Via => {
                has_via = true;
                continue;
            }
            Known::ContentLength if answer.sent != Sent::Nothing || head.status == 204 => continue,
            Known::TransferEncoding
            | Known::Connection
            | Known::Expect
            | Known::Upgrade
            | Known::Te
            | Known::HopByHop
            | Known::RoutingKey
            | Known::Ours => continue,
            _ => {}
        }
        write::field(out, field.name.as_bytes(), field.value);
    }
    let before = has_via.then_some(head.fields);
    via(out, before, head.version_11);
    if !has_date {
        date(out, answer.exchange);
    }
    expose(out, answer);
    framing(out, answer.sent);
    connection(out, traits.version_11, answer.keep_alive);
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim response (1xx).
pub(super) fn interim(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    write::status_line(out, true, head.status, head.reason);
    for (kind, field) in head.fields.iter() {
        let goes_on = match kind {
            Known::Other => !head.fields.is_named(kind, field),
            Known::Date | Known::ContentType => true,
            _ => false,
        };
        if goes_on {
            write::field(out, field.name.as_bytes(), field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a response that switches protocols (101).
pub(super) fn switched(out: &mut Vec<u8>, head: &ResponseHead<'_>, answer: &Answer<'_>) {
    write::status_line(out, true, head.status, head.reason);
    for (kind, field) in head.fields.iter() {
        let goes_on = match kind {
            Known::Other => !head.fields.is_named(kind, field),
            Known::Date | Known::ContentType => true,
            _ => false,
        };
        if goes_on {
            write::field(out, field.name.as_bytes(), field.value);
        }
    }
    if let Some(protocol) = head.upgrade {
        write::field(out, b"upgrade", protocol);
    }
    expose(out, answer);
    out.extend_from_slice(b"connection: upgrade\r\n\r\n");
}

/// Appends the head of a response whose fields are ours, or came over HTTP/2 and were made ready.
pub(in crate::exchange) fn own(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    sent: Sent,
    (version_11, keep_alive): (bool, bool),
    desk: &Desk,
) {
    let reason = status.canonical_reason().unwrap_or_default();
    write::status_line(out, version_11, status.as_u16(), reason);
    for (name, value) in headers {
        let is_framing = name == http::header::CONTENT_LENGTH;
        if !is_framing || sent == Sent::Nothing && status != StatusCode::NO_CONTENT {
            write::field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if !headers.contains_key(http::header::DATE) {
        write::field(out, b"date", &desk.date(desk.arrival().unix_ms));
    }
    framing(out, sent);
    connection(out, version_11, keep_alive);
    out.extend_from_slice(b"\r\n");
}

fn date(out: &mut Vec<u8>, exchange: &Exchange<'_>) {
    let date = exchange.desk.date(exchange.arrival.unix_ms);
    write::named(out, b"date: ", &date);
}

/// Says who answered, as far as clients may know.
fn expose(out: &mut Vec<u8>, answer: &Answer<'_>) {
    let entry = answer.ticket.entry();
    let (exposed, arm) = (entry.route.expose, answer.ticket.answerer());
    if exposed.arm {
        write::named(out, b"x-serin-arm: ", Arm::name(arm).as_bytes());
        if answer.ticket.is_covered() {
            let failed = answer.ticket.arm();
            write::field(out, b"x-serin-fallback", failed.name().as_bytes());
        }
    }
    if exposed.release
        && let Some(release) =
            backend(entry, arm).and_then(|backend: &Backend| backend.release.as_ref())
    {
        write::named(out, b"x-serin-release: ", release.digest.0.as_bytes());
    }
    if exposed.request_id {
        let id = answer.exchange.request_id;
        write::named(out, b"x-serin-request-id: ", id.as_bytes());
    }
}

fn framing(out: &mut Vec<u8>, sent: Sent) {
    match sent {
        Sent::Length(length) => write::content_length(out, length),
        Sent::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Sent::Nothing | Sent::UntilClose => {}
    }
}

/// The default isn't said.
fn connection(out: &mut Vec<u8>, version_11: bool, keep_alive: bool) {
    match (version_11, keep_alive) {
        (true, true) | (false, false) => {}
        (true, false) => out.extend_from_slice(b"connection: close\r\n"),
        (false, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
    }
}

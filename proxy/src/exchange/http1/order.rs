//! A request's head, from the client's bytes to what goes upstream: parsed, admitted, routed, written anew.
//!
//! All of it happens in one go and without waiting, since the parsed form borrows from the buffer it was read
//! into. What the rest of the exchange needs to know of the request is kept in a few plain values.

use http::{HeaderName, Method};

use super::heads;
use crate::connection::Client;
use crate::error::Failure;
use crate::exchange::{Exchange, Refused, backend, translate};
use crate::h1::field::Known;
use crate::h1::head::{self, Fields, Framing, RequestHead, Room};
use crate::observe::Ticket;
use crate::plane::Rules;
use crate::route::{self, RequestFacts};
use crate::upstream::Wire;
use crate::worker::Desk;

/// What is kept of a request's head.
#[derive(Clone, Copy, Debug)]
pub(in crate::exchange) struct Traits {
    /// Bytes that the head took.
    pub(in crate::exchange) length: usize,
    /// How the body is delimited.
    pub(in crate::exchange) framing: Framing,
    /// The response has no body.
    pub(in crate::exchange) is_head: bool,
    /// Sending it twice does no more than sending it once (RFC 9110, section 9.2.2).
    pub(in crate::exchange) is_idempotent: bool,
    /// The client would use the connection again.
    pub(in crate::exchange) keep_alive: bool,
    /// The client speaks HTTP/1.1 rather than 1.0.
    pub(in crate::exchange) version_11: bool,
    /// The client waits for a 100 before it sends its body.
    pub(in crate::exchange) expect_continue: bool,
    /// The client may switch to a WebSocket.
    pub(in crate::exchange) switches: bool,
    /// A gRPC call.
    pub(in crate::exchange) is_call: bool,
}

/// A request that has its arm.
pub(super) struct Order<'d> {
    pub(super) exchange: Exchange<'d>,
    pub(super) ticket: Ticket,
    pub(super) traits: Traits,
    pub(super) head: Outgoing,
}

/// A request's head as it goes upstream.
pub(super) enum Outgoing {
    /// On an HTTP/1.1 connection.
    Direct(Vec<u8>),
    /// On an HTTP/2 connection, or on one of which it is found out when it is opened.
    Translated(Box<translate::Head>),
}

/// What stands in the client's buffer.
pub(super) enum Taken<'d> {
    /// The beginning of a head.
    Partial,
    /// A head whose route or arm depends on its body.
    BodyNeeded(Traits),
    /// A request to be served.
    Order(Box<Order<'d>>),
    /// A request to be refused; nothing is known of it when even its head makes no sense.
    Refused(Refused, Option<Traits>),
}

/// Looks at the beginning of the client's input. `body` is what is known of the request's body.
pub(super) fn take<'d>(
    desk: &'d Desk,
    rules: Option<&'d Rules>,
    client: &Client,
    body: route::Body<'_>,
) -> Taken<'d> {
    let mut room = Room::new();
    let head = match head::request(client.input.unused(), &mut room) {
        Ok(Some(head)) => head,
        Ok(None) => return Taken::Partial,
        Err(error) => return Taken::Refused(Failure::from(error).into(), None),
    };
    let traits = Traits::of(&head);
    let Some(rules) = rules else {
        return Taken::Refused(Failure::NotReady.into(), Some(traits));
    };
    let arrival = desk.arrival();
    let exchange = Exchange {
        desk,
        rules,
        peer: client.peer,
        arrival,
        request_id: desk.identity.request_id(arrival.unix_ms),
        is_call: head.is_call,
        interim: None,
    };
    match order(exchange, &head, traits, client, body) {
        Ok(Some(order)) => Taken::Order(order),
        Ok(None) => Taken::BodyNeeded(traits),
        Err(failure) => Taken::Refused(failure.into(), Some(traits)),
    }
}

fn order<'d>(
    exchange: Exchange<'d>,
    head: &RequestHead<'_>,
    mut traits: Traits,
    client: &Client,
    body: route::Body<'_>,
) -> Result<Option<Box<Order<'d>>>, Failure> {
    let limits = &exchange.rules.limits;
    if head.target.len() > limits.max_uri_bytes {
        return Err(Failure::TargetTooLong);
    }
    if head.len > limits.max_header_bytes {
        return Err(Failure::HeadTooLarge);
    }
    if matches!(head.framing, Framing::Length(length) if length > limits.max_body) {
        return Err(Failure::BodyTooLarge);
    }
    let (path, query) = path_and_query(head.target);
    let facts = RequestFacts {
        fields: &head.fields,
        host: (!head.authority.is_empty()).then_some(head.authority),
        path,
        query,
        body: match head.framing {
            Framing::Empty => route::Body::Whole(&[]),
            _ => body,
        },
        peer: client.peer.ip,
        request_id: exchange.request_id.as_bytes(),
    };
    let Some((entry, assignment)) = exchange.assign(&facts)? else {
        return Ok(None);
    };
    let mut ticket = exchange.open(entry, assignment);
    ticket.trace(exchange.desk, exchange.rules.sampling, || {
        heads::traced(head, path, exchange.peer)
    });
    let backend = backend(ticket.entry(), ticket.arm()).ok_or_else(Failure::no_endpoint)?;
    let own_name;
    let host = if head.authority.is_empty() {
        // Of the endpoint itself, for clients too old to name one.
        let endpoint = backend.endpoints.first().ok_or_else(Failure::no_endpoint)?;
        own_name = endpoint.authority();
        own_name.as_str()
    } else {
        head.authority
    };
    // A switch of protocols is HTTP/1.1's, whatever else the endpoint would choose.
    let switch = match Wire::of(backend, exchange.is_call) {
        Some(Wire::Http2) => None,
        Some(Wire::Http1) | None => upgrade(head, &ticket.entry().route.upgrade),
    };
    traits.switches = switch.is_some();
    let head = if traits.switches || exchange.speaks_http1(ticket.entry(), ticket.arm(), backend) {
        let mut out = exchange.desk.buffers.take();
        let ours = ticket.traceparent();
        heads::request(
            &mut out,
            head,
            &exchange,
            &client.address,
            host,
            ours,
            switch,
        );
        Outgoing::Direct(out)
    } else {
        Outgoing::Translated(Box::new(translate::Head::of(head, host)?))
    };
    Ok(Some(Box::new(Order {
        exchange,
        ticket,
        traits,
        head,
    })))
}

fn path_and_query(target: &str) -> (&str, Option<&str>) {
    let question_mark = memchr::memchr(b'?', target.as_bytes());
    match question_mark.and_then(|at| target.split_at_checked(at)) {
        Some(("", query)) => ("/", query.get(1..)),
        Some((path, query)) => (path, query.get(1..)),
        None => (target, None),
    }
}

/// The protocol to switch to, when the client wants to and the route allows it. A request with a body can't.
fn upgrade<'b>(head: &RequestHead<'b>, allowed: &[String]) -> Option<&'b [u8]> {
    let wanted = head.upgrade.filter(|_| head.framing == Framing::Empty)?;
    let is_wanted = |protocol: &String| protocol.as_bytes().eq_ignore_ascii_case(wanted);
    allowed.iter().any(is_wanted).then_some(wanted)
}

impl Traits {
    fn of(head: &RequestHead<'_>) -> Self {
        Self {
            length: head.len,
            framing: head.framing,
            is_head: head.method == "HEAD",
            is_idempotent: matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
            keep_alive: head.keep_alive,
            version_11: head.version_11,
            expect_continue: head.expect_continue,
            // The route has to allow it.
            switches: false,
            is_call: head.is_call,
        }
    }
}

impl route::Fields for Fields<'_> {
    fn visit<'a>(&'a self, name: &HeaderName, accepts: &mut dyn FnMut(&'a [u8]) -> bool) {
        let name = name.as_str();
        for (kind, field) in self.iter() {
            if kind != Known::Ours && field.name.eq_ignore_ascii_case(name) && accepts(field.value)
            {
                return;
            }
        }
    }
}

/// The method as the rest of the house knows it.
pub(in crate::exchange) fn method(text: &str) -> Result<Method, Failure> {
    Method::from_bytes(text.as_bytes()).map_err(|_| Failure::Malformed("The method is malformed."))
}

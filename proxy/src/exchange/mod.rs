//! One request, from its head to its record.
//!
//! [`admit`] refuses what we don't serve, [`ahead`] reads of the body what routing needs, the routing table and
//! the assignment choose the arm, [`forward`] asks one of its endpoints, [`heads`] and [`fields`] rewrite what
//! goes on, [`upload`] is the body on its way there and [`reply`] the body on its way back. What a request is
//! counted as is decided in [`observe`](crate::observe).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serin_config::model::Backend;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::time::Instant;

use crate::connection::Peer;
use crate::error::{Blame, Failure};
use crate::identity::RequestId;
use crate::observe::{Arrival, Relay, Ticket, grpc};
use crate::plane::Rules;
use crate::route::{Assignment, Found, RequestFacts, RouteEntry, Unassigned};
use crate::upstream::Booking;
use crate::worker::{Desk, InFlight};

mod admit;
mod ahead;
mod fields;
mod forward;
mod heads;
pub(crate) mod http1;
mod pipe;
mod reply;
mod retry;
mod translate;
mod upload;

pub(crate) use fields::strip_ours;
pub(crate) use reply::Reply;
pub(crate) use retry::Budgets;
pub(crate) use upload::{Upload, UploadState};

use ahead::Ahead;
use pipe::ClientBody;
use reply::Source;

/// What is known of a request from the start.
struct Exchange<'d> {
    desk: &'d Desk,
    rules: &'d Rules,
    peer: Peer,
    arrival: Arrival,
    request_id: RequestId,
    is_call: bool,
}

/// A response of our own: why, and for which arm if the request had one.
struct Refused {
    failure: Rc<Failure>,
    entry: Option<(Arc<RouteEntry>, Arm, RequestId)>,
}

/// Serves one request.
pub(crate) async fn serve(
    desk: Rc<Desk>,
    peer: Peer,
    in_flight: InFlight,
    request: Request<Incoming>,
) -> Response<Reply> {
    let arrival = desk.arrival();
    let request_id = desk.identity.request_id(arrival.unix_ms);
    let is_call = grpc::is_call(request.headers());
    let (head, body) = request.into_parts();
    let answer = match desk.rules() {
        Some(rules) => {
            let exchange = Exchange {
                desk: &desk,
                rules: &rules,
                peer,
                arrival,
                request_id,
                is_call,
            };
            exchange.answer(head, body).await
        }
        None => Err(Failure::NotReady.into()),
    };
    let response = match answer {
        Ok(response) => response.map(|relay| Source::Relayed(Box::new(relay))),
        Err(refused) => {
            let mut response = refused.failure.to_response(is_call);
            if let Some((entry, arm, request_id)) = refused.entry {
                let expose = entry.route.expose;
                let backend = backend(&entry, arm);
                heads::expose(response.headers_mut(), expose, arm, backend, request_id);
            }
            response.map(|text| Source::Own(Full::new(text)))
        }
    };
    response.map(|body| Reply::new(body, in_flight))
}

impl Exchange<'_> {
    async fn answer(&self, head: Parts, body: Incoming) -> Result<Response<Relay>, Refused> {
        let mut head = head;
        let mut ahead = Ahead::nothing(ClientBody::Incoming(body));
        match self.route(&mut head, &mut ahead).await {
            Ok((host, ticket)) => self.forward(head, host, ahead, ticket).await,
            Err(failure) => {
                let waits_for_leave = head.headers.contains_key(EXPECT);
                if head.version != Version::HTTP_2 && !waits_for_leave {
                    ahead.rest.into_iter().for_each(linger);
                }
                Err(failure.into())
            }
        }
    }

    /// Who is asked for, and by which arm it is answered.
    async fn route(
        &self,
        head: &mut Parts,
        ahead: &mut Ahead,
    ) -> Result<(Option<HeaderValue>, Ticket), Failure> {
        let limits = &self.rules.limits;
        let host = admit::admit(head, limits)?;
        fields::strip_ours_from_client(&mut head.headers);
        let (entry, assignment) = loop {
            let facts = self.facts(head, host.as_ref(), ahead);
            if let Some(found) = self.assign(&facts)? {
                break found;
            }
            ahead.read(limits).await?;
        };
        let mut ticket = self.open(entry, assignment);
        ticket.trace(self.desk, self.rules.sampling, || {
            heads::traced(head, self.peer.is_secure)
        });
        Ok((host, ticket))
    }

    /// The ticket of a request that has its route.
    fn open(&self, entry: &Arc<RouteEntry>, assignment: Assignment) -> Ticket {
        let entry = Arc::clone(entry);
        let (worker, id) = (self.desk.worker, self.request_id);
        let route = &entry.route;
        self.desk.budgets.earn(entry.index, &route.retries);
        Ticket::open(entry, worker, assignment, self.arrival, id)
    }

    /// When the request had arrived.
    fn arrived(&self) -> Instant {
        Instant::from_std(self.arrival.at)
    }

    /// When everything must be over, if the route has such a limit.
    fn end(&self, ticket: &Ticket) -> Option<Instant> {
        let total = ticket.entry().route.timeouts.total?;
        Some(self.arrived() + total)
    }

    /// One of the arm's endpoints, as soon as there is room for one more exchange.
    async fn book(&self, entry: &RouteEntry, arm: Arm, key: u64) -> Result<Booking, Failure> {
        let cluster = self.rules.clusters.of(entry.index, arm);
        let cluster = cluster.ok_or_else(Failure::no_endpoint)?;
        let now_ms = self.arrival.unix_ms;
        let upstreams = &self.desk.upstreams;
        upstreams
            .book(cluster, key, now_ms, &self.desk.identity)
            .await
    }

    /// The route and where the request falls on it; `None` when that depends on the body.
    fn assign(
        &self,
        facts: &RequestFacts<'_>,
    ) -> Result<Option<(&Arc<RouteEntry>, Assignment)>, Failure> {
        let entry = match self.rules.table.find(facts) {
            Found::Route(entry) => entry,
            Found::BodyNeeded => return Ok(None),
            Found::Nothing => return Err(Failure::NoRoute),
        };
        match entry.assign(facts) {
            Ok(assignment) => Ok(Some((entry, assignment))),
            Err(Unassigned::BodyNeeded) => Ok(None),
            Err(Unassigned::KeyMissing) => Err(Failure::KeyMissing),
        }
    }

    fn facts<'a>(
        &'a self,
        head: &'a Parts,
        host: Option<&'a HeaderValue>,
        ahead: &'a Ahead,
    ) -> RequestFacts<'a> {
        RequestFacts {
            fields: &head.headers,
            host: host.and_then(|host| host.to_str().ok()),
            path: head.uri.path(),
            query: head.uri.query(),
            body: ahead.seen(),
            peer: self.peer.ip,
            request_id: self.request_id.as_bytes(),
        }
    }
}

impl Refused {
    /// After routing: it counts, and its client may know the arm.
    fn counted(failure: Rc<Failure>, ticket: &mut Ticket) -> Self {
        let outcome = match failure.blame() {
            Blame::Client => Outcome::Aborted,
            Blame::Upstream | Blame::Ours => Outcome::Error,
        };
        ticket.see_reply(failure.status().as_u16());
        ticket.close(outcome, failure.is_unreachable());
        let entry = (
            Arc::clone(ticket.entry()),
            ticket.answerer(),
            ticket.request_id(),
        );
        Self {
            failure,
            entry: Some(entry),
        }
    }
}

impl From<Failure> for Refused {
    /// Before routing: not counted.
    fn from(failure: Failure) -> Self {
        Self {
            failure: Rc::new(failure),
            entry: None,
        }
    }
}

/// An arm's servers.
fn backend(entry: &RouteEntry, arm: Arm) -> Option<&Backend> {
    match arm {
        Arm::Baseline => Some(&entry.route.baseline),
        Arm::Canary => entry.route.canary.as_ref(),
    }
}

/// Takes in the rest of a refused body for a moment. A connection that is closed while the client still sends
/// is reset, and then the client never sees why.
fn linger(body: ClientBody) {
    // Our own connections do it themselves.
    let ClientBody::Incoming(mut body) = body else {
        return;
    };
    const MOMENT: Duration = Duration::from_secs(2);
    const MOST: usize = 1024 * 1024;
    tokio::task::spawn_local(tokio::time::timeout(MOMENT, async move {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, bytes::Bytes::len);
            if taken > MOST {
                break;
            }
        }
    }));
}

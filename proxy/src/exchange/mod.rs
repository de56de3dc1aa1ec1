//! One request, from its head to its record.
//!
//! [`admit`] refuses what we don't serve, [`ahead`] reads of the body what routing needs, the routing table and
//! the assignment choose the arm, [`forward`] asks one of its endpoints, [`heads`] and [`fields`] rewrite what
//! goes on, [`upload`] is the body on its way there and [`reply`] the body on its way back. What a request is
//! counted as is decided in [`observe`](crate::observe).

use std::rc::Rc;
use std::sync::Arc;

use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use serin_config::model::Backend;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::time::Instant;

use crate::connection::{self, Peer, RequestBody};
use crate::error::{Blame, Failure};
use crate::identity::RequestId;
use crate::observe::{Arrival, Relay, Ticket, grpc};
use crate::plane::Rules;
use crate::route::{Assignment, Found, RequestFacts, RouteEntry, Unassigned};
use crate::upstream::{Booking, Wire};
use crate::worker::{Desk, InFlight};

mod admit;
mod ahead;
mod fields;
mod forward;
mod heads;
pub(crate) mod http1;
mod interim;
mod pipe;
mod reply;
mod retry;
mod translate;
mod upload;

pub(crate) use fields::{clean_trailers, strip_underscored};
pub(crate) use heads::{address, written};
pub(crate) use interim::Interim;
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
    /// How the client is told something before its answer, where the codec above doesn't do it by itself.
    interim: Option<Interim>,
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
    request: Request<RequestBody>,
    interim: connection::Interim,
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
                interim: Some(Interim::Http2(interim)),
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

/// Answers what is no request that we serve.
pub(crate) fn refusal(failure: &Failure, is_call: bool, in_flight: InFlight) -> Response<Reply> {
    let response = failure.to_response(is_call);
    response.map(|text| Reply::new(Source::Own(Full::new(text)), in_flight))
}

impl Exchange<'_> {
    async fn answer(&self, head: Parts, body: RequestBody) -> Result<Response<Relay>, Refused> {
        let mut head = head;
        let mut ahead = Ahead::nothing(ClientBody::Http2(body));
        let (host, ticket) = self.route(&mut head, &mut ahead).await?;
        if let Some(interim) = &self.interim
            && head.headers.contains_key(EXPECT)
            && !ahead.is_over()
        {
            interim.say(StatusCode::CONTINUE.as_u16(), &HeaderMap::new());
        }
        self.forward(head, host, ahead, ticket).await
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
        let patience = || grpc::timeout(&head.headers);
        if let Some(patience) = self.is_call.then(patience).flatten() {
            ticket.waits(patience);
        }
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

    /// Whether this arm, and baseline if it may cover for it, is asked over HTTP/1.1 for certain.
    fn speaks_http1(&self, entry: &RouteEntry, arm: Arm, backend: &Backend) -> bool {
        let is_http1 = |arm, backend| match Wire::of(backend, self.is_call) {
            Some(wire) => wire == Wire::Http1,
            None => {
                let cluster = self.rules.clusters.of(entry.index, arm);
                cluster.is_some_and(|cluster| cluster.speaks_http1())
            }
        };
        is_http1(arm, backend)
            && (!retry::has_fallback(&entry.route, arm)
                || is_http1(Arm::Baseline, &entry.route.baseline))
    }

    /// When the request had arrived.
    fn arrived(&self) -> Instant {
        Instant::from_std(self.arrival.at)
    }

    /// When everything must be over, if the route or the client sets such a limit.
    fn end(&self, ticket: &Ticket) -> Option<Instant> {
        let total = ticket.entry().route.timeouts.total;
        let limits = [total, ticket.patience()].into_iter().flatten();
        limits.min().map(|limit| self.arrived() + limit)
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

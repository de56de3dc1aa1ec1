//! Asks one of the arm's endpoints, within the route's deadlines.
//!
//! A connection that served others before may be closed by the endpoint just now. A request that met such a
//! connection is sent once more on a fresh one, if that is safe: nothing of it was sent, or nothing was
//! answered, sending it twice does no harm (it is idempotent), and what was sent of it is here still. What else is
//! asked again is [`retry`]'s to say.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use serin_config::model::Timeouts;
use serin_stats::snapshot::Arm;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::admit::declared_length;
use super::ahead::Ahead;
use super::heads::{self, Outbound};
use super::retry::{self, Why};
use super::upload::{Upload, UploadState};
use super::{Exchange, Interim, Refused, backend};
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::observe::relay::Meaning;
use crate::observe::traceparent::Traceparent;
use crate::observe::{Patience, Relay, Ticket, grpc, outcome};
use crate::route::RouteEntry;
use crate::shadow::CopyHead;
use crate::upstream::{Answer, Booking, Fate, Lease, Reading, Unanswered, Wire};

/// How an endpoint is asked.
struct Question<'e> {
    entry: &'e RouteEntry,
    arm: Arm,
    key: u64,
    timeouts: Timeouts,
    /// Its own choice unless it is said.
    wire: Option<Wire>,
    /// When everything must be over.
    end: Option<Instant>,
    upload: Rc<UploadState>,
    interim: Option<&'e Interim>,
}

impl Exchange<'_> {
    /// The upstream's response, on its way; or why there is none.
    pub(super) async fn forward(
        &self,
        head: Parts,
        host: Option<HeaderValue>,
        ahead: Ahead,
        ticket: Ticket,
    ) -> Result<Response<Relay>, Refused> {
        let client_version = head.version;
        let mut ticket = ticket;
        match self.ask(head, host, ahead, &mut ticket).await {
            Ok((response, question)) => {
                ticket.see_answer(response.status().as_u16());
                Ok(self.relay(response, client_version, &question, ticket))
            }
            Err(failure) => {
                tracing::debug!(
                    route = %ticket.entry().route.name,
                    arm = ticket.arm().name(),
                    %failure,
                    "no response to relay"
                );
                Err(Refused::counted(failure, &mut ticket))
            }
        }
    }

    /// Asks the request's arm, and baseline if that fails and the route wants it covered.
    async fn ask(
        &self,
        head: Parts,
        host: Option<HeaderValue>,
        mut ahead: Ahead,
        ticket: &mut Ticket,
    ) -> Result<(Response<Reading>, Answered), Rc<Failure>> {
        if !retry::has_fallback(&ticket.entry().route, ticket.arm()) {
            return self.ask_arm(head, host, ahead, ticket).await;
        }
        ahead.read(&self.rules.limits).await?;
        let spare = ahead
            .copy()
            .map(|ahead| (head.clone(), host.clone(), ahead));
        let asked = self.ask_arm(head, host, ahead, ticket).await;
        let (fails, unreachable) = match &asked {
            Ok((response, ..)) => (retry::is_covered_status(response.status().as_u16()), false),
            Err(failure) => (retry::is_covered(failure), failure.is_unreachable()),
        };
        match spare.filter(|_| fails) {
            None => asked,
            Some((head, host, ahead)) => {
                if let Ok((response, ..)) = &asked {
                    ticket.see_answer(response.status().as_u16());
                }
                drop(asked);
                ticket.cover(unreachable);
                self.ask_arm(head, host, ahead, ticket).await
            }
        }
    }

    async fn ask_arm(
        &self,
        mut head: Parts,
        host: Option<HeaderValue>,
        ahead: Ahead,
        ticket: &mut Ticket,
    ) -> Result<(Response<Reading>, Answered), Rc<Failure>> {
        let entry = &Arc::clone(ticket.entry());
        let backend = backend(entry, ticket.answerer()).ok_or_else(Failure::no_endpoint)?;
        let (arm, key) = (ticket.answerer(), ticket.place());
        let booking = self.book(entry, arm, key).await?;
        let now = std::time::Instant::now();
        ticket.asks(ticket.answerer(), booking.endpoint(), now);
        let outbound = Outbound {
            peer: self.peer,
            address: self.interim.as_ref().and_then(Interim::address),
            host: match host {
                Some(host) => host,
                None => own_host(&booking)?,
            },
            request_id: self.request_id,
            identity: &self.desk.identity,
            traceparent: ticket.traceparent().and_then(Traceparent::to_value),
        };
        outbound.apply(&mut head);
        head.extensions.clear();
        let mirror = &self.desk.mirror;
        let length = || declared_length(&head).ok().flatten();
        let tee = mirror.begin(ticket, head.method.as_str(), length, || {
            CopyHead::new(&head)
        });
        let limits = &self.rules.limits;
        let read = ahead.bytes.len() as u64;
        let upload = Upload::new(
            ahead.bytes,
            ahead.rest,
            ahead.trailers,
            limits.max_body.saturating_sub(read),
            limits.body_timeout,
        )
        .shown_to(tee);
        let timeouts = entry.route.timeouts;
        let question = Question {
            entry,
            arm,
            key,
            timeouts,
            wire: Wire::of(backend, self.is_call),
            end: self.end(ticket),
            upload: upload.state(),
            interim: self.interim.as_ref(),
        };
        let is_head = head.method == Method::HEAD;
        let request = Request::from_parts(head, upload);
        let (response, lease) = self.put(&question, booking, request).await?;
        let (head, body) = response.into_parts();
        let body = lease.read(body).filter(|_| !head.status.is_informational());
        let body = body.ok_or_else(|| Failure::BadResponse("101 that nobody asked for".into()))?;
        let answered = Answered {
            is_head,
            idle: timeouts.idle,
            end: question.end,
            upload: question.upload,
        };
        Ok((Response::from_parts(head, body), answered))
    }

    /// Sends the request, again if that is safe: when its connection was an old one, or the policy allows it.
    async fn put(
        &self,
        question: &Question<'_>,
        booking: Booking,
        request: Request<Upload>,
    ) -> Result<(Answer, Lease), Rc<Failure>> {
        let policy = (question.entry.index, &question.entry.route.retries);
        let budgets = &self.desk.budgets;
        let (mut booking, mut request) = (booking, request);
        let harmless = |spare: &Spare| spare.is_idempotent;
        let (mut made, mut fresh, mut was_refused) = (0, false, false);
        loop {
            let asked = booking.whom();
            let mut lease = match question.lease(booking, fresh, &self.desk.buffers).await {
                Ok(lease) => lease,
                Err(failure) => {
                    // Who failed is asked again only when there is nobody else.
                    let failed = asked.shun();
                    let elsewhere = failed.leaves_others();
                    if retry::is_of_connecting(&failure, elsewhere)
                        && budgets.allow(policy, Why::Connect { elsewhere }, made, true)
                    {
                        made += 1;
                        booking = self
                            .book(question.entry, question.arm, question.key)
                            .await?;
                        drop(failed);
                        continue;
                    }
                    return Err(failure);
                }
            };
            lease.address(&mut request)?;
            let spare = Spare::of(&request, &lease, &question.upload);
            question.upload.sets_out();
            let sent = question.send(&mut lease, request).await;
            let sent = sent.inspect_err(|failure| lease.note(failure))?;
            let (why, again, outcome) = match sent {
                Ok(response) => {
                    let why = Why::Status(response.status().as_u16());
                    (why, spare.filter(harmless), Ok((response, lease)))
                }
                Err(Unanswered { fate, error }) => {
                    let is_last = matches!(fate, Fate::Silent | Fate::TooLate);
                    let (why, again) = match fate {
                        Fate::Refused | Fate::TooLate => (Why::Unprocessed, spare),
                        Fate::Silent => (Why::Reset, spare.filter(harmless)),
                        Fate::Garbled => (Why::Reset, None),
                    };
                    let failure = question.failure(error);
                    // It was closed while it lay idle, or says for the first time that it did nothing about this one:
                    // that is no failed attempt.
                    let is_idle = is_last && lease.is_reused();
                    let is_first = why == Why::Unprocessed && !was_refused;
                    if (is_idle || is_first) && again.as_ref().is_some_and(Spare::is_there) {
                        was_refused |= !is_idle;
                        let next = again.and_then(Spare::again);
                        request = next.ok_or(failure)?;
                        fresh = is_idle;
                        drop(lease);
                        booking = self
                            .book(question.entry, question.arm, question.key)
                            .await?;
                        continue;
                    }
                    lease.note(&failure);
                    (why, again, Err(failure.into()))
                }
            };
            let again = again
                .filter(Spare::is_there)
                .filter(|_| budgets.allow(policy, why, made, true))
                .and_then(Spare::again);
            let Some(again) = again else {
                question.upload.let_go();
                return outcome;
            };
            made += 1;
            request = again;
            drop(outcome);
            let failed = asked.shun();
            booking = self
                .book(question.entry, question.arm, question.key)
                .await?;
            drop(failed);
        }
    }

    fn relay(
        &self,
        response: Response<Reading>,
        client_version: Version,
        answered: &Answered,
        ticket: Ticket,
    ) -> Response<Relay> {
        let (mut head, body) = response.into_parts();
        // What comes behind such a head all the same would be the beginning of the next answer to some clients.
        let is_bodiless = answered.is_head
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let body = (!is_bodiless).then_some(body);
        if head.status == StatusCode::NO_CONTENT {
            head.headers.remove(CONTENT_LENGTH);
        }
        let meaning = if self.is_call && head.status == StatusCode::OK {
            match grpc::outcome(&head.headers) {
                Some(outcome) => Meaning::Known(outcome),
                None => Meaning::InTrailers {
                    can_append: client_version == Version::HTTP_2,
                },
            }
        } else {
            Meaning::Known(outcome::of_status(head.status))
        };
        heads::clean_response(&mut head.headers, head.version);
        let (entry, arm) = (ticket.entry(), ticket.answerer());
        let exposed = entry.route.expose;
        let backend = backend(entry, arm);
        heads::expose(&mut head.headers, exposed, arm, backend, self.request_id);
        if ticket.is_covered() && exposed.arm {
            heads::say_covered(&mut head.headers, ticket.arm());
        }
        head.version = Version::HTTP_11;
        let patience = Patience::new(answered.idle, answered.end);
        let upload = Rc::clone(&answered.upload);
        let relay = Relay::new(body, meaning, patience, ticket, upload);
        Response::from_parts(head, relay)
    }
}

/// A request for another sending.
struct Spare {
    head: Request<()>,
    /// Its body, if it has one: what was sent of it is kept.
    body: Option<Rc<UploadState>>,
    /// To send it twice does no harm, whatever became of it.
    is_idempotent: bool,
}

/// What the rest of an answered exchange needs.
struct Answered {
    /// Its request wanted nothing but the head.
    is_head: bool,
    idle: Duration,
    end: Option<Instant>,
    upload: Rc<UploadState>,
}

impl Question<'_> {
    async fn lease(
        &self,
        booking: Booking,
        fresh: bool,
        buffers: &Rc<Buffers>,
    ) -> Result<Lease, Rc<Failure>> {
        let leasing = booking.lease(self.wire, fresh, self.timeouts.connect, buffers);
        match self.end {
            Some(end) => timeout_at(end, leasing)
                .await
                .map_err(|_| Failure::ConnectLate)?,
            None => leasing.await,
        }
    }

    /// Waits for the response's head. The upstream's time runs while it is its turn: not while we wait for the
    /// client's body.
    async fn send(
        &self,
        lease: &mut Lease,
        request: Request<Upload>,
    ) -> Result<Result<Answer, Unanswered>, Failure> {
        let mut sent = pin!(lease.send(request, self.interim));
        let mut timer = pin!(sleep_until(self.due()));
        loop {
            tokio::select! {
                biased;
                result = &mut sent => return Ok(result),
                failure = self.upload.failed() => return Err(failure.into()),
                () = &mut timer => {
                    let due = self.due();
                    if due <= Instant::now() {
                        return Err(Failure::ResponseLate);
                    }
                    timer.as_mut().reset(due);
                }
            }
        }
    }

    fn due(&self) -> Instant {
        let due = self.upload.upstreams_turn_since() + self.timeouts.response;
        self.end.map_or(due, |end| end.min(due))
    }

    /// Whose fault it was: a body that the client broke off breaks the upstream's connection too.
    fn failure(&self, error: crate::error::BoxError) -> Failure {
        match self.upload.failure() {
            Some(failure) => failure.into(),
            None => Failure::BadResponse(error),
        }
    }
}

impl Spare {
    /// A copy of a request that may have to be sent twice.
    fn of(request: &Request<Upload>, lease: &Lease, upload: &Rc<UploadState>) -> Option<Self> {
        const IDEMPOTENT: [Method; 5] = [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::PUT,
            Method::DELETE,
        ];
        let is_idempotent = IDEMPOTENT.contains(request.method());
        if !is_idempotent && !lease.can_refuse() {
            return None;
        }
        let has_body = !http_body::Body::is_end_stream(request.body());
        if has_body {
            upload.keep();
        }
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        Some(Self {
            head,
            body: has_body.then(|| Rc::clone(upload)),
            is_idempotent,
        })
    }

    /// Whether all that was sent of it is here still.
    fn is_there(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_kept())
    }

    /// The request once more: whoever was sending its body gets nothing more of it.
    fn again(self) -> Option<Request<Upload>> {
        let body = match &self.body {
            Some(body) => body.again()?,
            None => Upload::empty(),
        };
        Some(self.head.map(|()| body))
    }
}

/// The endpoint's own name, for clients too old to name one.
fn own_host(booking: &Booking) -> Result<HeaderValue, Failure> {
    let name = booking.endpoint().authority();
    HeaderValue::from_str(&name).map_err(|_| Failure::Malformed("The Host is malformed."))
}

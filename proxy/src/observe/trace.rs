//! One exchange as a trace tells it: a server span for the client's request, a client span for asking endpoints.
//!
//! **Who is traced.** Decided once, when a request has its arm. A valid `traceparent` decides: a caller that
//! samples its trace wants our part of it, one that doesn't gets none. Without one (or with a malformed one,
//! which is replaced) a configured share of the requests is traced. A request that is not traced costs this
//! one look, one that nobody could collect a branch.
//!
//! **Who records.** The data plane knows `tracing` alone: it makes spans and fills in their fields. Whoever
//! collects them is told of parents, and tells the ids that an endpoint has to hear, through [`SpanLinks`].
//! Fields hold what the configuration, the status line and the clock say, and the path without its query;
//! never a header or a body.
//!
//! A request that is sent again, to the same endpoint or another one, stays within its client span, which then
//! tells of the last attempt: the bytes that are sent again bear the same `traceparent`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serin_config::model::Endpoint;
use serin_stats::names::attribute;
use serin_stats::snapshot::{Arm, Outcome};
use tracing::Span;
use tracing::field::Empty;

use super::traceparent::Traceparent;
use crate::identity::{Identity, RequestId};
use crate::route::RouteEntry;

/// The target of all spans of exchanges.
pub const SPANS: &str = "serin::exchange";

/// Fields that say something to who records, rather than to who reads.
const NAME: &str = "otel.name";
const KIND: &str = "otel.kind";
const FAILED: &str = "otel.status_code";

/// Most of a path that a span holds, in bytes.
const LONGEST_PATH: usize = 256;
/// Methods that HTTP and its extensions define: clients can't make up names of spans.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What ties spans to the traces they belong to: the side of whoever collects them.
pub trait SpanLinks: Send + Sync + 'static {
    /// Makes a span, which was just made, the child of one in another process.
    fn adopt(&self, span: &Span, parent: Traceparent);

    /// What an endpoint has to be told to become this span's child; `None` when nobody collects it.
    fn context(&self, span: &Span) -> Option<Traceparent>;
}

/// Which requests are traced, of those that no caller decides on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sampling {
    /// Of 64 random bits, those below.
    below: u64,
    all: bool,
}

/// What a trace tells of a request's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TracedHead<'a> {
    /// Its method.
    pub(crate) method: &'a str,
    /// Its path, without query.
    pub(crate) path: &'a str,
    /// `1.0`, `1.1` or `2`.
    pub(crate) version: &'static str,
    /// It came over TLS.
    pub(crate) is_secure: bool,
    /// Its `traceparent`, if there is just one.
    pub(crate) traceparent: Option<&'a [u8]>,
}

/// How a traced exchange ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// What became of the last endpoint's answer.
    pub(crate) outcome: Outcome,
    /// From the request's arrival.
    pub(crate) first_byte: Option<Duration>,
    /// Likewise.
    pub(crate) total: Duration,
}

/// A traced exchange.
pub(crate) struct Trace {
    server: Span,
    client: Span,
    /// For endpoints.
    traceparent: Option<Traceparent>,
    path: String,
    asked: Option<(Arm, Endpoint)>,
    asks: u64,
    answer: Option<u16>,
    reply: Option<u16>,
    /// The status that the arm failed with, if it gave one, before baseline was asked in its place.
    covered: Option<Option<u16>>,
}

impl Sampling {
    /// This share of them.
    pub(crate) fn of(share: f64) -> Self {
        Self {
            // A float to integer cast saturates.
            below: (share * 2_f64.powi(64)) as u64,
            all: share >= 1.0,
        }
    }

    fn draws(self, identity: &Identity) -> bool {
        self.all || self.below > 0 && identity.draw() < self.below
    }
}

impl Trace {
    /// Begins the trace of a request, if it is one of those that are traced.
    pub(crate) fn begin(
        links: &Arc<dyn SpanLinks>,
        sampling: Sampling,
        identity: &Identity,
        head: TracedHead<'_>,
        request_id: RequestId,
        (entry, arm): (&RouteEntry, Arm),
    ) -> Option<Box<Self>> {
        let parent = head.traceparent.and_then(Traceparent::parse);
        let is_sampled = match parent {
            Some(parent) => parent.is_sampled,
            None => sampling.draws(identity),
        };
        is_sampled.then(|| Box::new(Self::new(&**links, parent, head, request_id, (entry, arm))))
    }

    fn new(
        links: &dyn SpanLinks,
        parent: Option<Traceparent>,
        head: TracedHead<'_>,
        request_id: RequestId,
        (entry, arm): (&RouteEntry, Arm),
    ) -> Self {
        let known = METHODS.into_iter().find(|&method| method == head.method);
        let method = known.unwrap_or("_OTHER");
        let path = head.path;
        let path = &path[..path.floor_char_boundary(LONGEST_PATH)];
        let route = &*entry.route.name;
        let server = tracing::info_span!(
            target: SPANS,
            parent: None,
            "exchange",
            { KIND } = "server",
            { NAME } = format!("{method} {route}"),
            { FAILED } = Empty,
            { attribute::METHOD } = method,
            { attribute::PATH } = path,
            { attribute::SCHEME } = if head.is_secure { "https" } else { "http" },
            { attribute::HTTP_VERSION } = head.version,
            { attribute::STATUS } = Empty,
            { attribute::ERROR } = Empty,
            { attribute::REQUEST_ID } = request_id.as_str(),
            { attribute::ROUTE } = route,
            { attribute::ARM } = arm.name(),
            { attribute::RELEASE } = release(entry, arm),
            { attribute::OUTCOME } = Empty,
            { attribute::FALLBACK } = Empty,
            { attribute::FALLBACK_ERROR } = Empty,
            { attribute::FIRST_BYTE_MS } = Empty,
            { attribute::TOTAL_MS } = Empty,
        );
        if let Some(parent) = parent {
            links.adopt(&server, parent);
        }
        let client = tracing::info_span!(
            target: SPANS,
            parent: &server,
            "ask",
            { KIND } = "client",
            { NAME } = method,
            { FAILED } = Empty,
            { attribute::METHOD } = method,
            { attribute::URL } = Empty,
            { attribute::SERVER } = Empty,
            { attribute::PORT } = Empty,
            { attribute::RESENDS } = Empty,
            { attribute::STATUS } = Empty,
            { attribute::ERROR } = Empty,
            { attribute::ROUTE } = route,
            { attribute::ARM } = Empty,
            { attribute::RELEASE } = Empty,
        );
        Self {
            traceparent: links.context(&client),
            server,
            client,
            path: path.to_owned(),
            asked: None,
            asks: 0,
            answer: None,
            reply: None,
            covered: None,
        }
    }

    /// What endpoints are told.
    pub(crate) const fn traceparent(&self) -> Option<Traceparent> {
        self.traceparent
    }

    /// An endpoint is about to be asked, perhaps not the first one.
    pub(crate) fn asks(&mut self, arm: Arm, endpoint: &Endpoint) {
        self.asked = Some((arm, endpoint.clone()));
        self.asks += 1;
        self.answer = None;
    }

    /// The endpoint answered with this status, which the client gets too unless it gets one of ours.
    pub(crate) const fn answered(&mut self, status: u16) {
        self.answer = Some(status);
        self.reply = Some(status);
    }

    /// The client gets this status from us.
    pub(crate) const fn replied(&mut self, status: u16) {
        self.reply = Some(status);
    }

    /// The arm failed, and baseline is asked in its place.
    pub(crate) const fn cover(&mut self) {
        self.covered = Some(self.answer);
    }

    /// The exchange is over.
    pub(crate) fn end(self, entry: &RouteEntry, ending: Ending) {
        let Ending {
            outcome,
            first_byte,
            total,
        } = ending;
        self.end_client(entry, outcome);
        let server = self.server;
        // The canary's failure is what was counted, whatever baseline answered in its place.
        if let Some(status) = self.covered {
            server.record(attribute::OUTCOME, Outcome::Error.name());
            server.record(attribute::FALLBACK, Arm::Canary.name());
            let error = error_type(status, Outcome::Error);
            server.record(attribute::FALLBACK_ERROR, error.as_ref());
        } else {
            server.record(attribute::OUTCOME, outcome.name());
        }
        server.record(attribute::TOTAL_MS, total.as_secs_f64() * 1e3);
        if let Some(first_byte) = first_byte {
            server.record(attribute::FIRST_BYTE_MS, first_byte.as_secs_f64() * 1e3);
        }
        if let Some(status) = self.reply {
            server.record(attribute::STATUS, status);
        }
        if outcome == Outcome::Error {
            fail(&server, self.reply.filter(|&status| status >= 400), outcome);
        }
    }

    fn end_client(&self, entry: &RouteEntry, outcome: Outcome) {
        let client = &self.client;
        if let Some((arm, endpoint)) = &self.asked {
            let url = format!("{endpoint}{}", self.path);
            client.record(attribute::URL, url.as_str());
            client.record(attribute::SERVER, endpoint.host.as_str());
            client.record(attribute::PORT, endpoint.port);
            client.record(attribute::ARM, arm.name());
            client.record(attribute::RELEASE, release(entry, *arm));
        }
        if self.asks > 1 {
            client.record(attribute::RESENDS, self.asks - 1);
        }
        if let Some(status) = self.answer {
            client.record(attribute::STATUS, status);
        }
        let refused = self.answer.filter(|&status| status >= 400);
        if refused.is_some() || outcome == Outcome::Error {
            fail(client, refused, outcome);
        }
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

/// Marks a span as failed: by its status, or else by how the exchange was counted.
fn fail(span: &Span, status: Option<u16>, outcome: Outcome) {
    span.record(FAILED, "error");
    span.record(attribute::ERROR, error_type(status, outcome).as_ref());
}

fn error_type(status: Option<u16>, outcome: Outcome) -> Cow<'static, str> {
    match status {
        Some(status) => status.to_string().into(),
        None => outcome.name().into(),
    }
}

/// The digest of what an arm runs, if that was head.
fn release(entry: &RouteEntry, arm: Arm) -> Option<&str> {
    let backend = match arm {
        Arm::Baseline => Some(&entry.route.baseline),
        Arm::Canary => entry.route.canary.as_ref(),
    };
    let release = backend?.release.as_ref()?;
    Some(&release.digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_share_is_drawn() {
        let identity = Identity::default();
        let drawn = |sampling: Sampling| (0..4000).filter(|_| sampling.draws(&identity)).count();
        assert_eq!(drawn(Sampling::default()), 0);
        assert_eq!(drawn(Sampling::of(0.0)), 0);
        assert_eq!(drawn(Sampling::of(1.0)), 4000);
        // 1000 expected; ten standard deviations.
        let quarter = drawn(Sampling::of(0.25));
        assert!((726..1274).contains(&quarter), "{quarter}");
    }
}

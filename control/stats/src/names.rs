//! Every name under which telemetry leaves the process, in one place: metrics, labels, attributes of spans.
//!
//! Where OpenTelemetry's semantic conventions (1.37) have a name, it is theirs; what is ours begins with
//! `serin.`. Prometheus' spelling is derived from the same names by [`metrics`](crate::metrics), as
//! OpenTelemetry's compatibility rules say, so the two can't drift apart.

use crate::metrics::{Kind, Metric};

/// Attributes of spans.
pub mod attribute {
    /// `GET`, …; `_OTHER` for a method that HTTP doesn't define.
    pub const METHOD: &str = "http.request.method";
    /// The status that was sent, or received.
    pub const STATUS: &str = "http.response.status_code";
    /// How often the request was sent before, if at all.
    pub const RESENDS: &str = "http.request.resend_count";
    /// What kind of error, where there is one.
    pub const ERROR: &str = "error.type";
    /// The path without its query, cut after 256 bytes.
    pub const PATH: &str = "url.path";
    /// `http` or `https`.
    pub const SCHEME: &str = "url.scheme";
    /// The URL that is asked, without its query, cut likewise.
    pub const URL: &str = "url.full";
    /// `1.0`, `1.1` or `2`.
    pub const HTTP_VERSION: &str = "network.protocol.version";
    /// The endpoint's host.
    pub const SERVER: &str = "server.address";
    /// The endpoint's port.
    pub const PORT: &str = "server.port";
    /// The route's name, which is also its rollout's.
    pub const ROUTE: &str = "serin.route";
    /// `baseline` or `canary`.
    pub const ARM: &str = "serin.arm";
    /// The digest of the arm's release.
    pub const RELEASE: &str = "serin.release";
    /// How the request counted: `success`, `error`, `rejected`, `aborted`.
    pub const OUTCOME: &str = "serin.outcome";
    /// `canary` when baseline answered in its place.
    pub const FALLBACK: &str = "serin.fallback";
    /// How the canary failed then: its status, or `error`.
    pub const FALLBACK_ERROR: &str = "serin.fallback.error_type";
    /// The request's id, as in `x-serin-request-id`.
    pub const REQUEST_ID: &str = "serin.request_id";
    /// From the request's arrival to the response's first byte, in milliseconds.
    pub const FIRST_BYTE_MS: &str = "serin.time_to_first_byte_ms";
    /// From the request's arrival to the response's end, in milliseconds.
    pub const TOTAL_MS: &str = "serin.duration_ms";
    /// Of the process: who reports.
    pub const SERVICE: &str = "service.name";
    /// Of the process: which version of Serin.
    pub const SERVICE_VERSION: &str = "service.version";
    /// Of the process: one run of it.
    pub const INSTANCE: &str = "service.instance.id";
}

/// Labels of metrics. Their values come from the configuration or from fixed lists, never from clients.
pub mod label {
    /// A rollout, named like its route.
    pub const ROLLOUT: &str = "rollout";
    /// A route.
    pub const ROUTE: &str = "route";
    /// `baseline` or `canary`.
    pub const ARM: &str = "arm";
    /// `success`, `error`, `rejected` or `aborted`.
    pub const OUTCOME: &str = "outcome";
    /// Of a weight: `desired` or `actual`.
    pub const KIND: &str = "kind";
    /// A phase of a rollout.
    pub const PHASE: &str = "phase";
    /// What a guardrail compares.
    pub const METRIC: &str = "metric";
    /// Why a rollout was rolled back.
    pub const REASON: &str = "reason";
    /// What came of something.
    pub const RESULT: &str = "result";
    /// An endpoint, as configured.
    pub const ENDPOINT: &str = "endpoint";
    /// `healthy`, `unhealthy` or `ejected`.
    pub const STATE: &str = "state";
    /// `traces` or `metrics`.
    pub const SIGNAL: &str = "signal";
}

/// Requests that clients sent us.
pub const SERVER_DURATION: Metric = Metric {
    name: "http.server.request.duration",
    kind: Kind::Histogram,
    unit: "s",
    help: "Time from a request's arrival to the end of its response.",
};
/// Requests in flight.
pub const ACTIVE_REQUESTS: Metric = Metric {
    name: "http.server.active_requests",
    kind: Kind::Gauge,
    unit: "{request}",
    help: "Requests in flight, responses that are still streaming included.",
};
/// Requests that we sent to endpoints.
pub const CLIENT_DURATION: Metric = Metric {
    name: "http.client.request.duration",
    kind: Kind::Histogram,
    unit: "s",
    help: "Time from asking an endpoint (connecting included) to the end of its response, by the arm that was asked.",
};
/// Client connections.
pub const CONNECTIONS: Metric = gauge("serin.connections", "Client connections that are open.");
/// Handshakes on listeners with TLS.
pub const TLS_HANDSHAKES: Metric = counter("serin.tls.handshakes", "TLS handshakes with clients.");
/// Who of a backend is asked.
pub const ENDPOINTS: Metric = gauge(
    "serin.endpoints",
    "Addresses of each endpoint by state; who is unhealthy or ejected is not asked.",
);
/// Endpoints that failed.
pub const EJECTIONS: Metric = counter(
    "serin.ejections",
    "How often an endpoint that failed was left alone.",
);
/// The queue in front of a backend.
pub const BACKEND_WAITING: Metric = gauge(
    "serin.backend.waiting",
    "Requests that wait because the backend has its limit in flight.",
);
/// What the queue doesn't hold.
pub const BACKEND_SHED: Metric = counter(
    "serin.backend.shed",
    "Requests answered 503 because the backend's queue was full, or too slow.",
);
/// Requests by how they counted.
pub const REQUESTS: Metric = counter(
    "serin.requests",
    "Requests by route, arm and outcome, as their clients saw them.",
);
/// Copies of requests.
pub const SHADOW: Metric = counter(
    "serin.shadow",
    "Requests that were to be copied, by what became of the copy.",
);
/// Copies under way.
pub const SHADOW_IN_FLIGHT: Metric = gauge(
    "serin.shadow.in_flight",
    "Copies of requests that are under way.",
);
/// The canary's share.
pub const WEIGHT: Metric = gauge(
    "serin.weight",
    "Canary weight as a fraction of 1: desired by plan or operator, actual share in force.",
);
/// Where a rollout stands.
pub const PHASE: Metric = gauge(
    "serin.phase",
    "1 for the phase a rollout is in, 0 for the others.",
);
/// What a guardrail says.
pub const VERDICT: Metric = gauge(
    "serin.verdict",
    "Verdict on a guardrail: 0 Inconclusive, 1 Successful, 2 Failed, 3 Error.",
);
/// How much worse the canary is.
pub const EFFECT: Metric = gauge(
    "serin.effect",
    "Canary minus baseline: a fraction of 1 for rates, milliseconds for latencies.",
);
/// What a guardrail compared.
pub const SAMPLES: Metric = gauge(
    "serin.samples",
    "Requests that a guardrail compared since the rollout began.",
);
/// Automatic rollbacks.
pub const ROLLBACKS: Metric = counter(
    "serin.rollbacks",
    "Automatic rollbacks by the rule that was broken.",
);
/// Reloads of the configuration.
pub const CONFIG_RELOADS: Metric =
    counter("serin.config.reloads", "Configuration reloads by result.");
/// Trouble with the journal.
pub const JOURNAL_FAILING: Metric = gauge(
    "serin.journal.failing",
    "1 while the journal cannot be written and step-ups are frozen.",
);
/// How long a look takes.
pub const CONTROL_TICK: Metric = Metric {
    name: "serin.control.tick",
    kind: Kind::Histogram,
    unit: "s",
    help: "Time from a snapshot to the end of what followed from it.",
};
/// Readiness.
pub const READY: Metric = gauge(
    "serin.ready",
    "What /readyz says: 1 when this process should get traffic.",
);
/// Batches sent to the collector.
pub const TELEMETRY_EXPORTS: Metric = counter(
    "serin.telemetry.exports",
    "Batches for the OTLP collector by signal and result.",
);
/// Spans that the collector never got.
pub const TELEMETRY_SPANS_DROPPED: Metric = counter(
    "serin.telemetry.spans_dropped",
    "Spans that the OTLP collector never got: it was too slow, away, or refused them.",
);

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit: "",
        help,
    }
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit: "",
        help,
    }
}

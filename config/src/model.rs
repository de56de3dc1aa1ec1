//! Types that cannot be wrong: what the rest of the house may rely on.
//!
//! Built by `compile` only after every value was checked, so nothing here is raw: rates and
//! weights are fractions of 1, times are [`Duration`]s, sizes are bytes, releases have digests.

mod handling;
mod rollout;

pub use handling::{Balance, Concurrency, Ejection, Handling, HealthCheck, HealthProbe, Pool};
pub use rollout::{
    Analysis, Guardrail, Margin, Method, Metric, MetricKind, OnBreach, Plan, Rollout, Step,
};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::tls::{ClientTls, ServerTls};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients are accepted; at least one.
    pub listeners: Vec<Listener>,
    /// The admin API and dashboard.
    pub admin: Admin,
    /// `/livez`, `/readyz` and `/metrics` only, for kubelets and scrapers.
    pub probe: Option<SocketAddr>,
    /// The journal's folder (relative paths are taken from the process' working directory).
    pub state: PathBuf,
    /// Data-plane threads; `None` means as many as the cores it may use.
    pub workers: Option<NonZeroUsize>,
    /// Bounds on what clients may do.
    pub limits: Limits,
    /// Where metrics and traces are sent, if anywhere.
    pub telemetry: Option<Telemetry>,
    /// In order; the first match wins.
    pub routes: Vec<Arc<Route>>,
}

impl Config {
    /// The route of this name.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.iter().find(|route| &*route.name == name)
    }
}

/// Where clients are accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Encrypted, or as it is.
    pub tls: Option<ServerTls>,
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = if self.tls.is_some() { " (TLS)" } else { "" };
        write!(f, "{}{tls}", self.address)
    }
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// File with the bearer token; required off loopback.
    pub token_file: Option<PathBuf>,
    /// The token read from that file when the config was loaded.
    pub token: Option<Secret>,
    /// Encrypted, or as it is.
    pub tls: Option<ServerTls>,
}

/// A secret value: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Bounds on what clients may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a request's whole head to arrive.
    pub header_timeout: Duration,
    /// Between two pieces of a request's body, while nothing of its response comes either.
    pub body_timeout: Duration,
    /// A connection without a request.
    pub idle_timeout: Duration,
    /// Client connections, all listeners together; fewer when there are too few file descriptors. More wait.
    pub max_connections: usize,
    /// A request's head in bytes; larger: 431.
    pub max_header_bytes: usize,
    /// A request's target in bytes; longer: 414.
    pub max_uri_bytes: usize,
    /// A request's body in bytes; larger: 413.
    pub max_body: u64,
    /// What may be held of a body to find a JSON routing key, in bytes.
    pub max_buffered_body: usize,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain: Duration,
}

/// Metrics and traces for a collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Where they are sent.
    pub otlp: Otlp,
    /// Share of requests that are traced, of those that no caller traces already: a fraction in [0, 1].
    pub trace_sample: f64,
    /// Who reports.
    pub service_name: String,
}

/// An OTLP collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// Where it listens.
    pub endpoint: Collector,
    /// What it speaks.
    pub protocol: OtlpProtocol,
    /// File with headers that are sent along.
    pub headers_file: Option<PathBuf>,
    /// Read from that file when the config was loaded: lower-case names, and their values.
    pub headers: Vec<(String, Secret)>,
    /// Between two reports of the metrics.
    pub interval: Duration,
}

/// `http://host:port`, and for OTLP over HTTP perhaps a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Host name or IP address (IPv6 without brackets).
    pub host: String,
    /// Port; 4317 (gRPC) or 4318 (HTTP) when the URL has none.
    pub port: u16,
    /// What stands before `/v1/traces`; without `/` at its end, mostly empty.
    pub path: String,
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let Self { host, port, path } = self;
        write!(f, "http://{open}{host}{close}:{port}{path}")
    }
}

/// What a collector speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// One route of the data plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique; also the rollout's name.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub matcher: Match,
    /// Where the routing key is looked for, in order; at least one.
    pub routing_key: Vec<KeySource>,
    /// What to do when no key is found.
    pub key_fallback: KeyFallback,
    /// Mixed into the salt of assignment so that keys cannot be searched for.
    pub salt: Option<Secret>,
    /// Which `x-serin-*` response headers clients may see.
    pub expose: Expose,
    /// Deadlines towards upstreams.
    pub timeouts: Timeouts,
    /// When an upstream is asked again.
    pub retries: Retries,
    /// Baseline answers in place of a canary that can't be connected or answers 5xx.
    pub fallback: bool,
    /// Protocols that a client may switch to (lower case).
    pub upgrade: Vec<String>,
    /// The release that serves today.
    pub baseline: Backend,
    /// The release that has to earn its traffic.
    pub canary: Option<Backend>,
    /// Gets copies of requests only.
    pub shadow: Option<Backend>,
    /// The standing mirror: to `shadow`, else to the canary.
    pub mirror: Option<Mirror>,
    /// The bounds of all copies, a shadow step's too.
    pub copying: Copying,
    /// How it earns it; only with a canary and with releases on both arms.
    pub rollout: Option<Rollout>,
}

impl Route {
    /// The canary's identity, by which a rollback is remembered.
    #[must_use]
    pub fn canary_digest(&self) -> Option<&Digest> {
        self.canary
            .as_ref()?
            .release
            .as_ref()
            .map(|release| &release.digest)
    }
}

/// A standing mirror.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    /// Of the baseline's requests, a fraction in (0, 1].
    pub share: f64,
}

/// The bounds of copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// Only requests with these methods are copied.
    pub methods: Vec<String>,
    /// Copies under way at once, all workers together; more are dropped.
    pub max_in_flight: usize,
    /// A larger body is not copied, in bytes.
    pub max_body: usize,
}

/// Which requests a route takes: every condition given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The `Host` header or `:authority`, without port, ASCII case-insensitive.
    pub host: Option<String>,
    /// The whole path.
    pub path: Option<String>,
    /// A prefix of the path, on segment boundaries (`/v2` takes `/v2` and `/v2/x`, not `/v2x`); a prefix that
    /// ends in `/` is taken literally.
    pub path_prefix: Option<String>,
    /// Headers (lower-case names) and their exact values.
    pub headers: BTreeMap<String, String>,
    /// The `model` member of a JSON request body.
    pub model: Option<String>,
}

/// Where a routing key may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A request header (lower-case name).
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// A JSON pointer (RFC 6901) into the request body.
    JsonPointer(String),
}

/// What to do when no routing key is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFallback {
    /// Assign this request at random.
    Random,
    /// Use the socket peer's address.
    ClientIp,
    /// Answer 400.
    Reject,
}

/// Which `x-serin-*` response headers clients may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expose {
    /// `x-serin-arm`, and `x-serin-fallback`.
    pub arm: bool,
    /// `x-serin-release`.
    pub release: bool,
    /// `x-serin-request-id`.
    pub request_id: bool,
}

/// Deadlines towards upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection.
    pub connect: Duration,
    /// From the request sent to the response's first byte.
    pub response: Duration,
    /// Between two pieces of the response.
    pub idle: Duration,
    /// The whole exchange, if limited.
    pub total: Option<Duration>,
}

/// When an upstream is asked again: only before the first byte to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// How many times, at most.
    pub attempts: u32,
    /// When no connection was to be had.
    pub connect: bool,
    /// When the connection broke without a byte of a response, and asking again does no harm.
    pub reset: bool,
    /// When the response has one of these statuses, and asking again does no harm.
    pub statuses: Vec<u16>,
    /// The share of requests, in [0, 1], that may be asked again.
    pub budget: f64,
}

/// One arm's servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// What runs there; required in a rollout.
    pub release: Option<Release>,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// How `https` endpoints are reached; there when one of the endpoints is.
    pub tls: Option<ClientTls>,
    /// How they are chosen, watched and protected.
    pub handling: Handling,
}

/// `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Whether it speaks TLS.
    pub is_https: bool,
    /// Host name or IP address (IPv6 without brackets).
    pub host: String,
    /// Port; 80 or 443 when the URL has none.
    pub port: u16,
}

impl Endpoint {
    /// `host:port`, IPv6 in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// What is spoken to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS with prior knowledge.
    Http2,
    /// HTTP/2 for gRPC requests; for the rest what an `https` endpoint chooses, and HTTP/1.1 without TLS.
    Auto,
}

/// A bundle of model, prompt, parameters, schema: free keys, string values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// In order of key.
    pub fields: BTreeMap<String, String>,
    /// Identity of the canonical form.
    pub digest: Digest,
}

/// SHA-256 of a release's canonical JSON (keys sorted), as lower-case hex, first 16 digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub Arc<str>);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

//! How a backend's endpoints are chosen, watched and protected.

use std::time::Duration;

/// How a backend's endpoints are handled.
#[derive(Clone, Debug, PartialEq)]
pub struct Handling {
    /// Which endpoint is asked.
    pub balance: Balance,
    /// Connections that are kept.
    pub pool: Pool,
    /// How endpoints are asked whether they are well, if they are.
    pub health_check: Option<HealthCheck>,
    /// When an endpoint that fails is left alone, if ever.
    pub ejection: Option<Ejection>,
    /// How much is asked at once, if that is limited.
    pub concurrency: Option<Concurrency>,
    /// How often names are looked up.
    pub resolve: Duration,
}

/// Which endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less loaded of two that are drawn.
    LeastLoaded,
    /// The routing key's own, as long as it has not much more than its share in flight.
    RoutingKey,
}

/// Connections of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Idle ones that each worker keeps.
    pub max_idle: usize,
    /// They are not used again after this, and closed.
    pub idle_timeout: Duration,
    /// HTTP/1.1 connections that are open at once, by all workers together; any number when not set.
    pub max_connections: Option<usize>,
}

/// How endpoints are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: HealthProbe,
    /// Between two questions.
    pub interval: Duration,
    /// For an answer.
    pub timeout: Duration,
    /// So many bad answers in a row: unwell.
    pub unhealthy: u32,
    /// So many good answers in a row: well again.
    pub healthy: u32,
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthProbe {
    /// `GET` of this path; any 2xx is good.
    Http(String),
    /// gRPC's `grpc.health.v1.Health/Check` for this service; empty: the whole server.
    Grpc(String),
}

/// When an endpoint that fails is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// So many failures in a row.
    pub failures: u32,
    /// For so long, times how often in a row.
    pub time: Duration,
    /// No more than this share of the endpoints at once, a fraction of 1.
    pub max_share: f64,
}

/// How much a backend is asked at once, by all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Exchanges.
    pub max_in_flight: usize,
    /// More that may wait; one more is answered 503.
    pub queue: usize,
    /// How long they wait.
    pub queue_timeout: Duration,
}

impl Handling {
    /// What holds where nothing is written.
    pub const DEFAULT: Self = Self {
        balance: Balance::LeastLoaded,
        pool: Pool {
            max_idle: 512,
            // Python's model servers (uvicorn: MLServer, vLLM, KServe) close theirs after five seconds.
            idle_timeout: Duration::from_secs(4),
            max_connections: None,
        },
        health_check: None,
        ejection: Some(Ejection {
            failures: 5,
            time: Duration::from_secs(30),
            max_share: 0.5,
        }),
        concurrency: None,
        resolve: Duration::from_secs(30),
    };
}

impl Default for Handling {
    fn default() -> Self {
        Self::DEFAULT
    }
}

//! `balance`, `pool`, `health_check`, `ejection`, `concurrency` and `resolve`: how a backend's endpoints are chosen,
//! watched and protected.

use std::time::Duration;

use crate::model::{Balance, Concurrency, Ejection, Handling, HealthCheck, HealthProbe, Pool};
use crate::units;
use crate::walk::{At, Fields, Keys};

pub(crate) const HASH_KEYS: Keys = Keys {
    known: &["hash"],
    later: &[],
};
pub(crate) const POOL_KEYS: Keys = Keys {
    known: &["max_idle", "idle_timeout", "max_connections"],
    later: &[],
};
pub(crate) const CHECK_KEYS: Keys = Keys {
    known: &[
        "path",
        "grpc",
        "interval",
        "timeout",
        "unhealthy",
        "healthy",
    ],
    later: &[],
};
pub(crate) const EJECTION_KEYS: Keys = Keys {
    known: &["failures", "time", "max"],
    later: &[],
};
pub(crate) const CONCURRENCY_KEYS: Keys = Keys {
    known: &["max_in_flight", "queue", "queue_timeout"],
    later: &[],
};

/// What holds in a health check where nothing is written.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
pub(crate) const UNHEALTHY: u32 = 3;
pub(crate) const HEALTHY: u32 = 2;
/// What holds in an ejection where nothing is written.
pub(crate) const EJECTION: Ejection = Ejection {
    failures: 5,
    time: Duration::from_secs(30),
    max_share: 0.5,
};
/// How long requests wait in a queue where nothing is written.
pub(crate) const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Most idle connections, requests in flight and in a queue.
const MOST: u64 = 1_000_000;
/// Most answers or failures in a row.
const MOST_IN_A_ROW: u64 = 1000;
/// Names and health are not looked up more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// From a backend's fields.
pub(crate) fn handling(fields: &Fields<'_>) -> Handling {
    let default = Handling::DEFAULT;
    Handling {
        balance: fields.or("balance", default.balance, balance),
        pool: fields.or("pool", default.pool, pool),
        health_check: fields.get("health_check").and_then(health_check),
        ejection: fields.or("ejection", default.ejection, ejection),
        concurrency: fields.get("concurrency").and_then(concurrency),
        resolve: fields.or("resolve", default.resolve, period),
    }
}

/// `least_loaded` or `{hash: routing_key}`.
fn balance(at: &At<'_>) -> Option<Balance> {
    if !at.is_map() {
        return at.choice(&[("least_loaded", Balance::LeastLoaded)]);
    }
    let fields = at.fields(HASH_KEYS)?;
    let hash = fields.require("hash", "`routing_key`")?;
    hash.choice(&[("routing_key", Balance::RoutingKey)])
}

fn pool(at: &At<'_>) -> Option<Pool> {
    let default = Handling::DEFAULT.pool;
    let fields = at.fields(POOL_KEYS)?;
    Some(Pool {
        max_idle: fields.or("max_idle", default.max_idle, |at| count(at, 0)),
        idle_timeout: fields.or("idle_timeout", default.idle_timeout, At::duration),
        max_connections: fields.get("max_connections").and_then(|at| count(at, 1)),
    })
}

/// `{path}` or `{grpc}`, and when.
fn health_check(at: &At<'_>) -> Option<HealthCheck> {
    let fields = at.fields(CHECK_KEYS)?;
    let path = fields.get("path").map(path);
    let grpc = fields.get("grpc").map(service);
    let probe = match (path, grpc) {
        (Some(path), None) => HealthProbe::Http(path?),
        (None, Some(service)) => HealthProbe::Grpc(service?),
        (None, None) | (Some(_), Some(_)) => {
            at.refuse(
                "not one of `path` and `grpc`",
                "`path: /healthz`, or `grpc: SERVICE` (\"\" for the whole server)",
            );
            return None;
        }
    };
    let in_a_row = |at: &At<'_>| u32::try_from(at.whole(1..=MOST_IN_A_ROW)?).ok();
    Some(HealthCheck {
        probe,
        interval: fields.or("interval", INTERVAL, period),
        timeout: fields.or("timeout", TIMEOUT, At::duration),
        unhealthy: fields.or("unhealthy", UNHEALTHY, in_a_row),
        healthy: fields.or("healthy", HEALTHY, in_a_row),
    })
}

fn path(at: &At<'_>) -> Option<String> {
    const PATH: &str = "a path such as \"/healthz\"";
    let path = at.text(PATH)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !path.starts_with('/') || !path.bytes().all(plain) {
        at.unexpected(PATH);
        return None;
    }
    Some(path.to_owned())
}

/// A service's name; the empty one is the whole server.
fn service(at: &At<'_>) -> Option<String> {
    const LONGEST: usize = 1000;
    if at.as_text() == Some("") {
        return Some(String::new());
    }
    const SERVICE: &str = "a service's name such as \"inference.GRPCInferenceService\", or \"\"";
    let service = at.text(SERVICE)?;
    if service.len() > LONGEST || !service.bytes().all(|byte| byte.is_ascii_graphic()) {
        at.unexpected(SERVICE);
        return None;
    }
    Some(service.to_owned())
}

/// `never` or `{failures, time, max}`.
fn ejection(at: &At<'_>) -> Option<Option<Ejection>> {
    if !at.is_map() {
        return at.choice(&[("never", None)]);
    }
    let fields = at.fields(EJECTION_KEYS)?;
    Some(Some(Ejection {
        failures: fields.or("failures", EJECTION.failures, |at| {
            u32::try_from(at.whole(1..=MOST_IN_A_ROW)?).ok()
        }),
        time: fields.or("time", EJECTION.time, At::duration),
        max_share: fields.or("max", EJECTION.max_share, |at| {
            at.measured(units::parse_percent)
        }),
    }))
}

fn concurrency(at: &At<'_>) -> Option<Concurrency> {
    let fields = at.fields(CONCURRENCY_KEYS)?;
    let max_in_flight = fields
        .require("max_in_flight", "how many requests at once")
        .and_then(|at| count(at, 1));
    let queue = fields.or("queue", 0, |at| count(at, 0));
    let queue_timeout = fields.or("queue_timeout", QUEUE_TIMEOUT, At::duration);
    Some(Concurrency {
        max_in_flight: max_in_flight?,
        queue,
        queue_timeout,
    })
}

fn count(at: &At<'_>, least: u64) -> Option<usize> {
    usize::try_from(at.whole(least..=MOST)?).ok()
}

/// Between two look-ups.
fn period(at: &At<'_>) -> Option<Duration> {
    let period = at.duration()?;
    if period < SHORTEST {
        at.unexpected("at least 100ms");
        return None;
    }
    Some(period)
}

//! Routes and requests for this crate's tests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serin_config::model::{
    Admin, Analysis, Backend, Config, Copying, Digest, Endpoint, Expose, Handling, KeyFallback,
    KeySource, Limits, Listener, Match, Method, OnBreach, Plan, Protocol, Release, Retries,
    Rollout, Route, Timeouts,
};

use super::facts::{Body, RequestFacts};

/// A route with a baseline only that takes every request.
pub(crate) fn plain_route(name: &str) -> Route {
    Route {
        name: name.into(),
        matcher: Match::default(),
        routing_key: vec![KeySource::Header("x-user-id".into())],
        key_fallback: KeyFallback::Random,
        salt: None,
        expose: Expose {
            arm: true,
            release: true,
            request_id: true,
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: None,
        },
        retries: Retries {
            attempts: 1,
            connect: true,
            reset: true,
            statuses: Vec::new(),
            budget: 0.1,
        },
        fallback: false,
        upgrade: Vec::new(),
        baseline: backend("1"),
        canary: None,
        shadow: None,
        mirror: None,
        copying: Copying {
            methods: vec!["POST".to_owned()],
            max_in_flight: 64,
            max_body: 1 << 20,
        },
        rollout: None,
    }
}

/// A route with a rollout that takes every request.
pub(crate) fn rollout_route(name: &str) -> Route {
    Route {
        canary: Some(backend("2")),
        rollout: Some(Rollout {
            plan: Plan::Manual(0.05),
            guardrails: Vec::new(),
            analysis: Analysis {
                interval: Duration::from_secs(5),
                alpha: 0.05,
                method: Method::Sequential,
                warmup: Duration::from_secs(60),
            },
            on_breach: OnBreach::Rollback,
            on_sample_ratio_mismatch: OnBreach::Hold,
        }),
        ..plain_route(name)
    }
}

pub(crate) fn backend(version: &str) -> Backend {
    let fields = BTreeMap::from([("version".to_owned(), version.to_owned())]);
    Backend {
        release: Some(Release {
            fields,
            digest: Digest(format!("digest-{version}").into()),
        }),
        endpoints: vec![Endpoint {
            is_https: false,
            host: "127.0.0.1".into(),
            port: 9001,
        }],
        protocol: Protocol::Auto,
        tls: None,
        handling: Handling::DEFAULT,
    }
}

/// A configuration of these routes.
pub(crate) fn config(routes: impl IntoIterator<Item = Route>) -> Config {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        listeners: vec![Listener {
            address: anywhere,
            tls: None,
        }],
        admin: Admin {
            address: anywhere,
            token_file: None,
            token: None,
            tls: None,
        },
        probe: None,
        state: "state".into(),
        workers: None,
        limits: Limits {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            max_connections: 20_000,
            max_header_bytes: 32 << 10,
            max_uri_bytes: 16 << 10,
            max_body: 1 << 30,
            max_buffered_body: 1 << 20,
            drain: Duration::from_secs(30),
        },
        telemetry: None,
        routes: routes.into_iter().map(Arc::new).collect(),
    }
}

/// `GET /` with these headers, from 192.0.2.7.
pub(crate) fn request(fields: &HeaderMap) -> RequestFacts<'_> {
    RequestFacts {
        fields,
        host: None,
        path: "/",
        query: None,
        body: Body::Unread,
        peer: IpAddr::from([192, 0, 2, 7]),
        request_id: b"request-1",
    }
}

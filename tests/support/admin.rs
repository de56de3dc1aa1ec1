//! The admin API, as a script sees it.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::client::{Client, Reply};
use super::{SOON, eventually};

/// The admin API at one address; a new connection for each question.
#[derive(Clone, Copy)]
pub(crate) struct Admin {
    address: SocketAddr,
}

impl Admin {
    /// At this address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Any request.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply, String> {
        Client::http1(self.address)
            .ask(method, path, headers, body)
            .await
    }

    /// A GET that is answered.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[], "").await.unwrap()
    }

    /// A verb on the rollout `digits`.
    pub(crate) async fn post(&self, verb: &str, body: &str) -> Reply {
        let path = format!("/api/v1/rollouts/digits/{verb}");
        let headers = [("content-type", "application/json")];
        self.ask(Method::POST, &path, &headers, body).await.unwrap()
    }

    /// Whether it is there and ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.readiness().await == Some(StatusCode::OK)
    }

    /// The answer of `/readyz`, if there is one.
    pub(crate) async fn readiness(&self) -> Option<StatusCode> {
        let reply = self.ask(Method::GET, "/readyz", &[], "").await;
        reply.ok().map(|reply| reply.status)
    }

    /// The status of the rollout `digits`.
    pub(crate) async fn status(&self) -> Value {
        let reply = self.get("/api/v1/rollouts/digits").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// Waits until the status is as wanted, and returns it.
    pub(crate) async fn status_when(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let deadline = std::time::Instant::now() + limit;
        loop {
            if let Ok(reply) = self
                .ask(Method::GET, "/api/v1/rollouts/digits", &[], "")
                .await
            {
                last = reply.json();
                if wanted(&last) {
                    return last;
                }
            }
            assert!(
                std::time::Instant::now() < deadline,
                "not within {limit:?}: {what}; last: {last:#}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the rollout is in this phase.
    pub(crate) async fn phase(&self, phase: &str) -> Value {
        self.status_when(&format!("phase {phase}"), SOON, |status| {
            status["phase"] == phase
        })
        .await
    }

    /// Waits until the canary's share in force is this.
    pub(crate) async fn weight(&self, weight: f64) -> Value {
        self.status_when(&format!("weight {weight}"), SOON, |status| {
            actual(status) == weight
        })
        .await
    }

    /// The sum of a metric's samples that have these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let reply = self.get("/metrics").await;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        text.lines()
            .filter(|line| {
                let sample = line.split(['{', ' ']).next();
                sample == Some(name)
                    && labels
                        .iter()
                        .all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Configuration loads with this result so far.
    pub(crate) async fn reloads(&self, result: &str) -> f64 {
        self.metric("serin_config_reloads_total", &[("result", result)])
            .await
    }

    /// Waits until more loads had this result than before.
    pub(crate) async fn reloads_beyond(&self, before: f64, result: &str) {
        eventually(&format!("a reload that is {result}"), SOON, async || {
            (self.reloads(result).await > before).then_some(())
        })
        .await;
    }
}

/// The canary's share in force, as a status says.
pub(crate) fn actual(status: &Value) -> f64 {
    status["weight"]["actual"]
        .as_f64()
        .unwrap_or_else(|| panic!("no weight.actual in {status:#}"))
}

/// A number at a path like `/arms/canary/requests`.
pub(crate) fn number(status: &Value, pointer: &str) -> f64 {
    status
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {pointer} in {status:#}"))
}

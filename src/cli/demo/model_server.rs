//! A model server: real HTTP, a few milliseconds of log-normal latency, and a release that may go bad.
//!
//! A bad release behaves like the ones that hurt: it passes its first requests and fails some of the later
//! ones, so nothing but real traffic would have found it. The server keeps its own account of that, apart
//! from what the proxy measures.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::random::Random;

/// Of a request's body.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Spread of the latency's logarithm.
const LATENCY_SIGMA: f64 = 0.35;

/// How a release behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    /// Of its release.
    pub(super) version: &'static str,
    /// In milliseconds.
    pub(super) median_latency: f64,
    /// Share of requests that fail.
    pub(super) error_rate: f64,
    /// What changes after so many requests.
    pub(super) turns: Option<Turn>,
}

/// How a release goes bad.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Requests that are still answered as before.
    pub(super) after: u64,
    /// Share of requests that fail from then on.
    pub(super) error_rate: f64,
    /// Factor on the latency from then on.
    pub(super) slower: f64,
}

/// What the server itself saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Requests, all in all.
    pub(super) requests: u64,
    /// Of those, since the turn.
    pub(super) since_turn: u64,
    /// Answers with a 500 since the turn.
    pub(super) failed_since_turn: u64,
    /// From the first failure after the turn to the last request it got.
    pub(super) exposed_for: Duration,
}

/// A listening server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct ModelServer {
    /// Where it listens.
    pub(super) address: SocketAddr,
    model: Arc<Model>,
    accepting: JoinHandle<()>,
}

impl ModelServer {
    /// Listens on a free loopback port.
    pub(super) async fn start(behaviour: Behaviour, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let model = Arc::new(Model {
            behaviour,
            inner: Mutex::new(Inner {
                random: Random::new(seed),
                account: Account::default(),
                first_failure: None,
            }),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&model)));
        Ok(Self {
            address,
            model,
            accepting,
        })
    }

    /// What it saw so far.
    pub(super) fn account(&self) -> Account {
        self.model.lock().account
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes connections until it is aborted, which ends them too.
async fn accept(listener: TcpListener, model: Arc<Model>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let model = Arc::clone(&model);
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let model = Arc::clone(&model);
                        async move { answer(&model, request).await }
                    });
                    // A connection that breaks is the other side's business.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        }
    }
}

async fn answer(
    model: &Model,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let Some(pixels) = body.ok().and_then(|body| pixels(&body)) else {
        let error = json!({"error": "expected {\"inputs\": [{\"data\": [numbers]}]}"});
        return Ok(json_response(StatusCode::BAD_REQUEST, &error));
    };
    let draw = model.draw();
    tokio::time::sleep(draw.latency).await;
    if draw.fails {
        let error = json!({"error": "CUDA error: an illegal memory access was encountered"});
        return Ok(json_response(StatusCode::INTERNAL_SERVER_ERROR, &error));
    }
    let label = label(&pixels);
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "model_name": "digits",
            "model_version": model.behaviour.version,
            "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}],
        }),
    ))
}

/// The numbers of an inference request (Open Inference Protocol).
fn pixels(body: &[u8]) -> Option<Vec<f64>> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let data = request.pointer("/inputs/0/data")?.as_array()?;
    data.iter().map(Value::as_f64).collect()
}

/// The brightest of ten equal bands: not much of a model, but its answer depends on its input.
fn label(pixels: &[f64]) -> usize {
    let band = pixels.len().div_ceil(10).max(1);
    let brightness = |pixels: &[f64]| pixels.iter().sum::<f64>();
    pixels
        .chunks(band)
        .enumerate()
        .max_by(|(_, one), (_, other)| brightness(one).total_cmp(&brightness(other)))
        .map_or(0, |(index, _)| index)
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The part that changes with every request.
#[derive(Debug)]
struct Model {
    behaviour: Behaviour,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    random: Random,
    account: Account,
    first_failure: Option<Instant>,
}

/// What becomes of one request.
struct Draw {
    latency: Duration,
    fails: bool,
}

impl Model {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and decides what becomes of it.
    fn draw(&self) -> Draw {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let account = &mut inner.account;
        account.requests += 1;
        let turned = self
            .behaviour
            .turns
            .filter(|turn| account.requests > turn.after);
        let (error_rate, slower) = turned.map_or((self.behaviour.error_rate, 1.0), |turn| {
            (turn.error_rate, turn.slower)
        });
        let fails = inner.random.uniform() < error_rate;
        let median = self.behaviour.median_latency * slower;
        let milliseconds = inner.random.log_normal(median, LATENCY_SIGMA);
        if turned.is_some() {
            account.since_turn += 1;
            account.failed_since_turn += u64::from(fails);
            if fails && inner.first_failure.is_none() {
                inner.first_failure = Some(Instant::now());
            }
        }
        if let Some(first) = inner.first_failure {
            account.exposed_for = first.elapsed();
        }
        Draw {
            latency: Duration::from_secs_f64(milliseconds / 1000.0),
            fails,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_turns_bad_after_it_met_traffic() {
        let model = Model {
            behaviour: Behaviour {
                version: "3",
                median_latency: 5.0,
                error_rate: 0.0,
                turns: Some(Turn {
                    after: 100,
                    error_rate: 0.25,
                    slower: 2.0,
                }),
            },
            inner: Mutex::new(Inner {
                random: Random::new(1),
                account: Account::default(),
                first_failure: None,
            }),
        };
        assert!((0..100).all(|_| !model.draw().fails));
        let failed = (0..1000).filter(|_| model.draw().fails).count();
        assert!((200..300).contains(&failed), "{failed}");
        let account = model.lock().account;
        assert_eq!((account.requests, account.since_turn), (1100, 1000));
        assert_eq!(account.failed_since_turn, failed as u64);
    }

    #[test]
    fn the_answer_depends_on_the_input() {
        let body = br#"{"inputs": [{"name": "image", "data": [0, 0, 9, 0, 0, 0, 0, 0, 0, 0]}]}"#;
        assert_eq!(label(&pixels(body).unwrap()), 2);
        assert_eq!(pixels(b"{}"), None);
        assert_eq!(label(&[]), 0);
    }
}

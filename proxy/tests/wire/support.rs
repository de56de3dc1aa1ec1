//! Clients, upstreams and a proxy on loopback.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serin_config::model::{
    Admin, Analysis, Backend, Concurrency, Config, Copying, Digest, Endpoint, Expose, Guardrail,
    Handling, KeyFallback, KeySource, Limits, Listener, Margin, Match, Method, Metric, OnBreach,
    Plan, Protocol, Release, Retries, Rollout, Route, Timeouts,
};
use serin_proxy::{Clock, DataPlane};
use serin_stats::snapshot::{Arm, ArmCounts, Outcome, Snapshot};
use serin_stats::split::Split;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// Nothing in these tests may take longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) type AnyBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Waits for it, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// Looks again and again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    within(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) fn full(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body whose length isn't known beforehand, and its trailers.
pub(crate) fn trailed(text: &'static str, trailers: HeaderMap) -> AnyBody {
    let frames = [
        Ok(Frame::data(Bytes::from(text))),
        Ok(Frame::trailers(trailers)),
    ];
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

pub(crate) fn empty() -> AnyBody {
    full(Bytes::new())
}

/// A server of HTTP/1.1 and HTTP/2 that answers with this.
pub(crate) async fn upstream<F, A>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answering = answer(request);
                    async move { Ok::<_, Infallible>(answering.await) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// An upstream that tells of each piece of a request's body, and answers like this when it has all of it.
pub(crate) async fn telling<F, A>(answer: F) -> (SocketAddr, mpsc::UnboundedReceiver<()>)
where
    F: Fn() -> A + Clone + Send + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let (tell, told) = mpsc::unbounded_channel();
    let address = upstream(move |request: Request<Incoming>| {
        let (tell, answering) = (tell.clone(), answer());
        async move {
            let mut body = request.into_body();
            while body.frame().await.is_some() {
                tell.send(()).unwrap();
            }
            answering.await
        }
    });
    (address.await, told)
}

/// An upstream that answers a request when it is let go, with this; each is handed over as it comes.
pub(crate) async fn holding(
    answer: &'static str,
) -> (SocketAddr, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let (hand, held) = mpsc::unbounded_channel();
    let address = upstream(move |_: Request<Incoming>| {
        let (release, released) = oneshot::channel();
        hand.send(release).unwrap();
        async move {
            let _ = released.await;
            Response::new(full(answer))
        }
    });
    (address.await, held)
}

/// One request at a time, and so many in a queue for longer than any test lasts.
pub(crate) const fn one_at_a_time(queue: usize) -> Option<Concurrency> {
    Some(Concurrency {
        max_in_flight: 1,
        queue,
        queue_timeout: Duration::from_secs(60),
    })
}

/// An upstream that answers every request with a text.
pub(crate) async fn says(text: &'static str) -> SocketAddr {
    upstream(move |_| async move { Response::new(full(text)) }).await
}

/// An address that refuses connections.
pub(crate) async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A server that does with each connection what it is told.
pub(crate) async fn raw_upstream<F, A>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads up to the end of a head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn backend(address: SocketAddr, version: &str) -> Backend {
    Backend {
        release: Some(Release {
            fields: BTreeMap::from([("version".to_owned(), version.to_owned())]),
            digest: Digest(format!("digest-{version}").into()),
        }),
        endpoints: vec![Endpoint {
            is_https: false,
            host: address.ip().to_string(),
            port: address.port(),
        }],
        protocol: Protocol::Auto,
        tls: None,
        handling: Handling::DEFAULT,
    }
}

/// A route that takes everything, with a baseline only.
pub(crate) fn route(baseline: SocketAddr) -> Route {
    Route {
        name: "main".into(),
        matcher: Match::default(),
        routing_key: vec![KeySource::Header("x-user-id".to_owned())],
        key_fallback: KeyFallback::Random,
        salt: None,
        expose: Expose {
            arm: true,
            release: true,
            request_id: true,
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            response: Duration::from_secs(5),
            idle: Duration::from_secs(5),
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
        baseline: backend(baseline, "1"),
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

/// The same with a canary and a rollout.
pub(crate) fn rollout(baseline: SocketAddr, canary: SocketAddr) -> Route {
    Route {
        canary: Some(backend(canary, "2")),
        rollout: Some(Rollout {
            plan: Plan::Manual(0.5),
            guardrails: vec![Guardrail {
                metric: Metric::ErrorRate,
                max_increase: Margin::default(),
                max: None,
                on_breach: OnBreach::Rollback,
                min_samples: 0,
                dry_run: false,
            }],
            analysis: Analysis {
                interval: Duration::from_secs(5),
                alpha: 0.05,
                method: Method::Sequential,
                warmup: Duration::ZERO,
            },
            on_breach: OnBreach::Rollback,
            on_sample_ratio_mismatch: OnBreach::Hold,
        }),
        ..route(baseline)
    }
}

pub(crate) fn config(routes: Vec<Route>) -> Config {
    Config {
        listeners: vec![Listener {
            address: "127.0.0.1:0".parse().unwrap(),
            tls: None,
        }],
        admin: Admin {
            address: "127.0.0.1:0".parse().unwrap(),
            token_file: None,
            token: None,
            tls: None,
        },
        probe: None,
        state: PathBuf::new(),
        workers: NonZeroUsize::new(2),
        limits: Limits {
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            max_connections: 1000,
            max_header_bytes: 32 * 1024,
            max_uri_bytes: 16 * 1024,
            max_body: 1024 * 1024,
            max_buffered_body: 1024,
            drain: Duration::from_secs(5),
        },
        telemetry: None,
        routes: routes.into_iter().map(Arc::new).collect(),
    }
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) plane: DataPlane,
    pub(crate) address: SocketAddr,
    pub(crate) bell: Arc<Notify>,
    counted: Mutex<Counts>,
    epoch: u64,
}

impl Proxy {
    /// Serves this, with this share of the keys to each canary.
    pub(crate) fn start(config: Config, share: f64) -> Self {
        let bell = Arc::new(Notify::new());
        let config = Arc::new(config);
        let plane = DataPlane::start(&config, Arc::clone(&bell), Clock::start()).unwrap();
        let address = plane.addresses()[0];
        let mut proxy = Self {
            plane,
            address,
            bell,
            counted: Mutex::default(),
            epoch: 0,
        };
        proxy.install(&config, share);
        proxy
    }

    /// One route.
    pub(crate) fn of(route: Route) -> Self {
        Self::start(config(vec![route]), 0.5)
    }

    pub(crate) fn install(&mut self, config: &Arc<Config>, share: f64) {
        let split = Split {
            share,
            ..Split::baseline_only(0)
        };
        self.install_split(config, split);
    }

    /// Puts a split in force, in an epoch of its own.
    pub(crate) fn install_split(&mut self, config: &Arc<Config>, split: Split) {
        self.epoch += 1;
        let epoch = self.epoch;
        let split = Arc::new(Split { epoch, ..split });
        let names = config.routes.iter().map(|route| route.name.to_string());
        let splits = names.map(|name| (name, Arc::clone(&split))).collect();
        self.plane.install(config, &splits);
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// An HTTP/1.1 client's connection.
    pub(crate) async fn http1(&self) -> http1::SendRequest<AnyBody> {
        let stream = TokioIo::new(self.connect().await);
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// An HTTP/2 client's connection.
    pub(crate) async fn http2(&self) -> http2::SendRequest<AnyBody> {
        let stream = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: Request<AnyBody>) -> Response<Incoming> {
        let mut client = self.http1().await;
        let response = within("response", client.send_request(request))
            .await
            .unwrap();
        // The connection lives as long as the response needs it.
        drop(client);
        response
    }

    /// Says this, and returns all that comes until the proxy closes.
    pub(crate) async fn converse(&self, words: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(words).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end too.
        let _ = within("the end", stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What was counted so far.
    pub(crate) fn counted(&self) -> Counts {
        let mut counted = self.counted.lock().unwrap();
        counted.add(&self.plane.snapshot());
        counted.clone()
    }

    /// The rollout's counts by arm, once so many records are there.
    pub(crate) async fn counts(&self, records: u64) -> Counts {
        until("records", || self.counted().total() >= records).await;
        let counts = self.counted();
        assert_eq!(counts.total(), records, "more records than requests");
        counts
    }
}

/// Counts of the rollout called "main", newest epoch by newest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    by_epoch: BTreeMap<u64, serin_stats::snapshot::PerArm<ArmCounts>>,
}

impl Counts {
    /// Snapshots are cumulative: the newest replaces.
    pub(crate) fn add(&mut self, snapshot: &Snapshot) {
        for stage in snapshot.rollouts.get("main").into_iter().flatten() {
            self.by_epoch.insert(stage.epoch, stage.arms.clone());
        }
    }

    pub(crate) fn total(&self) -> u64 {
        let arms = self.by_epoch.values();
        arms.map(|arms| arms.baseline.total() + arms.canary.total())
            .sum()
    }

    pub(crate) fn of(&self, arm: Arm, outcome: Outcome) -> u64 {
        let arms = self.by_epoch.values();
        arms.map(|arms| arms.get(arm).outcome(outcome)).sum()
    }

    pub(crate) fn unreachable(&self, arm: Arm) -> u64 {
        let arms = self.by_epoch.values();
        arms.map(|arms| arms.get(arm).unreachable).sum()
    }
}

pub(crate) fn get(path: &str) -> Request<AnyBody> {
    Request::get(path)
        .header("host", "models.example")
        .body(empty())
        .unwrap()
}

pub(crate) fn post(path: &str, body: AnyBody) -> Request<AnyBody> {
    Request::post(path)
        .header("host", "models.example")
        .body(body)
        .unwrap()
}

/// For HTTP/2, where the authority stands in the target.
pub(crate) fn get2(path: &str) -> Request<AnyBody> {
    Request::get(format!("http://models.example{path}"))
        .body(empty())
        .unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = within("body", response.into_body().collect()).await;
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}

//! Model servers: real HTTP/1.1 and HTTP/2 on loopback, on a thread of their own, as good or bad as told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// What a model server does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Behaviour {
    /// Answers with this status.
    Answer(StatusCode),
    /// Answers 200 after a while.
    Slow(Duration),
    /// Says nothing until its behaviour changes; then does that.
    Hold,
    /// Promises a body and breaks off in the middle of it.
    CutBody,
    /// Answers with the `traceparent` that came.
    EchoTrace,
    /// Answers 400 to requests with an `x-malformed` header, 200 to the rest.
    RefuseMalformed,
}

impl Behaviour {
    /// Answers 200.
    pub(crate) const GOOD: Self = Self::Answer(StatusCode::OK);
    /// Answers 500.
    pub(crate) const BROKEN: Self = Self::Answer(StatusCode::INTERNAL_SERVER_ERROR);
}

/// A running model server; stops when dropped.
pub(crate) struct ModelServer {
    address: SocketAddr,
    behaviour: watch::Sender<Behaviour>,
    requests: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ModelServer {
    /// Starts one on a port of its own.
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (behaviour, told) = watch::channel(behaviour);
        let requests = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&requests);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(&listener, &told, &seen) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            behaviour,
            requests,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests whose head has arrived.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Behaves differently from now on; requests on [`Behaviour::Hold`] go on with this.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn accept(listener: &TcpListener, told: &watch::Receiver<Behaviour>, seen: &Arc<AtomicU64>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        stream.set_nodelay(true).unwrap();
        let (told, seen) = (told.clone(), Arc::clone(seen));
        tokio::spawn(async move {
            let service =
                service_fn(move |request| answer(request, told.clone(), Arc::clone(&seen)));
            // A proxy that hangs up is its own business.
            drop(
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

type ModelBody = BoxBody<Bytes, std::io::Error>;

async fn answer(
    request: Request<Incoming>,
    mut told: watch::Receiver<Behaviour>,
    seen: Arc<AtomicU64>,
) -> Result<Response<ModelBody>, Infallible> {
    seen.fetch_add(1, Ordering::SeqCst);
    let malformed = request.headers().contains_key("x-malformed");
    let trace = request.headers().get("traceparent").cloned();
    drop(request.into_body().collect().await);
    let told = told.wait_for(|now| *now != Behaviour::Hold).await;
    let Ok(behaviour) = told.map(|told| *told) else {
        // The server is being stopped, and its runtime with it.
        return std::future::pending().await;
    };
    Ok(match behaviour {
        Behaviour::Answer(status) => reply(status),
        Behaviour::RefuseMalformed if malformed => reply(StatusCode::BAD_REQUEST),
        Behaviour::RefuseMalformed | Behaviour::Hold => reply(StatusCode::OK),
        Behaviour::EchoTrace => {
            let trace = trace.map(|trace| Bytes::copy_from_slice(trace.as_bytes()));
            let body = Full::new(trace.unwrap_or_default());
            Response::new(body.map_err(|never| match never {}).boxed())
        }
        Behaviour::Slow(time) => {
            tokio::time::sleep(time).await;
            reply(StatusCode::OK)
        }
        Behaviour::CutBody => Response::builder()
            .header("content-length", 1000)
            .body(Broken { pieces: 1 }.boxed())
            .unwrap(),
    })
}

fn reply(status: StatusCode) -> Response<ModelBody> {
    let body = Full::new(Bytes::from_static(b"{\"prediction\": 7}"));
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.map_err(|never| match never {}).boxed())
        .unwrap()
}

/// A body that fails after some pieces.
struct Broken {
    pieces: usize,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.pieces == 0 {
            return Poll::Ready(Some(Err(std::io::Error::other("out of memory"))));
        }
        self.pieces -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{\"pred")))))
    }
}

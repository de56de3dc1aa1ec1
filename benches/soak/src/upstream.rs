//! A model server whose every answer follows from the request's number; it can be taken away and come back.
//!
//! HTTP/1.1 and HTTP/2 on one port. The paths say what is wanted: `/echo/N/LENGTH` checks an upload of number N and
//! answers with content of N; `/events/N/COUNT` is an event stream; `/cut/N/LENGTH` breaks off in the middle;
//! `/soak.Echo/Unary` is gRPC.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::content::Content;

/// Pieces of a body.
const PIECE: usize = 16 * 1024;
/// Before a body breaks off: a server that fails at once loses what it has not written yet.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two events.
const GAP: Duration = Duration::from_millis(5);

/// A running upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: &'static str,
    address: SocketAddr,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Upstream {
    /// Starts one on a port of its own.
    pub(crate) async fn start(name: &'static str) -> anyhow::Result<Self> {
        let mut upstream = Self {
            name,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            serving: None,
        };
        upstream.come_back().await?;
        Ok(upstream)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it with all its connections, in the middle of whatever they do.
    pub(crate) async fn leave(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // Only then the port is free.
            _ = serving.await;
        }
    }

    /// Listens again where it did.
    pub(crate) async fn come_back(&mut self) -> anyhow::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        let listener = socket.listen(1024)?;
        self.address = listener.local_addr()?;
        self.serving = Some(tokio::spawn(serve(listener, self.name)));
        Ok(())
    }
}

async fn serve(listener: TcpListener, name: &'static str) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                _ = stream.set_nodelay(true);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, name));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What a path asks for.
struct Wish<'p> {
    what: &'p str,
    number: u64,
    size: u64,
}

fn wish(path: &str) -> Option<Wish<'_>> {
    let mut parts = path.trim_start_matches('/').split('/');
    let what = parts.next()?;
    let number = parts.next()?.parse().ok()?;
    let size = parts.next()?.parse().ok()?;
    Some(Wish { what, number, size })
}

async fn answer(
    request: Request<Incoming>,
    name: &'static str,
) -> Result<Response<Made>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path == crate::wire::GRPC_PATH {
        return Ok(unary(body).await);
    }
    let Some(wish) = wish(&path) else {
        return Ok(refuse(StatusCode::NOT_FOUND));
    };
    let length = head.headers.get("x-upload-length");
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if !is_upload_of(body, wish.number, length.unwrap_or(0)).await {
        return Ok(refuse(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let response = Response::builder().header("x-upstream", name);
    let content = Content::new(wish.number, wish.size);
    let (response, body) = match wish.what {
        "echo" => (
            response.header("content-length", wish.size),
            Made::content(content),
        ),
        "chunked" => (response, Made::content(content)),
        "events" => (
            response.header("content-type", "text/event-stream"),
            Made::events(wish.number, wish.size),
        ),
        "cut" => (
            response.header("content-length", wish.size * 2),
            Made::breaking(content),
        ),
        _ => return Ok(refuse(StatusCode::NOT_FOUND)),
    };
    let response = response.body(body);
    Ok(response.unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR)))
}

fn refuse(status: StatusCode) -> Response<Made> {
    let mut response = Response::new(Made::content(Content::new(0, 0)));
    *response.status_mut() = status;
    response
}

/// Whether a body is the content of this number, no more and no less.
async fn is_upload_of(mut body: Incoming, number: u64, length: u64) -> bool {
    let mut expected = Content::new(number, length);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        if let Some(data) = frame.data_ref()
            && !expected.continues_with(data)
        {
            return false;
        }
    }
    expected.left() == 0
}

/// A unary call: the message comes back, with the status in the trailers.
async fn unary(body: Incoming) -> Response<Made> {
    let Ok(message) = body.collect().await else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response = Response::new(Made {
        source: Source::Message(message.to_bytes()),
        trailers: Some(trailers),
    });
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}

/// A body that is made while it is sent.
pub(crate) struct Made {
    source: Source,
    trailers: Option<HeaderMap>,
}

enum Source {
    Content {
        content: Content,
        /// Breaks off at the end, but not before what it sent has left.
        breaks: Option<Pin<Box<Sleep>>>,
    },
    Message(Bytes),
    Events {
        number: u64,
        next: u64,
        count: u64,
        timer: Pin<Box<Sleep>>,
    },
}

impl Made {
    fn content(content: Content) -> Self {
        let breaks = None;
        Self {
            source: Source::Content { content, breaks },
            trailers: None,
        }
    }

    /// Promises more than it has.
    fn breaking(content: Content) -> Self {
        let breaks = Some(Box::pin(sleep_until(Instant::now() + PAUSE)));
        Self {
            source: Source::Content { content, breaks },
            trailers: None,
        }
    }

    fn events(number: u64, count: u64) -> Self {
        Self {
            source: Source::Events {
                number,
                next: 0,
                count,
                timer: Box::pin(sleep_until(Instant::now())),
            },
            trailers: None,
        }
    }
}

impl Body for Made {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let data = match &mut this.source {
            Source::Content { content, breaks } => match content.next(PIECE) {
                Some(piece) => Bytes::from(piece),
                None => {
                    if let Some(pause) = breaks {
                        std::task::ready!(pause.as_mut().poll(cx));
                        let error = std::io::Error::other("broken off on purpose");
                        return Poll::Ready(Some(Err(error)));
                    }
                    Bytes::new()
                }
            },
            Source::Message(message) => std::mem::take(message),
            Source::Events {
                number,
                next,
                count,
                timer,
            } => {
                if *next == *count {
                    Bytes::new()
                } else {
                    std::task::ready!(timer.as_mut().poll(cx));
                    timer.as_mut().reset(Instant::now() + GAP);
                    *next += 1;
                    Bytes::from(crate::content::event(*number, *next))
                }
            }
        };
        if !data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(
            this.trailers
                .take()
                .map(|trailers| Ok(Frame::trailers(trailers))),
        )
    }
}

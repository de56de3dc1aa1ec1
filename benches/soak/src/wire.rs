//! Client connections and the requests on them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::content::Content;

/// The one method of the gRPC service.
pub(crate) const GRPC_PATH: &str = "/soak.Echo/Unary";
/// No request takes longer from its first byte to its last.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Pieces of an upload.
const PIECE: usize = 16 * 1024;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// An open connection.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Upload>),
    Http2(http2::SendRequest<Upload>),
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr, version: Version) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        Ok(match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Version::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Self::Http2(sender)
            }
        })
    }

    /// Whether it takes another request.
    pub(crate) async fn is_usable(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }

    fn version(&self) -> Version {
        match self {
            Self::Http1(_) => Version::Http1,
            Self::Http2(_) => Version::Http2,
        }
    }

    /// A request for this connection's version.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        number: u64,
        upload: Upload,
    ) -> anyhow::Result<Request<Upload>> {
        let builder = Request::builder()
            .method(method)
            .header("x-user-id", format!("user-{}", number % 1_000))
            .header("x-upload-length", upload.length());
        let builder = match self.version() {
            Version::Http1 => builder.uri(path).header("host", "soak.example"),
            Version::Http2 => builder.uri(format!("http://soak.example{path}")),
        };
        Ok(builder.body(upload)?)
    }
}

/// What is sent.
#[derive(Debug)]
pub(crate) enum Upload {
    /// Content of a number.
    Content(Content),
    /// These bytes.
    Message(Bytes),
}

impl Upload {
    pub(crate) fn none() -> Self {
        Self::Message(Bytes::new())
    }

    fn length(&self) -> u64 {
        match self {
            Self::Content(content) => content.left(),
            Self::Message(bytes) => bytes.len() as u64,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = match &mut *self {
            Self::Content(content) => content.next(PIECE).map(Bytes::from),
            Self::Message(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.length())
    }
}

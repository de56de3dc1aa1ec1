//! HTTP clients as users have them: one connection, kept open, HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// No test waits longer for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Reply {
    /// Who answered, as the response says.
    pub(crate) fn arm(&self) -> &str {
        self.header("x-serin-arm")
            .expect("the answer names its arm")
    }

    /// Whether the canary answered.
    pub(crate) fn is_canary(&self) -> bool {
        self.arm() == "canary"
    }

    /// One header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// One client with one connection; connects again when the other side closed it.
pub(crate) struct Client {
    address: SocketAddr,
    version: Version,
    connection: Option<Connection>,
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// A client that speaks HTTP/1.1; connects with its first request.
    pub(crate) fn http1(address: SocketAddr) -> Self {
        Self::new(address, Version::Http1)
    }

    /// A client of either version; connects with its first request.
    pub(crate) fn new(address: SocketAddr, version: Version) -> Self {
        Self {
            address,
            version,
            connection: None,
        }
    }

    /// An inference request of this user.
    pub(crate) async fn infer(&mut self, user: &str) -> Result<Reply, String> {
        self.infer_with(user, &[]).await
    }

    /// The same with further headers.
    pub(crate) async fn infer_with(
        &mut self,
        user: &str,
        headers: &[(&str, &str)],
    ) -> Result<Reply, String> {
        let mut all = vec![("x-user-id", user), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        let path = "/v2/models/digits/infer";
        self.ask(Method::POST, path, &all, "{\"inputs\": []}").await
    }

    /// Any request.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply, String> {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let mut request = Request::builder().method(method);
        let named_host = headers.iter().any(|(name, _)| *name == "host");
        request = match self.version {
            Version::Http1 if named_host => request.uri(path),
            Version::Http1 => request.uri(path).header(HOST, self.address.to_string()),
            Version::Http2 => request.uri(format!("http://{}{path}", self.address)),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        tokio::time::timeout(PATIENCE, self.exchange(request))
            .await
            .map_err(|_| format!("no answer within {PATIENCE:?}"))?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let response = match self.connected().await? {
            Connection::Http1(sender) => sender.send_request(request).await,
            Connection::Http2(sender) => sender.send_request(request).await,
        };
        whole(response.map_err(|error| format!("{error:?}"))?).await
    }

    async fn connected(&mut self) -> Result<&mut Connection, String> {
        let ready = match &mut self.connection {
            None => false,
            Some(Connection::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Connection::Http2(sender)) => sender.ready().await.is_ok(),
        };
        if !ready {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            missing => Ok(missing.insert(connect(self.address, self.version).await?)),
        }
    }
}

async fn connect(address: SocketAddr, version: Version) -> Result<Connection, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("connect {address}: {error}"))?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let stream = TokioIo::new(stream);
    Ok(match version {
        Version::Http1 => {
            let (sender, connection) = http1::handshake(stream)
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Connection::Http1(sender)
        }
        Version::Http2 => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Connection::Http2(sender)
        }
    })
}

async fn whole(response: Response<Incoming>) -> Result<Reply, String> {
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| format!("broken body: {error:?}"))?
        .to_bytes();
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}

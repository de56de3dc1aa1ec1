//! Opens connections to an endpoint.
//!
//! What is spoken is configured, or the endpoint chooses it in a handshake that offers both (ALPN). What it chose
//! last is kept with the [`Member`]: whoever knows that it is HTTP/1.1 needs no translation, and offers nothing
//! else. That is forgotten when a connection can't be opened, as when the endpoint is restarted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::rt::Executor;
use serin_config::model::{Backend, Endpoint, Protocol};
use serin_config::tls::{ALPN_HTTP2, ClientTls};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::member::Member;
use crate::error::Failure;
use crate::socket::{Socket, Stream};
use crate::tls;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Wire {
    /// What is spoken to a backend for this request; `None` when that is its endpoints' choice.
    pub(crate) const fn of(backend: &Backend, is_call: bool) -> Option<Self> {
        match backend.protocol {
            Protocol::Http1 => Some(Self::Http1),
            Protocol::Http2 => Some(Self::Http2),
            Protocol::Auto if is_call => Some(Self::Http2),
            Protocol::Auto if backend.tls.is_some() => None,
            Protocol::Auto => Some(Self::Http1),
        }
    }

    /// What is spoken on a stream that was opened for this.
    pub(crate) fn on(stream: &Stream, wanted: Option<Self>) -> Self {
        wanted.unwrap_or_else(|| match stream.agreed_protocol() {
            Some(ALPN_HTTP2) => Self::Http2,
            _ => Self::Http1,
        })
    }
}

/// Spawns on this worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SameThread;

impl<F: Future + 'static> Executor<F> for SameThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Opens a stream to a member at this address, within this time; a handshake is part of it. A name that was not
/// looked up yet is looked up now, and all its addresses tried in turn.
pub(super) async fn connect(
    member: &Member,
    address: Option<SocketAddr>,
    wire: Option<Wire>,
    limit: Duration,
) -> Result<Stream, Failure> {
    let opened = open(&member.endpoint, member.tls.as_ref(), address, wire, limit).await;
    match &opened {
        Ok(stream) if wire.is_none() => member.chose(Some(Wire::on(stream, wire))),
        Ok(_) => {}
        Err(_) => member.chose(None),
    }
    opened
}

/// The same to an endpoint that is no member of a cluster: copies go out on connections of their own.
pub(crate) async fn open(
    endpoint: &Endpoint,
    tls: Option<&ClientTls>,
    address: Option<SocketAddr>,
    wire: Option<Wire>,
    limit: Duration,
) -> Result<Stream, Failure> {
    let connecting = async {
        let stream = match address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?,
        };
        let socket = Socket::new(stream)?;
        match tls {
            Some(tls) => tls::connect(socket, endpoint, tls, wire).await,
            None => Ok(Stream::Plain(socket)),
        }
    };
    timeout(limit, connecting)
        .await
        .map_err(|_| Failure::ConnectLate)?
        .map_err(of_connect)
}

fn of_connect(error: io::Error) -> Failure {
    /// `EMFILE`, `ENFILE`: no file descriptor left.
    const NO_DESCRIPTOR: [i32; 2] = [24, 23];
    let ours = error.kind() == io::ErrorKind::AddrNotAvailable
        || error
            .raw_os_error()
            .is_some_and(|code| NO_DESCRIPTOR.contains(&code));
    if ours {
        Failure::Exhausted(error)
    } else {
        Failure::Connect(error.to_string())
    }
}

//! Handshakes: ours with clients, and ours with upstreams.
//!
//! What may be agreed on stands in the configuration ([`serin_config::tls`]). A listener's certificate is looked
//! up when a connection is accepted, so that a new one serves new connections and breaks no old ones. Who
//! speaks plain HTTP to a TLS port is told so, in plain HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use serin_config::model::{Endpoint, Listener};
use serin_config::tls::{ClientTls, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::socket::{Socket, Stream};
use crate::upstream::Wire;

/// Said to a client that speaks plain HTTP.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 45\r\n\r\nThis port speaks HTTPS, and you spoke HTTP.\r\n";

/// A listener, as connections that it accepts are served.
#[derive(Debug)]
pub(crate) struct Port {
    /// As configured, not as bound.
    address: SocketAddr,
    tls: ArcSwapOption<ServerTls>,
}

/// How handshakes with clients ended.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// The connection goes on.
    pub(crate) completed: AtomicU64,
    /// It was given up: no common ground, no certificate, no TLS, no patience.
    pub(crate) failed: AtomicU64,
}

impl Port {
    pub(crate) fn new(listener: &Listener) -> Self {
        Self {
            address: listener.address,
            tls: ArcSwapOption::new(listener.tls.clone().map(Arc::new)),
        }
    }

    /// Takes over what a reloaded listener says. One that is equal stays: clients hold its session tickets.
    pub(crate) fn reload(&self, listener: &Listener) {
        let current = self.tls.load();
        if listener.address == self.address && current.as_deref() != listener.tls.as_ref() {
            self.tls.store(listener.tls.clone().map(Arc::new));
            tracing::info!(address = %self.address, "TLS of a listener changed");
        }
    }

    /// What the next connection is greeted with; nothing without TLS.
    pub(crate) fn greeting(&self) -> Option<Arc<ServerConfig>> {
        let tls = self.tls.load();
        tls.as_ref().map(|tls| Arc::clone(tls.config()))
    }
}

impl Handshakes {
    /// Counts one.
    pub(crate) fn count(&self, is_completed: bool) {
        let counter = if is_completed {
            &self.completed
        } else {
            &self.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Shakes hands with a client.
pub(crate) async fn accept(socket: Socket, config: Arc<ServerConfig>) -> io::Result<Stream> {
    if first_byte(&socket).await?.is_ascii_alphabetic() {
        return Err(refuse_plain_http(socket).await);
    }
    let stream = TlsAcceptor::from(config).accept(socket).await?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// Shakes hands with an endpoint, which must prove its name. It chooses what is spoken unless that is said.
pub(crate) async fn connect(
    socket: Socket,
    endpoint: &Endpoint,
    tls: &ClientTls,
    wire: Option<Wire>,
) -> io::Result<Stream> {
    let config = match wire {
        Some(Wire::Http1) => tls.http1(),
        Some(Wire::Http2) => tls.http2(),
        None => tls.either(),
    };
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?,
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name, socket).await?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// The first byte that the client sends, which stays to be read.
async fn first_byte(socket: &Socket) -> io::Result<u8> {
    let mut byte = [0];
    match socket.stream().peek(&mut byte).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(u8::from_be_bytes(byte)),
    }
}

/// A connection that is closed with unread bytes is reset, and its client never sees why.
async fn refuse_plain_http(mut socket: Socket) -> io::Error {
    const MOST: u64 = 64 * 1024;
    let said = async {
        socket.write_all(PLAIN_HTTP).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(MOST), &mut tokio::io::sink()).await
    };
    match said.await {
        Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on a TLS port"),
        Err(error) => error,
    }
}

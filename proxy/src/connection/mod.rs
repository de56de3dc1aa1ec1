//! One client connection: which protocol it speaks, how long it may be idle, how it ends.
//!
//! HTTP/1.1 and HTTP/2 share a port: the handshake tells, or the first bytes ([`preface`]). Each has its codec
//! ([`http1`], [`http2`]), on one kind of connection ([`client`]). Closing is polite (`Connection: close`, GOAWAY) and
//! waits for the requests in flight.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serin_config::tls::ALPN_HTTP2;
use tokio::time::{Instant, sleep, timeout};

use crate::socket::{Socket, Stream};
use crate::tls;
use crate::worker::{Desk, Handover};

mod alarm;
mod client;
mod http1;
mod http2;
mod preface;

pub(crate) use client::{Client, Ended};
pub(crate) use http2::{Interim, RequestBody};

use preface::Protocol;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The socket's address.
    pub(crate) ip: IpAddr,
    /// Whether the connection is encrypted.
    pub(crate) is_secure: bool,
}

/// Serves a connection to its end.
pub(crate) async fn serve(desk: Rc<Desk>, handover: Handover) {
    let _seat = handover.seat;
    let socket = tokio::net::TcpStream::from_std(handover.stream).and_then(Socket::new);
    let Ok(socket) = socket else {
        return;
    };
    let stream = match handover.greeting {
        None => Some(Stream::Plain(socket)),
        Some(config) => Box::pin(shake_hands(&desk, socket, config)).await,
    };
    let Some(stream) = stream else {
        return;
    };
    let peer = Peer {
        ip: handover.peer.ip(),
        is_secure: stream.is_tls(),
    };
    let (head, idle) = desk.with_limits(|limits| (limits.header_timeout, limits.idle_timeout));
    let mut client = Client::new(Rc::clone(&desk), peer, stream, Instant::now() + idle);
    let _told = desk.tell().await;
    let agreed = client.stream.agreed_protocol();
    if agreed == Some(ALPN_HTTP2) {
        return Box::pin(http2::serve(client)).await;
    }
    let has_agreed = agreed.is_some();
    if !client.begins().await {
        return client.part();
    }
    match preface::read(&mut client, head).await {
        None => {}
        Some(Protocol::Http2) if !has_agreed => Box::pin(http2::serve(client)).await,
        Some(Protocol::Http1 | Protocol::Http2) => http1::serve(client).await,
    }
}

/// Shakes hands with a client, in the time of a head.
async fn shake_hands(
    desk: &Desk,
    socket: Socket,
    config: Arc<rustls::ServerConfig>,
) -> Option<Stream> {
    let limit = desk.with_limits(|limits| limits.header_timeout);
    let accepted = tokio::select! {
        accepted = timeout(limit, tls::accept(socket, config)) => accepted,
        () = too_late(desk) => return None,
    };
    desk.shook_hands(matches!(accepted, Ok(Ok(_))));
    match accepted {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// A handshake that is under way when no more requests are wanted gets a moment.
async fn too_late(desk: &Desk) {
    const MOMENT: Duration = Duration::from_secs(1);
    desk.closing.begun().await;
    sleep(MOMENT).await;
}

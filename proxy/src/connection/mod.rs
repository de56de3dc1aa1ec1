//! One client connection: which protocol it speaks, how long it may be idle, how it ends.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share a port: the first bytes tell ([`preface`]). HTTP/1.1 is ours
//! ([`http1`], [`client`]), HTTP/2 is hyper's ([`http2`]). Closing is polite (`Connection: close`, GOAWAY) and
//! waits for the requests in flight.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::socket::{Socket, Stream};
use crate::worker::{Desk, Handover};

mod activity;
mod alarm;
mod client;
mod http1;
mod http2;
mod preface;
mod stream;

pub(crate) use activity::Activity;
pub(crate) use client::{Client, Ended};

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
    let stream = Stream::Plain(socket);
    let peer = Peer {
        ip: handover.peer.ip(),
        is_secure: stream.is_tls(),
    };
    let (head, idle) = desk.with_limits(|limits| (limits.header_timeout, limits.idle_timeout));
    let mut client = Client::new(Rc::clone(&desk), peer, stream, Instant::now() + idle);
    let _told = desk.tell().await;
    if !client.begins().await {
        return;
    }
    match preface::read(&mut client, head).await {
        None => {}
        Some(Protocol::Http1) => http1::serve(client).await,
        Some(Protocol::Http2) => {
            let Client {
                desk,
                peer,
                stream,
                input,
                ..
            } = client;
            let start = Bytes::copy_from_slice(input.unused());
            input.give_back(&desk.buffers);
            Box::pin(http2::serve(desk, peer, stream, start)).await;
        }
    }
}

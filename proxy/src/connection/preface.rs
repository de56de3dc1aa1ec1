//! Which protocol a connection speaks: its first bytes tell.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::activity::Patience;
use crate::socket::Stream;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client is told that begins a head and doesn't end it.
pub(super) const HEAD_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or anything that is not HTTP/2: the codec will say.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Reads until the protocol is known: it, and the bytes read. `None` when the client left, or took too long.
pub(super) async fn read(stream: &mut Stream, patience: &Patience) -> Option<(Protocol, Bytes)> {
    let mut start = BytesMut::new();
    if !timeout(patience.idle, more(stream, &mut start))
        .await
        .ok()?
    {
        return None;
    }
    let rest = async {
        while start.len() < HTTP2.len() && HTTP2.starts_with(&start) {
            if !more(stream, &mut start).await {
                return None;
            }
        }
        Some(())
    };
    timeout(patience.head, rest).await.ok()??;
    let protocol = if start.starts_with(HTTP2) {
        Protocol::Http2
    } else {
        Protocol::Http1
    };
    Some((protocol, start.freeze()))
}

/// Whether anything more came.
async fn more(stream: &mut Stream, into: &mut BytesMut) -> bool {
    /// Most heads fit.
    const FIRST_READ: usize = 4096;
    if poll_fn(|cx| stream.poll_readable(cx)).await.is_err() {
        return false;
    }
    into.reserve(FIRST_READ);
    stream.read_buf(into).await.is_ok_and(|count| count > 0)
}

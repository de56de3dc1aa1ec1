//! Which protocol a connection speaks: its first bytes tell.

use std::time::Duration;

use tokio::time::Instant;

use super::Client;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or anything that is not HTTP/2: the codec will say.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Reads until the protocol is known; nothing that was read is used up. `None` when the client left, or took too
/// long.
pub(super) async fn read(client: &mut Client, limit: Duration) -> Option<Protocol> {
    let is_undecided = |start: &[u8]| start.len() < HTTP2.len() && HTTP2.starts_with(start);
    if is_undecided(client.input.unused()) {
        let deadline = Instant::now() + limit;
        while is_undecided(client.input.unused()) {
            client.fill(deadline).await.ok()?;
        }
    }
    Some(if client.input.unused().starts_with(HTTP2) {
        Protocol::Http2
    } else {
        Protocol::Http1
    })
}

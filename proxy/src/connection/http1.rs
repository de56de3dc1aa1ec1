//! An HTTP/1.1 client's connection from request to request.
//!
//! One task per connection: it waits without a buffer, reads a head, serves the request, and goes on with what
//! was pipelined behind it.

use tokio::time::Instant;

use super::{Client, Ended};
use crate::error::Failure;
use crate::exchange::http1::{self as exchange, Next, Opened};

/// Serves requests until the connection ends.
pub(super) async fn serve(mut client: Client) {
    loop {
        match one(&mut client).await {
            Next::Again => {}
            Next::Close => return client.linger(None).await,
            Next::Cut => return,
        }
        for _ in 0..2 {
            if !client.begins().await {
                return client.part();
            }
            // Some clients send a line end behind a body (RFC 9112, section 2.2). It is no request that began, and
            // whoever sends nothing else is not late with one.
            if client.input.unused() != b"\r\n" {
                break;
            }
            client.input.clear();
        }
    }
}

/// Reads one head and serves its request. Its first bytes are there.
async fn one(client: &mut Client) -> Next {
    let mut late_at = None;
    loop {
        match exchange::serve(client).await {
            Opened::Served(next) => return next,
            Opened::Partial => {}
        }
        // A head ends with a line: without one there is nothing new to be found.
        let mut seen = client.input.unused().len();
        loop {
            if let Some(failure) = too_large(client) {
                return exchange::turn_away(client, failure).await;
            }
            let late_at = *late_at.get_or_insert_with(|| {
                let limit = client.desk.with_limits(|limits| limits.header_timeout);
                Instant::now() + limit
            });
            match client.fill(late_at).await {
                Ok(()) => {}
                Err(Ended::Gone) => return Next::Cut,
                Err(Ended::Late) => {
                    return exchange::turn_away(client, Failure::HeadLate).await;
                }
            }
            let new = client.input.unused().get(seen..).unwrap_or_default();
            if memchr::memchr(b'\n', new).is_some() {
                break;
            }
            seen += new.len();
        }
    }
}

/// Whether what came of a head is too much already.
fn too_large(client: &Client) -> Option<Failure> {
    /// Beside the target, a request line has a method and a version.
    const REST_OF_LINE: usize = 64;
    let came = client.input.unused();
    client.desk.with_limits(|limits| {
        let line = limits.max_uri_bytes + REST_OF_LINE;
        if came.len() > line && memchr::memchr(b'\n', came).is_none() {
            Some(Failure::TargetTooLong)
        } else if came.len() > line + limits.max_header_bytes {
            Some(Failure::HeadTooLarge)
        } else {
            None
        }
    })
}

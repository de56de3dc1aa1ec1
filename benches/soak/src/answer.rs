//! Whether an answer is what it had to be.

use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::content::{Content, events};

/// What came, beside what was expected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// All of it, and a clean end.
    Whole,
    /// The right bytes, and an error before the end.
    Broken,
    /// Something else.
    Other(String),
}

/// Reads content to its end.
pub(crate) async fn content(body: Incoming, number: u64, length: u64) -> Came {
    let mut expected = Content::new(number, length);
    let came = read(body, |data| expected.continues_with(data)).await;
    match (came, expected.left()) {
        (Came::Whole, left) if left > 0 => Came::Other(format!(
            "number {number} ended cleanly {left} bytes too early"
        )),
        (came, _) => came,
    }
}

/// Reads a stream of events to its end.
pub(crate) async fn stream(body: Incoming, number: u64, count: u64) -> Came {
    let expected = events(number, count);
    let mut rest = expected.as_bytes();
    let came = read(body, |data| match rest.strip_prefix(data) {
        Some(after) => {
            rest = after;
            true
        }
        None => false,
    })
    .await;
    match came {
        Came::Whole if !rest.is_empty() => Came::Other(format!(
            "stream {number} ended cleanly {} bytes too early",
            rest.len()
        )),
        came => came,
    }
}

/// Reads a gRPC answer: the message back, and the status after it, or a status alone.
pub(crate) async fn unary(response: Response<Incoming>, message: &[u8]) -> Came {
    let (head, body) = response.into_parts();
    if let Some(status) = head.headers.get("grpc-status") {
        return match status.as_bytes() {
            b"0" => Came::Other("status 0 without a message".to_owned()),
            _ => Came::Broken,
        };
    }
    let Ok(collected) = body.collect().await else {
        return Came::Broken;
    };
    let status = collected
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .and_then(|status| status.to_str().ok())
        .map(str::to_owned);
    let came = collected.to_bytes();
    match status.as_deref() {
        Some("0") if came == message => Came::Whole,
        Some("0") => Came::Other("another message with status 0".to_owned()),
        // Not ok, and it says so.
        Some(_) => Came::Broken,
        None => Came::Other("an end without a status".to_owned()),
    }
}

async fn read(mut body: Incoming, mut is_next: impl FnMut(&[u8]) -> bool) -> Came {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Came::Broken;
        };
        if let Some(data) = frame.data_ref()
            && !is_next(data)
        {
            let start = String::from_utf8_lossy(data.get(..80).unwrap_or(data)).into_owned();
            return Came::Other(format!("other bytes: {start:?}"));
        }
    }
    Came::Whole
}

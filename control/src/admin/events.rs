//! `GET /api/v1/events`: what happens, as server-sent events.
//!
//! Nothing is kept for listeners: one that is too slow is told that it missed some, and asks for the status
//! again.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use super::answer::{AdminBody, with_defaults};
use super::desk::Notice;

/// A sign of life, so that a vanished listener is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Starts a stream of everything that happens from now on.
pub(super) fn stream(notices: broadcast::Receiver<Notice>) -> Response<AdminBody> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(forward(notices, sender));
    let mut response = with_defaults(Response::new(EventBody(receiver).boxed()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Runs until the listener or the control loop is gone.
async fn forward(mut notices: broadcast::Receiver<Notice>, sender: mpsc::Sender<Bytes>) {
    let mut text = ": listening\n\n".to_owned();
    while sender.send(Bytes::from(text)).await.is_ok() {
        let next = tokio::select! {
            () = sender.closed() => return,
            next = tokio::time::timeout(KEEP_ALIVE, notices.recv()) => next,
        };
        text = match next {
            Ok(Ok(notice)) => format!("event: {}\ndata: {}\n\n", notice.kind, notice.data),
            Ok(Err(RecvError::Lagged(missed))) => {
                format!("event: missed\ndata: {{\"events\":{missed}}}\n\n")
            }
            Ok(Err(RecvError::Closed)) => return,
            Err(_) => ": still here\n\n".to_owned(),
        };
    }
}

struct EventBody(mpsc::Receiver<Bytes>);

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

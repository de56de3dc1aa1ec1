//! A response's body on its way to the client: passed on piece by piece, never gathered.
//!
//! The end is seen at the last piece, not at the poll after it (a server doesn't ask again when a body says it
//! is over). When the upstream breaks off, the client sees a broken body too: the error ends a chunked body
//! without its last chunk and resets an HTTP/2 stream; a gRPC call gets a status instead. Dropping a relay
//! half-way cancels the upstream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use serin_stats::snapshot::Outcome;

use super::{Patience, Ticket, grpc};
use crate::error::BoxError;
use crate::exchange::UploadState;
use crate::upstream::Reading;

/// What a whole body will have meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meaning {
    /// The status said it all.
    Known(Outcome),
    /// A gRPC call: its status comes in the trailers.
    InTrailers {
        /// Whether the client can be given trailers when the upstream breaks off.
        can_append: bool,
    },
}

/// A response's body, watched.
pub(crate) struct Relay {
    /// Until the end: dropping it cancels the upstream.
    body: Option<Reading>,
    meaning: Meaning,
    patience: Patience,
    ticket: Ticket,
    upload: std::rc::Rc<UploadState>,
}

impl Relay {
    /// Watches this body; `None` for an answer that can have none, whatever the upstream goes on to send. The head has
    /// arrived.
    pub(crate) fn new(
        body: Option<Reading>,
        meaning: Meaning,
        patience: Patience,
        ticket: Ticket,
        upload: std::rc::Rc<UploadState>,
    ) -> Self {
        upload.hear_answer();
        let is_over = body.as_ref().is_none_or(Body::is_end_stream);
        let mut relay = Self {
            body,
            meaning,
            patience,
            ticket,
            upload,
        };
        if is_over {
            relay.ticket.see_first_byte();
            relay.finish();
        }
        relay
    }

    /// The body arrived whole.
    fn finish(&mut self) {
        let outcome = match self.meaning {
            Meaning::Known(outcome) => outcome,
            // A call without a status: the server died politely.
            Meaning::InTrailers { .. } => Outcome::Error,
        };
        self.ticket.close(outcome, false);
        self.body = None;
    }

    /// The body broke off: what the client gets instead of its rest; a call this status.
    fn break_off(
        &mut self,
        error: BoxError,
        status: u16,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let by_client = self.upload.failure().is_some();
        let outcome = if by_client {
            Outcome::Aborted
        } else {
            tracing::debug!(%error, "a response broke off");
            Outcome::Error
        };
        self.ticket.close(outcome, false);
        self.body = None;
        match self.meaning {
            Meaning::InTrailers { can_append: true } => {
                let status = HeaderValue::from(status);
                let trailers = HeaderMap::from_iter([(grpc::GRPC_STATUS, status)]);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Meaning::Known(_) | Meaning::InTrailers { .. } => Poll::Ready(Some(Err(error))),
        }
    }

    fn see(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        self.patience.heard();
        self.upload.hear_answer();
        self.ticket.see_first_byte();
        let frame = match frame.into_trailers() {
            Ok(mut trailers) => {
                crate::exchange::clean_trailers(&mut trailers);
                if let (Meaning::InTrailers { .. }, Some(outcome)) =
                    (self.meaning, grpc::outcome(&trailers))
                {
                    self.meaning = Meaning::Known(outcome);
                }
                self.finish();
                Frame::trailers(trailers)
            }
            Err(data) => data,
        };
        if self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.finish();
        }
        frame
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(this.see(frame)))),
            Poll::Ready(Some(Err(error))) => this.break_off(error, grpc::UNAVAILABLE),
            // An end that is none: the stream was given up in the middle of its answer.
            Poll::Ready(None) if !body.is_end_stream() => {
                this.break_off("the upstream reset its stream".into(), grpc::UNAVAILABLE)
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.patience.poll_exhausted(cx));
                let status = if this.patience.is_at_end() {
                    grpc::DEADLINE_EXCEEDED
                } else {
                    grpc::UNAVAILABLE
                };
                this.break_off("the response stalled".into(), status)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let nothing = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(nothing, Body::size_hint)
    }
}

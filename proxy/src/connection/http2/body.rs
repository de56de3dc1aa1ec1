//! A request's body as an exchange takes it, and the word that a client may get before its answer.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::session::{SEND_BUFFER, Session};
use super::stream::{Next, Sending, Stream};
use crate::error::BoxError;

/// A request's body. What is taken of it lets the client send on; dropped, the rest is passed over, and the client is
/// told not to send it once it has its answer.
pub(crate) struct RequestBody {
    session: Rc<Session>,
    stream: Rc<Stream>,
}

/// Interim responses to one request (RFC 9110, section 15.2).
pub(crate) struct Interim {
    session: Rc<Session>,
    stream: Rc<Stream>,
}

impl RequestBody {
    pub(super) const fn new(session: Rc<Session>, stream: Rc<Stream>) -> Self {
        Self { session, stream }
    }
}

impl Interim {
    pub(super) const fn new(session: Rc<Session>, stream: Rc<Stream>) -> Self {
        Self { session, stream }
    }

    /// The client's address as text.
    pub(crate) fn address(&self) -> Option<HeaderValue> {
        self.session.address.clone()
    }

    /// Tells the client, unless its answer has begun, or it takes nothing of what it was told before: an upstream may
    /// say such things without end, and each can be left out.
    pub(crate) fn say(&self, status: u16, headers: &HeaderMap) {
        let is_heard = self.session.waits() < SEND_BUFFER;
        if is_heard && self.stream.sending.get() == Sending::Nothing {
            self.session.put_interim(&self.stream, status, headers);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(self.stream.inbox.borrow_mut().poll_next(cx));
        Poll::Ready(match next {
            Next::Piece(piece) => {
                self.session.used(&self.stream, piece.len());
                Some(Ok(Frame::data(piece)))
            }
            Next::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Next::End => None,
            Next::Broken => Some(Err("the client's stream was reset".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.inbox.borrow().is_spent()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.stream.inbox.borrow().length();
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.session.abandon(&self.stream);
    }
}

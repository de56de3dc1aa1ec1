//! A copy's body: the pieces that were gathered, sent one after the other.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::bounds::Claim;

/// Smaller pieces are gathered into one: a reference to a few bytes may hold a large buffer of the client's
/// connection.
const SMALL: usize = 16 * 1024;

/// Pieces of a body, and the memory they count for.
#[derive(Debug)]
pub(super) struct Pieces {
    whole: VecDeque<Bytes>,
    /// Small pieces that came last.
    tail: BytesMut,
    trailers: Option<HeaderMap>,
    size: usize,
    claim: Claim,
}

impl Pieces {
    pub(super) fn new(claim: Claim) -> Self {
        Self {
            whole: VecDeque::new(),
            tail: BytesMut::new(),
            trailers: None,
            size: 0,
            claim,
        }
    }

    /// Bytes so far.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Adds a piece, if there is memory for it.
    pub(super) fn push(&mut self, piece: &Bytes) -> bool {
        if piece.len() <= SMALL {
            return self.push_slice(piece);
        }
        if !self.take(piece.len()) {
            return false;
        }
        self.cut();
        self.whole.push_back(piece.clone());
        true
    }

    /// Adds bytes that have to be copied, if there is memory for them.
    pub(super) fn push_slice(&mut self, piece: &[u8]) -> bool {
        if !self.take(piece.len()) {
            return false;
        }
        self.tail.extend_from_slice(piece);
        if self.tail.len() > SMALL {
            self.cut();
        }
        true
    }

    /// That was all.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.cut();
        self.trailers = trailers;
    }

    fn take(&mut self, bytes: usize) -> bool {
        let has_room = self.claim.grow(bytes);
        if has_room {
            self.size += bytes;
        }
        has_room
    }

    fn cut(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.whole.push_back(tail.freeze());
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match self.whole.pop_front() {
            Some(piece) => {
                self.size -= piece.remaining();
                Some(Frame::data(piece))
            }
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.trailers.is_some() {
            // Over HTTP/1.1 trailers need a chunked body, whose length is not said.
            let mut hint = SizeHint::new();
            hint.set_lower(self.size as u64);
            return hint;
        }
        SizeHint::with_exact(self.size as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;

    use super::super::bounds::Memory;
    use super::*;

    #[tokio::test]
    async fn pieces_come_out_as_they_went_in() {
        let claim = Claim::new(&Arc::new(Memory::default()), 0).unwrap();
        let mut pieces = Pieces::new(claim);
        let large = Bytes::from(vec![b'x'; SMALL + 1]);
        for piece in [
            &Bytes::from_static(b"ab"),
            &Bytes::from_static(b"c"),
            &large,
        ] {
            assert!(pieces.push(piece));
        }
        assert!(pieces.push_slice(b"de"));
        pieces.finish(None);
        // Not copied.
        assert_eq!(pieces.whole[1].as_ptr(), large.as_ptr());
        assert_eq!(pieces.size_hint().exact(), Some(SMALL as u64 + 6));
        let body = pieces.collect().await.unwrap().to_bytes();
        assert_eq!((&body[..3], &body[SMALL + 4..]), (&b"abc"[..], &b"de"[..]));
    }
}

//! A request's body from our own HTTP/1.1 connections to a codec that wants to pull it.
//!
//! One piece at a time: the next is read from the client when the last was taken.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::connection::RequestBody;
use crate::error::BoxError;

/// A request's body, whichever codec reads it.
pub(crate) enum ClientBody {
    /// Of an HTTP/2 client.
    Http2(RequestBody),
    /// Of an HTTP/1.1 client.
    Piped(PipeReader),
}

/// Where pieces are put in.
pub(crate) struct PipeWriter(Rc<RefCell<Pipe>>);

/// Where they come out.
pub(crate) struct PipeReader {
    pipe: Rc<RefCell<Pipe>>,
    /// Bytes that are still to come, if that is known.
    left: Option<u64>,
}

#[derive(Default)]
struct Pipe {
    piece: Option<Bytes>,
    end: Option<End>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    reader_is_gone: bool,
}

enum End {
    Whole(Option<HeaderMap>),
    Broken,
}

/// A pipe for a body of this length, if it is known.
pub(crate) fn pipe(length: Option<u64>) -> (PipeWriter, PipeReader) {
    let pipe = Rc::new(RefCell::new(Pipe::default()));
    let reader = PipeReader {
        pipe: Rc::clone(&pipe),
        left: length,
    };
    (PipeWriter(pipe), reader)
}

impl PipeWriter {
    /// Ready when the last piece was taken; false when nobody takes any more.
    pub(crate) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut pipe = self.0.borrow_mut();
        if pipe.reader_is_gone {
            return Poll::Ready(false);
        }
        if pipe.piece.is_none() {
            return Poll::Ready(true);
        }
        pipe.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Puts the next piece in.
    pub(crate) fn put(&self, piece: Bytes) {
        self.change(|pipe| pipe.piece = Some(piece));
    }

    /// The body is complete.
    pub(crate) fn end(&self, trailers: Option<HeaderMap>) {
        self.change(|pipe| pipe.end = Some(End::Whole(trailers)));
    }

    fn change(&self, change: impl FnOnce(&mut Pipe)) {
        let mut pipe = self.0.borrow_mut();
        change(&mut pipe);
        let reader = pipe.reader.take();
        drop(pipe);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.change(|pipe| {
            pipe.end.get_or_insert(End::Broken);
        });
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.reader_is_gone = true;
        let writer = pipe.writer.take();
        drop(pipe);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

impl PipeReader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut pipe = self.pipe.borrow_mut();
        if let Some(piece) = pipe.piece.take() {
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(piece.len() as u64);
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut pipe.end {
            Some(End::Whole(trailers)) => {
                let trailers = trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Broken) => Poll::Ready(Some(Err("the client's body broke off".into()))),
            None => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Http2(body) => Pin::new(body).poll_frame(cx),
            Self::Piped(reader) => reader.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http2(body) => body.is_end_stream(),
            Self::Piped(reader) => {
                let pipe = reader.pipe.borrow();
                pipe.piece.is_none() && matches!(pipe.end, Some(End::Whole(None)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http2(body) => body.size_hint(),
            Self::Piped(reader) => reader
                .left
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn pieces_come_out_as_they_were_put_in() {
        let (writer, reader) = pipe(Some(5));
        let mut body = ClientBody::Piped(reader);
        assert_eq!(body.size_hint().exact(), Some(5));
        let mut nobody = Context::from_waker(Waker::noop());
        writer.put(Bytes::from_static(b"abc"));
        assert!(writer.poll_wanted(&mut nobody).is_pending());
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece, "abc");
        assert_eq!(writer.poll_wanted(&mut nobody), Poll::Ready(true));
        writer.put(Bytes::from_static(b"de"));
        writer.end(None);
        assert!(!body.is_end_stream());
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece, "de");
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(writer.poll_wanted(&mut nobody), Poll::Ready(false));
    }

    #[tokio::test]
    async fn a_writer_that_vanishes_breaks_the_body() {
        let (writer, reader) = pipe(None);
        let mut body = ClientBody::Piped(reader);
        drop(writer);
        assert!(body.frame().await.unwrap().is_err());
    }
}

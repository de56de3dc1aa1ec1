//! A request's body on its way up a stream: as much as the upstream takes, and not a byte more once it has had enough or
//! nobody waits for the answer any longer.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body as _, Frame};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Place, SEND_BUFFER};
use crate::exchange::Upload;

/// How long the rest of a request may take that was answered before its end.
const MOMENT: Duration = Duration::from_secs(10);

/// The rest of a request on its way. Dropping it gives the request up.
pub(super) struct Uploading(Option<JoinHandle<()>>);

/// A body and its stream. The stream is reset when this is dropped before the body's end.
struct Pump {
    stream: SendStream<Bytes>,
    upload: Upload,
    /// Taken of the body and not sent.
    piece: Bytes,
    is_over: bool,
    /// Held until nothing more goes up.
    _place: Rc<Place>,
}

impl Uploading {
    /// Nothing is to be sent.
    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    /// Sends what is there, and goes on with the rest on a task of its own: a client that takes nothing of the response
    /// for a while may well be sending.
    pub(super) fn begin(stream: SendStream<Bytes>, upload: Upload, place: Rc<Place>) -> Self {
        let mut pump = Pump {
            stream,
            upload,
            piece: Bytes::new(),
            is_over: false,
            _place: place,
        };
        let mut nobody = Context::from_waker(Waker::noop());
        if pump.poll(&mut nobody).is_ready() {
            return Self(None);
        }
        let rest = async move { poll_fn(|cx| pump.poll(cx)).await };
        Self(Some(tokio::task::spawn_local(rest)))
    }

    /// The answer is whole: the rest may still go up for a while, as it wants to be read by some who answer first.
    pub(super) fn leave(&mut self) {
        if let Some(mut rest) = self.0.take().filter(|rest| !rest.is_finished()) {
            tokio::task::spawn_local(async move {
                if timeout(MOMENT, &mut rest).await.is_err() {
                    rest.abort();
                }
            });
        }
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        if let Some(rest) = &self.0 {
            rest.abort();
        }
    }
}

impl Pump {
    /// Ready when nothing more goes up.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_over {
            if self.piece.is_empty() {
                // It may have had enough before the client has said all.
                if self.stream.poll_reset(cx).is_ready() {
                    self.is_over = true;
                    break;
                }
                match ready!(Pin::new(&mut self.upload).poll_frame(cx)) {
                    Some(Ok(frame)) => self.take(frame),
                    // The stream is reset.
                    Some(Err(_)) => break,
                    None => self.send(Bytes::new(), true),
                }
            } else {
                ready!(self.poll_send(cx));
            }
        }
        Poll::Ready(())
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() && self.upload.is_end_stream() => self.send(data, true),
            Ok(data) => self.piece = data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    // Who can't be told any more has reset the stream.
                    let _ = self.stream.send_trailers(trailers);
                    self.is_over = true;
                }
            }
        }
    }

    /// Sends as much of the piece as there is room for.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream
            .reserve_capacity(self.piece.len().min(SEND_BUFFER));
        while self.stream.capacity() == 0 {
            if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                self.is_over = true;
                return Poll::Ready(());
            }
        }
        let size = self.stream.capacity().min(self.piece.len());
        let part = self.piece.split_to(size);
        let is_last = self.piece.is_empty() && self.upload.is_end_stream();
        self.send(part, is_last);
        Poll::Ready(())
    }

    fn send(&mut self, data: Bytes, is_last: bool) {
        let sent = self.stream.send_data(data, is_last);
        self.is_over = is_last || sent.is_err();
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if !self.is_over {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}

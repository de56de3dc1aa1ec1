//! Where a request's body comes from, and what is kept of it while it may have to be sent again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::UploadFailure;
use crate::exchange::pipe::ClientBody;
use crate::exchange::retry::MOST_KEPT;
use crate::observe::Patience;
use crate::shadow::Tee;

/// Where a body comes from.
pub(super) struct Source {
    /// What was sent already, to be sent again first.
    again: VecDeque<Piece>,
    /// What was read ahead.
    ahead: Bytes,
    rest: Option<ClientBody>,
    trailers: Option<HeaderMap>,
    /// Bytes that may still come.
    allowance: u64,
    patience: Patience,
    tee: Tee,
    kept: Kept,
}

/// A part of a body.
#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// What was sent, for a second sending.
enum Kept {
    /// Nothing was sent.
    Nothing,
    /// All of it, so many bytes.
    All(Vec<Piece>, usize),
    /// Not all of it.
    Lost,
}

impl Source {
    pub(super) fn new(
        ahead: Bytes,
        rest: Option<ClientBody>,
        trailers: Option<HeaderMap>,
        allowance: u64,
        patience: Patience,
    ) -> Self {
        Self {
            again: VecDeque::new(),
            ahead,
            rest: rest.filter(|rest| !rest.is_end_stream()),
            trailers,
            allowance,
            patience,
            tee: Tee::none(),
            kept: Kept::Nothing,
        }
    }

    /// What passes is shown to this too.
    pub(super) fn show_to(&mut self, tee: Tee) {
        self.tee = tee;
        if self.is_over() {
            self.tee.end(None);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.again.is_empty()
            && self.ahead.is_empty()
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let again = self.again.iter().map(Piece::len).sum::<usize>();
        let known = (again + self.ahead.len()) as u64;
        let rest = self.rest.as_ref().map(Body::size_hint);
        let rest = rest.unwrap_or_else(|| SizeHint::with_exact(0));
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + known);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + known);
        }
        hint
    }

    /// Keeps what is sent from now on, if nothing was sent before.
    pub(super) fn keep(&mut self) {
        if matches!(self.kept, Kept::Nothing) {
            self.kept = Kept::All(Vec::new(), 0);
        }
    }

    pub(super) const fn keeps(&self) -> bool {
        matches!(self.kept, Kept::All(..))
    }

    pub(super) fn let_go(&mut self) {
        self.kept = Kept::Lost;
    }

    /// Begins anew, and keeps what is sent again; false if what was sent is not there any more.
    pub(super) fn rewind(&mut self) -> bool {
        let Kept::All(sent, _) = std::mem::replace(&mut self.kept, Kept::Lost) else {
            return false;
        };
        // What a second sending did not come to is behind what it did.
        for piece in sent.into_iter().rev() {
            self.again.push_front(piece);
        }
        self.kept = Kept::All(Vec::new(), 0);
        self.patience.heard();
        true
    }

    /// The client's side failed.
    pub(super) fn break_off(&mut self) {
        self.rest = None;
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), UploadFailure> {
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.allowance = self
            .allowance
            .checked_sub(size)
            .ok_or(UploadFailure::TooLarge)?;
        Ok(())
    }

    /// Shows a piece.
    fn show(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.tee.data(data);
        }
        if frame.is_trailers() || self.is_over() {
            self.tee.end(frame.trailers_ref().cloned());
        }
    }

    /// The next piece. `awaits_client` is told whether it is the client who has to send it; its silence counts from
    /// `answered_at` on, when the last of the response came.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        awaits_client: &Cell<bool>,
        answered_at: Option<Instant>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFailure>>> {
        let next = match self.again.pop_front() {
            Some(piece) => Some(Ok(piece.into())),
            None => ready!(self.poll_new(cx, awaits_client, answered_at)),
        };
        if let Some(Ok(frame)) = &next {
            self.kept.add(frame);
        }
        Poll::Ready(next)
    }

    /// The next piece that nobody has seen yet.
    fn poll_new(
        &mut self,
        cx: &mut Context<'_>,
        awaits_client: &Cell<bool>,
        answered_at: Option<Instant>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFailure>>> {
        if !self.ahead.is_empty() {
            let frame = Frame::data(std::mem::take(&mut self.ahead));
            self.show(&frame);
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(rest) = &mut self.rest else {
            let Some(trailers) = self.trailers.take() else {
                return Poll::Ready(None);
            };
            let frame = Frame::trailers(trailers);
            self.show(&frame);
            return Poll::Ready(Some(Ok(frame)));
        };
        let polled = Pin::new(rest).poll_frame(cx);
        awaits_client.set(polled.is_pending());
        Poll::Ready(match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.heard();
                let counted = self.count(&frame);
                Some(counted.map(|()| {
                    self.show(&frame);
                    frame
                }))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a request body broke off");
                Some(Err(UploadFailure::Broken))
            }
            Poll::Ready(None) => {
                self.rest = None;
                self.tee.end(None);
                None
            }
            Poll::Pending => {
                // Who listens need not speak.
                if let Some(at) = answered_at {
                    self.patience.heard_at(at);
                }
                ready!(self.patience.poll_exhausted(cx));
                Some(Err(UploadFailure::Late))
            }
        })
    }
}

impl Kept {
    fn add(&mut self, frame: &Frame<Bytes>) {
        let Self::All(pieces, size) = self else {
            *self = Self::Lost;
            return;
        };
        *size += frame.data_ref().map_or(0, Bytes::len);
        let piece = frame.data_ref().cloned().map(Piece::Data);
        let piece = piece.or_else(|| frame.trailers_ref().cloned().map(Piece::Trailers));
        match piece {
            Some(piece) if *size <= MOST_KEPT => pieces.push(piece),
            _ => *self = Self::Lost,
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::data(data),
            Piece::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

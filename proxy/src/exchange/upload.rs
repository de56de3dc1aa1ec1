//! A request's body on its way to the upstream: passed on piece by piece, counted, and not waited for forever.
//!
//! What has to be known of it outside (has it ended, did it fail, are we waiting for the client?) stands in an
//! [`UploadState`] beside it, because the connection to the upstream owns the body itself.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pipe::ClientBody;
use crate::error::Failure;
use crate::observe::Patience;
use crate::shadow::Tee;

/// How the client's side of a body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadFailure {
    /// Larger than allowed.
    TooLarge,
    /// The client stopped sending.
    Late,
    /// The client's connection or stream broke.
    Broken,
}

/// What is known of a request's body while its upstream connection owns it.
#[derive(Debug)]
pub(crate) struct UploadState {
    is_finished: Cell<bool>,
    failure: Cell<Option<UploadFailure>>,
    awaits_client: Cell<bool>,
    last_taken: Cell<Instant>,
    failed: Notify,
}

/// A request's body.
pub(crate) struct Upload {
    state: Rc<UploadState>,
    /// What was read ahead, to be sent first.
    ahead: Bytes,
    rest: Option<ClientBody>,
    trailers: Option<HeaderMap>,
    /// Bytes that may still come.
    allowance: u64,
    patience: Patience,
    tee: Tee,
}

impl Upload {
    /// A body of which `ahead` was read already; `rest` is `None` when that was all, save the trailers.
    pub(crate) fn new(
        ahead: Bytes,
        rest: Option<ClientBody>,
        trailers: Option<HeaderMap>,
        allowance: u64,
        limit: Duration,
    ) -> Self {
        let rest = rest.filter(|rest| !rest.is_end_stream());
        let state = UploadState {
            is_finished: Cell::new(ahead.is_empty() && rest.is_none() && trailers.is_none()),
            failure: Cell::new(None),
            awaits_client: Cell::new(false),
            last_taken: Cell::new(Instant::now()),
            failed: Notify::new(),
        };
        Self {
            state: Rc::new(state),
            ahead,
            rest,
            trailers,
            allowance,
            patience: Patience::new(limit, None),
            tee: Tee::none(),
        }
    }

    /// What passes is shown to this too.
    pub(crate) fn shown_to(mut self, mut tee: Tee) -> Self {
        if self.state.is_finished() {
            tee.end(None);
        }
        self.tee = tee;
        self
    }

    /// No body, for a request that is sent again.
    pub(crate) fn empty() -> Self {
        Self::new(Bytes::new(), None, None, 0, Duration::MAX)
    }

    /// What is known of this body from outside.
    pub(crate) fn state(&self) -> Rc<UploadState> {
        Rc::clone(&self.state)
    }

    /// Whether all of it was taken, and everybody who has to knows. That it [has ended](Body::is_end_stream) may be
    /// known only to it.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.is_finished()
    }

    fn fail(
        &mut self,
        failure: UploadFailure,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFailure>>> {
        self.rest = None;
        self.state.failure.set(Some(failure));
        self.state.failed.notify_one();
        Poll::Ready(Some(Err(failure)))
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), UploadFailure> {
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.allowance = self
            .allowance
            .checked_sub(size)
            .ok_or(UploadFailure::TooLarge)?;
        Ok(())
    }

    /// Shows a piece, and takes note if it was the last one.
    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(data) = frame.data_ref() {
            self.tee.data(data);
        }
        let is_last = self.is_end_stream();
        if is_last || frame.is_trailers() {
            self.tee.end(frame.trailers_ref().cloned());
        }
        if is_last {
            self.state.is_finished.set(true);
        }
        frame
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFailure>>> {
        let this = &mut *self;
        this.state.last_taken.set(Instant::now());
        if !this.ahead.is_empty() {
            let ahead = std::mem::take(&mut this.ahead);
            return Poll::Ready(Some(Ok(this.pass(Frame::data(ahead)))));
        }
        let Some(rest) = &mut this.rest else {
            this.state.is_finished.set(true);
            let trailers = this.trailers.take().map(Frame::trailers);
            return Poll::Ready(trailers.map(|trailers| Ok(this.pass(trailers))));
        };
        let polled = Pin::new(rest).poll_frame(cx);
        this.state.awaits_client.set(polled.is_pending());
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.heard();
                if let Err(failure) = this.count(&frame) {
                    return this.fail(failure);
                }
                Poll::Ready(Some(Ok(this.pass(frame))))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a request body broke off");
                this.fail(UploadFailure::Broken)
            }
            Poll::Ready(None) => {
                this.rest = None;
                this.tee.end(None);
                this.state.is_finished.set(true);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.patience.poll_exhausted(cx));
                this.fail(UploadFailure::Late)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty()
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.len() as u64;
        let rest = self.rest.as_ref().map(Body::size_hint);
        let rest = rest.unwrap_or_else(|| SizeHint::with_exact(0));
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

impl UploadState {
    /// The whole request was handed to the upstream's connection.
    pub(crate) const fn is_finished(&self) -> bool {
        self.is_finished.get()
    }

    /// How the client's side failed, if it did.
    pub(crate) const fn failure(&self) -> Option<UploadFailure> {
        self.failure.get()
    }

    /// Waits until the client's side fails; forever if it doesn't.
    pub(crate) async fn failed(&self) -> UploadFailure {
        loop {
            if let Some(failure) = self.failure.get() {
                return failure;
            }
            self.failed.notified().await;
        }
    }

    /// Since when it is the upstream's turn: the body's last piece was taken, or it is the client's turn still.
    pub(crate) fn upstreams_turn_since(&self) -> Instant {
        if self.awaits_client.get() && !self.is_finished.get() {
            Instant::now()
        } else {
            self.last_taken.get()
        }
    }
}

impl From<UploadFailure> for Failure {
    fn from(failure: UploadFailure) -> Self {
        match failure {
            UploadFailure::TooLarge => Self::BodyTooLarge,
            UploadFailure::Late => Self::BodyLate,
            UploadFailure::Broken => Self::BodyBroken,
        }
    }
}

impl std::fmt::Display for UploadFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Failure::from(*self).fmt(f)
    }
}

impl std::error::Error for UploadFailure {}

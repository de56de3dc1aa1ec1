//! A request's body on its way to the upstream: passed on piece by piece, counted, and not waited for forever.
//!
//! What has to be known of it outside (has it ended, did it fail, are we waiting for the client?) stands in an
//! [`UploadState`] beside it, because the connection to the upstream owns the body itself. There is where it comes from
//! too, so that [a body can be sent again](UploadState::again) whose connection has not let go of it yet.

use std::cell::{Cell, RefCell};
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

mod source;

use source::Source;

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
pub(crate) struct UploadState {
    is_finished: Cell<bool>,
    failure: Cell<Option<UploadFailure>>,
    awaits_client: Cell<bool>,
    last_taken: Cell<Instant>,
    /// When the last piece of the response came.
    answered_at: Cell<Option<Instant>>,
    failed: Notify,
    source: RefCell<Option<Source>>,
    /// How often it began to be sent: who holds an earlier [`Upload`] gets nothing more.
    sendings: Cell<u32>,
    /// Whoever was sending it has let go of it, and it is kept.
    is_orphaned: Cell<bool>,
}

/// A request's body.
pub(crate) struct Upload {
    state: Rc<UploadState>,
    sending: u32,
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
        let patience = Patience::new(limit, None);
        let source = Source::new(ahead, rest, trailers, allowance, patience);
        let state = UploadState {
            is_finished: Cell::new(source.is_over()),
            failure: Cell::new(None),
            awaits_client: Cell::new(false),
            last_taken: Cell::new(Instant::now()),
            answered_at: Cell::new(None),
            failed: Notify::new(),
            source: RefCell::new(Some(source)),
            sendings: Cell::new(0),
            is_orphaned: Cell::new(false),
        };
        Self {
            state: Rc::new(state),
            sending: 0,
        }
    }

    /// What passes is shown to this too.
    pub(crate) fn shown_to(self, tee: Tee) -> Self {
        if let Some(source) = &mut *self.state.source.borrow_mut() {
            source.show_to(tee);
        }
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

    /// Whether it is this one that is being sent.
    fn is_current(&self) -> bool {
        self.state.sendings.get() == self.sending
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_current() {
            return;
        }
        let mut source = self.state.source.borrow_mut();
        match &*source {
            Some(from) if from.keeps() => self.state.is_orphaned.set(true),
            _ => *source = None,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFailure>>> {
        let state = &self.state;
        let mut source = state.source.borrow_mut();
        let Some(from) = source.as_mut().filter(|_| self.is_current()) else {
            return Poll::Ready(Some(Err(UploadFailure::Broken)));
        };
        state.last_taken.set(Instant::now());
        let next = ready!(from.poll_next(cx, &state.awaits_client, state.answered_at.get()));
        match &next {
            Some(Ok(_)) => state.is_finished.set(from.is_over()),
            Some(Err(failure)) => {
                from.break_off();
                state.failure.set(Some(*failure));
                state.failed.notify_one();
            }
            None => state.is_finished.set(true),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.state.source.borrow();
        source.as_ref().is_none_or(Source::is_over)
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.state.source.borrow();
        let hint = source.as_ref().map(Source::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
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

    /// From now on keeps what is sent, if nothing was sent before, until it [is needed](Self::again) or
    /// [isn't](Self::let_go).
    pub(crate) fn keep(&self) {
        if let Some(source) = &mut *self.source.borrow_mut() {
            source.keep();
        }
    }

    /// Nothing will be sent again.
    pub(crate) fn let_go(&self) {
        let mut source = self.source.borrow_mut();
        if self.is_orphaned.get() {
            *source = None;
        } else if let Some(from) = &mut *source {
            from.let_go();
        }
    }

    /// Whether [all that was sent](Self::again) can be sent again.
    pub(crate) fn is_kept(&self) -> bool {
        let source = self.source.borrow();
        self.failure.get().is_none() && source.as_ref().is_some_and(Source::keeps)
    }

    /// The whole body once more, if what was sent of it was kept: whoever was sending it gets nothing more.
    pub(crate) fn again(self: &Rc<Self>) -> Option<Upload> {
        if self.failure.get().is_some() {
            return None;
        }
        let mut source = self.source.borrow_mut();
        let from = source.as_mut()?;
        if !from.rewind() {
            return None;
        }
        self.is_finished.set(from.is_over());
        self.last_taken.set(Instant::now());
        self.is_orphaned.set(false);
        self.sendings.set(self.sendings.get() + 1);
        Some(Upload {
            state: Rc::clone(self),
            sending: self.sendings.get(),
        })
    }

    /// A piece of the response came: while it goes on, the client may be silent.
    pub(crate) fn hear_answer(&self) {
        if !self.is_finished.get() {
            self.answered_at.set(Some(Instant::now()));
        }
    }

    /// The request goes out now: the time before was not the upstream's.
    pub(crate) fn sets_out(&self) {
        self.last_taken.set(Instant::now());
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

//! One stream: what came of its request and was not yet taken, and how far its response is.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::h2::window;

/// A request and its response. Shared by the connection, the task that serves it, and the request's body.
pub(super) struct Stream {
    pub(super) id: u32,
    /// Somebody looked at it.
    pub(super) is_seen: Cell<bool>,
    /// What came of the request's body.
    pub(super) inbox: RefCell<Inbox>,
    /// What the client may still send.
    pub(super) inbound: Cell<window::Inbound>,
    /// What we may still send.
    pub(super) outbound: Cell<window::Outbound>,
    /// How far the response is.
    pub(super) sending: Cell<Sending>,
    /// Since when the response waits for the client's window.
    pub(super) stuck_since: Cell<Option<Instant>>,
    /// The flush before which it was last written.
    pub(super) wrote_before: Cell<u64>,
    /// Who waits for room to write.
    pub(super) writer: RefCell<Option<Waker>>,
    /// Who serves it.
    pub(super) task: OnceCell<AbortHandle>,
}

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Its head was not sent.
    Nothing,
    /// Its head was.
    Body,
    /// It is whole.
    Whole,
    /// The stream was reset, by either end, or the connection is gone.
    Reset,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// More of it is to come.
    Open,
    /// It is whole.
    Whole,
    /// It broke off.
    Broken,
}

/// What came of a request's body.
pub(super) struct Inbox {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    pub(super) state: Receiving,
    /// What is still to come, if it was said.
    announced: Option<u64>,
    /// Bytes in the pieces.
    held: usize,
    /// Nobody takes anything any more.
    is_abandoned: bool,
    reader: Option<Waker>,
}

/// The next of a body.
pub(super) enum Next {
    Piece(Bytes),
    Trailers(HeaderMap),
    End,
    Broken,
}

/// The body is not as long as was said.
#[derive(Debug)]
pub(super) struct Mismatch;

impl Stream {
    /// A request that came this far, and the windows of both directions.
    pub(super) fn new(
        id: u32,
        inbox: Inbox,
        inbound: window::Inbound,
        outbound: window::Outbound,
    ) -> Self {
        Self {
            id,
            is_seen: Cell::new(false),
            inbox: RefCell::new(inbox),
            inbound: Cell::new(inbound),
            outbound: Cell::new(outbound),
            sending: Cell::new(Sending::Nothing),
            stuck_since: Cell::new(None),
            wrote_before: Cell::new(0),
            writer: RefCell::default(),
            task: OnceCell::new(),
        }
    }

    pub(super) fn is_reset(&self) -> bool {
        self.sending.get() == Sending::Reset
    }

    pub(super) fn is_over(&self) -> bool {
        self.sending.get() == Sending::Whole && self.inbox.borrow().state != Receiving::Open
    }

    /// Whoever serves it stops, and whoever reads its body sees it broken off.
    pub(super) fn give_up(&self) {
        self.sending.set(Sending::Reset);
        self.inbox.borrow_mut().break_off();
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Inbox {
    pub(super) const fn new(state: Receiving, announced: Option<u64>) -> Self {
        Self {
            pieces: VecDeque::new(),
            trailers: None,
            state,
            announced,
            held: 0,
            is_abandoned: false,
            reader: None,
        }
    }

    /// A piece came: false when nobody wants it.
    pub(super) fn put(&mut self, piece: &[u8]) -> Result<bool, Mismatch> {
        if let Some(left) = &mut self.announced {
            *left = left.checked_sub(piece.len() as u64).ok_or(Mismatch)?;
        }
        if self.is_abandoned {
            return Ok(false);
        }
        if !piece.is_empty() {
            self.held += piece.len();
            self.pieces.push_back(Bytes::copy_from_slice(piece));
            self.wake();
        }
        Ok(true)
    }

    /// The body is whole.
    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Mismatch> {
        if self.announced.is_some_and(|left| left > 0) {
            return Err(Mismatch);
        }
        self.trailers = trailers.filter(|trailers| !trailers.is_empty());
        self.state = Receiving::Whole;
        self.wake();
        Ok(())
    }

    fn break_off(&mut self) {
        if self.state == Receiving::Open {
            self.state = Receiving::Broken;
        }
        self.wake();
    }

    /// Nobody takes anything any more: how much is let go.
    pub(super) fn abandon(&mut self) -> usize {
        self.is_abandoned = true;
        self.pieces.clear();
        std::mem::take(&mut self.held)
    }

    pub(super) const fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(piece) = self.pieces.pop_front() {
            self.held -= piece.len();
            return Poll::Ready(Next::Piece(piece));
        }
        match self.state {
            Receiving::Broken => Poll::Ready(Next::Broken),
            Receiving::Whole => Poll::Ready(match self.trailers.take() {
                Some(trailers) => Next::Trailers(trailers),
                None => Next::End,
            }),
            Receiving::Open => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Nothing more is to be taken.
    pub(super) fn is_spent(&self) -> bool {
        self.state == Receiving::Whole && self.pieces.is_empty() && self.trailers.is_none()
    }

    /// How much is to come, as far as is known.
    pub(super) fn length(&self) -> Option<u64> {
        let held = self.held as u64;
        match self.state {
            Receiving::Whole if self.trailers.is_none() => Some(held),
            _ => self.announced.map(|left| left + held),
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

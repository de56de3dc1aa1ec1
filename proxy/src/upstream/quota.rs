//! How many HTTP/1.1 connections to a member are open, by all workers together, where that is bounded.
//!
//! Idle ones that each worker kept for itself would be out of the others' reach, who might wait for them for ever. So
//! they lie here, for all: the latest used first. Whoever waits comes before those who come later, and gets the
//! connection that comes free, or leave to open one. A connection that changes workers is registered anew there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::socket::Stream;

/// A member's connections that count.
#[derive(Debug, Default)]
pub(super) struct Quota(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// As configured when it was last asked.
    most: usize,
    /// In use, or about to be opened.
    busy: usize,
    /// The longest idle first.
    idle: Vec<Idle>,
    /// Who gave up is closed.
    waiting: VecDeque<oneshot::Sender<Grant>>,
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: Instant,
    /// Whose event loop knows it.
    worker: ThreadId,
}

/// A connection counts as long as this is held.
#[derive(Debug)]
pub(crate) struct Counted(Option<Arc<Quota>>);

/// Leave to have a connection, and one that is there already.
#[derive(Debug)]
pub(super) struct Grant {
    counted: Counted,
    idle: Option<Idle>,
}

impl Grant {
    /// The connection is this worker's now.
    pub(super) fn take(self) -> (Counted, Option<Stream>) {
        let stream = self.idle.and_then(|mut idle| {
            if idle.worker != thread::current().id() {
                idle.stream.move_here().ok()?;
            }
            Some(idle.stream)
        });
        (self.counted, stream)
    }
}

impl Quota {
    /// One that has been idle for less than `limit` and was not closed.
    pub(super) fn idle(
        self: &Arc<Self>,
        most: usize,
        now: Instant,
        limit: Duration,
    ) -> Option<Grant> {
        let mut state = self.state(most);
        let idle = state.take_idle(now, limit)?;
        Some(self.grant(&mut state, Some(idle)))
    }

    /// Leave to open one, or an idle one if there are so many; or else what to wait for.
    pub(super) fn claim(
        self: &Arc<Self>,
        most: usize,
        now: Instant,
        limit: Duration,
    ) -> Result<Grant, oneshot::Receiver<Grant>> {
        let mut state = self.state(most);
        if state.is_full()
            && let Some(idle) = state.take_idle(now, limit)
        {
            return Ok(self.grant(&mut state, Some(idle)));
        }
        if !state.is_full() && state.waiting.is_empty() {
            return Ok(self.grant(&mut state, None));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Err(receiver)
    }

    /// Closes those that were idle for too long, or were closed by the other side.
    pub(super) fn reap(&self, now: Instant, limit: Duration) {
        self.lock()
            .idle
            .retain_mut(|idle| idle.is_usable(now, limit, false));
    }

    fn state(self: &Arc<Self>, most: usize) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.most = most;
        state.waiting.retain(|waiter| !waiter.is_closed());
        // After a reload there may be too many.
        let surplus = (state.busy + state.idle.len()).saturating_sub(most);
        let surplus = surplus.min(state.idle.len());
        state.idle.drain(..surplus);
        self.serve_waiting(&mut state);
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(self: &Arc<Self>, state: &mut State, idle: Option<Idle>) -> Grant {
        state.busy += 1;
        Grant {
            counted: Counted(Some(Arc::clone(self))),
            idle,
        }
    }

    /// Gives what there is to those who wait.
    fn serve_waiting(self: &Arc<Self>, state: &mut State) {
        while let Some(waiter) = state.waiting.pop_front() {
            if state.idle.is_empty() && state.is_full() {
                state.waiting.push_front(waiter);
                return;
            }
            let idle = state.idle.pop();
            let grant = self.grant(state, idle);
            if let Err(mut unwanted) = waiter.send(grant) {
                // It would count itself off, and wait for us.
                unwanted.counted.0 = None;
                state.busy -= 1;
                state.idle.extend(unwanted.idle);
            }
        }
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.busy + self.idle.len() >= self.most
    }

    /// Unless others wait for it.
    fn take_idle(&mut self, now: Instant, limit: Duration) -> Option<Idle> {
        if !self.waiting.is_empty() {
            return None;
        }
        while let Some(mut idle) = self.idle.pop() {
            if idle.is_usable(now, limit, true) {
                return Some(idle);
            }
        }
        None
    }
}

impl Idle {
    fn is_usable(&mut self, now: Instant, limit: Duration, look: bool) -> bool {
        now.saturating_duration_since(self.since) < limit && self.stream.is_quiet(look)
    }
}

impl Counted {
    /// The connection may serve another exchange; no more than `most` that nobody waits for are kept.
    pub(super) fn keep(mut self, stream: Stream, since: Instant, most: usize) {
        let Some(quota) = self.0.take() else {
            return;
        };
        let mut state = quota.lock();
        state.busy -= 1;
        if !state.is_full() && (state.idle.len() < most || !state.waiting.is_empty()) {
            state.idle.push(Idle {
                stream,
                since,
                worker: thread::current().id(),
            });
        }
        quota.serve_waiting(&mut state);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(quota) = self.0.take() {
            let mut state = quota.lock();
            state.busy -= 1;
            quota.serve_waiting(&mut state);
        }
    }
}

//! Copies of requests, for a release that no client hears from.
//!
//! A request that baseline answers may be copied: in a shadow step to the canary, by a standing mirror to the
//! `shadow` backend (else to the canary too). A request is copied once at most, and the step comes first.
//! [`choice`] says which requests, by a stable hash of their point on the line of assignment: all of a user's
//! requests or none. [`tee`] gathers the request as it passes, [`flight`] sends the copy when the request has
//! arrived whole, reads the answer and throws it away, [`pair`] puts what came of it beside the original's
//! outcome. [`pool`] keeps connections of its own, and [`bounds`] what all of it may hold and read.
//!
//! The original is never delayed, never fails because of its copy, and never learns of it: everything here is
//! said, not asked; nothing waits; whatever is too much is dropped and counted, and nothing is sent twice. A
//! copy is sent only when its request is whole, so the target sees no request that its client gave up half-way.
//! Nothing here judges: that is the control loop's work.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use serin_stats::shadow::CopyResult;
use serin_stats::snapshot::Arm;

use crate::observe::Ticket;
use crate::route::Table;

mod bounds;
mod choice;
mod flight;
mod head;
mod pair;
mod pieces;
mod pool;
mod tee;

pub(crate) use bounds::Memory;
pub(crate) use choice::Choice;
pub(crate) use head::CopyHead;
pub(crate) use pair::Pairing;
pub(crate) use tee::Tee;

use bounds::Pace;
use pool::Pool;

/// One worker's mirror.
pub(crate) struct Mirror {
    pool: Pool,
    pace: Pace,
    memory: Arc<Memory>,
    is_closing: Cell<bool>,
}

impl Mirror {
    /// All workers' copies share this memory.
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self {
            pool: Pool::default(),
            pace: Pace::new(Instant::now()),
            memory,
            is_closing: Cell::new(false),
        }
    }

    /// A routed request begins: a tee that gathers it, if it is to be copied. `declared` is what its body's
    /// length is said to be; `head` is the head as it goes to the upstream, asked for only when it is needed.
    pub(crate) fn begin(
        self: &Rc<Self>,
        ticket: &Ticket,
        method: &str,
        declared: impl FnOnce() -> Option<u64>,
        head: impl FnOnce() -> Option<CopyHead>,
    ) -> Tee {
        let entry = ticket.entry();
        if entry.choice.is_none() || ticket.arm() != Arm::Baseline {
            return Tee::none();
        }
        let copying = &entry.route.copying;
        let is_copied = copying.methods.iter().any(|each| each == method);
        let Some(target) = entry
            .choice
            .target(ticket.assignment().unit)
            .filter(|_| is_copied)
        else {
            return Tee::none();
        };
        let pairing = Rc::new(Pairing::new(ticket, target));
        let too_large = declared().is_some_and(|length| length > copying.max_body as u64);
        let refused = if self.is_closing.get() {
            CopyResult::DroppedDraining
        } else if entry.stage.copies().in_flight() >= copying.max_in_flight {
            CopyResult::DroppedInFlight
        } else if too_large {
            CopyResult::DroppedBody
        } else if let Some(head) = head() {
            return match Tee::new(Rc::clone(self), Rc::clone(&pairing), head) {
                Some(tee) => {
                    ticket.pair_with(pairing);
                    tee
                }
                None => {
                    pairing.end(CopyResult::DroppedMemory, None);
                    Tee::none()
                }
            };
        } else {
            CopyResult::DroppedRequest
        };
        pairing.end(refused, None);
        Tee::none()
    }

    /// No more copies: the proxy is stopping.
    pub(crate) fn close(&self) {
        self.is_closing.set(true);
    }

    /// Forgets the endpoints that left the configuration.
    pub(crate) fn retain(&self, table: &Table) {
        self.pool.retain(table);
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn reap(&self, now: Instant) {
        self.pool.reap(now);
    }
}

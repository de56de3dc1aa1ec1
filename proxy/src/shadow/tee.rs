//! Gathers a request as it passes, and lets its copy go when it has passed whole.
//!
//! A tee that is dropped before its end is a request that never arrived: there is nothing to copy. Gathering
//! takes no place among the copies under way, so a slow client keeps nobody out.

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderMap;
use serin_stats::shadow::CopyResult;

use super::Mirror;
use super::bounds::Claim;
use super::flight::Flight;
use super::head::CopyHead;
use super::pair::Pairing;
use super::pieces::Pieces;

/// Where a request's body is shown, if it is to be copied.
#[derive(Default)]
pub(crate) struct Tee(Option<Box<Gathered>>);

/// What has passed so far.
struct Gathered {
    mirror: Rc<Mirror>,
    pairing: Rc<Pairing>,
    head: CopyHead,
    pieces: Pieces,
}

impl Tee {
    /// The request is not copied.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Gathers the request with this head, if there is memory for it.
    pub(super) fn new(mirror: Rc<Mirror>, pairing: Rc<Pairing>, head: CopyHead) -> Option<Self> {
        let claim = Claim::new(&mirror.memory, head.size())?;
        Some(Self(Some(Box::new(Gathered {
            mirror,
            pairing,
            head,
            pieces: Pieces::new(claim),
        }))))
    }

    /// Whether there is anything to show to.
    pub(crate) const fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// A piece of the body passes.
    pub(crate) fn data(&mut self, piece: &Bytes) {
        self.gather(piece.len(), |pieces| pieces.push(piece));
    }

    /// The same, for a codec that reuses its buffers.
    pub(crate) fn slice(&mut self, piece: &[u8]) {
        self.gather(piece.len(), |pieces| pieces.push_slice(piece));
    }

    fn gather(&mut self, size: usize, push: impl FnOnce(&mut Pieces) -> bool) {
        let Some(gathered) = &mut self.0 else {
            return;
        };
        let most = gathered.pairing.entry().route.copying.max_body;
        let dropped = if gathered.pieces.size() + size > most {
            CopyResult::DroppedBody
        } else if push(&mut gathered.pieces) {
            return;
        } else {
            CopyResult::DroppedMemory
        };
        gathered.pairing.end(dropped, None);
        self.0 = None;
    }

    /// The whole request has passed: its copy goes out, if there is room for it.
    pub(crate) fn end(&mut self, trailers: Option<HeaderMap>) {
        let Some(gathered) = self.0.take() else {
            return;
        };
        let Gathered {
            mirror,
            pairing,
            head,
            mut pieces,
        } = *gathered;
        if mirror.is_closing.get() {
            return pairing.end(CopyResult::DroppedDraining, None);
        }
        let entry = pairing.entry();
        let Some(slot) = entry.stage.copies().slot(entry.route.copying.max_in_flight) else {
            return pairing.end(CopyResult::DroppedInFlight, None);
        };
        pieces.finish(trailers);
        pairing.begin();
        let flight = Flight {
            mirror,
            pairing,
            slot,
        };
        tokio::task::spawn_local(flight.run(head, pieces));
    }
}

//! What came of asking an endpoint: a response that began, or why there is none.

use std::rc::Rc;

use tokio::time::Instant;

use crate::buffer::Buffer;
use crate::error::Failure;
use crate::observe::relay::Meaning;
use crate::upstream::Line;

/// What came of asking.
pub(super) enum Asked {
    /// The response's head came; its body begins in the [`Downward`](super::downward::Downward).
    Answered { line: Line, answer: Answered },
    /// The upstream speaks another protocol from now on.
    Switched {
        line: Line,
        /// The head of the 101, for the client.
        head: Vec<u8>,
        /// What came behind it.
        answer: Buffer,
    },
}

/// What is to be done with a response.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    /// The response's status.
    pub(super) status: u16,
    /// When its head came.
    pub(super) at: Instant,
    /// What a whole body will have meant.
    pub(super) meaning: Meaning,
    /// The upstream keeps its connection open.
    pub(super) upstream_stays: bool,
    /// The client's connection is used again.
    pub(super) client_stays: bool,
    /// The end of the client's connection is the end of the body.
    pub(super) until_close: bool,
}

/// Why there is no response.
pub(super) enum Trouble {
    /// The client left.
    Gone,
    /// Something went wrong that the client is told of.
    Failed(Rc<Failure>),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}

impl From<Rc<Failure>> for Trouble {
    fn from(failure: Rc<Failure>) -> Self {
        Self::Failed(failure)
    }
}

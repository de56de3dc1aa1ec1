//! A response's body as the client's connection sees it: relayed, or our own words.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::error::BoxError;
use crate::observe::Relay;
use crate::worker::InFlight;

/// A response's body, and the mark that its request is in flight.
pub(crate) struct Reply {
    body: Source,
    _in_flight: InFlight,
}

/// Where a response's body comes from.
pub(crate) enum Source {
    /// We answered ourselves.
    Own(Full<Bytes>),
    /// From the upstream.
    Relayed(Box<Relay>),
}

impl Reply {
    /// The request counts as in flight until this is dropped.
    pub(crate) const fn new(body: Source, in_flight: InFlight) -> Self {
        Self {
            body,
            _in_flight: in_flight,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.body {
            Source::Own(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Source::Relayed(relay) => Pin::new(relay.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Own(body) => body.is_end_stream(),
            Source::Relayed(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Own(body) => body.size_hint(),
            Source::Relayed(relay) => relay.size_hint(),
        }
    }
}

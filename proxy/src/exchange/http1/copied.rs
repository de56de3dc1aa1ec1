//! Shows a request on its way up to the copy that is made of it, if one is: its content, without the framing.

use http::HeaderMap;

use super::order::Traits;
use crate::exchange::Exchange;
use crate::h1::body::{self, Body};
use crate::h1::head::Framing;
use crate::observe::Ticket;
use crate::shadow::{CopyHead, Tee};

/// A request's copy in the making, or none.
pub(super) struct Copied(Option<Box<Shown>>);

struct Shown {
    tee: Tee,
    framing: Framing,
    /// Follows the framing a second time: what passes is not parsed further than it has to be.
    body: Body,
}

impl Copied {
    /// `head` is the head as it goes upstream.
    pub(super) fn begin(
        exchange: &Exchange<'_>,
        ticket: &Ticket,
        traits: Traits,
        head: &[u8],
    ) -> Self {
        if ticket.entry().choice.is_none() {
            return Self(None);
        }
        let length = || match traits.framing {
            Framing::Length(length) => Some(length),
            Framing::Empty => Some(0),
            Framing::Chunked | Framing::UntilClose => None,
        };
        let method = head.split(|&byte| byte == b' ').next();
        let method = method.and_then(|method| std::str::from_utf8(method).ok());
        let mirror = &exchange.desk.mirror;
        let tee = mirror.begin(ticket, method.unwrap_or_default(), length, || {
            CopyHead::of_http1(head)
        });
        Self(tee.is_some().then(|| {
            Box::new(Shown {
                tee,
                framing: traits.framing,
                body: Body::unlimited(traits.framing),
            })
        }))
    }

    /// These bytes belong to the body.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let Some(shown) = &mut self.0 else {
            return;
        };
        if let Framing::Length(_) = shown.framing {
            return shown.tee.slice(bytes);
        }
        let mut content = Vec::new();
        // It was found good before.
        if shown.body.content(bytes, &mut content).is_ok() {
            shown.tee.slice(&content);
        }
    }

    /// That was all of it.
    pub(super) fn end(&mut self) {
        if let Some(mut shown) = self.0.take() {
            let section = shown.body.take_trailer();
            let trailers: Option<HeaderMap> = body::trailers(&section);
            shown.tee.end(trailers);
        }
    }
}

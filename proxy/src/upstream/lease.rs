//! One exchange's hold on a connection, for requests whose body is pulled: from the request sent to the
//! response's last byte.
//!
//! What is dropped before that cancels the exchange: an HTTP/1.1 connection is closed, since it can't be used
//! again; on HTTP/2 dropping the response resets its stream.
//!
//! An HTTP/1.1 connection that answered 500 is not used again either. Python's model servers (uvicorn: MLServer,
//! vLLM, KServe) close the connection a moment after the answer to a request that raised an error, without having
//! said so; whoever reuses it in that moment gets nothing, and a POST can't be sent again.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};

use super::booking::Booking;
use super::dial::Wire;
use super::http2::{Http2, Strand, Unheard};
use super::talk::Talk;
use crate::error::{BoxError, Failure};
use crate::exchange::{Interim, Upload, address};

/// A connection in use.
pub(crate) enum Lease {
    /// All its own.
    Http1(Talk),
    /// Shared with others.
    Http2 {
        /// Who is asked.
        booking: Booking,
        /// Its connection.
        connection: Http2,
        /// It served others before.
        is_reused: bool,
    },
}

/// A response's body as it comes.
pub(crate) enum Reading {
    /// Over HTTP/1.1.
    Http1(Talk),
    /// Over HTTP/2.
    Http2 {
        /// What comes.
        body: Strand,
        /// Counts as long as it comes.
        _booking: Booking,
    },
}

/// Why a request got no response head.
pub(crate) struct Unanswered {
    /// What became of it.
    pub(crate) fate: Fate,
    /// What happened.
    pub(crate) error: BoxError,
}

/// What became of a request that got no response head.
pub(crate) enum Fate {
    /// The endpoint says that it did nothing about it (RFC 9113, section 8.7); the connection goes on. So it is with
    /// those that come before the endpoint could say how many it takes.
    Refused,
    /// The endpoint had said farewell, and does nothing about those that came later (section 6.8).
    TooLate,
    /// The connection ended without a byte of a response.
    Silent,
    /// Something was said that is no response.
    Garbled,
}

/// A response's head, and its body if that isn't the lease's own.
pub(crate) type Answer = Response<Option<Strand>>;

impl Lease {
    /// Whether the connection served others before: the endpoint may be about to close it.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(talk) => talk.is_reused(),
            Self::Http2 { is_reused, .. } => *is_reused,
        }
    }

    /// Whether the endpoint can say of a request that it did nothing about it.
    pub(crate) const fn can_refuse(&self) -> bool {
        matches!(self, Self::Http2 { .. })
    }

    /// Addresses a request as the connection's protocol has it.
    pub(crate) fn address(&self, request: &mut Request<Upload>) -> Result<(), Failure> {
        match self {
            Self::Http1(_) => address(request, Wire::Http1, Scheme::HTTP),
            Self::Http2 { booking, .. } if booking.endpoint().is_https => {
                address(request, Wire::Http2, Scheme::HTTPS)
            }
            Self::Http2 { .. } => address(request, Wire::Http2, Scheme::HTTP),
        }
    }

    /// Sends the request and waits for the response's head. What the endpoint says before that is told to `interim`.
    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
        interim: Option<&Interim>,
    ) -> Result<Answer, Unanswered> {
        match self {
            Self::Http1(talk) => match talk.ask(request, interim).await {
                Ok(response) => Ok(response.map(|()| None)),
                Err(silence) => Err(Unanswered {
                    fate: Fate::of_connection(silence.is_silent),
                    error: silence.error,
                }),
            },
            Self::Http2 {
                booking,
                connection,
                ..
            } => match connection.ask(request, interim).await {
                Ok(response) => {
                    booking.answered(response.status().as_u16());
                    Ok(response.map(Some))
                }
                Err(unheard) => Err(Unanswered {
                    fate: Fate::of_stream(&unheard),
                    error: unheard.error.into(),
                }),
            },
        }
    }

    /// Notes that there was no response, and why.
    pub(crate) fn note(&self, failure: &Failure) {
        match self {
            Self::Http1(talk) => talk.note(failure),
            Self::Http2 { booking, .. } => booking.note(failure),
        }
    }

    /// Reads on, from the head to the end. `body` is what came with the head.
    pub(crate) fn read(self, body: Option<Strand>) -> Option<Reading> {
        match self {
            Self::Http1(talk) => Some(Reading::Http1(talk)),
            Self::Http2 { booking, .. } => body.map(|body| Reading::Http2 {
                body,
                _booking: booking,
            }),
        }
    }
}

impl Fate {
    const fn of_connection(is_silent: bool) -> Self {
        if is_silent {
            Self::Silent
        } else {
            Self::Garbled
        }
    }

    /// By how a stream ended. h2 gives the endpoint's farewell as the reason of those only that lie behind the last it
    /// says it has seen; the others end with the connection.
    fn of_stream(unheard: &Unheard) -> Self {
        let error = &unheard.error;
        if error.is_go_away() && error.is_remote() {
            Self::TooLate
        } else if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            Self::Refused
        } else {
            Self::of_connection(error.is_io() && !unheard.was_told)
        }
    }
}

impl Body for Reading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Http1(talk) => Pin::new(talk).poll_frame(cx),
            Self::Http2 { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(talk) => talk.is_end_stream(),
            Self::Http2 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(talk) => talk.size_hint(),
            Self::Http2 { body, .. } => body.size_hint(),
        }
    }
}

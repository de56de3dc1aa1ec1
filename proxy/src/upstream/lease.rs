//! One exchange's hold on a connection: from the request sent to the response's last byte.
//!
//! A lease that is dropped before that cancels the exchange: an HTTP/1.1 connection is cut, since it can't be
//! used again; on HTTP/2 dropping the response resets its stream.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};

use super::booking::Booking;
use crate::error::{BoxError, Failure};
use crate::exchange::Upload;
use crate::socket::Probe;

pub(super) enum Connection {
    Http1 {
        sender: http1::SendRequest<Upload>,
        probe: Probe,
    },
    Http2(http2::SendRequest<Upload>),
}

/// A connection in use.
pub(crate) struct Lease {
    booking: Booking,
    /// `None` once it was given back.
    connection: Option<Connection>,
    is_reused: bool,
    /// The answer was a 500. Python's model servers (uvicorn: MLServer, vLLM, KServe) close the connection a moment
    /// after the answer to a request that raised an error, without having said so; whoever reuses it in that moment
    /// gets nothing, and a POST can't be sent again. So it is not reused.
    is_doubtful: bool,
}

/// Why a request got no response head.
pub(crate) struct Unsent {
    /// The request, when nothing of it was sent.
    pub(crate) request: Option<Box<Request<Upload>>>,
    /// What happened.
    pub(crate) error: BoxError,
    /// The connection ended without a byte of a response.
    pub(crate) is_silent: bool,
}

impl Lease {
    pub(super) const fn new(booking: Booking, connection: Connection, is_reused: bool) -> Self {
        Self {
            booking,
            connection: Some(connection),
            is_reused,
            is_doubtful: false,
        }
    }

    /// Whether the connection served others before: the endpoint may be about to close it.
    pub(crate) const fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Sends the request and waits for the response's head.
    pub(crate) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, Unsent> {
        let sent = match &mut self.connection {
            Some(Connection::Http1 { sender, .. }) => sender.try_send_request(request).await,
            Some(Connection::Http2(sender)) => sender.try_send_request(request).await,
            None => {
                return Err(Unsent {
                    request: Some(Box::new(request)),
                    error: "the connection was given back".into(),
                    is_silent: true,
                });
            }
        };
        if let Ok(response) = &sent {
            self.booking.answered(response.status().as_u16());
            self.is_doubtful = response.status() == StatusCode::INTERNAL_SERVER_ERROR;
        }
        sent.map_err(|mut failed| {
            let request = failed.take_message().map(Box::new);
            let error = failed.into_error();
            let is_silent = match &self.connection {
                Some(Connection::Http2(sender)) => sender.is_closed(),
                _ => error.is_incomplete_message() || error.is_canceled() || is_io(&error),
            };
            Unsent {
                request,
                is_silent,
                error: error.into(),
            }
        })
    }

    /// Notes that there was no response, and why.
    pub(crate) fn note(&self, failure: &Failure) {
        self.booking.note(failure);
    }

    /// The response has ended: its connection may serve the next exchange, if the request has ended too.
    pub(crate) fn give_back(mut self, request_has_ended: bool) {
        match self.connection.take() {
            Some(Connection::Http1 { sender, probe }) if request_has_ended && !self.is_doubtful => {
                self.booking.upstream().keep(sender, probe);
            }
            // Closes when all of the request was sent.
            Some(Connection::Http1 { .. } | Connection::Http2(_)) | None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Connection::Http1 { probe, .. }) = &self.connection {
            probe.cut();
        }
    }
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

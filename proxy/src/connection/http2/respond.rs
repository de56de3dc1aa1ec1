//! A stream's task: serves the request, and sends the response as the client takes it.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, Method, Request, Response, StatusCode, response};
use http_body::Body;

use super::body::{Interim, RequestBody};
use super::session::{Gone, Session};
use super::stream::{Sending, Stream};
use crate::exchange::{self, Reply};
use crate::h2::{Reason, hpack, write};
use crate::worker::InFlight;

/// Resets the stream unless its response became whole: whoever served it failed.
struct Served<'s> {
    session: &'s Session,
    stream: &'s Rc<Stream>,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if self.stream.sending.get() != Sending::Whole {
            self.session.reset(self.stream, Reason::Internal);
        }
    }
}

/// Serves one request.
pub(super) async fn serve(session: Rc<Session>, stream: Rc<Stream>, request: Request<RequestBody>) {
    stream.is_seen.set(true);
    let _served = Served {
        session: &session,
        stream: &stream,
    };
    let desk = Rc::clone(&session.desk);
    let in_flight = InFlight::begin(&desk);
    let is_head = request.method() == Method::HEAD;
    let interim = Interim::new(Rc::clone(&session), Rc::clone(&stream));
    let exchange = exchange::serve(desk, session.peer, in_flight, request, interim);
    let response = Box::pin(exchange).await;
    // Its end, whichever it is, has been told by then.
    let _ = send(&session, &stream, response, is_head).await;
}

/// Sends a response.
pub(super) async fn send(
    session: &Session,
    stream: &Rc<Stream>,
    response: Response<Reply>,
    is_head: bool,
) -> Result<(), Gone> {
    let (head, body) = response.into_parts();
    let is_bodiless = is_head
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if stream.is_reset() {
        return Err(Gone);
    }
    let is_whole = is_bodiless || body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !is_bodiless);
    put_head(session, stream, &head, length, is_whole);
    if is_whole {
        session.answered(stream);
        return Ok(());
    }
    stream.sending.set(Sending::Body);
    let mut body = pin!(body);
    loop {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let is_last = body.is_end_stream();
                    send_data(session, stream, data, is_last).await?;
                    if is_last {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    put_trailers(session, stream, &trailers);
                    return Ok(());
                }
            },
            None => {
                session.put_data(stream, &[], true);
                return Ok(());
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a response broke off");
                session.reset(stream, Reason::Internal);
                return Err(Gone);
            }
        }
    }
}

async fn send_data(
    session: &Session,
    stream: &Rc<Stream>,
    mut data: Bytes,
    is_last: bool,
) -> Result<(), Gone> {
    loop {
        let may = poll_fn(|cx| session.poll_room(cx, stream, data.len())).await?;
        let ends = is_last && may == data.len();
        if let Some(piece) = data.get(..may).filter(|piece| ends || !piece.is_empty()) {
            session.put_data(stream, piece, ends);
        }
        data.advance(may);
        if data.is_empty() {
            return Ok(());
        }
    }
}

fn put_head(
    session: &Session,
    stream: &Stream,
    head: &response::Parts,
    length: Option<u64>,
    is_last: bool,
) {
    session.put_block(stream.id, is_last, |out| {
        hpack::status(out, head.status.as_u16());
        let (mut has_length, mut has_date) = (false, false);
        for (name, value) in &head.headers {
            has_length |= name == CONTENT_LENGTH;
            has_date |= name == DATE;
            hpack::field(out, name.as_str(), value.as_bytes(), value.is_sensitive());
        }
        if let Some(length) = length.filter(|_| !has_length && !is_last) {
            hpack::field(
                out,
                CONTENT_LENGTH.as_str(),
                length.to_string().as_bytes(),
                false,
            );
        }
        if !has_date {
            let desk = &session.desk;
            let date = desk.date(desk.arrival().unix_ms);
            hpack::field(out, DATE.as_str(), &date, false);
        }
    });
}

fn put_trailers(session: &Session, stream: &Rc<Stream>, trailers: &HeaderMap) {
    if trailers.is_empty() {
        session.put_data(stream, &[], true);
        return;
    }
    session.put_block(stream.id, true, |out| write::fields(out, trailers));
    session.answered(stream);
}

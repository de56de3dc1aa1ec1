//! HTTP/1.1 with an upstream, for requests whose body is pulled: those of HTTP/2 clients.
//!
//! As strict with the upstream as the direct way ([`exchange::http1`](crate::exchange::http1)), on the same
//! connections: heads are written and read by the same codec, and a connection on which anything was odd is not
//! used again. What is left of the request when the response begins goes up on a task of its own, since a client
//! that takes nothing of the response for a while may well be sending.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::line::Line;
use super::wording::{self, Coding};
use crate::buffer::{Buffer, Buffers, poll_write_all};
use crate::error::{BoxError, Failure};
use crate::exchange::{Interim, Upload};
use crate::h1::body::{self, Body};
use crate::h1::head::{self, Framing, LARGEST_HEAD, Room};

/// What is read of a request's body before what was read is written.
const ENOUGH: usize = 32 * 1024;
/// How long the rest of a request may take that was answered before its end.
const MOMENT: Duration = Duration::from_secs(10);
/// From this on a piece of a response is passed on in the memory it was read into.
const LARGE: usize = 16 * 1024;

/// One exchange on one connection: first asked for its head, then read as a body. Dropping it before its end
/// closes the connection.
pub(crate) struct Talk {
    shared: Rc<RefCell<Shared>>,
    /// Brings the rest of the request up.
    pump: Option<AbortHandle>,
}

struct Shared {
    /// `None` once the exchange is over.
    line: Option<Line>,
    buffers: Rc<Buffers>,
    up: Up,
    is_head: bool,
    answer: Buffer,
    /// So much of the answer was searched for a head.
    looked_at: usize,
    /// An interim response came.
    has_spoken: bool,
    body: Body,
    /// What came of the body with the head.
    first: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// The upstream keeps its connection open.
    stays: bool,
    /// It refused the request: who does that in the middle of it rarely waits for its rest.
    refused: bool,
    /// Why the rest of the request can't go up.
    broken: Option<BoxError>,
    /// Who reads the response, while the rest of the request is on its way.
    reader: Option<Waker>,
}

/// The request on its way.
struct Up {
    out: Vec<u8>,
    sent: usize,
    upload: Upload,
    coding: Coding,
    /// It says that it has no body, which is believed when it has ended.
    is_empty: bool,
    /// All of it was taken.
    has_ended: bool,
    /// Nothing more goes up: all of it did, or the upstream takes no more.
    is_over: bool,
    is_stopped: bool,
}

/// Why there is no response.
pub(super) struct Silence {
    /// The connection ended without a byte of a response.
    pub(super) is_silent: bool,
    pub(super) error: BoxError,
}

impl Talk {
    pub(super) fn new(line: Line, buffers: &Rc<Buffers>) -> Self {
        Self {
            shared: Rc::new(RefCell::new(Shared {
                line: Some(line),
                buffers: Rc::clone(buffers),
                up: Up::nothing(),
                is_head: false,
                answer: Buffer::default(),
                looked_at: 0,
                has_spoken: false,
                body: Body::unlimited(Framing::Empty),
                first: None,
                trailers: None,
                stays: false,
                refused: false,
                broken: None,
                reader: None,
            })),
            pump: None,
        }
    }

    pub(super) fn is_reused(&self) -> bool {
        let shared = self.shared.borrow();
        shared.line.as_ref().is_some_and(Line::is_reused)
    }

    /// Notes that there was no response, and why.
    pub(super) fn note(&self, failure: &Failure) {
        if let Some(line) = &self.shared.borrow().line {
            line.note(failure);
        }
    }

    /// Sends the request, and reads the response's head.
    pub(super) async fn ask(
        &mut self,
        request: Request<Upload>,
        interim: Option<&Interim>,
    ) -> Result<Response<()>, Silence> {
        self.shared.borrow_mut().begin(request);
        let shared = &self.shared;
        let response = poll_fn(|cx| shared.borrow_mut().poll_head(cx, interim)).await?;
        let is_sending = {
            let shared = shared.borrow();
            shared.line.is_some() && !shared.up.is_over
        };
        if is_sending {
            let shared = Rc::downgrade(shared);
            let pump = poll_fn(move |cx| match shared.upgrade() {
                Some(shared) => shared.borrow_mut().poll_pump(cx),
                None => Poll::Ready(()),
            });
            self.pump = Some(tokio::task::spawn_local(pump).abort_handle());
        }
        Ok(response)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
    }
}

impl http_body::Body for Talk {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.shared.borrow_mut().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        shared.line.is_none() && shared.first.is_none() && shared.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        let first = shared.first.as_ref().map_or(0, Bytes::len) as u64;
        let length = shared.body.length().map(|rest| rest + first);
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Shared {
    fn begin(&mut self, request: Request<Upload>) {
        let (parts, upload) = request.into_parts();
        self.is_head = parts.method == Method::HEAD;
        let coding = Coding::of(&parts, upload.size_hint().exact());
        let mut out = self.buffers.take();
        wording::request(&mut out, &parts, coding);
        self.up = Up {
            out,
            upload,
            coding,
            is_empty: coding == Coding::Length(0),
            is_over: false,
            ..Up::nothing()
        };
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: Option<&Interim>,
    ) -> Poll<Result<Response<()>, Silence>> {
        if let Poll::Ready(Err(error)) = self.poll_up(cx) {
            return Poll::Ready(Err(Silence {
                is_silent: false,
                error,
            }));
        }
        loop {
            if !self.answer.is_empty()
                && let Some(response) = self.read_head(interim)?
            {
                return Poll::Ready(Ok(response));
            }
            let Some(line) = &mut self.line else {
                return Poll::Ready(Err(Silence::broken("the connection is gone")));
            };
            let error: BoxError =
                match ready!(self.answer.poll_fill(cx, &mut line.stream, &self.buffers)) {
                    Ok(1..) => continue,
                    Ok(0) => "the connection was closed".into(),
                    Err(error) => error.into(),
                };
            return Poll::Ready(Err(Silence {
                is_silent: !self.has_spoken && self.answer.is_empty(),
                error,
            }));
        }
    }

    /// Goes on sending; ready when nothing more goes up. An error is the client's side's.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.line {
            Some(line) => self.up.poll(cx, line, &self.buffers),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.poll_up(cx)) {
            self.broken = Some(error);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(())
    }

    /// Looks for a final head in what came.
    fn read_head(&mut self, interim: Option<&Interim>) -> Result<Option<Response<()>>, Silence> {
        while !self.answer.is_empty() {
            let input = self.answer.unused();
            let new = input.get(self.looked_at..).unwrap_or_default();
            // A head ends with a line; without one there is nothing new to be found.
            let may_end = self.looked_at == 0 || memchr::memchr(b'\n', new).is_some();
            self.looked_at = input.len();
            if input.len() > LARGEST_HEAD {
                return Err(Silence::broken("the head is too large"));
            }
            if !may_end {
                return Ok(None);
            }
            let mut room = Room::new();
            let mut large = None;
            let head = match head::response(input, (&mut room, &mut large), self.is_head) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(None),
                Err(error) => return Err(Silence::broken(&error.to_string())),
            };
            let length = head.len;
            let response = match head.status {
                101 => return Err(Silence::broken("101 that nobody asked for")),
                // Leave to continue was given already.
                100 => None,
                102..200 => {
                    if let Some(interim) = interim {
                        interim.say(head.status, &wording::interim(&head));
                    }
                    None
                }
                status => {
                    self.body = Body::unlimited(head.framing);
                    // Python's model servers close the connection a moment after a 500, see `upstream::lease`.
                    self.stays = head.keep_alive && status != 500;
                    self.refused = status >= 400;
                    Some(wording::response(&head).ok_or(Silence::broken("the head is malformed"))?)
                }
            };
            self.answer.consume(length);
            self.looked_at = 0;
            self.has_spoken = true;
            if let Some(response) = response {
                if let Some(line) = &self.line {
                    line.answered(response.status().as_u16());
                }
                // What is broken from the start is told by a status.
                self.first = self.take_content().map_err(|error| Silence {
                    is_silent: false,
                    error,
                })?;
                return Ok(Some(response));
            }
        }
        Ok(None)
    }

    /// The next piece of the response's body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(error) = self.broken.take() {
                return self.give_up(error);
            }
            if let Some(first) = self.first.take() {
                return Poll::Ready(Some(Ok(Frame::data(first))));
            }
            let Some(line) = &mut self.line else {
                let trailers = self.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            };
            if self.answer.is_empty() {
                match self.answer.poll_fill(cx, &mut line.stream, &self.buffers) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) if self.body.ends_with_connection() => {
                        self.line = None;
                        continue;
                    }
                    Poll::Ready(Ok(0)) => return self.give_up("the body broke off".into()),
                    Poll::Ready(Err(error)) => return self.give_up(error.into()),
                    Poll::Pending => {
                        if !self.up.is_over {
                            self.reader = Some(cx.waker().clone());
                        }
                        return Poll::Pending;
                    }
                }
            }
            match self.take_content() {
                Ok(Some(content)) => return Poll::Ready(Some(Ok(Frame::data(content)))),
                Ok(None) => {}
                Err(error) => return self.give_up(error),
            }
        }
    }

    /// The content in what came.
    fn take_content(&mut self) -> Result<Option<Bytes>, BoxError> {
        let held = self.answer.unused().len();
        if held >= LARGE && self.body.is_content(held) {
            let taken = self.body.relay(self.answer.unused())?.taken;
            let mut piece = self.answer.take();
            let surplus = piece.split_off(taken.min(held));
            if !surplus.is_empty() {
                // Nobody asked for it.
                self.stays = false;
            }
            self.end_if_done();
            return Ok((!piece.is_empty()).then_some(piece));
        }
        let input = self.answer.unused();
        let mut content = Vec::with_capacity(input.len());
        let taken = self.body.content(input, &mut content)?;
        self.answer.consume(taken);
        // Who waits for the client holds no memory.
        self.answer.release(&self.buffers);
        self.end_if_done();
        Ok((!content.is_empty()).then(|| content.into()))
    }

    fn give_up(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.line = None;
        Poll::Ready(Some(Err(error)))
    }

    /// At the response's end the connection is kept if nothing is odd, and let go otherwise.
    fn end_if_done(&mut self) {
        if !self.body.is_done() {
            return;
        }
        self.trailers = body::trailers(&self.body.take_trailer());
        let is_clean =
            self.stays && self.up.is_over && !self.up.is_stopped && self.answer.is_empty();
        match self.line.take() {
            Some(line) if is_clean => line.keep(Instant::now()),
            Some(line) if !self.up.is_over && !self.refused => self.finish_upload(line),
            Some(_) | None => {}
        }
    }
}

impl Shared {
    /// An upstream that answers first may read on for a while, and a copy of the request wants to be whole.
    fn finish_upload(&mut self, line: Line) {
        let (mut up, mut line) = (std::mem::replace(&mut self.up, Up::nothing()), line);
        let buffers = Rc::clone(&self.buffers);
        tokio::task::spawn_local(timeout(MOMENT, async move {
            // How that ends is not told to anybody: the answer was.
            let _ = poll_fn(|cx| up.poll(cx, &mut line, &buffers)).await;
        }));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(line) = &self.line
            && !self.up.is_over
        {
            // Who was told only a part, and may take nothing of it now, hears that at once.
            line.stream.break_off();
        }
        self.buffers.give(std::mem::take(&mut self.up.out));
        std::mem::take(&mut self.answer).give_back(&self.buffers);
    }
}

impl Up {
    fn nothing() -> Self {
        Self {
            out: Vec::new(),
            sent: 0,
            upload: Upload::empty(),
            coding: Coding::Chunked,
            is_empty: false,
            has_ended: false,
            is_over: true,
            is_stopped: false,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        line: &mut Line,
        buffers: &Buffers,
    ) -> Poll<Result<(), BoxError>> {
        while !self.is_over {
            let is_starved = self.gather(cx)?;
            if is_starved && self.is_empty {
                return Poll::Pending;
            }
            let written = poll_write_all(cx, &mut line.stream, &self.out, &mut self.sent);
            // It may have said why it takes no more.
            self.is_stopped = ready!(written).is_err();
            self.out.clear();
            self.sent = 0;
            self.is_over = self.is_stopped || self.has_ended;
            if is_starved && !self.is_over {
                return Poll::Pending;
            }
        }
        if self.out.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.out));
        }
        Poll::Ready(Ok(()))
    }

    /// Takes of the body what is there; whether more of it has to be waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, BoxError> {
        while !self.has_ended && self.sent == 0 && self.out.len() < ENOUGH {
            if self.upload.is_finished() {
                self.end(None)?;
                break;
            }
            match Pin::new(&mut self.upload).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(Err(failure))) => return Err(failure.into()),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.coding.put(&mut self.out, &data)?,
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref())?,
                },
                Poll::Ready(None) => self.end(None)?,
            }
        }
        Ok(false)
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), BoxError> {
        self.has_ended = true;
        self.coding.end(&mut self.out, trailers)
    }
}

impl Silence {
    fn broken(what: &str) -> Self {
        Self {
            is_silent: false,
            error: what.into(),
        }
    }
}

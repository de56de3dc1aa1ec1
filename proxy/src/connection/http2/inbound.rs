//! What the client's frames do.
//!
//! Mistakes within one stream reset it and add to the client's debt; those that leave the connection in doubt end it.
//! A block of fields is read to its end even when nobody wants it, since the next one builds on it.

use std::rc::Rc;

use http::{HeaderMap, Request};
use tokio::time::Instant;

use super::body::RequestBody;
use super::past::EndedBy;
use super::respond;
use super::session::Session;
use super::stream::{Inbox, Receiving, Stream};
use crate::error::Failure;
use crate::exchange;
use crate::h2::frame::{self, Head, Kind};
use crate::h2::hpack::Decoder;
use crate::h2::request::{Assembly, Bounds, Refusal, RequestHead};
use crate::h2::window;
use crate::h2::{Reason, Wrong, write};
use crate::worker::InFlight;

/// Streams that a client may have open at once on one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 256;
/// Receive window of one stream: what a slow upstream can make us hold of one request.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
/// Frames that one block of fields may be spread over.
const MAX_CONTINUATIONS: usize = 64;

/// What is known of the frames that came.
pub(super) struct Inbound {
    decoder: Decoder,
    bounds: Bounds,
    /// The connection began as it must.
    pub(super) has_preface: bool,
    /// The first frame was SETTINGS, as it must be.
    pub(super) has_begun: bool,
    /// A block of fields that has not ended.
    block: Option<Block>,
    /// The highest stream.
    pub(super) last: u32,
    /// Streams above this are not served any more.
    pub(super) serves_up_to: u32,
    /// The client answered our question.
    pub(super) answered: Option<[u8; 8]>,
}

/// A block of fields that goes on in the next frame.
struct Block {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
    pieces: usize,
    began: Instant,
}

impl Inbound {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self {
            decoder: Decoder::new(),
            bounds,
            has_preface: false,
            has_begun: false,
            block: None,
            last: 0,
            serves_up_to: u32::MAX,
            answered: None,
        }
    }

    /// Since when a block of fields waits for its end.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.block.as_ref().map(|block| block.began)
    }

    /// A frame came.
    pub(super) fn see(
        &mut self,
        session: &Rc<Session>,
        head: Head,
        payload: &[u8],
    ) -> Result<(), Wrong> {
        if let Some(block) = &self.block
            && (head.kind != Kind::Continuation || head.stream != block.stream)
        {
            return Err(Wrong::protocol("a block of fields was interrupted"));
        }
        if !self.has_begun && (head.kind != Kind::Settings || head.is_ack()) {
            return Err(Wrong::protocol("the first frame is not SETTINGS"));
        }
        match head.kind {
            Kind::Data => self.data(session, head, payload),
            Kind::Headers => self.headers(session, head, payload),
            Kind::Continuation => self.continuation(session, head, payload),
            Kind::RstStream => self.reset(session, head),
            Kind::WindowUpdate => self.window_update(session, head, payload),
            Kind::Settings => self.settings(session, head, payload),
            Kind::Priority => head.check_priority(payload),
            Kind::Ping => {
                if head.is_ack() {
                    self.answered = payload.first_chunk().copied();
                } else {
                    session.put(|out| write::ping(out, payload, true));
                }
                Ok(())
            }
            Kind::PushPromise => Err(Wrong::protocol("a client pushes")),
            Kind::GoAway | Kind::Unknown => Ok(()),
        }
    }

    fn headers(&mut self, session: &Rc<Session>, head: Head, payload: &[u8]) -> Result<(), Wrong> {
        if head.stream.is_multiple_of(2) {
            return Err(Wrong::protocol("a client's stream has an odd number"));
        }
        let content = head.content(payload)?;
        if head.ends_block() {
            return self.block(session, head.stream, head.ends_stream(), content);
        }
        self.block = Some(Block {
            stream: head.stream,
            ends_stream: head.ends_stream(),
            bytes: content.to_vec(),
            pieces: 0,
            began: Instant::now(),
        });
        Ok(())
    }

    fn continuation(
        &mut self,
        session: &Rc<Session>,
        head: Head,
        payload: &[u8],
    ) -> Result<(), Wrong> {
        let Some(mut block) = self.block.take() else {
            return Err(Wrong::protocol("nothing is to be continued"));
        };
        block.bytes.extend_from_slice(payload);
        block.pieces += 1;
        // Compressed fields are hardly larger than plain ones, and the excess is a margin for refusing politely.
        let most = 2 * self.bounds.fields + frame::LARGEST;
        if block.bytes.len() > most || block.pieces > MAX_CONTINUATIONS {
            let what = "a block of fields is too large";
            return Err(Wrong::Connection(Reason::EnhanceYourCalm, what));
        }
        if head.ends_block() {
            let Block {
                stream,
                ends_stream,
                bytes,
                ..
            } = block;
            return self.block(session, stream, ends_stream, &bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block: a request, its trailers, or what nobody wants any more.
    fn block(
        &mut self,
        session: &Rc<Session>,
        id: u32,
        ends_stream: bool,
        bytes: &[u8],
    ) -> Result<(), Wrong> {
        let mut assembly = Assembly::new(self.bounds);
        let read = self.decoder.read(bytes, |field| assembly.add(field));
        if read.is_err() {
            let what = "the fields can't be decompressed";
            return Err(Wrong::Connection(Reason::Compression, what));
        }
        let is_new = id > self.last;
        self.last = self.last.max(id);
        if id > self.serves_up_to {
            // The client was told so, and asks elsewhere.
            return Ok(());
        }
        if is_new {
            return self.request(session, id, ends_stream, assembly);
        }
        if let Some(stream) = session.find(id) {
            return trailers(session, &stream, ends_stream, assembly);
        }
        match session.ended_by(id) {
            Some(EndedBy::Us) => Ok(()),
            Some(EndedBy::Client) => {
                let what = "fields for a stream that is over";
                Err(Wrong::Connection(Reason::StreamClosed, what))
            }
            None => Err(Wrong::protocol("a stream's number is not above the last")),
        }
    }

    fn request(
        &self,
        session: &Rc<Session>,
        id: u32,
        ends_stream: bool,
        assembly: Assembly,
    ) -> Result<(), Wrong> {
        if session.count() >= MAX_STREAMS as usize {
            session.refuse(id);
            return Ok(());
        }
        let malformed = |what| {
            session.never_began(id);
            Err(Wrong::Stream(id, Reason::Protocol, what))
        };
        let state = if ends_stream {
            Receiving::Whole
        } else {
            Receiving::Open
        };
        let open = |announced| {
            let window = session.settings().get().initial_window;
            let inbox = Inbox::new(state, announced);
            let (up, down) = (
                window::Inbound::new(STREAM_WINDOW),
                window::Outbound::new(window),
            );
            let stream = Rc::new(Stream::new(id, inbox, up, down));
            session.add(Rc::clone(&stream));
            stream
        };
        let is_head = assembly.is_head();
        match assembly.request() {
            Ok(RequestHead { parts, length }) => {
                if ends_stream && length.is_some_and(|length| length > 0) {
                    return malformed("a body that was announced is missing");
                }
                let stream = open(length);
                // Made here, so that it is dropped even if nobody gets to look at the request.
                let body = RequestBody::new(Rc::clone(session), Rc::clone(&stream));
                let request = Request::from_parts(parts, body);
                let serving = respond::serve(Rc::clone(session), Rc::clone(&stream), request);
                let task = tokio::task::spawn_local(serving);
                // It has none yet.
                let _ = stream.task.set(task.abort_handle());
                Ok(())
            }
            Err(Refusal::Malformed(what)) => malformed(what),
            Err(refusal) => {
                let stream = open(None);
                refuse(session, &stream, refusal, is_head);
                Ok(())
            }
        }
    }

    fn data(&self, session: &Session, head: Head, payload: &[u8]) -> Result<(), Wrong> {
        let content = head.content(payload)?;
        let mut window = session.inbound().get();
        let what = "more than the connection's window";
        window
            .take(payload.len())
            .map_err(|_| Wrong::Connection(Reason::FlowControl, what))?;
        session.inbound().set(window);
        let wrong = |reason, what| {
            session.give_back(payload.len());
            Err(Wrong::Stream(head.stream, reason, what))
        };
        let Some(stream) = session.find(head.stream) else {
            if self.is_idle(head.stream) {
                return Err(Wrong::protocol("data for a stream that never began"));
            }
            let is_late = session.ended_by(head.stream) == Some(EndedBy::Us);
            if head.stream > self.serves_up_to || is_late {
                session.give_back(payload.len());
                return Ok(());
            }
            return wrong(Reason::StreamClosed, "data for a stream that is over");
        };
        let mut inbox = stream.inbox.borrow_mut();
        if inbox.state != Receiving::Open {
            drop(inbox);
            return wrong(Reason::StreamClosed, "data behind the end of the stream");
        }
        let mut window = stream.inbound.get();
        if window.take(payload.len()).is_err() {
            drop(inbox);
            return wrong(Reason::FlowControl, "more than the stream's window");
        }
        stream.inbound.set(window);
        let Ok(is_wanted) = inbox.put(content) else {
            drop(inbox);
            return wrong(Reason::Protocol, "more than was announced");
        };
        if head.ends_stream() && inbox.end(None).is_err() {
            drop(inbox);
            // What was taken in is let go when the stream is given up.
            let what = "less than was announced";
            return Err(Wrong::Stream(head.stream, Reason::Protocol, what));
        }
        drop(inbox);
        if is_wanted {
            session.used(&stream, payload.len() - content.len());
        } else {
            session.give_back(payload.len());
        }
        if head.ends_stream() {
            session.tidy(&stream);
        }
        Ok(())
    }

    /// Whether a stream has not begun yet.
    const fn is_idle(&self, id: u32) -> bool {
        id > self.last || id.is_multiple_of(2)
    }

    fn reset(&self, session: &Session, head: Head) -> Result<(), Wrong> {
        if self.is_idle(head.stream) {
            return Err(Wrong::protocol("the end of a stream that never began"));
        }
        let Some(stream) = session.find(head.stream) else {
            return Ok(());
        };
        if !stream.is_seen.get() {
            let mut toll = session.toll().get();
            let owed = toll.reset_unseen();
            session.toll().set(toll);
            owed.map_err(|_| {
                let what = "too many requests were taken back at once";
                Wrong::Connection(Reason::EnhanceYourCalm, what)
            })?;
        }
        session.reset_by_client(&stream);
        Ok(())
    }

    fn window_update(&self, session: &Session, head: Head, payload: &[u8]) -> Result<(), Wrong> {
        let more = frame::number(payload) & 0x7fff_ffff;
        if head.stream == 0 {
            if more == 0 {
                return Err(Wrong::protocol("a window grows by nothing"));
            }
            let what = "the connection's window is too large";
            let widened = session.widen(more);
            return widened.map_err(|_| Wrong::Connection(Reason::FlowControl, what));
        }
        if self.is_idle(head.stream) {
            return Err(Wrong::protocol("a window of a stream that never began"));
        }
        let Some(stream) = session.find(head.stream) else {
            return Ok(());
        };
        if more == 0 {
            let what = "a window grows by nothing";
            return Err(Wrong::Stream(head.stream, Reason::Protocol, what));
        }
        let what = "the stream's window is too large";
        let widened = session.widen_stream(&stream, i64::from(more));
        widened.map_err(|_| Wrong::Stream(head.stream, Reason::FlowControl, what))
    }

    fn settings(&mut self, session: &Session, head: Head, payload: &[u8]) -> Result<(), Wrong> {
        self.has_begun = true;
        if head.is_ack() {
            return Ok(());
        }
        let before = session.settings().get();
        let mut now = before;
        now.change(payload)?;
        session.settings().set(now);
        let more = i64::from(now.initial_window) - i64::from(before.initial_window);
        if more != 0 {
            for stream in session.each() {
                let what = "a stream's window is too large";
                session
                    .widen_stream(&stream, more)
                    .map_err(|_| Wrong::Connection(Reason::FlowControl, what))?;
            }
        }
        session.put(write::settings_ack);
        Ok(())
    }
}

fn trailers(
    session: &Session,
    stream: &Rc<Stream>,
    ends_stream: bool,
    assembly: Assembly,
) -> Result<(), Wrong> {
    let wrong = |what| Err(Wrong::Stream(stream.id, Reason::Protocol, what));
    if stream.inbox.borrow().state != Receiving::Open {
        let what = "fields behind the end of the stream";
        return Err(Wrong::Stream(stream.id, Reason::StreamClosed, what));
    }
    if !ends_stream {
        return wrong("trailers that don't end the stream");
    }
    let trailers = match assembly.trailers() {
        Ok(mut trailers) => {
            exchange::clean_trailers(&mut trailers);
            exchange::strip_underscored(&mut trailers);
            trailers
        }
        Err(Refusal::Malformed(what)) => return wrong(what),
        // They may be left out (RFC 9110, section 6.5.1).
        Err(_) => HeaderMap::new(),
    };
    if stream.inbox.borrow_mut().end(Some(trailers)).is_err() {
        return wrong("less than was announced");
    }
    session.tidy(stream);
    Ok(())
}

/// Answers what is no request that we serve.
fn refuse(session: &Rc<Session>, stream: &Rc<Stream>, refusal: Refusal, is_head: bool) {
    let failure = match refusal {
        Refusal::TargetTooLong => Failure::TargetTooLong,
        Refusal::TooLarge => Failure::HeadTooLarge,
        Refusal::Unserved(what) | Refusal::Malformed(what) => Failure::Malformed(what),
    };
    let in_flight = InFlight::begin(&session.desk);
    let response = exchange::refusal(&failure, false, in_flight);
    let (session, stream) = (Rc::clone(session), Rc::clone(stream));
    tokio::task::spawn_local(async move {
        // Its end, whichever it is, has been told by then.
        let _ = respond::send(&session, &stream, response, is_head).await;
        session.abandon(&stream);
    });
}

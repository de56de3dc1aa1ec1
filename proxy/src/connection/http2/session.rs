//! What the tasks of one connection share: its streams, and what is to be written.
//!
//! The connection's own task reads and writes the socket; the task of each stream puts its response in here and wakes it.
//! What many streams put in during one turn of the event loop leaves in one write. What may wait here is bounded: a
//! stream gets room for a frame when the client's windows have it and what waits is little, and streams that wait are
//! served in turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::past::{EndedBy, Ending, Past};
use super::stream::{Receiving, Sending, Stream};
use crate::connection::Peer;
use crate::exchange;
use crate::h2::settings::Settings;
use crate::h2::toll::Toll;
use crate::h2::window::{Inbound, Outbound};
use crate::h2::{Reason, hpack, write};
use crate::worker::Desk;

/// What may wait to be written to one connection, beside heads and words of the protocol.
pub(super) const SEND_BUFFER: usize = 64 * 1024;
/// Receive window of one connection.
pub(super) const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// A connection, as its tasks share it.
pub(super) struct Session {
    pub(super) desk: Rc<Desk>,
    pub(super) peer: Peer,
    /// The client's address as text.
    pub(super) address: Option<HeaderValue>,
    /// Those that are not over, by their numbers.
    streams: RefCell<Vec<Rc<Stream>>>,
    past: RefCell<Past>,
    out: RefCell<Vec<u8>>,
    settings: Cell<Settings>,
    outbound: Cell<Outbound>,
    inbound: Cell<Inbound>,
    toll: Cell<Toll>,
    /// Since when there is no stream.
    idle_since: Cell<Instant>,
    /// Streams that wait for room.
    waiting: Cell<usize>,
    /// The last that got room.
    turn: Cell<u32>,
    flushes: Cell<u64>,
    task: RefCell<Option<Waker>>,
    is_awake: Cell<bool>,
}

/// The stream is no more.
pub(super) struct Gone;

impl Session {
    pub(super) fn new(desk: Rc<Desk>, peer: Peer) -> Rc<Self> {
        Rc::new(Self {
            desk,
            peer,
            address: exchange::written(peer.ip),
            streams: RefCell::default(),
            past: RefCell::default(),
            out: RefCell::default(),
            settings: Cell::new(Settings::ASSUMED),
            outbound: Cell::new(Outbound::new(Settings::ASSUMED.initial_window)),
            inbound: Cell::new(Inbound::new(CONNECTION_WINDOW)),
            toll: Cell::default(),
            idle_since: Cell::new(Instant::now()),
            waiting: Cell::new(0),
            turn: Cell::new(0),
            flushes: Cell::new(0),
            task: RefCell::default(),
            is_awake: Cell::new(false),
        })
    }

    /// The connection's task begins or ends a turn: while it has one, it need not be woken.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        self.is_awake.set(true);
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    pub(super) fn end_turn(&self) {
        self.is_awake.set(false);
    }

    fn wake(&self) {
        if !self.is_awake.replace(true)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    /// Appends to what is to be written.
    pub(super) fn put(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = self.out.borrow_mut();
        if out.capacity() == 0 {
            *out = self.desk.buffers.take();
        }
        write(&mut out);
        drop(out);
        self.wake();
    }

    /// How much waits to be written.
    pub(super) fn waits(&self) -> usize {
        self.out.borrow().len()
    }

    /// Lends out what is to be written.
    pub(super) fn with_out<T>(&self, lend: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        lend(&mut self.out.borrow_mut())
    }

    /// All that waited was written: the next get room, those first that have waited longest.
    pub(super) fn flushed(&self) {
        let mut out = self.out.borrow_mut();
        out.clear();
        self.desk.buffers.give(std::mem::take(&mut *out));
        drop(out);
        self.flushes.set(self.flushes.get() + 1);
        self.wake_writers();
    }

    fn wake_writers(&self) {
        if self.waiting.get() == 0 {
            return;
        }
        let streams = self.streams.borrow();
        let after = streams.partition_point(|stream| stream.id <= self.turn.get());
        let (before, behind) = streams.split_at(after);
        for stream in behind.iter().chain(before) {
            if let Some(writer) = stream.writer.borrow_mut().take() {
                self.waiting.set(self.waiting.get().saturating_sub(1));
                writer.wake();
            }
        }
    }

    /// Waits until a piece of a response may be sent: how much of it.
    pub(super) fn poll_room(
        &self,
        cx: &Context<'_>,
        stream: &Stream,
        wanted: usize,
    ) -> Poll<Result<usize, Gone>> {
        if stream.is_reset() {
            return Poll::Ready(Err(Gone));
        }
        let windows = stream.outbound.get().room().min(self.outbound.get().room());
        let others_wait = self.waiting.get() > 0;
        let had_its_turn = stream.wrote_before.get() == self.flushes.get() + 1;
        let room = if others_wait && had_its_turn {
            0
        } else {
            SEND_BUFFER.saturating_sub(self.waits())
        };
        let may = wanted
            .min(windows)
            .min(room)
            .min(self.settings.get().max_frame);
        if may > 0 || wanted == 0 {
            stream.stuck_since.set(None);
            return Poll::Ready(Ok(may));
        }
        let stuck_since =
            (windows == 0).then(|| stream.stuck_since.get().unwrap_or_else(Instant::now));
        stream.stuck_since.set(stuck_since);
        let mut writer = stream.writer.borrow_mut();
        if writer.is_none() {
            self.waiting.set(self.waiting.get() + 1);
        }
        *writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A piece of a response, for which there is room.
    pub(super) fn put_data(&self, stream: &Rc<Stream>, piece: &[u8], is_last: bool) {
        // Noted with what is written, and not with the leave to: a flush follows that ends the turn.
        stream.wrote_before.set(self.flushes.get() + 1);
        self.turn.set(stream.id);
        take(&stream.outbound, piece.len());
        take(&self.outbound, piece.len());
        self.put(|out| write::data(out, stream.id, piece, is_last));
        if is_last {
            self.answered(stream);
        }
    }

    /// An interim response.
    pub(super) fn put_interim(&self, stream: &Stream, status: u16, headers: &HeaderMap) {
        self.put_block(stream.id, false, |out| {
            hpack::status(out, status);
            write::fields(out, headers);
        });
    }

    /// A block of fields.
    pub(super) fn put_block(&self, stream: u32, is_last: bool, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut settings = self.settings.get();
        self.put(|out| {
            let block = write::Block::begin(out, stream, is_last);
            if settings.wants_small_table {
                hpack::resize_to_nothing(out);
            }
            fill(out);
            block.end(out, settings.max_frame);
        });
        if settings.wants_small_table {
            settings.wants_small_table = false;
            self.settings.set(settings);
        }
    }

    /// The response is whole.
    pub(super) fn answered(&self, stream: &Rc<Stream>) {
        stream.sending.set(Sending::Whole);
        let mut toll = self.toll.get();
        toll.answered();
        self.toll.set(toll);
        self.tidy(stream);
    }

    /// Ends a stream from our side.
    pub(super) fn reset(&self, stream: &Rc<Stream>, reason: Reason) {
        if !stream.is_reset() {
            self.put(|out| write::reset(out, stream.id, reason));
            self.forget(stream, Ending::ResetByUs);
        }
    }

    /// Nothing is done for a stream that is one too many.
    pub(super) fn refuse(&self, id: u32) {
        self.put(|out| write::reset(out, id, Reason::Refused));
        self.never_began(id);
    }

    /// Nothing is done for it: what comes behind its head is passed over.
    pub(super) fn never_began(&self, id: u32) {
        self.past.borrow_mut().remember(id, Ending::ResetByUs);
    }

    /// A frame came for a stream that is over.
    pub(super) fn reset_past(&self, id: u32, reason: Reason) {
        self.put(|out| write::reset(out, id, reason));
        self.past.borrow_mut().reset_again(id);
    }

    /// The client answered what it was asked behind all that was said.
    pub(super) fn heard_us(&self) {
        if self.streams.borrow().is_empty() {
            self.past.borrow_mut().forget_reset();
        }
    }

    /// The client ended it.
    pub(super) fn reset_by_client(&self, stream: &Rc<Stream>) {
        self.forget(stream, Ending::ResetByClient);
    }

    /// A stream that is over needs no place any more. When the answer is whole and nobody takes the rest of the request,
    /// the client is told not to send it (RFC 9113, section 8.1).
    pub(super) fn tidy(&self, stream: &Rc<Stream>) {
        if stream.is_over() {
            self.forget(stream, Ending::Whole);
        } else if stream.sending.get() == Sending::Whole && stream.inbox.borrow().is_abandoned() {
            self.reset(stream, Reason::No);
        }
    }

    fn forget(&self, stream: &Rc<Stream>, how: Ending) {
        let mut streams = self.streams.borrow_mut();
        let Ok(at) = streams.binary_search_by_key(&stream.id, |one| one.id) else {
            return;
        };
        streams.remove(at);
        if streams.is_empty() {
            self.idle_since.set(Instant::now());
        }
        drop(streams);
        self.past.borrow_mut().remember(stream.id, how);
        if stream.writer.borrow_mut().take().is_some() {
            self.waiting.set(self.waiting.get().saturating_sub(1));
        }
        if how != Ending::Whole {
            stream.give_up();
        }
    }

    /// Nobody takes anything more of a request's body.
    pub(super) fn abandon(&self, stream: &Rc<Stream>) {
        let mut inbox = stream.inbox.borrow_mut();
        let let_go = inbox.abandon();
        let is_open = inbox.state == Receiving::Open;
        drop(inbox);
        self.give_back(let_go);
        if is_open && !stream.is_reset() {
            self.tidy(stream);
        }
    }

    /// So much of a request's body was taken: the client may send as much again.
    pub(super) fn used(&self, stream: &Stream, length: usize) {
        self.give_back(length);
        if stream.inbox.borrow().state == Receiving::Open {
            let mut window = stream.inbound.get();
            let more = window.give_back(length);
            stream.inbound.set(window);
            if let Some(more) = more {
                self.put(|out| write::window_update(out, stream.id, more));
            }
        }
    }

    /// So much of what came on the connection is gone.
    pub(super) fn give_back(&self, length: usize) {
        if length == 0 {
            return;
        }
        let mut window = self.inbound.get();
        let more = window.give_back(length);
        self.inbound.set(window);
        if let Some(more) = more {
            self.put(|out| write::window_update(out, 0, more));
        }
    }
}

fn take(window: &Cell<Outbound>, length: usize) {
    let mut narrower = window.get();
    narrower.take(length);
    window.set(narrower);
}

/// What the connection's own task does.
impl Session {
    pub(super) fn find(&self, id: u32) -> Option<Rc<Stream>> {
        let streams = self.streams.borrow();
        let at = streams.binary_search_by_key(&id, |one| one.id).ok()?;
        streams.get(at).cloned()
    }

    /// Who ended a stream that is not there any more, if it ever was.
    pub(super) fn ended_by(&self, id: u32) -> Option<EndedBy> {
        self.past.borrow().ended_by(id)
    }

    /// Streams' numbers only grow.
    pub(super) fn add(&self, stream: Rc<Stream>) {
        self.streams.borrow_mut().push(stream);
    }

    pub(super) fn count(&self) -> usize {
        self.streams.borrow().len()
    }

    pub(super) const fn idle_since(&self) -> &Cell<Instant> {
        &self.idle_since
    }

    pub(super) const fn inbound(&self) -> &Cell<Inbound> {
        &self.inbound
    }

    pub(super) const fn settings(&self) -> &Cell<Settings> {
        &self.settings
    }

    pub(super) const fn toll(&self) -> &Cell<Toll> {
        &self.toll
    }

    /// The client takes more.
    pub(super) fn widen(&self, more: u32) -> Result<(), crate::h2::window::Overflow> {
        let mut window = self.outbound.get();
        window.widen(i64::from(more))?;
        self.outbound.set(window);
        self.wake_writers();
        Ok(())
    }

    /// The client takes more of one stream, or of each.
    pub(super) fn widen_stream(
        &self,
        stream: &Stream,
        more: i64,
    ) -> Result<(), crate::h2::window::Overflow> {
        let mut window = stream.outbound.get();
        window.widen(more)?;
        stream.outbound.set(window);
        if let Some(writer) = stream.writer.borrow_mut().take() {
            self.waiting.set(self.waiting.get().saturating_sub(1));
            writer.wake();
        }
        Ok(())
    }

    /// All that are not over.
    pub(super) fn each(&self) -> Vec<Rc<Stream>> {
        self.streams.borrow().clone()
    }

    /// The connection is gone, and all its streams with it.
    pub(super) fn end(&self) {
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        for stream in streams {
            stream.give_up();
        }
        self.desk
            .buffers
            .give(std::mem::take(&mut *self.out.borrow_mut()));
    }
}

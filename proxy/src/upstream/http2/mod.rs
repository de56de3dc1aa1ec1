//! Connections to upstreams that speak HTTP/2, each shared by a worker's exchanges.
//!
//! The codec is h2's. What is above it is ours, since an exchange has to be given up at every moment and in every
//! state: a client that leaves frees its stream at the upstream at once, whether or not the upstream takes anything
//! just then; and who never got a stream is never heard of there. [`asking`] is one exchange, [`uploading`] its
//! request's body.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::error::Failure;
use crate::h1::head::LARGEST_HEAD;
use crate::socket::Stream;

mod asking;
mod uploading;

pub(crate) use asking::Strand;
pub(super) use asking::Unheard;

/// Receive window of one stream: what a slow client can make us hold of one response.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Receive window of one connection: so many stalled streams that the others are not held up.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// What may wait to be written on one stream.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams at once before the upstream has said how many it takes. More than it takes would be refused.
const AT_FIRST: usize = 0;
/// A connection with requests in flight is asked so often whether it is alive.
const PING_EVERY: Duration = Duration::from_secs(20);
/// … and given up when it doesn't answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Clone)]
pub(crate) struct Http2(Rc<Shared>);

struct Shared {
    sender: SendRequest<Bytes>,
    /// Exchanges that hold a stream.
    open: Cell<usize>,
    /// Exchanges that wait for one.
    waiting: Cell<usize>,
    room: Notify,
    is_over: Cell<bool>,
}

/// One who waits for a stream.
struct Waiting<'c>(&'c Cell<usize>);

impl<'c> Waiting<'c> {
    fn begin(count: &'c Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One exchange's stream, until all of it is over.
struct Place(Http2);

impl Http2 {
    /// Begins to speak HTTP/2.
    pub(super) async fn hello(stream: Stream) -> Result<Self, Failure> {
        let (sender, connection) = client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(LARGEST_HEAD as u32)
            .initial_max_send_streams(AT_FIRST)
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(|error| Failure::Connect(error.to_string()))?;
        let this = Self(Rc::new(Shared {
            sender,
            open: Cell::new(0),
            waiting: Cell::new(0),
            room: Notify::new(),
            is_over: Cell::new(false),
        }));
        tokio::task::spawn_local(serve(connection, Rc::downgrade(&this.0)));
        Ok(this)
    }

    /// Whether it takes no more requests: it has ended, or the upstream said farewell.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Exchanges on it.
    pub(super) fn open(&self) -> usize {
        self.0.open.get()
    }

    /// Whether the upstream takes no more streams just now.
    fn is_full(&self) -> bool {
        self.open() >= self.0.sender.current_max_send_streams()
    }

    /// Whether another connection has more to offer: an upstream that takes none at all does so on all of them.
    pub(super) fn is_taken(&self) -> bool {
        self.is_full() && self.open() > 0
    }

    /// Waits for a stream.
    async fn place(&self) -> Place {
        while self.is_full() && !self.is_closed() {
            let _waiting = Waiting::begin(&self.0.waiting);
            self.0.room.notified().await;
        }
        self.0.open.set(self.open() + 1);
        Place(self.clone())
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        let mut sender = self.sender.clone();
        self.is_over.get() || matches!(sender.poll_ready(&mut nobody), Poll::Ready(Err(_)))
    }

    /// Calls as many of those who wait as there is room for; all of them, when there will be none.
    fn call(&self) {
        if self.is_closed() {
            return self.room.notify_waiters();
        }
        let most = self.sender.current_max_send_streams();
        let free = most.saturating_sub(self.open.get());
        for _ in 0..free.min(self.waiting.get()) {
            self.room.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.open.set(shared.open.get() - 1);
        shared.room.notify_one();
    }
}

/// Drives a connection to its end, and tells those who wait for a stream when the upstream takes more of them, or no
/// more at all.
async fn serve(mut connection: client::Connection<Stream, Bytes>, of: Weak<Shared>) {
    let pings = connection.ping_pong();
    let silent = pin!(silent(pings, &of));
    let mut connection = pin!(connection);
    let driven = poll_fn(|cx| {
        let ended = connection.as_mut().poll(cx);
        if let Some(of) = of.upgrade().filter(|of| of.waiting.get() > 0) {
            of.call();
        }
        ended
    });
    tokio::select! {
        ended = driven => if let Err(error) = ended {
            tracing::debug!(%error, "an upstream connection ended");
        },
        () = silent => tracing::debug!("an upstream connection does not answer"),
    }
    if let Some(of) = of.upgrade() {
        of.is_over.set(true);
        of.room.notify_waiters();
    }
}

/// Ready when the connection has exchanges, or some that wait for it, and doesn't answer.
async fn silent(pings: Option<PingPong>, of: &Weak<Shared>) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        sleep(PING_EVERY).await;
        if of
            .upgrade()
            .is_none_or(|of| of.open.get() + of.waiting.get() == 0)
        {
            continue;
        }
        match timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection itself has ended.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

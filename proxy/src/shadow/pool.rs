//! Connections for copies alone, so that no copy ever waits in front of an original or spoils its connection.
//!
//! A connection is used again when its answer was read to the end. Whatever else happens to it ends it: its
//! task is aborted, and with it go whatever it still had to write and read. An HTTP/2 connection on which a
//! copy was given up takes no new ones, and ends with the last of the others.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::uri::Scheme;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use serin_config::model::{Backend, Endpoint};
use serin_config::tls::ClientTls;
use serin_stats::shadow::CopyResult;
use tokio::task::JoinHandle;

use super::pieces::Pieces;
use crate::error::Failure;
use crate::route::Table;
use crate::upstream::{SameThread, Wire, open};

/// Idle HTTP/1.1 connections kept per endpoint and worker.
const MAX_IDLE: usize = 64;
/// An idle connection is closed after this.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The largest head of an answer; for HTTP/1.1 that is the read buffer.
const READ_BUFFER: usize = 64 * 1024;
/// Receive window of one HTTP/2 stream.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Receive window of one HTTP/2 connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may wait to be written on one HTTP/2 stream.
const SEND_BUFFER: usize = 64 * 1024;
/// A silent HTTP/2 connection with copies under way is asked whether it is alive …
const PING_AFTER: Duration = Duration::from_secs(20);
/// … and given up when it doesn't answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker's connections for copies.
#[derive(Default)]
pub(super) struct Pool {
    known: RefCell<HashMap<Endpoint, Rc<Peer>>>,
    turn: Cell<usize>,
}

/// One endpoint's connections.
struct Peer {
    endpoint: Endpoint,
    /// How it is recognised.
    tls: Option<ClientTls>,
    /// The longest idle first.
    idle: RefCell<Vec<(Http1, Instant)>>,
    http2: RefCell<Option<Rc<Http2>>>,
}

/// A connection's task; aborted when dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Http1 {
    sender: http1::SendRequest<Pieces>,
    _task: Task,
}

struct Http2 {
    sender: http2::SendRequest<Pieces>,
    /// A copy on it was given up.
    is_spoilt: Cell<bool>,
    _task: Task,
}

/// One copy's hold on a connection: cut when dropped, unless it was [kept](Line::keep).
pub(super) struct Line {
    peer: Rc<Peer>,
    connection: Connection,
    is_reused: bool,
}

enum Connection {
    Http1(Http1),
    Http2(Hold),
}

/// A hold on a shared connection, which it spoils unless all went well.
struct Hold {
    shared: Rc<Http2>,
    went_well: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.went_well {
            self.shared.is_spoilt.set(true);
        }
    }
}

impl Pool {
    /// A connection to one of the backend's endpoints, each in its turn.
    pub(super) async fn line(
        &self,
        backend: &Backend,
        wire: Option<Wire>,
        limit: Duration,
    ) -> Result<Line, Failure> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let endpoint = turn
            .checked_rem(backend.endpoints.len())
            .and_then(|at| backend.endpoints.get(at))
            .ok_or_else(|| Failure::Exhausted(std::io::ErrorKind::NotFound.into()))?;
        let peer = self.peer(endpoint, backend.tls.as_ref());
        if let Some(connection) = peer.idle(wire) {
            return Ok(Line {
                peer,
                connection,
                is_reused: true,
            });
        }
        let connection = peer.open(wire, limit).await?;
        Ok(Line {
            peer,
            connection,
            is_reused: false,
        })
    }

    /// Forgets the endpoints that left the configuration (copies to them go on).
    pub(super) fn retain(&self, table: &Table) {
        let routes = table.entries().iter().map(|entry| &entry.route);
        let targets = routes.flat_map(|route| [route.canary.as_ref(), route.shadow.as_ref()]);
        let wanted: HashSet<&Endpoint> = targets
            .flatten()
            .flat_map(|backend| &backend.endpoints)
            .collect();
        let mut known = self.known.borrow_mut();
        known.retain(|endpoint, _| wanted.contains(endpoint));
    }

    /// Closes connections that were idle for too long.
    pub(super) fn reap(&self, now: Instant) {
        for peer in self.known.borrow().values() {
            peer.idle.borrow_mut().retain(|(http1, since)| {
                now.saturating_duration_since(*since) < IDLE_LIMIT && !http1.sender.is_closed()
            });
        }
    }

    /// One that is to be recognised differently, after a reload, is another one.
    fn peer(&self, endpoint: &Endpoint, tls: Option<&ClientTls>) -> Rc<Peer> {
        if let Some(known) = self.known.borrow().get(endpoint)
            && known.tls.as_ref() == tls
        {
            return Rc::clone(known);
        }
        let peer = Rc::new(Peer {
            endpoint: endpoint.clone(),
            tls: tls.cloned(),
            idle: RefCell::default(),
            http2: RefCell::default(),
        });
        let mut known = self.known.borrow_mut();
        known.insert(endpoint.clone(), Rc::clone(&peer));
        peer
    }
}

impl Peer {
    fn idle(&self, wire: Option<Wire>) -> Option<Connection> {
        if wire != Some(Wire::Http1) {
            let shared = self.http2.borrow();
            let usable = shared
                .as_ref()
                .filter(|shared| !shared.sender.is_closed() && !shared.is_spoilt.get());
            if let Some(shared) = usable {
                return Some(hold(Rc::clone(shared)));
            }
        }
        if wire != Some(Wire::Http2) {
            let mut idle = self.idle.borrow_mut();
            while let Some((http1, _)) = idle.pop() {
                if http1.sender.is_ready() {
                    return Some(Connection::Http1(http1));
                }
            }
        }
        None
    }

    async fn open(&self, wire: Option<Wire>, limit: Duration) -> Result<Connection, Failure> {
        let stream = open(&self.endpoint, self.tls.as_ref(), None, wire, limit).await?;
        let wire = Wire::on(&stream, wire);
        let stream = TokioIo::new(stream);
        let failed = |error: hyper::Error| Failure::Connect(error.to_string());
        match wire {
            Wire::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .max_buf_size(READ_BUFFER)
                    .handshake(stream)
                    .await
                    .map_err(failed)?;
                let task = run(connection);
                Ok(Connection::Http1(Http1 {
                    sender,
                    _task: task,
                }))
            }
            Wire::Http2 => {
                let (sender, connection) = http2::Builder::new(SameThread)
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_send_buf_size(SEND_BUFFER)
                    .max_header_list_size(READ_BUFFER as u32)
                    .keep_alive_interval(PING_AFTER)
                    .keep_alive_timeout(PING_TIMEOUT)
                    .handshake(stream)
                    .await
                    .map_err(failed)?;
                let shared = Rc::new(Http2 {
                    sender,
                    is_spoilt: Cell::new(false),
                    _task: run(connection),
                });
                *self.http2.borrow_mut() = Some(Rc::clone(&shared));
                Ok(hold(shared))
            }
        }
    }
}

fn hold(shared: Rc<Http2>) -> Connection {
    Connection::Http2(Hold {
        shared,
        went_well: false,
    })
}

fn run(connection: impl Future<Output = hyper::Result<()>> + 'static) -> Task {
    Task(tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection for copies ended");
        }
    }))
}

impl Line {
    /// What is spoken on it.
    pub(super) const fn wire(&self) -> Wire {
        match self.connection {
            Connection::Http1(_) => Wire::Http1,
            Connection::Http2(_) => Wire::Http2,
        }
    }

    /// What the endpoint's URL begins with.
    pub(super) fn scheme(&self) -> Scheme {
        if self.peer.endpoint.is_https {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        }
    }

    /// Sends the copy and waits for the answer's head; or what became of the copy. That a connection from an
    /// earlier copy was closed meanwhile is nobody's fault, and the copy is not sent again.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, CopyResult> {
        let sent = match &mut self.connection {
            Connection::Http1(http1) => http1.sender.send_request(request).await,
            Connection::Http2(hold) => hold.shared.sender.clone().send_request(request).await,
        };
        sent.map_err(|error| {
            tracing::debug!(%error, "a copy was not answered");
            let is_silent = error.is_incomplete_message()
                || error.is_canceled()
                || error.is_closed()
                || std::error::Error::source(&error)
                    .is_some_and(|source| source.is::<std::io::Error>());
            if self.is_reused && is_silent {
                CopyResult::DroppedConnection
            } else {
                CopyResult::Error
            }
        })
    }

    /// The answer was read to its end: the connection may serve another copy.
    pub(super) fn keep(self) {
        let Self {
            peer, connection, ..
        } = self;
        match connection {
            Connection::Http1(http1) => {
                let mut idle = peer.idle.borrow_mut();
                if idle.len() < MAX_IDLE && !http1.sender.is_closed() {
                    idle.push((http1, Instant::now()));
                }
            }
            Connection::Http2(mut hold) => hold.went_well = true,
        }
    }
}

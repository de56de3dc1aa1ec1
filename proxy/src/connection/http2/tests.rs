//! What no client and no upstream can bring about in the time that a test has: turns of streams when a piece is empty
//! (which hyper's client keeps back), and clients that are silent for longer than anybody waits.
//!
//! The clock stands still and is moved by hand. Tokio would move it on its own whenever nothing is to be done, also
//! while bytes are on their way between two sockets, so reading happens on a thread for blocking work, which forbids it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::{LocalSet, spawn_blocking, spawn_local, yield_now};
use tokio::time::advance;

use super::inbound::STREAM_WINDOW;
use super::session::Session;
use super::stream::{Inbox, Receiving, Stream};
use super::{ALIVE, PING_EVERY, PING_TIMEOUT};
use crate::Clock;
use crate::connection::{self, Peer};
use crate::h2::frame::{HEAD, Head, Kind};
use crate::h2::{window, write};
use crate::plane::Shared;
use crate::route::example::config;
use crate::worker::{Desk, Handover};

/// Nothing here may take longer, by the clock on the wall.
const DEADLINE: Duration = Duration::from_secs(10);
/// As near to a moment as timers go.
const TICK: Duration = Duration::from_millis(2);

fn shared() -> Arc<Shared> {
    let mut config = config([]);
    // No request comes: that is not to be what ends the connection.
    config.limits.idle_timeout = Duration::from_secs(24 * 60 * 60);
    Arc::new(Shared::new(&config, 1, Arc::default()))
}

#[test]
fn leave_for_an_empty_piece_uses_up_no_turn() {
    let desk = Rc::new(Desk::new(0, shared(), Clock::start()));
    let peer = Peer {
        ip: Ipv4Addr::LOCALHOST.into(),
        is_secure: false,
    };
    let session = Session::new(desk, peer);
    let stream = |id, room| {
        let inbox = Inbox::new(Receiving::Whole, None);
        let inbound = window::Inbound::new(STREAM_WINDOW);
        let stream = Rc::new(Stream::new(id, inbox, inbound, window::Outbound::new(room)));
        session.add(Rc::clone(&stream));
        stream
    };
    let (stuck, other) = (stream(1, 0), stream(3, 100));
    let nobody = Context::from_waker(Waker::noop());
    let room = |stream: &Rc<Stream>, wanted| match session.poll_room(&nobody, stream, wanted) {
        Poll::Ready(Ok(may)) => Some(may),
        Poll::Ready(Err(_)) => panic!("it is gone"),
        Poll::Pending => None,
    };
    assert_eq!(room(&stuck, 10), None);
    // Nothing is written of it, so that no flush comes which could begin the next turn.
    assert_eq!(room(&other, 0), Some(0));
    assert_eq!(session.waits(), 0);
    assert_eq!(room(&other, 4), Some(4));
    // What is written is a turn, up to the flush that follows it.
    session.put_data(&other, b"late", false);
    assert_eq!(room(&other, 4), None);
    session.flushed();
    assert_eq!(room(&stuck, 10), None);
    assert_eq!(room(&other, 4), Some(4));
}

/// The next frame, or the end.
async fn hears(stream: &TcpStream) -> Option<(Head, Vec<u8>)> {
    let mut stream = stream.try_clone().unwrap();
    let reading = spawn_blocking(move || {
        let mut read = |length| {
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).map(|()| bytes)
        };
        let head = Head::read(&read(HEAD)?).unwrap();
        Ok::<_, std::io::Error>((head, read(head.length)?))
    });
    match reading.await.unwrap() {
        Ok(frame) => Some(frame),
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing comes"),
        Err(_) => None,
    }
}

/// A client of a connection whose time stands still unless it is moved.
struct Client {
    stream: TcpStream,
    /// The other end, to see what was taken there.
    served: TcpStream,
}

impl Client {
    /// Has said hello, and heard it.
    async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (served, peer) = listener.accept().unwrap();
        served.set_nonblocking(true).unwrap();
        let mut client = Self {
            stream,
            served: served.try_clone().unwrap(),
        };
        let shared = shared();
        let handover = Handover {
            stream: served,
            peer,
            seat: shared.gauges.seat(0),
            greeting: None,
        };
        let desk = Rc::new(Desk::new(0, shared, Clock::start()));
        spawn_local(connection::serve(desk, handover));
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        write::settings(&mut hello, &[]);
        client.says(&hello).await;
        for kind in [Kind::Settings, Kind::WindowUpdate, Kind::Settings] {
            assert_eq!(hears(&client.stream).await.unwrap().0.kind, kind);
        }
        client
    }

    /// Says it; it was taken when this returns.
    async fn says(&mut self, words: &[u8]) {
        self.stream.write_all(words).unwrap();
        let begun = std::time::Instant::now();
        let is_there = || match self.served.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        // Nobody takes anything until this task yields.
        while !is_there() {
            assert!(begun.elapsed() < DEADLINE, "it never arrives");
        }
        while is_there() {
            assert!(begun.elapsed() < DEADLINE, "nobody takes it");
            yield_now().await;
        }
    }

    /// Whether there is anything to be heard, the end too. Who is told late what has come already errs on the side of
    /// "no", which is not what these tests fail by.
    async fn is_told_anything(&self) -> bool {
        // Whoever has something to say gets to say it.
        for _ in 0..10 {
            yield_now().await;
        }
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    async fn is_reset(&self, id: u32) {
        let (head, _) = hears(&self.stream).await.unwrap();
        assert_eq!((head.kind, head.stream), (Kind::RstStream, id));
    }

    /// It is asked whether it is alive, when it is time for that and not before.
    async fn is_asked(&self) {
        advance(PING_EVERY - TICK).await;
        assert!(!self.is_told_anything().await, "too early");
        advance(TICK).await;
        let (head, payload) = hears(&self.stream).await.unwrap();
        assert_eq!((head.kind, head.is_ack()), (Kind::Ping, false));
        assert_eq!(payload, ALIVE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_that_answers_pings_is_kept() {
    let test = async {
        let mut client = Client::open().await;
        for _ in 0..5 {
            client.is_asked().await;
            advance(PING_TIMEOUT - TICK).await;
            assert!(!client.is_told_anything().await, "it has time to answer");
            let mut answer = Vec::new();
            write::ping(&mut answer, &ALIVE, true);
            client.says(&answer).await;
        }
        // Any other word is a sign of life too.
        client.is_asked().await;
        let mut word = Vec::new();
        write::window_update(&mut word, 0, 1);
        client.says(&word).await;
        client.is_asked().await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_given_up() {
    let test = async {
        let client = Client::open().await;
        client.is_asked().await;
        advance(PING_TIMEOUT - TICK).await;
        assert!(!client.is_told_anything().await, "it has time to answer");
        advance(TICK).await;
        let Client { stream, served } = client;
        // Open in two places it would not be closed by one.
        drop(served);
        assert!(hears(&stream).await.is_none());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_reset_is_forgotten_once_the_client_must_know_of_it() {
    let test = async {
        let mut client = Client::open().await;
        let mut malformed = Vec::new();
        write::Block::begin(&mut malformed, 1, false).end(&mut malformed, 16_384);
        client.says(&malformed).await;
        client.is_reset(1).await;
        let mut late = Vec::new();
        write::data(&mut late, 1, b"late", false);
        client.says(&late).await;
        assert!(!client.is_told_anything().await, "it may not have known");
        client.is_asked().await;
        let mut answer = Vec::new();
        write::ping(&mut answer, &ALIVE, true);
        client.says(&[late.clone(), answer].concat()).await;
        assert!(!client.is_told_anything().await, "it may not have known");
        client.says(&late).await;
        client.is_reset(1).await;
    };
    LocalSet::new().run_until(test).await;
}

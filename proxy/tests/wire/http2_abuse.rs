//! Floods and provocations (what they cost in memory is measured in `tests/blackbox/abuse`): whoever sends them is
//! stopped or throttled, and everybody else is served meanwhile.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::io::AsyncWrite;

use super::frames::*;
use super::hpack::{Treat, block, indexed, literal};
use super::http2_cases::Front;
use super::http2_client::Http2;
use super::support::{get2, text, until};

/// More than sockets hold between two sides.
const MORE_THAN_FITS: usize = 48 * 1024 * 1024;
/// Reasons to end a connection that is a nuisance.
const ENOUGH: &[u32] = &[ENHANCE_YOUR_CALM, PROTOCOL_ERROR, NO_ERROR, STREAM_CLOSED];

impl Front {
    /// Somebody else's request is answered.
    async fn serves_others(&self) {
        let mut other = self.proxy.http2().await;
        let response = other.send_request(get2("/")).await.unwrap();
        assert_eq!(response.status(), 200);
        text(response).await;
    }

    /// Nothing is left of those who have gone.
    async fn is_quiet(&self) {
        until("no connection is left", || {
            self.proxy.plane.connections() == 0
        })
        .await;
        assert_eq!(self.proxy.plane.in_flight(), 0);
    }

    /// Says this again and again to somebody who takes it in, so many times in all. Either all of it is read, or
    /// the connection is ended.
    async fn bears(&self, name: &str, first: &[u8], flood: &[u8], times: usize) {
        let mut client = Http2::hello(&self.proxy, name).await;
        client.send(first).await;
        let burst = flood.repeat(times / 20);
        let pings = if flood.starts_with(&ping()) { times } else { 0 };
        for _ in 0..20 {
            client.send(&burst).await;
            self.serves_others().await;
        }
        client.send(&ping()).await;
        loop {
            match client.event().await {
                Event::Pong if client.pongs > pings => return,
                Event::Closed => return,
                Event::GoAway(_, code) => assert!(ENOUGH.contains(&code), "{name}: {code}"),
                _ => {}
            }
        }
    }

    /// Says this again and again and reads nothing. Before it was taken very often the connection is ended, or
    /// no more of it is taken while others are served.
    async fn throttles(&self, name: &str, first: &[u8], flood: &[u8]) {
        let mut client = Http2::hello(&self.proxy, name).await;
        client.send(first).await;
        let burst = flood.repeat(64 * 1024 / flood.len());
        let (mut taken, mut patience) = (0, 0);
        while patience < 20 {
            let written = poll_fn(|cx| {
                let stream = Pin::new(&mut client.stream);
                std::task::Poll::Ready(stream.poll_write(cx, &burst[taken % flood.len()..]))
            });
            match written.await {
                std::task::Poll::Ready(Ok(count)) => {
                    (taken, patience) = (taken + count, 0);
                    assert!(taken < MORE_THAN_FITS, "{name}: {taken} bytes were taken");
                }
                std::task::Poll::Ready(Err(_)) => break,
                std::task::Poll::Pending => {
                    self.serves_others().await;
                    patience += 1;
                }
            }
        }
        self.serves_others().await;
    }
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "rapid resets").await;
    let streams = (1..).step_by(2).take(2_000);
    let words: Vec<u8> = streams
        .flat_map(|stream| [get(stream, "/"), reset(stream, CANCEL)].concat())
        .collect();
    client.send(&words).await;
    client.breaks(&[ENHANCE_YOUR_CALM]).await;
    front.serves_others().await;
    drop(client);
    front.is_quiet().await;
}

#[tokio::test]
async fn who_provokes_resets_is_left() {
    let front = Front::start().await;
    type Provocation = fn(u32) -> Vec<u8>;
    let provocations: [(&str, Provocation); 7] = [
        ("a window update of nothing", |stream| {
            [get(stream, "/"), window(stream, 0)].concat()
        }),
        ("one of too much", |stream| {
            [get(stream, "/"), window(stream, WIDEST)].concat()
        }),
        ("data after the end", |stream| {
            [get(stream, "/"), data(stream, b"x")].concat()
        }),
        ("heads after the end", |stream| {
            [get(stream, "/"), get(stream, "/")].concat()
        }),
        ("a malformed head", |stream| {
            ask(stream, END_STREAM, "GET", &[("X", "y")])
        }),
        ("a length that lies", |stream| {
            [
                ask(stream, 0, "POST", &[("content-length", "1")]),
                data(stream, b"xy"),
            ]
            .concat()
        }),
        ("a priority that breaks off", |stream| {
            [get(stream, "/"), frame(PRIORITY, 0, stream, &[0; 4])].concat()
        }),
    ];
    for (name, provoke) in provocations {
        let mut client = Http2::hello(&front.proxy, name).await;
        for stream in (1..).step_by(2).take(5_000) {
            client.send(&provoke(stream)).await;
        }
        let mut resets = 0;
        loop {
            match client.event().await {
                Event::Closed => break,
                Event::Reset(..) => resets += 1,
                _ => {}
            }
        }
        assert!(resets < 1_500, "{name}: {resets} resets");
        front.serves_others().await;
    }
    front.is_quiet().await;
}

#[tokio::test]
async fn floods_that_are_read_harm_nobody() {
    let front = Front::start().await;
    let none: &[u8] = &[];
    let begun = post(1, "/");
    let over = [get(1, "/"), reset(1, CANCEL)].concat();
    for (name, first, flood) in [
        ("pings", none, ping()),
        ("settings", none, settings(&[(INITIAL_WINDOW_SIZE, 1000)])),
        ("empty settings", none, settings(&[])),
        ("acknowledged pings", none, frame(PING, ACK, 0, b"whatever")),
        ("priorities", none, priority(1, 0, 1)),
        (
            "priorities of many",
            none,
            [priority(3, 1, 1), priority(99_999, 3, 1)].concat(),
        ),
        ("empty data", &begun, data(1, b"")),
        ("small data", &begun, data(1, b"x")),
        ("what is unknown", none, frame(0xfa, 0, 1, b"x")),
        ("resets of what is over", &over, reset(1, CANCEL)),
        ("window updates of what is over", &over, window(1, 1)),
    ] {
        front.bears(name, first, &flood, 20_000).await;
    }
    front.is_quiet().await;
}

#[tokio::test]
async fn floods_whose_answers_are_not_read_are_throttled() {
    let front = Front::start().await;
    for (name, flood) in [
        ("pings", ping()),
        ("settings", settings(&[(INITIAL_WINDOW_SIZE, 1000)])),
    ] {
        front.throttles(name, &[], &flood).await;
    }
    front.is_quiet().await;
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let front = Front::start().await;
    for (name, payload) in [
        ("nothing", Vec::new()),
        ("little", block(&[("x", "y")])),
        ("much", block(&[("x", &"~".repeat(16_000))])),
        ("one text", vec![b'~'; 16_000]),
    ] {
        let mut client = Http2::hello(&front.proxy, name).await;
        let mut begin = block(&head("GET", "/"));
        if name == "one text" {
            // 2 MiB of it are announced.
            begin.extend([&[0, 1, b'x'][..], &super::hpack::integer(0, 7, 2 << 20)].concat());
        }
        client.send(&frame(HEADERS, END_STREAM, 1, &begin)).await;
        let burst = frame(CONTINUATION, 0, 1, &payload).repeat(100);
        for _ in 0..200 {
            client.send(&burst).await;
        }
        client.breaks(&[ENHANCE_YOUR_CALM, COMPRESSION_ERROR]).await;
        front.serves_others().await;
    }
    front.is_quiet().await;
}

#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "bomb").await;
    let entry = literal(Treat::Keep, "x-bomb", &"~".repeat(4_000));
    // 40 MB in 10 kB, on each of these.
    let bomb = [entry, indexed(62).repeat(10_000)].concat();
    for turn in 0..50 {
        let stream = 4 * turn + 1;
        let fields = [block(&head("GET", "/")), bomb.clone()].concat();
        client.send(&frame(HEADERS, WHOLE, stream, &fields)).await;
        let answer = client.answer(stream).await;
        if answer.status == 0 {
            // To end the connection is allowed.
            assert_eq!(client.event().await, Event::Closed);
            break;
        }
        assert_eq!(answer.status, 431);
        client.send(&get(stream + 2, "/")).await;
        client.served(stream + 2).await;
    }
    front.serves_others().await;
}

#[tokio::test]
async fn resets_one_by_one_leave_nothing_behind() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "one by one").await;
    for stream in (1..600).step_by(2) {
        client.send(&post(stream, "/")).await;
        client.goes_on().await;
        client.send(&reset(stream, CANCEL)).await;
        client.goes_on().await;
    }
    until("none is in flight", || front.proxy.plane.in_flight() == 0).await;
    client.send(&get(601, "/")).await;
    client.served(601).await;
    drop(client);
    front.is_quiet().await;
}

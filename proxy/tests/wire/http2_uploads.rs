//! Windows of what clients send (RFC 9113, sections 5.2 and 6.9): room is given as bodies are taken, and given back for
//! those that nobody takes.

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::*;
use super::hpack::block;
use super::http2_cases::Front;
use super::http2_client::Http2;
use super::support::{Proxy, config, full, raw_upstream, read_head, route, upstream, within};

impl Http2 {
    /// Sends so many bytes, as they are allowed.
    async fn upload(&mut self, stream: u32, bytes: usize) {
        let mut left = bytes;
        while left > 0 && self.has_room(stream, 1).await {
            let now = self.room(stream).min(16_384).min(left);
            self.send(&data(stream, &vec![b'x'; now])).await;
            left -= now;
        }
        self.send(&last_data(stream, b"")).await;
    }
}

#[tokio::test]
async fn uploads_get_room_as_they_are_taken() {
    const MUCH: usize = 5_000_000;
    let server = upstream(|request: Request<Incoming>| async move {
        let body = request.into_body().collect().await.unwrap();
        Response::new(full(body.to_bytes().len().to_string()))
    });
    let mut config = config(vec![route(server.await)]);
    config.limits.max_body = MUCH as u64;
    let proxy = Proxy::start(config, 0.0);
    let mut client = Http2::hello(&proxy, "upload").await;
    client.send(&post(1, "/")).await;
    client.upload(1, MUCH).await;
    assert_eq!(client.served(1).await.text(), MUCH.to_string());
}

/// An upstream that takes nothing of any body.
async fn taking_nothing() -> Proxy {
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        let _alive = stream;
        std::future::pending::<()>().await;
    });
    let mut config = config(vec![route(server.await)]);
    config.limits.max_body = 1 << 30;
    Proxy::start(config, 0.0)
}

#[tokio::test]
async fn who_sends_more_than_was_allowed_is_stopped() {
    let proxy = taking_nothing().await;
    let mut client = Http2::hello(&proxy, "too much").await;
    client.send(&post(1, "/")).await;
    // More than sockets hold on the way up.
    let piece = data(1, &[b'x'; 16_384]).repeat(64);
    for _ in 0..64 {
        client.send(&piece).await;
        if client.so_far(1).reset.is_some() {
            break;
        }
    }
    client.resets(1, &[FLOW_CONTROL_ERROR]).await;
}

#[tokio::test]
async fn uploads_that_nobody_takes_leave_room_for_others() {
    let stuck = raw_upstream(|mut stream| async move {
        let head = read_head(&mut stream).await;
        if head.contains("/stuck") {
            let _alive = stream;
            return std::future::pending::<()>().await;
        }
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = stream.read_u8().await;
    });
    let mut config = config(vec![route(stuck.await)]);
    config.limits.max_body = 1 << 30;
    let proxy = Proxy::start(config, 0.0);
    let mut client = Http2::hello(&proxy, "stuck uploads").await;
    let stuck = [1, 3, 5];
    for stream in stuck {
        client.send(&post(stream, "/stuck")).await;
    }
    let piece = vec![b'x'; 16_000];
    let mut quiet = 0;
    // As much as is allowed, until no more is allowed for a while.
    while quiet < 50 {
        quiet += 1;
        for stream in stuck {
            let now = client.room(stream).min(16_000);
            if now > 0 {
                client.send(&data(stream, &piece[..now])).await;
                quiet = 0;
            }
        }
        client.goes_on().await;
    }
    assert!(
        client.room(7) > 5,
        "all of the connection's window is taken"
    );
    let words = frame(
        HEADERS,
        END_HEADERS,
        7,
        &block(&[&head("POST", "/")[..], &[("content-length", "5")]].concat()),
    );
    client.send(&[words, last_data(7, b"hello")].concat()).await;
    within("another upload", client.served(7)).await;
}

/// Bodies of requests that came to nothing: their room in the connection's window is given back, all of it.
#[tokio::test]
async fn bodies_that_nobody_wants_cost_the_connection_nothing() {
    const PIECES: usize = 4;
    let server = raw_upstream(|mut stream| async move {
        let head = read_head(&mut stream).await;
        if head.contains("/early") {
            let answer =
                b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
            let _ = stream.write_all(answer).await;
        }
        // Nothing of the body is taken.
        let _alive = stream;
        std::future::pending::<()>().await;
    });
    let mut config = config(vec![route(server.await)]);
    config.limits.max_body = 1 << 30;
    let proxy = Proxy::start(config, 0.0);
    for (name, path, leaves) in [
        ("the client leaves", "/stuck", true),
        ("answered early", "/early", false),
        ("refused", "", false),
    ] {
        let mut client = Http2::hello(&proxy, name).await;
        let (mut stream, mut sent, mut widest) = (1, 0, 1 << 20);
        let piece = vec![b'x'; 15_000];
        // As much as the window would bear several times.
        while sent < 3 * widest {
            let begin = match path {
                "" => ask(stream, 0, "POST", &[("expect", "200-ok")]),
                path => post(stream, path),
            };
            client.send(&begin).await;
            for _ in 0..PIECES {
                widest = widest.max(client.connection_room());
                while client.connection_room() < piece.len() {
                    assert_ne!(client.event().await, Event::Closed, "{name}");
                }
                client.send(&data(stream, &piece)).await;
                sent += piece.len();
            }
            if leaves {
                client.send(&reset(stream, CANCEL)).await;
            } else {
                assert!(client.answer(stream).await.status >= 400, "{name}");
                client.send(&reset(stream, NO_ERROR)).await;
            }
            stream += 2;
        }
        // Late resets of what was answered may come still.
        client.send(&ping()).await;
        client.awaits(Event::Pong).await;
    }
}

/// Padding uses up windows, and is given back, whether anything comes with it or not: this is more than any window holds at
/// once.
#[tokio::test]
async fn room_for_padding_is_given_back() {
    let front = Front::start().await;
    for content in [&b"x"[..], b""] {
        let mut client = Http2::hello(&front.proxy, "padding").await;
        let payload = [&[255], content, &[0; 255][..]].concat();
        let mostly = frame(DATA, PADDED, 1, &payload);
        let window = client.settings.get(&INITIAL_WINDOW_SIZE).copied();
        let much = window.map_or(FIRST_WINDOW, i64::from) as usize * 3;
        client.send(&post(1, "/")).await;
        let (mut sent, mut pieces) = (0, 0);
        while sent < much {
            assert!(client.has_room(1, payload.len()).await);
            client.send(&mostly).await;
            (sent, pieces) = (sent + payload.len(), pieces + 1);
        }
        client.send(&last_data(1, b"")).await;
        let answer = client.served(1).await;
        assert_eq!(answer.body.len(), pieces * content.len());
    }
}

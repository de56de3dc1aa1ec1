//! Frames that were on their way when the end of their stream was (RFC 9113, sections 5.1 and 6.8): they are passed over,
//! and cost neither the connection nor anybody on it anything.

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::frames::*;
use super::hpack::{Treat, block, indexed, literal};
use super::http2_client::Http2;
use super::support::{DEADLINE, Proxy, full, route, until, upstream, within};

/// An upstream that turns `/early` away before its body has come, and says what it was told by `x-say` otherwise.
async fn impatient() -> Proxy {
    let server = upstream(|request: Request<Incoming>| async move {
        if request.uri().path() == "/early" {
            let mut response = Response::new(full("no"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        }
        let said = request.headers().get("x-say").cloned();
        let body = request.into_body().collect().await.unwrap();
        let said = said.map(|said| said.as_bytes().to_vec());
        Response::new(full(said.unwrap_or_else(|| body.to_bytes().to_vec())))
    });
    Proxy::of(route(server.await))
}

/// Trailers that the other side remembers as the latest field.
fn trailers(stream: u32, value: &str) -> Vec<u8> {
    let fields = literal(Treat::Keep, "x-say", value);
    frame(HEADERS, WHOLE, stream, &fields)
}

/// A request with the latest field.
fn get_with_latest(stream: u32) -> Vec<u8> {
    let fields = [block(&head("GET", "/")), indexed(62)].concat();
    frame(HEADERS, WHOLE, stream, &fields)
}

impl Http2 {
    /// So many may be sent on the connection.
    async fn awaits_room(&mut self, bytes: usize) {
        while self.connection_room() < bytes {
            assert_ne!(self.event().await, Event::Closed, "no room");
        }
    }

    /// The rest of uploads of which the client heard too late that nobody wants it.
    async fn goes_on_with(&mut self, streams: &[u32], pieces: usize) {
        let piece = [b'x'; 4_000];
        for &stream in streams {
            for _ in 0..pieces {
                self.awaits_room(piece.len()).await;
                self.send(&data(stream, &piece)).await;
            }
            self.send(&trailers(stream, &stream.to_string())).await;
        }
        self.goes_on().await;
    }
}

/// As many as may be open are answered early, and many more refused.
#[tokio::test]
async fn what_comes_behind_our_resets_is_passed_over() {
    let proxy = impatient().await;
    let mut client = Http2::hello(&proxy, "late").await;
    client.send(&post(1, "/")).await;
    let streams: Vec<u32> = (3..).step_by(2).take(1_300).collect();
    let posts: Vec<u8> = streams.iter().flat_map(|&id| post(id, "/early")).collect();
    client.send(&posts).await;
    let (mut early, mut refused) = (0, 0);
    for &stream in &streams {
        while client.so_far(stream).reset.is_none() {
            assert_ne!(client.event().await, Event::Closed, "{stream}");
        }
        let answer = client.so_far(stream);
        match answer.reset {
            Some(NO_ERROR) if answer.is_whole && answer.status == 503 => early += 1,
            Some(REFUSED_STREAM) if answer.status == 0 => refused += 1,
            _ => panic!("{stream}: {answer:?}"),
        }
    }
    assert!(early >= 255 && refused >= 500, "{early}, {refused}");
    client.goes_on_with(&streams, 1).await;
    client.goes_on_with(&streams[..200], 4).await;
    // What stood beside them is whole.
    client.send(&last_data(1, b"whole")).await;
    assert_eq!(client.served(1).await.text(), "whole");
    let next = 2 * 1_300 + 3;
    client.send(&get_with_latest(next)).await;
    let latest = streams[199].to_string();
    assert_eq!(client.served(next).await.text(), latest);
}

/// The last stream that is served, which is final once everything that was on its way has been heard.
async fn last_served(client: &mut Http2) -> u32 {
    let mut last = WIDEST;
    while last == WIDEST {
        match client.event().await {
            Event::GoAway(said, NO_ERROR) => last = said,
            Event::Closed => panic!("closed"),
            _ => {}
        }
    }
    last
}

/// Whatever comes on them (RFC 9113, section 6.8), what is under way is served.
#[tokio::test]
async fn streams_above_the_last_are_passed_over_whole() {
    let proxy = impatient().await;
    let mut client = Http2::hello(&proxy, "drain").await;
    client.send(&post(1, "/")).await;
    until("under way", || proxy.plane.in_flight() == 1).await;
    let plane = proxy.plane.clone();
    let drain = tokio::spawn(async move { plane.drain(DEADLINE).await });
    assert_eq!(last_served(&mut client).await, 1);
    client.send(&post(3, "/")).await;
    client.goes_on_with(&[3], 1_000).await;
    let words = [
        get_with_latest(5),
        ask(7, END_STREAM, "GET", &[("X", "malformed")]),
        post(9, "/"),
        window(9, 1),
        reset(9, CANCEL),
    ];
    client.send(&words.concat()).await;
    client.goes_on().await;
    client.send(&trailers(1, "said")).await;
    assert_eq!(client.served(1).await.status, 200);
    client.breaks(&[NO_ERROR]).await;
    for above in [3, 5, 7, 9] {
        assert!(!client.so_far(above).has_begun(), "{above}");
    }
    let drained = within("drain", drain).await.unwrap();
    assert!(drained.finished);
}

/// Its number never rises again, whatever has come since (RFC 9113, section 6.8).
#[tokio::test]
async fn the_last_stream_stays_the_last() {
    let proxy = impatient().await;
    let mut client = Http2::hello(&proxy, "last").await;
    client.send(&post(1, "/")).await;
    until("under way", || proxy.plane.in_flight() == 1).await;
    let plane = proxy.plane.clone();
    let drain = tokio::spawn(async move { plane.drain(DEADLINE).await });
    assert_eq!(last_served(&mut client).await, 1);
    client.send(&[get(3, "/"), get(2, "/")].concat()).await;
    loop {
        match client.event().await {
            Event::GoAway(last, code) => {
                assert_eq!((last, code), (1, PROTOCOL_ERROR));
                break;
            }
            Event::Closed => panic!("nothing was said"),
            _ => {}
        }
    }
    drop(client);
    within("drain", drain).await.unwrap();
}

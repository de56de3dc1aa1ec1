//! Nothing waits for the whole of anything; who leaves is noticed on the other side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use super::support::{
    AnyBody, Proxy, config, full, get, get2, post, refusing, rollout, route, until, upstream,
    within,
};

type Piece = Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>;
type Feed = mpsc::UnboundedSender<Piece>;

/// A body, and where its pieces are put in.
fn fed() -> (Feed, AnyBody) {
    let (feed, pieces) = mpsc::unbounded_channel();
    let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
        Some((pieces.recv().await?, pieces))
    });
    (
        feed,
        BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(pieces)))),
    )
}

/// `BoxBody` wants `Sync`; a stream that is only polled through `&mut` is.
pub(crate) struct SyncStream<S>(pub(crate) std::pin::Pin<Box<S>>);

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

fn data(text: &str) -> Piece {
    Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))
}

async fn next_piece(body: &mut Incoming) -> Option<String> {
    loop {
        let frame = within("a piece", body.frame()).await?.unwrap();
        let piece = frame.into_data().unwrap();
        // HTTP/2 may end a stream with an empty piece.
        if !piece.is_empty() {
            return Some(String::from_utf8(piece.to_vec()).unwrap());
        }
    }
}

/// An upstream that echoes each piece as it comes.
async fn echo(protocol: Protocol) -> Proxy {
    let upstream = upstream(|request: Request<Incoming>| async move {
        let pieces = request.into_body().into_data_stream();
        let frames = pieces.map(|piece| piece.map(Frame::data).map_err(Into::into));
        Response::new(BodyExt::boxed(StreamBody::new(frames)))
    });
    let mut plain = route(upstream.await);
    plain.baseline.protocol = protocol;
    Proxy::of(plain)
}

#[tokio::test]
async fn each_piece_arrives_before_the_next_is_sent_both_ways() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let proxy = echo(protocol).await;
        let (mut http1, mut http2) = (proxy.http1().await, proxy.http2().await);
        for over_http2 in [false, true] {
            let (feed, body) = fed();
            feed.send(data("first")).unwrap();
            let response = if over_http2 {
                let request = Request::post("http://a/").body(body).unwrap();
                within("head", http2.send_request(request)).await
            } else {
                within("head", http1.send_request(post("/", body))).await
            };
            let mut body = response.unwrap().into_body();
            assert_eq!(next_piece(&mut body).await.unwrap(), "first");
            for piece in ["second", "third"] {
                feed.send(data(piece)).unwrap();
                assert_eq!(next_piece(&mut body).await.unwrap(), piece);
            }
            drop(feed);
            assert_eq!(next_piece(&mut body).await, None);
        }
    }
}

/// An upstream whose answers the test writes, piece by piece.
async fn dictated(kind: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<Feed>) {
    let (hand, feeds) = mpsc::unbounded_channel();
    let address = upstream(move |_: Request<Incoming>| {
        let (feed, body) = fed();
        hand.send(feed).unwrap();
        async move {
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert("content-type", kind.parse().unwrap());
            response
        }
    });
    (address.await, feeds)
}

#[tokio::test]
async fn events_pass_as_they_are_said() {
    let (server, mut feeds) = dictated("text/event-stream").await;
    let proxy = Proxy::of(route(server));
    for over_http2 in [false, true] {
        let response = if over_http2 {
            let mut client = proxy.http2().await;
            within("head", client.send_request(get2("/")))
                .await
                .unwrap()
        } else {
            proxy.ask(get("/")).await
        };
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let feed = feeds.recv().await.unwrap();
        for token in ["data: The\n\n", "data: answer\n\n", "data: [DONE]\n\n"] {
            feed.send(data(token)).unwrap();
            assert_eq!(next_piece(&mut body).await.unwrap(), token);
        }
        assert_eq!(proxy.plane.in_flight(), 1);
        drop(feed);
        assert_eq!(next_piece(&mut body).await, None);
        until("the end", || proxy.plane.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_answer_cancels_the_upstream() {
    let (server, mut feeds) = dictated("text/plain").await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut both = rollout(server, server);
        both.baseline.protocol = protocol;
        let proxy = Proxy::start(config(vec![both]), 0.0);
        // HTTP/1.1: the connection is closed. HTTP/2: the stream is reset, the connection lives on.
        let (mut http1, mut http2) = (proxy.http1().await, proxy.http2().await);
        for over_http2 in [false, true] {
            let response = if over_http2 {
                http2.send_request(get2("/")).await.unwrap()
            } else {
                http1.send_request(get("/")).await.unwrap()
            };
            let feed = feeds.recv().await.unwrap();
            feed.send(data("first")).unwrap();
            let mut body = response.into_body();
            next_piece(&mut body).await.unwrap();
            drop(body);
            if !over_http2 {
                // hyper's client closes when nobody can want the rest.
                http1 = proxy.http1().await;
            }
            within("cancellation", feed.closed()).await;
        }
        let counts = proxy.counts(2).await;
        assert_eq!(
            counts.of(Arm::Baseline, Outcome::Aborted),
            2,
            "{protocol:?}"
        );
        until("the end", || proxy.plane.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_upstream() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = upstream(move |_: Request<Incoming>| {
        let (alive, gone) = oneshot::channel::<()>();
        tell.send(gone).unwrap();
        async move {
            // Dropped with the request.
            let _alive = alive;
            std::future::pending().await
        }
    });
    let proxy = Proxy::start(config(vec![rollout(server.await, refusing().await)]), 0.0);
    let mut http2 = proxy.http2().await;
    for over_http2 in [false, true] {
        let gone = if over_http2 {
            let asking = tokio::spawn(http2.send_request(get2("/")));
            let gone = within("the request", told.recv()).await.unwrap();
            asking.abort();
            gone
        } else {
            let mut stream = proxy.connect().await;
            let words = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
            stream.write_all(words).await.unwrap();
            within("the request", told.recv()).await.unwrap()
        };
        assert!(within("cancellation", gone).await.is_err());
    }
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 2);
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_breaks_off_the_upstreams() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = upstream(move |request: Request<Incoming>| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            let mut seen = Vec::new();
            while let Some(frame) = body.frame().await {
                seen.push(frame.is_ok());
            }
            tell.send(seen).unwrap();
            Response::new(full("x"))
        }
    });
    let proxy = Proxy::start(config(vec![rollout(server.await, refusing().await)]), 0.0);
    let mut stream = proxy.connect().await;
    let words = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    stream.write_all(words).await.unwrap();
    until("the request", || proxy.plane.in_flight() == 1).await;
    drop(stream);
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1);
    // What the upstream gets is not taken for a whole body (it may not even be taken for a request).
    if let Ok(Some(seen)) = tokio::time::timeout(std::time::Duration::ZERO, told.recv()).await {
        assert_eq!(seen.last(), Some(&false));
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_upstream_back() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 4096;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let server = upstream(move |_: Request<Incoming>| {
        let counted = Arc::clone(&counted);
        let pieces = futures_util::stream::iter(0..PIECES).map(move |_| {
            counted.fetch_add(PIECE, Ordering::SeqCst);
            Ok(Frame::data(Bytes::from_static(&[b'x'; PIECE])))
        });
        async move { Response::new(BodyExt::boxed(StreamBody::new(pieces))) }
    });
    let server = server.await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        sent.store(0, Ordering::SeqCst);
        let mut plain = route(server);
        plain.baseline.protocol = protocol;
        let proxy = Proxy::of(plain);
        let mut body = proxy.ask(get("/")).await.into_body();
        // It stops by itself, long before the end: what was sent fills the sockets' buffers.
        let (mut before, mut still) = (0, 0);
        until("a standstill", || {
            let now = sent.load(Ordering::SeqCst);
            still = if now == before { still + 1 } else { 0 };
            before = now;
            still > 50
        })
        .await;
        let all = PIECE * PIECES;
        assert!(before < all / 4, "{protocol:?}: {before} of {all} bytes");
        let mut taken = 0;
        while let Some(frame) = within("a piece", body.frame()).await {
            taken += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        assert_eq!(taken, all);
    }
}

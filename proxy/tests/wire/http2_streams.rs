//! The life of streams (RFC 9113, section 5).

use std::sync::atomic::Ordering;

use super::frames::*;
use super::hpack::block;
use super::http2_cases::Verdict::{Breaks, Ignored, Resets, Serves};
use super::http2_cases::{Front, case, check};
use super::http2_client::Http2;
use super::support::until;

fn continuation(stream: u32) -> Vec<u8> {
    frame(CONTINUATION, END_HEADERS, stream, &block(&[("x", "y")]))
}

#[tokio::test]
async fn idle_streams_take_heads_only() {
    let wrong = Breaks(&[PROTOCOL_ERROR, STREAM_CLOSED]);
    check(vec![
        case("DATA", last_data(1, b"x"), wrong),
        case("RST_STREAM", reset(1, CANCEL), Breaks(&[PROTOCOL_ERROR])),
        case("WINDOW_UPDATE", window(1, 100), Breaks(&[PROTOCOL_ERROR])),
        case("CONTINUATION", continuation(1), Breaks(&[PROTOCOL_ERROR])),
        case(
            "RST_STREAM on ours",
            reset(2, CANCEL),
            Breaks(&[PROTOCOL_ERROR]),
        ),
        case(
            "WINDOW_UPDATE on ours",
            window(2, 1),
            Breaks(&[PROTOCOL_ERROR]),
        ),
        case("DATA on ours", data(2, b"x"), wrong),
        case("PRIORITY", priority(1, 0, 255), Ignored),
        case(
            "PRIORITY of what comes later",
            [priority(7, 0, 1), get(1, "/")].concat(),
            Serves(1),
        ),
        case("PRIORITY on ours", priority(2, 0, 1), Ignored),
    ])
    .await;
}

#[tokio::test]
async fn after_its_end_a_request_goes_not_on() {
    let with = |words: Vec<u8>| [get(1, "/"), words].concat();
    let closed = &[STREAM_CLOSED];
    check(vec![
        case("DATA", with(last_data(1, b"x")), Resets(1, closed)),
        case("HEADERS", with(get(1, "/")), Resets(1, closed)),
        case(
            "CONTINUATION",
            with(continuation(1)),
            Breaks(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        case("WINDOW_UPDATE", with(window(1, 100)), Serves(1)),
        case("PRIORITY", with(priority(1, 0, 1)), Serves(1)),
        case(
            "RST_STREAM",
            with([reset(1, CANCEL), get(3, "/")].concat()),
            Serves(3),
        ),
    ])
    .await;
}

#[tokio::test]
async fn after_a_reset_nothing_is_left_of_a_request() {
    let with = |words: Vec<u8>| [post(1, "/"), reset(1, CANCEL), words].concat();
    check(vec![
        case(
            "DATA",
            with(last_data(1, b"x")),
            Resets(1, &[STREAM_CLOSED]),
        ),
        case("HEADERS", with(get(1, "/")), Resets(1, &[STREAM_CLOSED])),
        case(
            "CONTINUATION",
            with(continuation(1)),
            Breaks(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        case("PRIORITY", with(priority(1, 0, 1)), Ignored),
        case("WINDOW_UPDATE", with(window(1, 1)), Ignored),
        case("RST_STREAM", with(reset(1, CANCEL)), Ignored),
        case("another", with(get(3, "/")), Serves(3)),
    ])
    .await;
}

#[tokio::test]
async fn after_its_answer_a_stream_is_closed() {
    let front = Front::start().await;
    let after = async |name: &str, words: Vec<u8>| {
        let mut client = Http2::hello(&front.proxy, name).await;
        client.send(&get(1, "/")).await;
        client.served(1).await;
        client.send(&words).await;
        client
    };
    let closed = &[STREAM_CLOSED];
    after("DATA", last_data(1, b"x"))
        .await
        .resets(1, closed)
        .await;
    after("HEADERS", get(1, "/"))
        .await
        .breaks(&[STREAM_CLOSED, PROTOCOL_ERROR])
        .await;
    after("CONTINUATION", continuation(1))
        .await
        .breaks(&[STREAM_CLOSED, PROTOCOL_ERROR])
        .await;
    after("PRIORITY", priority(1, 0, 1)).await.goes_on().await;
    // May be on their way when the end is.
    after("WINDOW_UPDATE", window(1, 1)).await.goes_on().await;
    after("RST_STREAM", reset(1, CANCEL)).await.goes_on().await;
}

#[tokio::test]
async fn numbers_of_streams_are_odd_and_rise() {
    let protocol = Breaks(&[PROTOCOL_ERROR]);
    // A stream that was left out is closed for good.
    let fallen = Breaks(&[PROTOCOL_ERROR, STREAM_CLOSED]);
    check(vec![
        case("even", get(2, "/"), protocol),
        case("falling", [get(5, "/"), get(3, "/")].concat(), fallen),
        case(
            "DATA on one left out",
            [get(5, "/"), data(3, b"x")].concat(),
            Resets(3, &[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        case(
            "with gaps",
            [get(1, "/"), get(101, "/"), get(1_000_001, "/")].concat(),
            Serves(1_000_001),
        ),
        case("the last there is", get(WIDEST, "/"), Serves(WIDEST)),
    ])
    .await;
}

#[tokio::test]
async fn priorities_are_read_over() {
    let prioritized = |stream, on: u32, weight: u8| {
        let fields = block(&head("GET", "/"));
        let payload = [&on.to_be_bytes()[..], &[weight], &fields].concat();
        frame(HEADERS, WHOLE | PRIORITIZED, stream, &payload)
    };
    check(vec![
        case("1", [priority(1, 0, 0), get(1, "/")].concat(), Serves(1)),
        case(
            "256",
            [priority(1, 0, 255), get(1, "/")].concat(),
            Serves(1),
        ),
        case(
            "on another",
            [priority(3, 1, 9), get(3, "/")].concat(),
            Serves(3),
        ),
        case(
            "exclusive",
            [priority(3, 0x8000_0001, 9), get(3, "/")].concat(),
            Serves(3),
        ),
        case("in HEADERS", prioritized(1, 0, 9), Serves(1)),
        case(
            "in HEADERS, exclusive",
            prioritized(5, 0x8000_0003, 255),
            Serves(5),
        ),
    ])
    .await;
    // RFC 7540 had a stream that depends on itself reset; RFC 9113 looks at none of this any more.
    let front = Front::start().await;
    for words in [
        prioritized(1, 1, 9),
        [post(1, "/"), priority(1, 1, 9), last_data(1, b"x")].concat(),
    ] {
        let mut client = Http2::hello(&front.proxy, "on itself").await;
        client.send(&words).await;
        let answer = client.answer(1).await;
        let is_read_over = answer.is_whole && answer.status == 200;
        assert!(
            is_read_over || answer.reset == Some(PROTOCOL_ERROR) || answer.status == 0,
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn no_more_streams_are_open_at_once_than_was_said() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "many").await;
    let most = client.settings[&MAX_CONCURRENT_STREAMS];
    let streams = (1..).step_by(2);
    for stream in streams.clone().take(most as usize) {
        client.send(&post(stream, "/")).await;
    }
    client.goes_on().await;
    until("all are up", || {
        front.reached.load(Ordering::SeqCst) == most as usize
    })
    .await;
    let late: Vec<u32> = streams.clone().skip(most as usize).take(20).collect();
    for stream in &late {
        client.send(&post(*stream, "/")).await;
        client.send(&last_data(*stream, b"late")).await;
    }
    for stream in &late {
        let reset = client.answer(*stream).await.reset;
        assert!(
            matches!(reset, Some(REFUSED_STREAM | PROTOCOL_ERROR)),
            "{reset:?}"
        );
    }
    // The others are as they were, and each that ends makes room for one.
    for stream in streams.take(most as usize) {
        client.send(&last_data(stream, b"x")).await;
    }
    for stream in (1..).step_by(2).take(most as usize) {
        assert_eq!(client.served(stream).await.text(), "x");
    }
    let next = 2 * (most + 20) + 1;
    client.send(&get(next, "/")).await;
    client.served(next).await;
    assert_eq!(front.reached.load(Ordering::SeqCst), most as usize + 1);
}

#[tokio::test]
async fn a_connection_carries_many_streams_one_after_another() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "one by one").await;
    for stream in (1..2_000).step_by(2) {
        client
            .send(&[post(stream, "/"), last_data(stream, b"x")].concat())
            .await;
        assert_eq!(client.served(stream).await.text(), "x");
    }
    client.goes_on().await;
}

//! Frames as they are and as they must not be (RFC 9113, sections 3.4, 4 and 6).

use super::frames::*;
use super::hpack::block;
use super::http2_cases::Verdict::{Breaks, Ignored, Resets, Serves};
use super::http2_cases::{Case, Front, case, check};
use super::http2_client::Http2;

/// A request's field block.
fn fields() -> Vec<u8> {
    block(&head("GET", "/"))
}

/// The frames, one behind the other.
fn all(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

#[tokio::test]
async fn the_preface_is_answered_with_settings() {
    let front = Front::start().await;
    let client = Http2::hello(&front.proxy, "preface").await;
    // What the rest of the tests takes for granted.
    assert!(client.settings.contains_key(&MAX_CONCURRENT_STREAMS));
    assert!(client.settings.contains_key(&MAX_HEADER_LIST_SIZE));
    assert_eq!(client.settings.get(&ENABLE_PUSH).unwrap_or(&0), &0);
    // A client need not wait for anything.
    let mut client = Http2::silent(&front.proxy, "all at once").await;
    let words = [PREFACE, &settings(&[]), &get(1, "/"), &get(3, "/")].concat();
    client.send(&words).await;
    client.served(3).await;
    client.served(1).await;
    // Byte by byte.
    let mut client = Http2::silent(&front.proxy, "byte by byte").await;
    for byte in words.chunks(1) {
        client.send(byte).await;
        tokio::task::yield_now().await;
    }
    client.served(1).await;
}

#[tokio::test]
async fn a_preface_that_is_none_ends_the_connection() {
    let front = Front::start().await;
    // Taken for another protocol, and refused there.
    let answer = front
        .proxy
        .converse(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx")
        .await;
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn what_is_unknown_is_ignored() {
    let mut cases = vec![
        case("kind", frame(0xfa, 0, 0, b"anything"), Ignored),
        case("kind on a stream", frame(0x16, 0xff, 1, &[0; 64]), Ignored),
        case(
            "flags of PING",
            frame(PING, 0xfe & !ACK, 0, &ping()[9..]),
            Ignored,
        ),
        case("flags of SETTINGS", frame(SETTINGS, 0xfe, 0, &[]), Ignored),
        case(
            "flags of WINDOW_UPDATE",
            frame(WINDOW_UPDATE, 0xff, 0, &[0, 0, 0, 1]),
            Ignored,
        ),
        case(
            "flags of HEADERS",
            frame(HEADERS, WHOLE | 0xd2 & !PRIORITIZED & !PADDED, 1, &fields()),
            Serves(1),
        ),
        case(
            "flags of DATA",
            all(&[post(1, "/"), frame(DATA, 0xf7, 1, b"x")]),
            Serves(1),
        ),
        case(
            "reserved bit of a stream",
            frame(PING, 0, 0x8000_0000, &ping()[9..]),
            Ignored,
        ),
        case(
            "reserved bit of a request's stream",
            frame(HEADERS, WHOLE, 0x8000_0001, &fields()),
            Serves(1),
        ),
        case(
            "reserved bit of an increment",
            frame(WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 1]),
            Ignored,
        ),
        case(
            "a setting",
            settings(&[(0xff, 1), (0, 7), (0xfa, 0)]),
            Ignored,
        ),
        case(
            "settings of extensions",
            settings(&[(8, 1), (9, 1)]),
            Ignored,
        ),
    ];
    let unknown = frame(0xfa, 0, 1, b"x");
    let within = all(&[
        post(1, "/"),
        unknown.clone(),
        data(1, b"a"),
        unknown,
        last_data(1, b"b"),
    ]);
    cases.push(case("between the frames of a stream", within, Serves(1)));
    let reasons = all(&[post(1, "/"), reset(1, 0xff), get(3, "/")]);
    cases.push(case("RST_STREAM for a reason", reasons, Serves(3)));
    check(cases).await;
}

#[tokio::test]
async fn lengths_of_frames_are_looked_at() {
    let odd = |kind, stream, sizes: &[usize]| -> Vec<Case> {
        let name = |size| format!("kind {kind} of {size} bytes");
        let each = sizes.iter();
        each.map(|&size| {
            let words = [post(1, "/"), frame(kind, 0, stream, &vec![0; size])].concat();
            case(&name(size), words, Breaks(&[FRAME_SIZE_ERROR]))
        })
        .collect()
    };
    let mut cases = Vec::new();
    cases.extend(odd(RST_STREAM, 1, &[0, 3, 5, 8]));
    cases.extend(odd(SETTINGS, 0, &[1, 3, 5, 7, 13]));
    cases.extend(odd(PING, 0, &[0, 6, 7, 9, 16]));
    cases.extend(odd(WINDOW_UPDATE, 0, &[0, 3, 5]));
    cases.extend(odd(WINDOW_UPDATE, 1, &[3, 5]));
    cases.extend(odd(GOAWAY, 0, &[0, 7]));
    let acknowledged = frame(SETTINGS, ACK, 0, &[0; 6]);
    cases.push(case(
        "an ACK of settings with some",
        acknowledged,
        Breaks(&[FRAME_SIZE_ERROR]),
    ));
    for size in [0, 4, 6] {
        let words = [post(1, "/"), frame(PRIORITY, 0, 1, &vec![0; size])].concat();
        cases.push(case("PRIORITY", words, Resets(1, &[FRAME_SIZE_ERROR])));
    }
    check(cases).await;
}

#[tokio::test]
async fn frames_may_be_as_large_as_was_said_and_no_larger() {
    const LARGEST: usize = 16_384;
    let large = vec![b'x'; LARGEST + 1];
    let filler = "x".repeat(LARGEST + 1);
    let too_large = block(&[&head("GET", "/")[..], &[("x", &filler)]].concat());
    check(vec![
        case(
            "DATA that just fits",
            all(&[post(1, "/"), last_data(1, &large[1..])]),
            Serves(1),
        ),
        case(
            "DATA",
            all(&[post(1, "/"), last_data(1, &large)]),
            Resets(1, &[FRAME_SIZE_ERROR]),
        ),
        case(
            "HEADERS",
            frame(HEADERS, WHOLE, 1, &too_large),
            Breaks(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "CONTINUATION",
            all(&[
                frame(HEADERS, END_STREAM, 1, &fields()),
                frame(CONTINUATION, END_HEADERS, 1, &large),
            ]),
            Breaks(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "SETTINGS",
            frame(SETTINGS, 0, 0, &vec![0; 16_386]),
            Breaks(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "what is unknown",
            frame(0xfa, 0, 0, &large),
            Breaks(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "a length that never comes",
            b"\xff\xff\xff\x01\x05\0\0\0\x01".to_vec(),
            Breaks(&[FRAME_SIZE_ERROR]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn frames_belong_to_a_stream_or_to_the_connection() {
    let protocol = Breaks(&[PROTOCOL_ERROR]);
    let mut cases = vec![
        case("DATA on 0", data(0, b"x"), protocol),
        case("HEADERS on 0", get(0, "/"), protocol),
        case("PRIORITY on 0", priority(0, 0, 1), protocol),
        case("RST_STREAM on 0", reset(0, CANCEL), protocol),
        case(
            "CONTINUATION on 0",
            all(&[
                frame(HEADERS, END_STREAM, 1, &fields()),
                frame(CONTINUATION, END_HEADERS, 0, &[]),
            ]),
            protocol,
        ),
    ];
    for (kind, size) in [(SETTINGS, 6), (PING, 8), (GOAWAY, 8)] {
        let words = all(&[post(1, "/"), frame(kind, 0, 1, &vec![0; size])]);
        cases.push(case(&format!("kind {kind} on a stream"), words, protocol));
    }
    // A client promises nothing.
    let promise = [&[0, 0, 0, 2], &fields()[..]].concat();
    let pushed = all(&[post(1, "/"), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)]);
    cases.push(case("PUSH_PROMISE", pushed, protocol));
    check(cases).await;
}

#[tokio::test]
async fn padding_is_taken_off_and_counted() {
    let padded =
        |text: &[u8], padding: u8, length: usize| [&[padding], text, &vec![0; length]].concat();
    let protocol = Breaks(&[PROTOCOL_ERROR]);
    let whole = WHOLE | PADDED;
    let with_priority = [&[3_u8, 0, 0, 0, 0, 15], &fields()[..], &[0; 3]].concat();
    let cases = vec![
        case(
            "HEADERS",
            frame(HEADERS, whole, 1, &padded(&fields(), 8, 8)),
            Serves(1),
        ),
        case(
            "HEADERS by nothing",
            frame(HEADERS, whole, 1, &padded(&fields(), 0, 0)),
            Serves(1),
        ),
        case(
            "and of a priority",
            frame(HEADERS, whole | PRIORITIZED, 1, &with_priority),
            Serves(1),
        ),
        case(
            "HEADERS and more than there is",
            frame(HEADERS, whole, 1, &padded(&fields(), 250, 0)),
            protocol,
        ),
        case(
            "HEADERS and not even how much",
            frame(HEADERS, whole, 1, &[]),
            Breaks(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        case(
            "a priority that breaks off",
            frame(HEADERS, WHOLE | PRIORITIZED, 1, &[0; 4]),
            Breaks(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        case(
            "DATA and more than there is",
            all(&[
                post(1, "/"),
                frame(DATA, PADDED | END_STREAM, 1, &padded(b"x", 2, 0)),
            ]),
            protocol,
        ),
        case(
            "DATA and just as much",
            all(&[
                post(1, "/"),
                frame(DATA, PADDED | END_STREAM, 1, &[6, 0, 0, 0, 0, 0]),
            ]),
            protocol,
        ),
        case(
            "DATA and not even how much",
            all(&[post(1, "/"), frame(DATA, PADDED | END_STREAM, 1, &[])]),
            Breaks(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
    ];
    let front = Front::start().await;
    front.check(cases).await;
    let mut client = Http2::hello(&front.proxy, "DATA").await;
    client.send(&post(1, "/")).await;
    for text in [b"one".as_slice(), b"", b" two"] {
        let payload = padded(text, 100, 100);
        client.send(&frame(DATA, PADDED, 1, &payload)).await;
    }
    client
        .send(&frame(
            DATA,
            PADDED | END_STREAM,
            1,
            &padded(b" three", 255, 255),
        ))
        .await;
    assert_eq!(client.served(1).await.text(), "one two three");
}

#[tokio::test]
async fn a_field_block_is_one_thing() {
    let protocol = Breaks(&[PROTOCOL_ERROR]);
    let begun = || frame(HEADERS, END_STREAM, 1, &fields());
    let rest = |flags, stream, name| frame(CONTINUATION, flags, stream, &block(&[(name, "1")]));
    let interrupted = [
        ("DATA", data(1, b"x")),
        ("HEADERS of another", get(3, "/")),
        ("HEADERS of the same", get(1, "/")),
        ("PRIORITY", priority(1, 0, 1)),
        ("RST_STREAM", reset(1, CANCEL)),
        ("SETTINGS", settings(&[])),
        ("PING", ping()),
        ("GOAWAY", goaway(0, NO_ERROR)),
        ("WINDOW_UPDATE", window(0, 1)),
        ("what is unknown", frame(0xfa, 0, 0, b"x")),
        ("CONTINUATION of another", rest(END_HEADERS, 3, "x")),
    ];
    let mut cases: Vec<Case> = interrupted
        .into_iter()
        .map(|(name, words)| {
            case(
                name,
                all(&[begun(), words, rest(END_HEADERS, 1, "x")]),
                protocol,
            )
        })
        .collect();
    cases.extend([
        case("one", all(&[begun(), rest(END_HEADERS, 1, "x")]), Serves(1)),
        case(
            "many",
            all(&[
                begun(),
                rest(0, 1, "x"),
                rest(0, 1, "y"),
                rest(END_HEADERS, 1, "z"),
            ]),
            Serves(1),
        ),
        case(
            "empty ones",
            all(&[
                begun(),
                frame(CONTINUATION, 0, 1, &[]),
                rest(END_HEADERS, 1, "z"),
            ]),
            Serves(1),
        ),
        case(
            "nothing at first",
            all(&[
                frame(HEADERS, END_STREAM, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, &fields()),
            ]),
            Serves(1),
        ),
        case(
            "after the end",
            all(&[get(1, "/"), rest(END_HEADERS, 1, "x")]),
            protocol,
        ),
        case(
            "after its own end",
            all(&[
                begun(),
                rest(END_HEADERS, 1, "x"),
                rest(END_HEADERS, 1, "y"),
            ]),
            protocol,
        ),
        case(
            "after DATA",
            all(&[post(1, "/"), data(1, b"x"), rest(END_HEADERS, 1, "x")]),
            protocol,
        ),
        case(
            "of trailers",
            all(&[
                post(1, "/"),
                data(1, b"x"),
                frame(HEADERS, END_STREAM, 1, &[]),
                rest(END_HEADERS, 1, "x"),
            ]),
            Serves(1),
        ),
    ]);
    // Torn anywhere, also within a field.
    let block = fields();
    for at in 1..block.len() {
        let (first, second) = block.split_at(at);
        let words = all(&[
            frame(HEADERS, END_STREAM, 1, first),
            frame(CONTINUATION, END_HEADERS, 1, second),
        ]);
        cases.push(case(&format!("torn at {at}"), words, Serves(1)));
    }
    check(cases).await;
}

#[tokio::test]
async fn pings_are_answered_once() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "ping").await;
    client.goes_on().await;
    // An answer to nothing is not answered.
    client.send(&frame(PING, ACK, 0, b"whatever")).await;
    client.goes_on().await;
    for _ in 0..20 {
        client.send(&ping()).await;
    }
    for _ in 0..20 {
        client.awaits(Event::Pong).await;
    }
    // Also while a request is under way.
    client.send(&post(1, "/")).await;
    client.goes_on().await;
    client.send(&last_data(1, b"x")).await;
    client.served(1).await;
}

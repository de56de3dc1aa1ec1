//! Settings and windows (RFC 9113, sections 5.2, 6.5 and 6.9): what is sent never exceeds what was allowed (the
//! client watches that by itself), and everything that was allowed is sent.

use http::{Request, Response};
use hyper::body::Incoming;

use super::frames::*;
use super::http2_cases::Verdict::{Breaks, Ignored, Resets, Serves};
use super::http2_cases::{Front, case, check};
use super::http2_client::Http2;
use super::support::{Proxy, full, route, upstream};

/// A proxy whose upstream answers with as many bytes as the path says.
async fn counting() -> Proxy {
    let server = upstream(|request: Request<Incoming>| async move {
        let size = request.uri().path()[1..].parse().unwrap();
        Response::new(full(vec![b'x'; size]))
    });
    Proxy::of(route(server.await))
}

impl Http2 {
    /// As much of a body as is allowed now has come, once a ping sent behind it is answered, so many bytes.
    async fn has(&mut self, stream: u32, bytes: usize) {
        while self.so_far(stream).body.len() < bytes {
            let event = self.event().await;
            assert_ne!(event, Event::Closed, "{bytes} bytes");
        }
        self.goes_on().await;
        assert_eq!(self.so_far(stream).body.len(), bytes);
    }
}

#[tokio::test]
async fn settings_have_bounds() {
    let say = |id, value| settings(&[(id, value)]);
    let then_get = |words: Vec<u8>| [words, get(1, "/")].concat();
    let (protocol, flow) = (Breaks(&[PROTOCOL_ERROR]), Breaks(&[FLOW_CONTROL_ERROR]));
    let mut cases = vec![
        case("push 2", say(ENABLE_PUSH, 2), protocol),
        case(
            "window above all",
            say(INITIAL_WINDOW_SIZE, WIDEST + 1),
            flow,
        ),
        case(
            "window of all bits",
            say(INITIAL_WINDOW_SIZE, u32::MAX),
            flow,
        ),
        case(
            "frames below the least",
            say(MAX_FRAME_SIZE, 16_383),
            protocol,
        ),
        case("frames of nothing", say(MAX_FRAME_SIZE, 0), protocol),
        case(
            "frames above the most",
            say(MAX_FRAME_SIZE, 1 << 24),
            protocol,
        ),
        case(
            "the second one is wrong",
            settings(&[(ENABLE_PUSH, 0), (ENABLE_PUSH, 7)]),
            protocol,
        ),
        case("none", settings(&[]), Ignored),
    ];
    for (id, value) in [
        (HEADER_TABLE_SIZE, 0),
        (HEADER_TABLE_SIZE, u32::MAX),
        (ENABLE_PUSH, 0),
        (ENABLE_PUSH, 1),
        (MAX_CONCURRENT_STREAMS, 0),
        (MAX_CONCURRENT_STREAMS, u32::MAX),
        (INITIAL_WINDOW_SIZE, 0),
        (INITIAL_WINDOW_SIZE, WIDEST),
        (MAX_FRAME_SIZE, 16_384),
        (MAX_FRAME_SIZE, (1 << 24) - 1),
        (MAX_HEADER_LIST_SIZE, u32::MAX),
    ] {
        let name = format!("setting {id} to {value}");
        cases.push(case(&name, then_get(say(id, value)), Serves(1)));
    }
    check(cases).await;
}

#[tokio::test]
async fn every_change_of_settings_is_acknowledged() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "settings").await;
    for turn in 0..50 {
        client
            .send(&settings(&[(INITIAL_WINDOW_SIZE, 1000 + turn)]))
            .await;
    }
    for _ in 0..50 {
        client.awaits(Event::Acknowledged).await;
    }
    client.goes_on().await;
}

#[tokio::test]
async fn increments_have_bounds() {
    let with = |words: Vec<u8>| [post(1, "/"), words].concat();
    let most = WIDEST - FIRST_WINDOW as u32;
    let flow = &[FLOW_CONTROL_ERROR];
    let wider = settings(&[(INITIAL_WINDOW_SIZE, FIRST_WINDOW as u32 + 1)]);
    check(vec![
        case("nothing", window(0, 0), Breaks(&[PROTOCOL_ERROR])),
        case(
            "nothing on a stream",
            with(window(1, 0)),
            Resets(1, &[PROTOCOL_ERROR]),
        ),
        case("too much", window(0, WIDEST), Breaks(flow)),
        case(
            "too much in two",
            [window(0, most), window(0, 1)].concat(),
            Breaks(flow),
        ),
        case(
            "too much on a stream",
            with(window(1, WIDEST)),
            Resets(1, flow),
        ),
        case(
            "too much on a stream in two",
            with([window(1, most), window(1, 1)].concat()),
            Resets(1, flow),
        ),
        case(
            "too much by settings",
            with([window(1, most), wider].concat()),
            Breaks(flow),
        ),
        case(
            "the most",
            [
                window(0, most),
                post(1, "/"),
                window(1, most),
                last_data(1, b"x"),
            ]
            .concat(),
            Serves(1),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_window_opens_byte_by_byte() {
    let proxy = counting().await;
    let mut client = Http2::with(&proxy, "slowly", &[(INITIAL_WINDOW_SIZE, 0)]).await;
    client.takes = false;
    client.send(&get(1, "/5")).await;
    client.awaits(Event::Head(1)).await;
    client.has(1, 0).await;
    for bytes in 1..=5 {
        client.send(&window(1, 1)).await;
        client.has(1, bytes).await;
    }
    assert_eq!(client.served(1).await.text(), "xxxxx");
    // One byte is a window too.
    let mut client = Http2::with(&proxy, "one", &[(INITIAL_WINDOW_SIZE, 1)]).await;
    client.send(&get(1, "/100")).await;
    let answer = client.served(1).await;
    assert_eq!(answer.body.len(), 100);
    assert!(answer.pieces.iter().all(|&piece| piece <= 1));
}

#[tokio::test]
async fn the_last_of_several_settings_holds() {
    let proxy = counting().await;
    let several = [(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)];
    let mut client = Http2::with(&proxy, "several", &several).await;
    client.takes = false;
    client.send(&get(1, "/200")).await;
    client.has(1, 1).await;
}

#[tokio::test]
async fn open_windows_change_with_the_settings() {
    let proxy = counting().await;
    let size = |bytes| settings(&[(INITIAL_WINDOW_SIZE, bytes)]);
    let mut client = Http2::with(&proxy, "change", &[(INITIAL_WINDOW_SIZE, 0)]).await;
    client.takes = false;
    client.send(&get(1, "/60")).await;
    client.has(1, 0).await;
    client.send(&size(10)).await;
    client.has(1, 10).await;
    client.send(&size(25)).await;
    client.has(1, 25).await;
    // Below nothing: 22 less than was sent already.
    client.send(&size(3)).await;
    client.awaits(Event::Acknowledged).await;
    client.send(&window(1, 21)).await;
    client.has(1, 25).await;
    client.send(&window(1, 1)).await;
    client.has(1, 25).await;
    client.send(&window(1, 1)).await;
    client.has(1, 26).await;
    client.send(&size(0)).await;
    client.awaits(Event::Acknowledged).await;
    client.send(&size(4)).await;
    client.has(1, 27).await;
    // A new stream begins with what holds now.
    client.send(&get(3, "/60")).await;
    client.has(3, 4).await;
    client.send(&window(1, 100)).await;
    assert_eq!(client.served(1).await.body.len(), 60);
    client.send(&size(60)).await;
    assert_eq!(client.served(3).await.body.len(), 60);
}

#[tokio::test]
async fn the_connections_window_bounds_all_streams() {
    let proxy = counting().await;
    let wide = [(INITIAL_WINDOW_SIZE, 1_000_000)];
    let mut client = Http2::with(&proxy, "connection", &wide).await;
    client.takes = false;
    for stream in [1, 3, 5] {
        client.send(&get(stream, "/50000")).await;
    }
    let all = |client: &Http2| {
        let each = [1, 3, 5].into_iter();
        each.map(|stream| client.so_far(stream).body.len())
            .sum::<usize>()
    };
    while all(&client) < FIRST_WINDOW as usize {
        client.event().await;
    }
    client.goes_on().await;
    assert_eq!(all(&client), FIRST_WINDOW as usize);
    // What needs no window is served, and so is all once there is some.
    client.send(&get(7, "/0")).await;
    client.served(7).await;
    client.send(&window(0, 1)).await;
    while all(&client) < FIRST_WINDOW as usize + 1 {
        client.event().await;
    }
    client.send(&window(0, 1_000_000)).await;
    for stream in [5, 3, 1] {
        assert_eq!(client.served(stream).await.body.len(), 50_000);
    }
    // Nothing was lost of the account.
    client.takes = true;
    client.send(&get(9, "/900000")).await;
    assert_eq!(client.served(9).await.body.len(), 900_000);
}

#[tokio::test]
async fn streams_that_are_reset_give_back_what_they_did_not_use() {
    let proxy = counting().await;
    let mut client = Http2::with(&proxy, "given back", &[(INITIAL_WINDOW_SIZE, 1000)]).await;
    client.takes = false;
    // Each used 1,000 of the connection's 65,535, and waits for more.
    for stream in (1..).step_by(2).take(50) {
        client.send(&get(stream, "/5000")).await;
        client.has(stream, 1000).await;
        client.send(&reset(stream, CANCEL)).await;
    }
    client
        .send(&[get(201, "/15535"), window(201, 20_000)].concat())
        .await;
    client.send(&window(0, 1)).await;
    assert_eq!(client.answer(201).await.body.len(), 15_535);
}

#[tokio::test]
async fn who_takes_nothing_of_one_stream_gets_the_others() {
    let proxy = counting().await;
    let narrow = [(INITIAL_WINDOW_SIZE, 100)];
    let mut client = Http2::with(&proxy, "stuck", &narrow).await;
    client.takes = false;
    let stuck = || (1..).step_by(2).take(50);
    for stream in stuck() {
        client.send(&get(stream, "/100000")).await;
    }
    for stream in stuck() {
        client.has(stream, 100).await;
    }
    for stream in (101..).step_by(2).take(20) {
        client
            .send(&[get(stream, "/1000"), window(stream, 900)].concat())
            .await;
        assert_eq!(client.served(stream).await.body.len(), 1000);
    }
    client.takes = true;
    client.send(&window(1, 100_000)).await;
    assert_eq!(client.served(1).await.body.len(), 100_000);
}

#[tokio::test]
async fn streams_share_a_narrow_connection() {
    let proxy = counting().await;
    let wide = [(INITIAL_WINDOW_SIZE, WIDEST)];
    let mut client = Http2::with(&proxy, "fair", &wide).await;
    client.takes = false;
    let streams = [1, 3, 5, 7];
    for stream in streams {
        client.send(&get(stream, "/10000000")).await;
    }
    let mut bytes = FIRST_WINDOW as usize;
    for _ in 0..100 {
        while streams
            .map(|stream| client.so_far(stream).body.len())
            .iter()
            .sum::<usize>()
            < bytes
        {
            client.event().await;
        }
        client.send(&window(0, 20_000)).await;
        bytes += 20_000;
    }
    for stream in streams {
        let share = client.so_far(stream).body.len();
        assert!(share * 4 > bytes / 4, "{share} of {bytes} for {stream}");
    }
}

#[tokio::test]
async fn frames_are_as_large_as_the_client_wants_them_at_most() {
    let proxy = counting().await;
    let large = |size| settings(&[(MAX_FRAME_SIZE, size)]);
    let first = [(INITIAL_WINDOW_SIZE, WIDEST), (MAX_FRAME_SIZE, 100_000)];
    let mut client = Http2::with(&proxy, "frames", &first).await;
    client.send(&window(0, 100_000_000)).await;
    for (turn, size) in [16_384, 1 << 20, 20_000, 16_384].into_iter().enumerate() {
        let stream = 2 * turn as u32 + 1;
        client.send(&get(stream, "/4000000")).await;
        client.has_begun(stream).await;
        // In mid-stream; from the acknowledgement on nothing is larger.
        client.send(&large(size)).await;
        assert_eq!(client.served(stream).await.body.len(), 4_000_000);
    }
}

impl Http2 {
    async fn has_begun(&mut self, stream: u32) {
        while self.so_far(stream).body.is_empty() {
            self.event().await;
        }
    }
}

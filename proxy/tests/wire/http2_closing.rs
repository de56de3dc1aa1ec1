//! How connections and streams end: clients that leave in any phase, clients that wait, and our own leaving.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::frames::*;
use super::hpack::block;
use super::http2_cases::Front;
use super::http2_client::Http2;
use super::support::{
    DEADLINE, Proxy, config, raw_upstream, read_head, refusing, rollout, route, until, within,
};

/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(100);

/// An upstream whose connections the test serves: each request's path, and the connection it came on.
async fn handed() -> (SocketAddr, mpsc::UnboundedReceiver<(String, TcpStream)>) {
    let (hand, handed) = mpsc::unbounded_channel();
    let address = raw_upstream(move |mut stream| {
        let hand = hand.clone();
        async move {
            let head = read_head(&mut stream).await;
            if let Some(path) = head.split(' ').nth(1) {
                let _ = hand.send((path.to_owned(), stream));
            }
        }
    });
    (address.await, handed)
}

fn one_worker(server: SocketAddr, other: SocketAddr) -> serin_config::model::Config {
    let mut config = config(vec![rollout(server, other)]);
    config.workers = NonZeroUsize::new(1);
    config
}

/// Leaves in each phase of an exchange, then asks again: nothing that was left over is taken for an answer, and the
/// arm is not blamed.
#[tokio::test]
async fn who_resets_in_any_phase_harms_nobody() {
    let server = raw_upstream(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let Some(path) = head.split(' ').nth(1) else {
                return;
            };
            let answer = match path {
                // Never.
                "/before" | "/upload" => {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    return;
                }
                "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n".to_owned(),
                "/body" => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc".to_owned(),
                "/chunk" => {
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".to_owned()
                }
                path => format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}",
                    path.len()
                ),
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let proxy = Proxy::start(one_worker(server.await, refusing().await), 0.0);
    let mut client = Http2::hello(&proxy, "leaving").await;
    let mut stream = 1;
    let phases = ["/before", "/upload", "/head", "/body", "/chunk"];
    for phase in phases {
        for code in [CANCEL, NO_ERROR] {
            if phase == "/upload" {
                client
                    .send(&[post(stream, phase), data(stream, b"some")].concat())
                    .await;
            } else {
                client.send(&get(stream, phase)).await;
            }
            match phase {
                "/before" | "/upload" => until("in flight", || proxy.plane.in_flight() == 1).await,
                "/head" => client.awaits(Event::Head(stream)).await,
                _ => client.awaits(Event::Data(stream, 3)).await,
            }
            client.send(&reset(stream, code)).await;
            until("the end", || proxy.plane.in_flight() == 0).await;
            for at in 0..3 {
                stream += 2;
                let path = format!("/{stream}-{at}");
                client.send(&get(stream, &path)).await;
                assert_eq!(client.served(stream).await.text(), path, "after {phase}");
            }
            stream += 2;
        }
    }
    let left = 2 * phases.len() as u64;
    let counts = proxy.counts(4 * left).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), left);
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 3 * left);
    // Whole connections that go in mid-exchange.
    for phase in phases {
        let mut client = Http2::hello(&proxy, "gone").await;
        client.send(&get(1, phase)).await;
        until("in flight", || proxy.plane.in_flight() == 1).await;
        drop(client);
        until("the end", || proxy.plane.in_flight() == 0).await;
    }
    let counts = proxy.counts(4 * left + 5).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), left + 5);
}

#[tokio::test]
async fn who_resets_an_upload_leaves_the_http2_upstreams_connection_alone() {
    let front = Front::start().await;
    let address = front.proxy.address;
    // Another proxy before this one: its upstream speaks HTTP/2.
    let mut before = rollout(address, refusing().await);
    before.baseline.protocol = Protocol::Http2;
    let mut config = config(vec![before]);
    config.workers = NonZeroUsize::new(1);
    let proxy = Proxy::start(config, 0.0);
    let mut client = Http2::hello(&proxy, "two hops").await;
    for turn in 0..20 {
        let stream = 4 * turn + 1;
        client
            .send(&[post(stream, "/"), data(stream, b"some")].concat())
            .await;
        until("in flight", || front.proxy.plane.in_flight() == 1).await;
        client.send(&reset(stream, CANCEL)).await;
        until("the end", || front.proxy.plane.in_flight() == 0).await;
        client
            .send(&[post(stream + 2, "/"), last_data(stream + 2, b"all")].concat())
            .await;
        assert_eq!(client.served(stream + 2).await.text(), "all");
        assert_eq!(front.proxy.plane.connections(), 1);
    }
    let counts = proxy.counts(40).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 20);
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 20);
}

#[tokio::test]
async fn who_says_goodbye_gets_what_is_under_way() {
    let front = Front::start().await;
    for code in [NO_ERROR, 0xff] {
        let mut client = Http2::hello(&front.proxy, "goodbye").await;
        client
            .send(&[post(1, "/"), data(1, b"some")].concat())
            .await;
        client.send(&goaway(0, code)).await;
        client.send(&last_data(1, b" more")).await;
        let answer = client.answer(1).await;
        if code == NO_ERROR {
            assert_eq!((answer.status, answer.text()), (200, "some more"));
        }
        drop(client);
    }
    until("gone", || front.proxy.plane.connections() == 0).await;
    assert_eq!(front.proxy.plane.in_flight(), 0);
}

#[tokio::test]
async fn a_drain_says_goodbye_and_finishes_what_is_under_way() {
    let (server, mut requests) = handed().await;
    let proxy = Proxy::start(config(vec![route(server)]), 0.0);
    let mut client = Http2::hello(&proxy, "drain").await;
    let mut idle = Http2::hello(&proxy, "idle").await;
    client.send(&[get(1, "/1"), get(3, "/3")].concat()).await;
    let mut first = within("a request", requests.recv()).await.unwrap();
    let mut second = within("a request", requests.recv()).await.unwrap();
    let plane = proxy.plane.clone();
    let drain = tokio::spawn(async move { plane.drain(DEADLINE).await });
    // Who has nothing under way is shown out at once.
    idle.breaks(&[NO_ERROR]).await;
    let last = loop {
        match client.event().await {
            Event::GoAway(last, NO_ERROR) => break last,
            Event::GoAway(_, code) => panic!("GOAWAY {code}"),
            Event::Closed => panic!("closed"),
            _ => {}
        }
    };
    assert!(last >= 3);
    for (path, stream) in [&mut first, &mut second] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{path}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    assert_eq!(client.served(1).await.text(), "/1");
    assert_eq!(client.served(3).await.text(), "/3");
    client.breaks(&[NO_ERROR]).await;
    let drained = within("drain", drain).await.unwrap();
    assert!(drained.finished);
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn what_comes_after_the_goodbye_is_refused_or_served_but_never_lost() {
    let (server, mut requests) = handed().await;
    let proxy = Proxy::start(config(vec![route(server)]), 0.0);
    let mut client = Http2::hello(&proxy, "late").await;
    client.send(&get(1, "/1")).await;
    let (_, mut upstream) = within("a request", requests.recv()).await.unwrap();
    let plane = proxy.plane.clone();
    let drain = tokio::spawn(async move { plane.drain(DEADLINE).await });
    let mut last = u32::MAX;
    while last == u32::MAX {
        if let Event::GoAway(said, _) = client.event().await {
            last = said;
        }
    }
    // Everything that was on its way has been heard by now: the last number is final.
    for _ in 0..2 {
        client.send(&ping()).await;
        loop {
            match client.event().await {
                Event::Pong => break,
                Event::GoAway(said, NO_ERROR) => last = said,
                other => panic!("{other:?}"),
            }
        }
    }
    client.send(&get(3, "/3")).await;
    client.send(&ping()).await;
    client.awaits(Event::Pong).await;
    let late = client.so_far(3);
    if last < 3 {
        assert_eq!(late.status, 0, "{late:?}");
        assert!(
            matches!(late.reset, None | Some(REFUSED_STREAM)),
            "{late:?}"
        );
        assert!(requests.is_empty());
    } else {
        let (_, mut third) = within("the late request", requests.recv()).await.unwrap();
        third
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        client.served(3).await;
    }
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    client.served(1).await;
    client.breaks(&[NO_ERROR]).await;
    assert!(within("drain", drain).await.unwrap().finished);
}

#[tokio::test]
async fn a_drain_that_is_over_cuts() {
    let (server, mut requests) = handed().await;
    let proxy = Proxy::start(config(vec![route(server)]), 0.0);
    let mut client = Http2::hello(&proxy, "cut").await;
    client.send(&get(1, "/")).await;
    let _request = within("a request", requests.recv()).await.unwrap();
    let drained = proxy.plane.drain(SHORT).await;
    assert_eq!((drained.finished, drained.cut), (false, 1));
    let answer = client.answer(1).await;
    assert!(!answer.is_whole, "{answer:?}");
    assert_eq!(proxy.plane.connections(), 0);
}

/// An impatient proxy, whose upstream answers at once.
async fn impatient() -> Proxy {
    let server = raw_upstream(|mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
        }
    });
    let mut config = config(vec![rollout(server.await, refusing().await)]);
    config.limits.idle_timeout = 2 * SHORT;
    config.limits.header_timeout = 2 * SHORT;
    Proxy::start(config, 0.0)
}

#[tokio::test]
async fn who_asks_for_nothing_is_shown_out() {
    let proxy = impatient().await;
    let mut client = Http2::hello(&proxy, "idle").await;
    client.breaks(&[NO_ERROR]).await;
    // After a request too, and pings are no requests.
    let mut client = Http2::hello(&proxy, "idle, with pings").await;
    client.send(&get(1, "/")).await;
    client.served(1).await;
    let begun = std::time::Instant::now();
    loop {
        client.send(&ping()).await;
        match client.event().await {
            Event::Closed => break,
            _ => assert!(begun.elapsed() < DEADLINE, "pings keep it open"),
        }
        tokio::time::sleep(SHORT / 10).await;
    }
    // A head that doesn't end, and a preface that doesn't.
    let mut client = Http2::hello(&proxy, "half a head").await;
    client
        .send(&frame(HEADERS, END_STREAM, 1, &block(&head("GET", "/"))))
        .await;
    while client.event().await != Event::Closed {}
    for words in [
        &PREFACE[..10],
        PREFACE,
        &[PREFACE, &settings(&[])[..5]].concat(),
    ] {
        let mut client = Http2::silent(&proxy, "half a preface").await;
        client.send(words).await;
        while client.event().await != Event::Closed {}
    }
    until("gone", || proxy.plane.connections() == 0).await;
}

#[tokio::test]
async fn who_waits_for_the_upstream_is_not_idle() {
    let server = raw_upstream(|mut stream| async move {
        read_head(&mut stream).await;
        tokio::time::sleep(6 * SHORT).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        stream.write_all(answer).await.unwrap();
    });
    let mut config = config(vec![route(server.await)]);
    config.limits.idle_timeout = 2 * SHORT;
    let proxy = Proxy::start(config, 0.0);
    let mut client = Http2::hello(&proxy, "waits").await;
    client.send(&get(1, "/")).await;
    assert_eq!(client.served(1).await.text(), "hello");
}

#[tokio::test]
async fn a_window_of_nothing_holds_nothing_for_long() {
    let proxy = impatient().await;
    let none = [(INITIAL_WINDOW_SIZE, 0)];
    let mut client = Http2::with(&proxy, "no window", &none).await;
    client.send(&[get(1, "/"), get(3, "/")].concat()).await;
    client.awaits(Event::Head(1)).await;
    until("given up", || proxy.plane.in_flight() == 0).await;
    // A stream that is not stuck goes on meanwhile.
    let counts = proxy.counts(2).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 0);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_and_the_arm_not_blamed() {
    let server = raw_upstream(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let mut config = config(vec![rollout(server.await, refusing().await)]);
    config.limits.body_timeout = SHORT;
    let proxy = Proxy::start(config, 0.0);
    let mut client = Http2::hello(&proxy, "stalls").await;
    client
        .send(&[post(1, "/"), data(1, b"some")].concat())
        .await;
    let answer = client.answer(1).await;
    assert!(answer.status == 408 || answer.reset.is_some(), "{answer:?}");
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Aborted), 1);
    client.send(&ping()).await;
    client.awaits(Event::Pong).await;
}

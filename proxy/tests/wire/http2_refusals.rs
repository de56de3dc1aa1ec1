//! HTTP/2 upstreams that say of a request that they did nothing about it: it is asked again, whatever its method and
//! with its whole body; and no more often than the policy says.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use serin_config::model::Protocol;
use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::both_paths::Over;
use super::frames::*;
use super::hpack::block;
use super::http2_client::Http2;
use super::http2_upstreams::{front, greet, hearing};
use super::support::{Proxy, config, full, get, raw_upstream, read_head, route, until, within};

/// How a request is turned away.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// By a reset of its stream.
    Reset,
    /// By a farewell that does not include it; the connection is closed by whoever likes to.
    Farewell,
    /// By one that blames us.
    Blame,
}

const WAYS: [Away; 3] = [Away::Reset, Away::Farewell, Away::Blame];

/// The streams of the requests so far and their bodies, each as far as it came.
type Requests = Vec<(u32, Vec<u8>)>;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Requests>>);

impl Heard {
    fn bodies(&self) -> Vec<Vec<u8>> {
        let heard = self.0.lock().unwrap();
        heard.iter().map(|(_, body)| body.clone()).collect()
    }

    fn last(&self) -> Vec<u8> {
        self.bodies().pop().unwrap_or_default()
    }

    /// Takes a frame in; how many requests have begun.
    fn hear(&self, kind: u8, id: u32, payload: &[u8]) -> usize {
        let mut heard = self.0.lock().unwrap();
        match kind {
            HEADERS => heard.push((id, Vec::new())),
            DATA => {
                let request = heard.iter_mut().rfind(|(one, _)| *one == id);
                request.unwrap().1.extend_from_slice(payload);
            }
            _ => {}
        }
        heard.len()
    }
}

/// Turns these requests away, by their number from 1, as their heads come; answers the others when they have ended.
async fn turning_away(how: Away, whom: fn(usize) -> bool) -> (SocketAddr, Heard) {
    let heard = Heard::default();
    let hears = heard.clone();
    let answer = move |kind, flags, id: u32, payload: &[u8]| {
        let number = hears.hear(kind, id, payload);
        let ends = flags & END_STREAM != 0;
        match kind {
            HEADERS if whom(number) => match how {
                Away::Reset => reset(id, REFUSED_STREAM),
                Away::Farewell => goaway(id.saturating_sub(2), NO_ERROR),
                Away::Blame => goaway(id.saturating_sub(2), ENHANCE_YOUR_CALM),
            },
            HEADERS | DATA if ends && !whom(number) => {
                frame(HEADERS, WHOLE, id, &block(&[(":status", "200")]))
            }
            _ => Vec::new(),
        }
    };
    (hearing(answer).await, heard)
}

async fn is_served(proxy: &Proxy, name: &str) {
    let mut http2 = Http2::hello(proxy, name).await;
    http2.send(&ask(1, END_STREAM, "GET", &[])).await;
    assert_eq!(http2.served(1).await.status, 200, "{name}");
}

#[tokio::test]
async fn it_is_asked_again_whatever_it_was() {
    for how in WAYS {
        for method in ["GET", "POST", "PATCH"] {
            for body in ["", "abc"] {
                let name = format!("{how:?}, {method}, {body:?}");
                let (server, heard) = turning_away(how, |number| number == 2).await;
                let proxy = front(server, Over::Http2).await;
                is_served(&proxy, &name).await;
                let mut http2 = Http2::hello(&proxy, &name).await;
                let words = match body {
                    "" => ask(1, END_STREAM, method, &[]),
                    body => [ask(1, 0, method, &[]), last_data(1, body.as_bytes())].concat(),
                };
                http2.send(&words).await;
                assert_eq!(http2.served(1).await.status, 200, "{name}");
                http2.goes_on().await;
                assert_eq!(heard.last(), body.as_bytes(), "{name}");
                assert_eq!(heard.bodies().len(), 3, "{name}");
                let counts = proxy.counts(2).await;
                assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 2, "{name}");
            }
        }
    }
}

/// The first half was sent, and is sent again; the second comes when the second sending is under way.
#[tokio::test]
async fn a_body_that_still_comes_goes_on_where_it_was() {
    for how in WAYS {
        for (size, over) in [
            (3, Over::Http1),
            (3, Over::Http2),
            (20_000, Over::Http1),
            (20_000, Over::Http2),
        ] {
            let name = format!("{how:?}, {size}, {over:?}");
            let (server, heard) = turning_away(how, |number| number == 2).await;
            let proxy = front(server, Over::Http2).await;
            is_served(&proxy, &name).await;
            let (first, second) = (vec![b'a'; size], vec![b'b'; size]);
            let again = {
                let (heard, first) = (heard.clone(), first.clone());
                move || heard.bodies().get(2) == Some(&first)
            };
            match over {
                Over::Http1 => {
                    let mut stream = proxy.connect().await;
                    let head = format!(
                        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
                        2 * size
                    );
                    let words = [head.as_bytes(), &first].concat();
                    stream.write_all(&words).await.unwrap();
                    until(&name, again).await;
                    stream.write_all(&second).await.unwrap();
                    let head = within(&name, read_head(&mut stream)).await;
                    assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
                }
                Over::Http2 => {
                    let mut http2 = Http2::hello(&proxy, &name).await;
                    let length = (2 * size).to_string();
                    let head = ask(1, 0, "POST", &[("content-length", &length)]);
                    let pieces = first.chunks(16_384).flat_map(|piece| data(1, piece));
                    let words = head.into_iter().chain(pieces).collect::<Vec<_>>();
                    http2.send(&words).await;
                    until(&name, again).await;
                    let (last, pieces) = second.split_last().unwrap();
                    let pieces = pieces.chunks(16_384).flat_map(|piece| data(1, piece));
                    let words = pieces.chain(last_data(1, &[*last])).collect::<Vec<_>>();
                    http2.send(&words).await;
                    assert_eq!(http2.served(1).await.status, 200, "{name}");
                    http2.goes_on().await;
                }
            }
            assert_eq!(heard.last(), [first, second].concat(), "{name}");
            let counts = proxy.counts(2).await;
            assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 2, "{name}");
        }
    }
}

/// As much as an upstream takes unseen can be sent again, whatever is behind it.
#[tokio::test]
async fn a_body_of_any_size_is_sent_again_while_nothing_of_it_was_taken() {
    const FULL: usize = FIRST_WINDOW as usize;
    let heard = Heard::default();
    let hears = heard.clone();
    let answer = move |kind, flags, id: u32, payload: &[u8]| {
        let number = hears.hear(kind, id, payload);
        let size = u32::try_from(payload.len()).unwrap();
        match (kind, number) {
            (DATA, 1) if hears.last().len() == FULL => {
                [reset(id, REFUSED_STREAM), window(0, WIDEST / 2)].concat()
            }
            (DATA, 2) if flags & END_STREAM != 0 => {
                frame(HEADERS, WHOLE, id, &block(&[(":status", "200")]))
            }
            (DATA, 2) => window(id, size),
            _ => Vec::new(),
        }
    };
    let server = hearing(answer).await;
    let proxy = front(server, Over::Http2).await;
    let body: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
    let mut stream = proxy.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    within("the upload", stream.write_all(&body)).await.unwrap();
    let head = within("the answer", read_head(&mut stream)).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(heard.bodies().len(), 2);
    assert!(heard.last() == body);
}

/// A server is not asked for more streams than it takes, also before it has said how many these are: it would refuse
/// them, and what we made it refuse would count as its failures.
#[tokio::test]
async fn a_burst_waits_for_its_turn() {
    const MOST: u32 = 10;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A moment before its first words.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let service = hyper::service::service_fn(|_| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok::<_, std::convert::Infallible>(http::Response::new(full("x")))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(MOST)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    let mut plain = route(address);
    plain.baseline.protocol = Protocol::Http2;
    plain.retries.attempts = 0;
    let mut one_worker = config(vec![plain]);
    one_worker.workers = NonZeroUsize::new(1);
    let proxy = Proxy::start(one_worker, 0.0);
    for round in 0..3 {
        let many = (0..80).map(|_| proxy.ask(get("/")));
        for response in futures_util::future::join_all(many).await {
            assert_eq!(response.status(), 200, "round {round}");
        }
    }
}

/// A server that turns everything away is asked once more for that, and then as often as the policy says.
#[tokio::test]
async fn nobody_is_asked_for_ever() {
    for how in WAYS {
        let (server, heard) = turning_away(how, |_| true).await;
        let proxy = front(server, Over::Http2).await;
        let mut http2 = Http2::hello(&proxy, "turned away").await;
        http2
            .send(&[ask(1, 0, "POST", &[]), last_data(1, b"abc")].concat())
            .await;
        assert_eq!(http2.answer(1).await.status, 502, "{how:?}");
        http2.goes_on().await;
        assert_eq!(heard.bodies().len(), 3, "{how:?}");
        let counts = proxy.counts(1).await;
        assert_eq!(counts.of(Arm::Baseline, Outcome::Error), 1, "{how:?}");
    }
}

/// What may have been begun is not asked twice: the farewell includes it, and then the connection ends.
#[tokio::test]
async fn what_the_farewell_includes_is_not_sent_again() {
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let server = raw_upstream(move |mut stream| {
            let count = Arc::clone(&count);
            async move {
                greet(&mut stream).await;
                count.fetch_add(1, Relaxed);
                stream.write_all(&goaway(1, code)).await.unwrap();
            }
        })
        .await;
        let proxy = front(server, Over::Http2).await;
        let mut http2 = Http2::hello(&proxy, "included").await;
        http2
            .send(&[ask(1, 0, "POST", &[]), last_data(1, b"abc")].concat())
            .await;
        assert_eq!(http2.answer(1).await.status, 502, "{code}");
        http2.goes_on().await;
        assert_eq!(asked.load(Relaxed), 1, "{code}");
    }
}

//! Switching protocols: only where the route allows it, and not a byte before the upstream agreed.

use std::time::Duration;

use serin_stats::snapshot::{Arm, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::support::{
    Proxy, config, raw_upstream, read_head, refusing, rollout, route, until, within,
};

const WISH: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, x-hop\r\nupgrade: websocket\r\n\
    sec-websocket-key: abc\r\nx-hop: 1\r\n\r\n";
const AGREED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: xyz\r\n\r\n";

/// What the upstream was asked, and what makes it answer.
type Asked = (String, oneshot::Sender<&'static [u8]>);

/// Shows each head, answers with what it is told, and echoes what follows.
async fn echo() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Asked>) {
    let (show, shown) = mpsc::unbounded_channel();
    let address = raw_upstream(move |mut stream| {
        let show = show.clone();
        async move {
            let head = read_head(&mut stream).await;
            let (answer, answered) = oneshot::channel();
            show.send((head, answer)).unwrap();
            let mut early = [0; 16];
            tokio::select! {
                read = stream.read(&mut early) => panic!("{read:?} bytes before the answer"),
                answer = answered => {
                    let Ok(answer) = answer else { return };
                    stream.write_all(answer).await.unwrap();
                }
            }
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    (address.await, shown)
}

fn allowing(mut route: serin_config::model::Route) -> Proxy {
    route.upgrade = vec!["websocket".to_owned()];
    Proxy::start(config(vec![route]), 0.0)
}

#[tokio::test]
async fn a_tunnel_opens_when_the_upstream_agrees() {
    let (server, mut asked) = echo().await;
    let proxy = allowing(rollout(server, refusing().await));
    let mut client = proxy.connect().await;
    // Eager: the first frame comes with the wish.
    client.write_all(WISH.as_bytes()).await.unwrap();
    client.write_all(b"early").await.unwrap();
    let (head, answer) = within("the wish", asked.recv()).await.unwrap();
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n"), "{head}");
    assert!(head.contains("sec-websocket-key: abc\r\n"), "{head}");
    assert!(!head.contains("x-hop"), "{head}");
    answer.send(AGREED).unwrap();
    let head = within("the 101", read_head(&mut client)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: xyz\r\n"), "{head}");
    assert!(head.contains("x-serin-arm: baseline\r\n"), "{head}");
    let mut echoed = [0; 5];
    within("an echo", client.read_exact(&mut echoed))
        .await
        .unwrap();
    assert_eq!(&echoed, b"early");
    for round in 0..20_u8 {
        client.write_all(&[round; 1000]).await.unwrap();
        let mut echoed = [0; 1000];
        within("an echo", client.read_exact(&mut echoed))
            .await
            .unwrap();
        assert_eq!(echoed, [round; 1000]);
    }
    // One end is done: the other is told, and what is on its way arrives.
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", client.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, b"last");
    until("the end", || proxy.plane.connections() == 0).await;
    let counts = proxy.counts(1).await;
    assert_eq!(counts.of(Arm::Baseline, Outcome::Success), 1);
}

#[tokio::test]
async fn without_leave_the_wish_is_not_passed_on() {
    let (server, mut asked) = echo().await;
    // None at all, or for something else.
    let other = WISH.replace("upgrade: websocket", "upgrade: h2c");
    for (proxy, wish) in [
        (Proxy::of(route(server)), WISH.to_owned()),
        (allowing(route(server)), other),
    ] {
        let mut client = proxy.connect().await;
        client.write_all(wish.as_bytes()).await.unwrap();
        let (head, answer) = within("the request", asked.recv()).await.unwrap();
        assert!(!head.contains("upgrade"), "{head}");
        answer
            .send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        let head = within("an answer", read_head(&mut client)).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}

#[tokio::test]
async fn an_upstream_that_declines_answers_as_ever() {
    let (server, mut asked) = echo().await;
    let proxy = allowing(route(server));
    let mut client = proxy.connect().await;
    client.write_all(WISH.as_bytes()).await.unwrap();
    let (_, answer) = within("the wish", asked.recv()).await.unwrap();
    answer
        .send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        .unwrap();
    let head = within("an answer", read_head(&mut client)).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let mut body = [0; 2];
    within("a body", client.read_exact(&mut body))
        .await
        .unwrap();
    assert_eq!(&body, b"no");
}

#[tokio::test]
async fn an_upstream_that_switches_to_something_else_is_a_bad_gateway() {
    let (server, mut asked) = echo().await;
    let proxy = allowing(route(server));
    let mut client = proxy.connect().await;
    client.write_all(WISH.as_bytes()).await.unwrap();
    let (_, answer) = within("the wish", asked.recv()).await.unwrap();
    answer
        .send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
        .unwrap();
    let head = within("an answer", read_head(&mut client)).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let (server, mut asked) = echo().await;
    let mut idle = route(server);
    idle.timeouts.idle = Duration::from_millis(100);
    let proxy = allowing(idle);
    let mut client = proxy.connect().await;
    client.write_all(WISH.as_bytes()).await.unwrap();
    let (_, answer) = within("the wish", asked.recv()).await.unwrap();
    answer.send(AGREED).unwrap();
    within("the 101", read_head(&mut client)).await;
    let mut rest = Vec::new();
    within("the end", client.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(rest.is_empty());
    until("the end", || proxy.plane.connections() == 0).await;
}

//! Answers (RFC 9113, section 8): with and without a body, early and late, large and small.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frames::*;
use super::hpack::block;
use super::http2_client::Http2;
use super::support::{Proxy, raw_upstream, read_head, route, within};

/// A proxy whose upstream says to each request what the path names.
async fn dictated(words: &'static [(&'static str, &'static str)]) -> Proxy {
    let server = raw_upstream(move |mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let Some(path) = head.split(' ').nth(1) else {
                return;
            };
            let said = words.iter().find(|(name, _)| *name == &path[1..]).unwrap();
            stream.write_all(said.1.as_bytes()).await.unwrap();
        }
    });
    Proxy::of(route(server.await))
}

/// Nothing follows the head of an answer to HEAD (RFC 9110, section 9.3.2), whoever gives it.
#[tokio::test]
async fn refusals_of_head_have_no_body() {
    let proxy = dictated(&[]).await;
    let long = "x".repeat(100_000);
    let none: &[(&str, &str)] = &[];
    let large = &[("x-large", long.as_str())][..];
    let expecting = &[("expect", "200-ok")][..];
    let long_path = format!("/{long}");
    let refused = [
        ("/a#b", none, 400),
        ("a", none, 400),
        (&long_path, none, 414),
        ("/", large, 431),
        ("/", expecting, 417),
    ];
    let mut client = Http2::hello(&proxy, "refused").await;
    let mut stream = 1;
    for (path, more, status) in refused {
        for flags in [END_STREAM, 0] {
            for method in ["HEAD", "GET"] {
                let name = format!("{method} {:.9} {flags}", path);
                let fields = block(&[&head(method, path)[..], more].concat());
                client.send(&spread(stream, flags, &fields)).await;
                let answer = client.answer(stream).await;
                assert!(answer.is_whole, "{name}: {answer:?}");
                assert_eq!(answer.status, status, "{name}");
                let has_body = !answer.pieces.is_empty();
                assert_eq!(has_body, method == "GET", "{name}: {answer:?}");
                stream += 2;
            }
        }
    }
}

/// A request in as many frames as it takes.
fn spread(stream: u32, flags: u8, fields: &[u8]) -> Vec<u8> {
    let mut pieces = fields.chunks(16_384);
    let mut words = frame(HEADERS, flags, stream, pieces.next().unwrap());
    for piece in pieces {
        words.extend(frame(CONTINUATION, 0, stream, piece));
    }
    words.extend(frame(CONTINUATION, END_HEADERS, stream, &[]));
    words
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let proxy = dictated(&[
        ("none", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("head", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        (
            "chunked-head",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        ("204", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "304",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: \"x\"\r\n\r\n",
        ),
        (
            "empty",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ])
    .await;
    let mut client = Http2::hello(&proxy, "bodiless").await;
    let asked = [
        ("GET", "none", 200, Some("0")),
        ("HEAD", "head", 200, Some("5")),
        ("HEAD", "chunked-head", 200, None),
        ("GET", "204", 204, None),
        ("GET", "304", 304, None),
        ("HEAD", "304", 304, None),
        ("GET", "empty", 200, None),
    ];
    for (turn, (method, path, status, length)) in asked.into_iter().enumerate() {
        let stream = 2 * turn as u32 + 1;
        let fields = block(&head(method, &format!("/{path}")));
        client.send(&frame(HEADERS, WHOLE, stream, &fields)).await;
        let answer = client.answer(stream).await;
        assert!(answer.is_whole, "{path}: {answer:?}");
        assert_eq!((answer.status, answer.text()), (status, ""), "{path}");
        if status == 200 {
            assert_eq!(answer.field("content-length"), length, "{path}");
        }
    }
    client.goes_on().await;
}

#[tokio::test]
async fn trailers_of_answers_come_last() {
    let proxy = dictated(&[(
        "",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: one\r\nx-t: two\r\n\r\n",
    )])
    .await;
    let mut client = Http2::hello(&proxy, "trailers").await;
    client
        .send(&ask(1, END_STREAM, "GET", &[("te", "trailers")]))
        .await;
    let answer = client.served(1).await;
    assert_eq!(answer.text(), "abc");
    let trailers = answer.trailers.unwrap();
    let expected = ["one", "two"].map(|value| ("x-t".to_owned(), value.to_owned()));
    assert_eq!(trailers, expected);
}

#[tokio::test]
async fn heads_of_any_size_come_in_pieces() {
    let server = raw_upstream(|mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            let mut words = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n".to_owned();
            for at in 0..60 {
                words.push_str(&format!("x-{at}: {}\r\n", "~".repeat(900)));
            }
            stream
                .write_all(format!("{words}\r\nx").as_bytes())
                .await
                .unwrap();
        }
    });
    let proxy = Proxy::of(route(server.await));
    let mut client = Http2::hello(&proxy, "large heads").await;
    for stream in [1, 3, 5] {
        client.send(&get(stream, "/")).await;
        let answer = client.served(stream).await;
        assert_eq!(answer.text(), "x");
        let long = answer.fields.iter().filter(|field| field.1.len() == 900);
        assert_eq!(long.count(), 60);
    }
}

/// An upstream that answers as soon as it has the head, and takes the body or doesn't.
async fn hasty(takes: bool) -> Proxy {
    let server = raw_upstream(move |mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let close = if takes { "" } else { "connection: close\r\n" };
            let answer = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n{close}\r\nno");
            stream.write_all(answer.as_bytes()).await.unwrap();
            if !takes {
                let _alive = stream;
                return std::future::pending().await;
            }
            if head.contains("chunked") && !read_head(&mut stream).await.ends_with("0\r\n\r\n") {
                return;
            }
        }
    });
    Proxy::of(route(server.await))
}

#[tokio::test]
async fn an_early_answer_is_whole_and_the_connection_stays() {
    for takes in [true, false] {
        let proxy = hasty(takes).await;
        let mut client = Http2::hello(&proxy, "early").await;
        for turn in 0..5 {
            let stream = 4 * turn + 1;
            client
                .send(&[post(stream, "/"), data(stream, b"some")].concat())
                .await;
            let answer = client.answer(stream).await;
            assert!(answer.is_whole, "{answer:?}");
            assert_eq!((answer.status, answer.text()), (403, "no"));
            // Room for an answer that is complete, and the rest, are on their way all the same; the rest may be
            // taken, or refused without blame.
            client.send(&window(stream, 10)).await;
            client
                .send(&[data(stream, b"more"), last_data(stream, b"and the end")].concat())
                .await;
            client.send(&ping()).await;
            loop {
                match client.event().await {
                    Event::Pong => break,
                    Event::Reset(of, code) => assert_eq!((of, code), (stream, NO_ERROR)),
                    wrong @ (Event::GoAway(..) | Event::Closed) => panic!("{wrong:?}"),
                    _ => {}
                }
            }
            client.send(&get(stream + 2, "/")).await;
            assert_eq!(client.answer(stream + 2).await.status, 403);
        }
    }
}

#[tokio::test]
async fn requests_and_answers_pass_each_other_on_many_streams() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = raw_upstream(move |mut stream| {
        let tell = tell.clone();
        async move {
            loop {
                let head = read_head(&mut stream).await;
                let Some(path) = head.split(' ').nth(1) else {
                    return;
                };
                let mut body = [0; 5];
                stream.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"hello", "{path}");
                tell.send(()).unwrap();
                let length = path.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{path}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    let proxy = Proxy::of(route(server.await));
    let mut client = Http2::hello(&proxy, "many").await;
    let streams = || (1..100).step_by(2);
    for stream in streams() {
        let path = format!("/{stream}");
        let fields = [&head("POST", &path)[..], &[("content-length", "5")]].concat();
        client
            .send(&frame(HEADERS, END_HEADERS, stream, &block(&fields)))
            .await;
    }
    for letter in "hell".bytes() {
        for stream in streams().rev() {
            client.send(&data(stream, &[letter])).await;
        }
    }
    for stream in streams() {
        client.send(&last_data(stream, b"o")).await;
        within("the request", told.recv()).await.unwrap();
    }
    for stream in streams().rev() {
        assert_eq!(client.served(stream).await.text(), format!("/{stream}"));
    }
}

/// An upstream that talks and talks before its answer, to a client that takes nothing: what is left out of that is no
/// loss, and is not kept for the client.
#[tokio::test]
async fn interim_responses_that_nobody_takes_are_not_kept() {
    const TIMES: usize = 8_000;
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = raw_upstream(move |mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            let field = "x".repeat(8_000);
            let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: {field}\r\n\r\n");
            for _ in 0..TIMES {
                stream.write_all(hint.as_bytes()).await.unwrap();
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
            tell.send(()).unwrap();
        }
    });
    let proxy = Proxy::of(route(server.await));
    let mut client = Http2::hello(&proxy, "talkative").await;
    client.send(&get(1, "/")).await;
    within("all of it", told.recv()).await.unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"hello") {
        let read = within("the answer", client.stream.read_buf(&mut came)).await;
        assert!(matches!(read, Ok(1..)), "{read:?}");
    }
    let most = TIMES / 2 * 8_000;
    assert!((8_000..most).contains(&came.len()), "{}", came.len());
}

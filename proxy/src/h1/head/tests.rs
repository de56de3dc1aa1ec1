//! What is accepted, what is refused, and how bodies are framed.

use super::*;

/// What a client is told.
fn status(error: HeadError) -> u16 {
    crate::error::Failure::from(error)
        .to_response(false)
        .status()
        .as_u16()
}

fn parse(input: &str) -> Result<Option<(String, String, Framing)>, HeadError> {
    let mut room = Room::new();
    Ok(request(input.as_bytes(), &mut room)?.map(|head| {
        (
            head.target.to_owned(),
            head.authority.to_owned(),
            head.framing,
        )
    }))
}

#[test]
fn accepts_what_is_plain() {
    let cases = [
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "/",
            "a",
            Framing::Empty,
        ),
        (
            "GET http://a:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "/x?y",
            "a:80",
            Framing::Empty,
        ),
        (
            "GET http://a HTTP/1.1\r\nHost: A\r\n\r\n",
            "/",
            "a",
            Framing::Empty,
        ),
        (
            "GET http://a:80?x=1 HTTP/1.1\r\nHost: A\r\n\r\n",
            "?x=1",
            "a:80",
            Framing::Empty,
        ),
        (
            "GET https://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n",
            "/",
            "a",
            Framing::Empty,
        ),
        (
            "OPTIONS http://[::1] HTTP/1.1\r\nHost: [::1]:\r\n\r\n",
            "*",
            "[::1]",
            Framing::Empty,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "*",
            "a",
            Framing::Empty,
        ),
        ("GET / HTTP/1.0\r\n\r\n", "/", "", Framing::Empty),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
            "/",
            "a",
            Framing::Length(3),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "/",
            "a",
            Framing::Chunked,
        ),
        (
            "\r\nGET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n",
            "/",
            "[::1]:8",
            Framing::Empty,
        ),
    ];
    for (input, target, authority, framing) in cases {
        assert_eq!(
            parse(input),
            Ok(Some((target.to_owned(), authority.to_owned(), framing))),
            "{input:?}"
        );
    }
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
}

#[test]
fn refuses_what_two_readers_could_read_differently() {
    let cases = [
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "GET / HTTP/1.1\nHost: a"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        (400, "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET https://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://a?x#y HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://?x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /\r\n"),
        (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        ),
        (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (405, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (told, input) in cases {
        let error = parse(input).expect_err(input);
        assert_eq!(status(error), told, "{input:?}: {error}");
    }
}

#[test]
fn response_framing_follows_rfc_9112() {
    let cases = [
        ("HTTP/1.1 200 OK\r\n\r\n", false, Ok(Framing::UntilClose)),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            false,
            Ok(Framing::Length(5)),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            true,
            Ok(Framing::Empty),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            false,
            Ok(Framing::Empty),
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, Ok(Framing::Empty)),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            false,
            Ok(Framing::Empty),
        ),
        (
            "HTTP/1.0 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            Ok(Framing::Empty),
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
            false,
            Err(400),
        ),
        (
            "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            Ok(Framing::Chunked),
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            Err(400),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            false,
            Err(400),
        ),
        ("HTTP/1.1 099 No\r\n\r\n", false, Err(400)),
    ];
    for (input, to_head, expected) in cases {
        let mut room = Room::new();
        let mut large = None;
        let framing = response(input.as_bytes(), (&mut room, &mut large), to_head)
            .map(|head| head.map(|head| head.framing))
            .map_err(status);
        assert_eq!(framing, expected.map(Some), "{input:?}");
    }
}

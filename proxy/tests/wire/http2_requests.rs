//! Requests (RFC 9113, section 8): what is malformed is refused, what is not arrives.

use super::frames::*;
use super::hpack::block;
use super::http2_cases::Verdict::{Refuses, Resets, Serves};
use super::http2_cases::{Case, Front, case, check};
use super::http2_client::Http2;

const MALFORMED: &[u32] = &[PROTOCOL_ERROR];

fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(fields))
}

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    ask(1, END_STREAM, "GET", more)
}

#[tokio::test]
async fn malformed_fields_are_errors_of_the_stream() {
    let cases = [
        ("an upper-case name", with(&[("X-Test", "y")])),
        ("an upper-case letter at the end", with(&[("x-tesT", "y")])),
        ("connection", with(&[("connection", "keep-alive")])),
        ("keep-alive", with(&[("keep-alive", "timeout=5")])),
        (
            "proxy-connection",
            with(&[("proxy-connection", "keep-alive")]),
        ),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te", with(&[("te", "trailers, deflate;q=0.5")])),
        ("an unknown pseudo field", with(&[(":test", "ok")])),
        ("a response's pseudo field", with(&[(":status", "200")])),
        (
            "a pseudo field behind others",
            fields(&[&head("GET", "/")[..3], &[("x", "y"), (":authority", "a")]].concat()),
        ),
        ("an empty path", fields(&head("GET", ""))),
        ("no method", fields(&head("GET", "/")[1..])),
        (
            "no scheme",
            fields(&[&head("GET", "/")[..1], &head("GET", "/")[2..]].concat()),
        ),
        (
            "no path",
            fields(&[&head("GET", "/")[..2], &head("GET", "/")[3..]].concat()),
        ),
        ("nothing", fields(&[])),
        ("two methods", with(&[(":method", "GET")])),
        ("two schemes", with(&[(":scheme", "http")])),
        ("two paths", with(&[(":path", "/")])),
        ("two authorities", with(&[(":authority", "models.example")])),
        ("a nought in a value", with(&[("x", "a\0b")])),
        ("a line end in a value", with(&[("x", "a\nb")])),
        ("a carriage return in a value", with(&[("x", "a\rb")])),
        ("a blank in a name", with(&[("x y", "z")])),
        ("a colon in a name", with(&[("x:y", "z")])),
        ("a quote in a name", with(&[("x\"y", "z")])),
        ("nothing but a quote", with(&[("\"", "z")])),
        ("a nought in a name", with(&[("x\0", "z")])),
        ("no name", with(&[("", "z")])),
        ("a name beyond ASCII", with(&[("x\u{e9}", "z")])),
    ];
    let as_case = |(name, words): (&str, Vec<u8>)| case(name, words, Resets(1, MALFORMED));
    check(cases.into_iter().map(as_case).collect()).await;
}

/// RFC 9110, section 5.6.2.
#[tokio::test]
async fn names_are_tokens() {
    let front = Front::start().await;
    let cases = (0..=127_u8).flat_map(|byte| {
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_served = is_token && !byte.is_ascii_uppercase();
        let verdict = if is_served {
            Serves(1)
        } else {
            Resets(1, MALFORMED)
        };
        let name = format!("x{}y", char::from(byte));
        let trailers = frame(HEADERS, WHOLE, 1, &block(&[(&name, "z")]));
        [
            case(&format!("{name:?}"), with(&[(&name, "z")]), verdict),
            case(
                &format!("{name:?} in trailers"),
                [post(1, "/"), data(1, b"test"), trailers].concat(),
                verdict,
            ),
        ]
    });
    front.check(cases.collect()).await;
}

#[tokio::test]
async fn bodies_are_as_long_as_was_said() {
    let length = |length, more: Vec<Vec<u8>>| {
        [vec![ask(1, 0, "POST", &[("content-length", length)])], more]
            .concat()
            .concat()
    };
    let trailers = || frame(HEADERS, WHOLE, 1, &block(&[("x-t", "y")]));
    let wrong = Resets(1, MALFORMED);
    check(vec![
        case("shorter", length("5", vec![last_data(1, b"test")]), wrong),
        case("longer", length("3", vec![last_data(1, b"test")]), wrong),
        case(
            "longer before its end",
            length("3", vec![data(1, b"test")]),
            wrong,
        ),
        case(
            "shorter in pieces",
            length("9", vec![data(1, b"test"), last_data(1, b"test")]),
            wrong,
        ),
        case(
            "longer in pieces",
            length("7", vec![data(1, b"test"), last_data(1, b"test")]),
            wrong,
        ),
        case(
            "shorter before trailers",
            length("5", vec![data(1, b"test"), trailers()]),
            wrong,
        ),
        case(
            "none at all",
            ask(1, END_STREAM, "POST", &[("content-length", "1")]),
            wrong,
        ),
        case(
            "right",
            length(
                "8",
                vec![data(1, b"test"), data(1, b""), last_data(1, b"test")],
            ),
            Serves(1),
        ),
        case(
            "right before trailers",
            length("4", vec![data(1, b"test"), trailers()]),
            Serves(1),
        ),
        case(
            "nothing",
            ask(1, END_STREAM, "POST", &[("content-length", "0")]),
            Serves(1),
        ),
        case(
            "nothing, said later",
            length("0", vec![last_data(1, b"")]),
            Serves(1),
        ),
        case(
            "unknown",
            [post(1, "/"), data(1, b"te"), last_data(1, b"st")].concat(),
            Serves(1),
        ),
    ])
    .await;
}

#[tokio::test]
async fn trailers_are_fields_that_come_last() {
    let trailed = |flags: u8, more: &[(&str, &str)]| {
        let trailers = frame(HEADERS, flags | END_HEADERS, 1, &block(more));
        [post(1, "/"), data(1, b"test"), trailers].concat()
    };
    let good = || trailed(END_STREAM, &[("x-t", "y")]);
    let again = frame(HEADERS, WHOLE, 1, &block(&[("x-t", "y")]));
    let wrong = Resets(1, MALFORMED);
    let closed = Resets(1, &[STREAM_CLOSED]);
    check(vec![
        case("some", good(), Serves(1)),
        case("none of them", trailed(END_STREAM, &[]), Serves(1)),
        case(
            "without a body",
            [post(1, "/"), again.clone()].concat(),
            Serves(1),
        ),
        case("that don't end", trailed(0, &[("x-t", "y")]), wrong),
        case(
            "that don't end, and data",
            [trailed(0, &[("x-t", "y")]), last_data(1, b"x")].concat(),
            wrong,
        ),
        case(
            "with a path",
            trailed(END_STREAM, &[("x-t", "y"), (":path", "/")]),
            wrong,
        ),
        case("in upper case", trailed(END_STREAM, &[("X-T", "y")]), wrong),
        case(
            "data behind them",
            [good(), last_data(1, b"x")].concat(),
            closed,
        ),
        case("trailers behind them", [good(), again].concat(), closed),
    ])
    .await;
}

#[tokio::test]
async fn targets_and_authorities_are_whole_and_agree() {
    let target = |method, path| fields(&head(method, path));
    let authority =
        |authority| fields(&[&head("GET", "/")[..3], &[(":authority", authority)]].concat());
    let nobody = |more: &[(&str, &str)]| fields(&[&head("GET", "/")[..3], more].concat());
    let scheme = |scheme| {
        fields(&[
            (":method", "GET"),
            (":scheme", scheme),
            (":path", "/"),
            (":authority", "a"),
        ])
    };
    let refused = [
        ("absolute", target("GET", "http://models.example/")),
        ("without a slash", target("GET", "v2/models")),
        ("a star", target("GET", "*")),
        ("a blank", target("GET", "/a b")),
        ("a blank at the end", target("GET", "/a ")),
        ("a line end", target("GET", "/a\r\nx: y")),
        ("a nought", target("GET", "/a\0")),
        ("TRACE", target("TRACE", "/")),
        ("CONNECT to a path", target("CONNECT", "/")),
        (
            "CONNECT",
            fields(&[(":method", "CONNECT"), (":authority", "a:80")]),
        ),
        (
            "CONNECT for a protocol",
            fields(&[&head("CONNECT", "/")[..], &[(":protocol", "websocket")]].concat()),
        ),
        ("a method with a blank", target("GE T", "/")),
        ("an empty method", target("", "/")),
        ("another host", with(&[("host", "other.example")])),
        ("two hosts", nobody(&[("host", "a"), ("host", "a")])),
        ("nobody", nobody(&[])),
        ("an empty authority", authority("")),
        ("somebody at a host", authority("me@models.example")),
        ("a path in the authority", authority("models.example/x")),
        ("a scheme of others", scheme("ftp")),
        (
            "an expectation of others",
            ask(1, END_STREAM, "GET", &[("expect", "200-ok")]),
        ),
    ];
    let mut cases: Vec<Case> = refused
        .into_iter()
        .map(|(name, words)| case(name, words, Refuses(1)))
        .collect();
    let expecting = ask(1, 0, "POST", &[("expect", "100-continue")]);
    cases.extend([
        case("a value beyond ASCII", with(&[("x", "\u{e9}")]), Serves(1)),
        case("an empty value", with(&[("x", "")]), Serves(1)),
        case("many fields", with(&[("x", "y"); 90]), Serves(1)),
        case("a star for OPTIONS", target("OPTIONS", "*"), Serves(1)),
        case("a query", target("GET", "/a?b=c&d=%20"), Serves(1)),
        case("a query without a path", target("GET", "/?a"), Serves(1)),
        case(
            "the same host",
            with(&[("host", "models.example")]),
            Serves(1),
        ),
        case(
            "the same host, in other letters",
            with(&[("host", "MODELS.example")]),
            Serves(1),
        ),
        case(
            "a host alone",
            nobody(&[("host", "models.example")]),
            Serves(1),
        ),
        case("a port", authority("models.example:8080"), Serves(1)),
        case("an address", authority("[::1]:8080"), Serves(1)),
        case("https, behind who ends it", scheme("https"), Serves(1)),
        case("te: trailers", with(&[("te", "trailers")]), Serves(1)),
        case("an unknown method", target("PURGE", "/"), Serves(1)),
        case(
            "an expectation",
            [expecting, last_data(1, b"x")].concat(),
            Serves(1),
        ),
    ]);
    check(cases).await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_told_so_and_the_connection_stays() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "large").await;
    let limit = client.settings[&MAX_HEADER_LIST_SIZE] as usize;
    let long = "~".repeat(limit);
    let names: Vec<String> = (0..limit / 40).map(|at| format!("x-{at}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let path = format!("/{long}");
    let heads = [
        (
            &[431][..],
            [&head("GET", "/")[..], &[("x", &long)]].concat(),
        ),
        (&[431], [&head("GET", "/")[..], &many].concat()),
        (&[414, 431], head("GET", &path).to_vec()),
    ];
    for (turn, (statuses, fields)) in heads.into_iter().enumerate() {
        let stream = 4 * turn as u32 + 1;
        let fields = block(&fields);
        let mut pieces = fields.chunks(16_000);
        let mut words = frame(HEADERS, END_STREAM, stream, pieces.next().unwrap());
        for piece in pieces {
            words.extend(frame(CONTINUATION, 0, stream, piece));
        }
        words.extend(frame(CONTINUATION, END_HEADERS, stream, &[]));
        client.send(&words).await;
        let answer = client.answer(stream).await;
        assert!(
            statuses.contains(&answer.status) && answer.is_whole,
            "{turn}: {answer:?}"
        );
        client.send(&get(stream + 2, "/")).await;
        client.served(stream + 2).await;
    }
}

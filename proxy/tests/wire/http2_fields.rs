//! Compressed fields (RFC 7541): everything that an encoder may do is understood, nothing else is, and whatever
//! becomes of a request, both sides go on remembering the same.

use super::frames::*;
use super::hpack::{
    Treat, block, compressed, indexed, integer, literal, named, resize, squeeze, string,
};
use super::http2_cases::Verdict::{Breaks, Serves};
use super::http2_cases::{Front, case, check};
use super::http2_client::Http2;

/// A request with this behind its fields.
fn with(stream: u32, more: &[u8]) -> Vec<u8> {
    let fields = [&block(&head("GET", "/")), more].concat();
    frame(HEADERS, WHOLE, stream, &fields)
}

#[tokio::test]
async fn every_form_of_a_field_is_understood() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "forms").await;
    let long = "long ".repeat(500) + "text";
    let say = "x-say";
    let forms = [
        (literal(Treat::Forget, say, "forgotten"), "forgotten"),
        (literal(Treat::Never, say, "secret"), "secret"),
        (literal(Treat::Keep, say, "kept"), "kept"),
        (indexed(62), "kept"),
        (named(Treat::Forget, 62, "by name"), "by name"),
        (
            named(Treat::Never, 62, "by name, secret"),
            "by name, secret",
        ),
        (named(Treat::Keep, 62, "by name, kept"), "by name, kept"),
        (indexed(62), "by name, kept"),
        (indexed(63), "kept"),
        ([indexed(63), indexed(62)].concat(), "kept|by name, kept"),
        (
            [vec![0], compressed(say), compressed("Huffman!")].concat(),
            "Huffman!",
        ),
        ([vec![0], compressed(say), string("half")].concat(), "half"),
        (
            [vec![0x40], string(say), compressed("{\\<>}~")].concat(),
            "{\\<>}~",
        ),
        ([vec![0], string(say), string("")].concat(), ""),
        ([vec![0], string(say), compressed("")].concat(), ""),
        ([vec![0], string(say), string(&long)].concat(), &long),
        ([vec![0], string(say), compressed(&long)].concat(), &long),
        // A number may be written longer than it need be.
        (
            [
                vec![0, 5],
                say.into(),
                vec![0x7f, 0x80, 0x80, 0],
                vec![b'y'; 127],
            ]
            .concat(),
            &"y".repeat(127),
        ),
    ];
    for (turn, (more, said)) in forms.iter().enumerate() {
        let stream = 2 * turn as u32 + 1;
        client.send(&with(stream, more)).await;
        let answer = client.served(stream).await;
        assert_eq!(answer.field("x-said"), Some(*said), "form {turn}");
    }
}

#[tokio::test]
async fn the_static_table_is_known() {
    let plain = |more: &[u8]| {
        let fields = [
            &indexed(2),
            &indexed(6),
            &indexed(4),
            &named(Treat::Forget, 1, "a"),
            more,
        ];
        frame(HEADERS, WHOLE, 1, &fields.concat())
    };
    let mut cases = vec![
        case("nothing else", plain(&[]), Serves(1)),
        case("last", plain(&named(Treat::Keep, 61, "x")), Serves(1)),
        case("whole with an empty value", plain(&indexed(17)), Serves(1)),
        case(
            "POST, https, /index.html",
            frame(
                HEADERS,
                WHOLE,
                1,
                &[
                    indexed(3),
                    indexed(7),
                    indexed(5),
                    named(Treat::Keep, 1, "a"),
                ]
                .concat(),
            ),
            Serves(1),
        ),
    ];
    for index in [
        15, 16, 19, 23, 24, 32, 33, 37, 39, 45, 47, 50, 51, 58, 59, 60,
    ] {
        let words = plain(&named(Treat::Keep, index, "1"));
        cases.push(case(&format!("name {index}"), words, Serves(1)));
    }
    check(cases).await;
}

#[tokio::test]
async fn blocks_that_make_no_sense_end_the_connection() {
    let wrong = |name: &str, more: &[u8]| {
        // Nothing that follows can be understood.
        let words = [with(1, more), get(3, "/")].concat();
        case(name, words, Breaks(&[COMPRESSION_ERROR]))
    };
    let value = |bytes: &[u8]| [vec![0], string("x"), bytes.to_vec()].concat();
    let coded = |bytes: &[u8]| value(&[integer(0x80, 7, bytes.len()), bytes.to_vec()].concat());
    let long = squeeze(b"www.example.com");
    check(vec![
        wrong("index 0", &[0x80]),
        wrong("index 62 of an empty table", &indexed(62)),
        wrong("index 70", &indexed(70)),
        wrong("a large index", &indexed(100_000)),
        wrong(
            "an index without end",
            &[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
        ),
        wrong(
            "an index that is too large for any number",
            &[
                0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1,
            ],
        ),
        wrong("an index that breaks off", &[0xff]),
        wrong("name 62 of an empty table", &named(Treat::Keep, 62, "x")),
        wrong("name 70", &named(Treat::Forget, 70, "x")),
        wrong("a name without a value", &[0, 1, b'x']),
        wrong("a text that breaks off", &value(&[5, b'a'])),
        wrong(
            "a text that is too long for any number",
            &value(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ),
        wrong("the end in a text", &coded(&[0xff, 0xff, 0xff, 0xff])),
        wrong(
            "the end behind a text",
            &coded(&[&long[..], &[0xff; 4]].concat()),
        ),
        wrong(
            "filled up with more than seven bits",
            &coded(&[&long[..], &[0xff]].concat()),
        ),
        wrong("filled up with noughts", &coded(&[0b0001_1000])),
        wrong("filled up with eight ones", &coded(&[0xff])),
        wrong("a size at the end", &resize(0)),
        wrong(
            "a size in the middle",
            &[resize(100), literal(Treat::Forget, "x", "y")].concat(),
        ),
        case(
            "nonsense in trailers",
            [post(1, "/"), frame(HEADERS, WHOLE, 1, &indexed(62))].concat(),
            Breaks(&[COMPRESSION_ERROR]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn sizes_of_the_table_come_first_and_are_not_larger_than_was_said() {
    let front = Front::start().await;
    let client = Http2::hello(&front.proxy, "limit").await;
    let limit = client
        .settings
        .get(&HEADER_TABLE_SIZE)
        .copied()
        .unwrap_or(4096) as usize;
    let sized = |stream, sizes: &[usize]| {
        let sizes: Vec<u8> = sizes.iter().flat_map(|&size| resize(size)).collect();
        frame(
            HEADERS,
            WHOLE,
            stream,
            &[sizes, block(&head("GET", "/"))].concat(),
        )
    };
    let refused = Breaks(&[COMPRESSION_ERROR]);
    front
        .check(vec![
            case("0", sized(1, &[0]), Serves(1)),
            case("the limit", sized(1, &[limit]), Serves(1)),
            case("0 and the limit", sized(1, &[0, limit]), Serves(1)),
            case(
                "each time",
                [sized(1, &[0]), sized(3, &[128]), sized(5, &[limit])].concat(),
                Serves(5),
            ),
            case("above the limit", sized(1, &[limit + 1]), refused),
            case("far above", sized(1, &[1 << 30]), refused),
            case("the second one", sized(1, &[0, limit + 1]), refused),
            case(
                "without end",
                frame(
                    HEADERS,
                    WHOLE,
                    1,
                    &[
                        [0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].to_vec(),
                        block(&head("GET", "/")),
                    ]
                    .concat(),
                ),
                refused,
            ),
        ])
        .await;
}

#[tokio::test]
async fn entries_that_find_no_room_are_forgotten() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "full").await;
    // 32 and 5 and 59 are 96 bytes each: 42 of them fit in 4,096.
    let value = |at: usize| format!("{at:059}");
    let mut stream = 1;
    for at in 0..60 {
        client
            .send(&with(stream, &literal(Treat::Keep, "x-say", &value(at))))
            .await;
        stream += 2;
    }
    let entry = async |client: &mut Http2, stream, index| {
        client.send(&with(stream, &indexed(index))).await;
        client
            .answer(stream)
            .await
            .field("x-said")
            .map(str::to_owned)
    };
    for (index, at) in [(62, 59), (63, 58), (103, 18)] {
        assert_eq!(entry(&mut client, stream, index).await, Some(value(at)));
        stream += 2;
    }
    // A smaller table keeps the newest.
    let smaller = [resize(200), block(&head("GET", "/")), indexed(63)].concat();
    client.send(&frame(HEADERS, WHOLE, stream, &smaller)).await;
    assert_eq!(
        client.served(stream).await.field("x-said"),
        Some(value(58).as_str())
    );
    client.send(&with(stream + 2, &indexed(64))).await;
    client.breaks(&[COMPRESSION_ERROR]).await;
    // An entry as large as the table is one; a larger one leaves nothing.
    for (size, is_kept) in [(4096 - 32 - 5, true), (4096 - 32 - 5 + 1, false)] {
        let mut client = Http2::hello(&front.proxy, "large").await;
        let large = "y".repeat(size);
        client
            .send(&with(1, &literal(Treat::Keep, "x-say", "small")))
            .await;
        client
            .send(&with(3, &literal(Treat::Keep, "x-say", &large)))
            .await;
        assert_eq!(client.served(3).await.field("x-said"), Some(large.as_str()));
        client.send(&with(5, &indexed(62))).await;
        if is_kept {
            assert_eq!(client.served(5).await.field("x-said"), Some(large.as_str()));
        } else {
            client.breaks(&[COMPRESSION_ERROR]).await;
        }
    }
}

#[tokio::test]
async fn requests_that_are_refused_are_remembered_all_the_same() {
    let front = Front::start().await;
    let kept = || literal(Treat::Keep, "x-say", "kept");
    let again = |stream| with(stream, &indexed(62));
    let much = block(&[("x-much", &"y".repeat(4_000))]).repeat(20);
    let oversized = [block(&head("GET", "/")), kept(), much].concat();
    let mut pieces = oversized.chunks(16_000);
    let mut large = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
    for piece in pieces {
        large.extend(frame(CONTINUATION, 0, 1, piece));
    }
    large.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    for (name, words) in [
        (
            "malformed",
            with(1, &[block(&[("X", "y")]), kept()].concat()),
        ),
        (
            "of one connection",
            with(1, &[block(&[("connection", "close")]), kept()].concat()),
        ),
        (
            "CONNECT",
            frame(
                HEADERS,
                WHOLE,
                1,
                &[block(&head("CONNECT", "/")), kept()].concat(),
            ),
        ),
        ("too large", large),
        ("after the end", [get(1, "/"), with(1, &kept())].concat()),
        (
            "after a reset",
            [post(1, "/"), reset(1, CANCEL), with(1, &kept())].concat(),
        ),
        (
            "bad trailers",
            [
                post(1, "/"),
                frame(
                    HEADERS,
                    WHOLE,
                    1,
                    &[block(&[(":path", "/")]), kept()].concat(),
                ),
            ]
            .concat(),
        ),
    ] {
        let mut client = Http2::hello(&front.proxy, name).await;
        client.send(&[words, again(3)].concat()).await;
        let answer = client.answer(3).await;
        // To end the connection is allowed.
        let is_ended = answer.status == 0 && answer.reset.is_none();
        assert!(
            is_ended || answer.field("x-said") == Some("kept"),
            "{name}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn our_own_fields_follow_the_clients_wishes() {
    let front = Front::start().await;
    let mut client = Http2::hello(&front.proxy, "ours").await;
    let mut stream = 1;
    // The client's decoder believes nothing.
    for size in [4096, 0, 1, 60, 4096, 100, 100_000, 0, 4096] {
        client.send(&settings(&[(HEADER_TABLE_SIZE, size)])).await;
        client.awaits(Event::Acknowledged).await;
        for turn in 0..5 {
            let said = format!("{size}, turn {turn}");
            client
                .send(&with(stream, &literal(Treat::Forget, "x-say", &said)))
                .await;
            let answer = client.served(stream).await;
            assert_eq!(answer.field("x-said"), Some(said.as_str()));
            stream += 2;
        }
    }
    // Smaller and larger again between two heads: both are said.
    let twice = [
        settings(&[(HEADER_TABLE_SIZE, 0)]),
        settings(&[(HEADER_TABLE_SIZE, 4096)]),
    ];
    client.send(&twice.concat()).await;
    client.awaits(Event::Acknowledged).await;
    client.awaits(Event::Acknowledged).await;
    client.send(&get(stream, "/")).await;
    client.served(stream).await;
}

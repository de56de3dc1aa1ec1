//! Bodies arrive in any pieces; their meaning doesn't depend on them.

use super::*;

/// Feeds `input` in pieces of `piece` bytes: bytes taken, what goes on, whether it is done.
fn run(input: &[u8], piece: usize, limit: u64) -> Result<(usize, Vec<u8>, bool), BodyError> {
    let mut body = Body::new(Framing::Chunked, limit)?;
    let (mut taken, mut passed) = (0, Vec::new());
    for part in input.chunks(piece) {
        let relayed = body.relay(part)?;
        taken += relayed.taken;
        passed.extend_from_slice(&part[..relayed.passed]);
        passed.extend(body.take_trailer());
        if relayed.taken < part.len() {
            break;
        }
    }
    Ok((taken, passed, body.is_done()))
}

#[test]
fn chunked_bodies_end_where_they_end() {
    let cases: [(&[u8], usize, &[u8]); 9] = [
        (b"0\r\n\r\n", 5, b"0\r\n\r\n"),
        (
            b"5\r\nhello\r\n0\r\n\r\nGET /",
            15,
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            b"A;x=y;z=\"q\\\"\"\r\n0123456789\r\n0\r\n\r\n",
            32,
            b"A;x=y;z=\"q\\\"\"\r\n0123456789\r\n0\r\n\r\n",
        ),
        (b"000\r\n\r\n", 7, b"000\r\n\r\n"),
        (
            b"1\r\na\r\n0\r\nx-checksum:1\r\n\r\nrest",
            25,
            b"1\r\na\r\n0\r\nx-checksum: 1\r\n\r\n",
        ),
        (
            b"0\r\nx-serin-arm: canary\r\nSet-Cookie: a=b\r\nx: y\r\n\r\n",
            49,
            b"0\r\nx: y\r\n\r\n",
        ),
        (b"0\r\nx-serin-arm: canary\r\n\r\n", 26, b"0\r\n\r\n"),
        (
            b"5 ; a = b ;c\r\nhello\r\n0\t;x\r\n\r\n",
            29,
            b"5 ; a = b ;c\r\nhello\r\n0\t;x\r\n\r\n",
        ),
        (b"fF\r\n", 4, b"fF\r\n"),
    ];
    for (input, length, expected) in cases {
        for piece in 1..=input.len() {
            let (taken, passed, done) = run(input, piece, u64::MAX).unwrap();
            let input = input.escape_ascii().to_string();
            assert_eq!(taken, length, "{input} by {piece}");
            assert_eq!(passed, expected, "{input} by {piece}");
            assert_eq!(done, length != 4);
        }
    }
}

#[test]
fn broken_chunks_are_refused_however_they_arrive() {
    let cases: [&[u8]; 25] = [
        b"\r\n",
        b"g\r\n",
        b"0x5\r\nhello\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"1000000000000000\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a b\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5 a\r\nhello\r\n",
        b"5 =a\r\nhello\r\n",
        b"5;a \r\nhello\r\n",
        b"5;a= \n\r\nhello\r\n",
        b"5;\"a\r\nhello\r\n",
        b"5;a=\"\x00\"\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nHost: x\r\n\r\n",
        b"0\r\nx: y\n\r\n",
        b"0\r\nbad line\r\n\r\n",
    ];
    for input in cases {
        for piece in 1..=input.len() {
            let result = run(input, piece, u64::MAX);
            let input = input.escape_ascii().to_string();
            assert!(result.is_err(), "{input} by {piece}: {result:?}");
        }
    }
}

#[test]
fn content_is_what_stands_in_the_chunks() {
    let input = b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nx: y\r\n\r\nnext";
    for piece in 1..=input.len() {
        let mut body = Body::new(Framing::Chunked, 5).unwrap();
        let (mut content, mut taken) = (Vec::new(), 0);
        for part in input.chunks(piece) {
            taken += body.content(part, &mut content).unwrap();
        }
        assert_eq!(content, b"abcde");
        assert_eq!(taken, input.len() - 4);
        assert_eq!(body.take_trailer(), b"x: y\r\n\r\n");
    }
}

#[test]
fn limits_hold() {
    assert_eq!(run(b"5\r\nhello\r\n", 3, 4), Err(BodyError::TooLarge));
    assert!(Body::new(Framing::Length(5), 4).is_err());
    let mut body = Body::new(Framing::Length(5), 5).unwrap();
    assert_eq!(body.relay(b"hello world").map(|one| one.taken), Ok(5));
    assert!(body.is_done());
    let mut body = Body::new(Framing::UntilClose, 4).unwrap();
    assert_eq!(body.relay(b"hello"), Err(BodyError::TooLarge));
    let long = format!("5;{}\r\nhello\r\n", "x".repeat(2000));
    assert!(run(long.as_bytes(), 7, u64::MAX).is_err());
}

//! Frames as we send them.

use http::header::{HeaderMap, HeaderValue};

use super::Reason;
use super::frame::{ACK, END_HEADERS, END_STREAM, HEAD};
use super::{hpack, settings};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&bytes(length, kind, flags, stream));
}

const fn bytes(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [l0, l1, l2, kind, flags, s0, s1, s2, s3]
}

/// Appends a piece of a body.
pub(crate) fn data(out: &mut Vec<u8>, stream: u32, piece: &[u8], is_last: bool) {
    let flags = if is_last { END_STREAM } else { 0 };
    head(out, piece.len(), DATA, flags, stream);
    out.extend_from_slice(piece);
}

/// A block of fields on its way: begun, filled, ended.
pub(crate) struct Block {
    stream: u32,
    begin: usize,
    is_last: bool,
}

impl Block {
    /// Begins a block; `is_last` says that the stream ends with it.
    pub(crate) fn begin(out: &mut Vec<u8>, stream: u32, is_last: bool) -> Self {
        let begin = out.len();
        out.extend_from_slice(&[0; HEAD]);
        Self {
            stream,
            begin,
            is_last,
        }
    }

    /// Ends it. What is larger than the peer takes in one frame goes on in others.
    pub(crate) fn end(self, out: &mut Vec<u8>, largest: usize) {
        let end_stream = if self.is_last { END_STREAM } else { 0 };
        let length = out.len() - self.begin - HEAD;
        if length <= largest {
            let flags = END_HEADERS | end_stream;
            self.put_head(out, bytes(length, HEADERS, flags, self.stream));
            return;
        }
        let rest = out.split_off(self.begin + HEAD + largest);
        self.put_head(out, bytes(largest, HEADERS, end_stream, self.stream));
        let mut pieces = rest.chunks(largest).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            head(out, piece.len(), CONTINUATION, flags, self.stream);
            out.extend_from_slice(piece);
        }
    }

    fn put_head(&self, out: &mut [u8], head: [u8; HEAD]) {
        if let Some(place) = out.get_mut(self.begin..self.begin + HEAD) {
            place.copy_from_slice(&head);
        }
    }
}

/// Appends fields to a block.
pub(crate) fn fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        field(out, name.as_str(), value);
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    hpack::field(out, name, value.as_bytes(), value.is_sensitive());
}

/// Appends the end of a stream.
pub(crate) fn reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&(reason as u32).to_be_bytes());
}

/// Appends what the peer may do.
pub(crate) fn settings(out: &mut Vec<u8>, ours: &[(settings::Key, u32)]) {
    head(out, 6 * ours.len(), SETTINGS, 0, 0);
    for &(key, value) in ours {
        out.extend_from_slice(&(key as u16).to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends that the peer's settings are in force.
pub(crate) fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, SETTINGS, ACK, 0);
}

/// Appends a question, or the answer to one.
pub(crate) fn ping(out: &mut Vec<u8>, payload: &[u8], is_answer: bool) {
    head(out, payload.len(), PING, if is_answer { ACK } else { 0 }, 0);
    out.extend_from_slice(payload);
}

/// Appends the end of the connection: streams above `last` were not looked at.
pub(crate) fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason) {
    head(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(reason as u32).to_be_bytes());
}

/// Appends that more may be sent; stream 0 is the connection.
pub(crate) fn window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&more.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Head, Kind};
    use super::*;

    #[test]
    fn what_is_written_is_a_frame() {
        let mut out = Vec::new();
        data(&mut out, 5, b"abc", true);
        let head = Head::read(&out).unwrap();
        assert_eq!((head.kind, head.length, head.stream), (Kind::Data, 3, 5));
        assert!(head.ends_stream());
        assert_eq!(&out[HEAD..], b"abc");
        out.clear();
        ping(&mut out, b"12345678", true);
        let head = Head::read(&out).unwrap();
        assert!(head.check().is_ok() && head.is_ack());
    }

    #[test]
    fn a_large_block_goes_on_in_other_frames() {
        let mut out = vec![7; 3];
        let block = Block::begin(&mut out, 1, true);
        out.extend_from_slice(&[1; 25]);
        block.end(&mut out, 10);
        let mut rest = &out[3..];
        let mut seen = Vec::new();
        while let Some(head) = Head::read(rest) {
            seen.push((
                head.kind,
                head.length,
                head.ends_block(),
                head.ends_stream(),
            ));
            rest = &rest[HEAD + head.length..];
        }
        let expected = [
            (Kind::Headers, 10, false, true),
            (Kind::Continuation, 10, false, false),
            (Kind::Continuation, 5, true, false),
        ];
        assert_eq!(seen, expected);
    }
}

//! Frames of HTTP/2 as bytes (RFC 9113): whatever a test wants said, valid or not; and what comes of them.

use super::hpack::{Fields, block};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITIZED: u8 = 0x20;
/// A request in one frame.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// What every window is before anything is said.
pub(crate) const FIRST_WINDOW: i64 = 65_535;
/// The largest window there is.
pub(crate) const WIDEST: u32 = 0x7fff_ffff;

/// One frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let each = values.iter();
    let payload: Vec<u8> = each
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(crate) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"are you?")
}

pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub(crate) fn priority(stream: u32, on: u32, weight: u8) -> Vec<u8> {
    let payload = [&on.to_be_bytes()[..], &[weight]].concat();
    frame(PRIORITY, 0, stream, &payload)
}

pub(crate) fn data(stream: u32, text: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, text)
}

pub(crate) fn last_data(stream: u32, text: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, text)
}

/// The pseudo fields of a request.
pub(crate) const fn head<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "models.example"),
    ]
}

/// A request that has no body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block(&head("GET", path)))
}

/// A request whose body follows.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&head("POST", path)))
}

/// A request with these fields besides; its body follows unless the flags say otherwise.
pub(crate) fn ask(stream: u32, flags: u8, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [&head(method, "/")[..], more].concat();
    frame(HEADERS, flags | END_HEADERS, stream, &block(&fields))
}

/// Something that came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Settings,
    Acknowledged,
    Pong,
    Head(u32),
    Data(u32, usize),
    Reset(u32, u32),
    Window(u32, u32),
    GoAway(u32, u32),
    /// Nothing comes any more.
    Closed,
}

/// What came of one response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) interim: Vec<Fields>,
    /// 0 before there is one.
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    /// How large the pieces of the body were.
    pub(crate) pieces: Vec<usize>,
    pub(crate) trailers: Option<Fields>,
    pub(crate) is_whole: bool,
    pub(crate) reset: Option<u32>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The field's value, if there is exactly one.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|field| field.0 == name);
        values
            .next()
            .filter(|_| values.next().is_none())
            .map(|field| field.1.as_str())
    }

    /// Whether its head is there, or it will never be.
    pub(crate) fn has_begun(&self) -> bool {
        self.status != 0 || self.is_over()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_whole || self.reset.is_some()
    }
}

/// A frame's kind, flags, stream and payload, and what is behind it.
type Split<'b> = (u8, u8, u32, &'b [u8], &'b [u8]);

/// The first frame of these bytes, if it is whole.
pub(crate) fn split(bytes: &[u8]) -> Option<Split<'_>> {
    let (head, rest) = bytes.split_at_checked(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((head[3], head[4], number(&head[5..]), payload, rest))
}

/// Four bytes.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

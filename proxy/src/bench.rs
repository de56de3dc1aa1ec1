//! A door for the benchmarks to what is otherwise nobody's business: the pieces of the HTTP/1.1 path. Behind the
//! feature `bench`, so that no release has it.

use crate::h1::body::Body;
use crate::h1::field::Known;
use crate::h1::head::{self, Framing, Room};
use crate::h1::write;

/// Parses a request's head and writes it anew, without what ends here; bytes that it took. `None` when it is
/// malformed or not all there.
pub fn rewrite_request(input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut room = Room::new();
    let head = head::request(input, &mut room).ok()??;
    write::request_line(out, head.method, head.target);
    write::field(out, b"host", head.authority.as_bytes());
    for (kind, field) in head.fields.iter() {
        if kind == Known::Other && !head.fields.is_named(kind, field) {
            write::field(out, field.name.as_bytes(), field.value);
        }
    }
    if let Framing::Length(length) = head.framing {
        write::content_length(out, length);
    }
    out.extend_from_slice(b"\r\n");
    Some(head.len)
}

/// Parses a response's head; its status and the bytes it took.
pub fn read_response(input: &[u8]) -> Option<(u16, usize)> {
    let mut room = Room::new();
    let mut large = None;
    let head = head::response(input, (&mut room, &mut large), false).ok()??;
    Some((head.status, head.len))
}

/// Watches the framing of a whole chunked body, given in pieces; whether it ended with the last of them.
pub fn watch_chunks<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> bool {
    let mut body = Body::unlimited(Framing::Chunked);
    for piece in pieces {
        if body.relay(piece).is_err() {
            return false;
        }
    }
    body.is_done()
}

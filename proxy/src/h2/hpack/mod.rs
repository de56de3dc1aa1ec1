//! HPACK, the compression of fields (RFC 7541).
//!
//! What is read follows the peer's table; what we write uses no table of our own, so that a connection holds nothing
//! for it and a response's head costs a copy. Strings of ours are not Huffman-coded for the same reason.

mod decode;
mod encode;
mod huffman;
mod table;

pub(crate) use decode::Decoder;
pub(crate) use encode::{field, resize_to_nothing, status};
pub(crate) use table::{Field, Name, Value};

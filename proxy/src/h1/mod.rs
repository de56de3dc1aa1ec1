//! HTTP/1.1 as it stands on the wire: strict heads in, clean heads out, framing watched in between.
//!
//! Pure: bytes in, values out; no socket, no clock. Strict because a proxy that accepts what its upstream
//! reads differently can be made to smuggle requests (RFC 9112, section 11.2): whatever is ambiguous is refused,
//! never repaired. A head is never relayed as bytes; [`write`] builds it anew from the parsed form.

pub(crate) mod body;
pub(crate) mod field;
pub(crate) mod head;
pub(crate) mod target;
pub(crate) mod write;

#[cfg(test)]
mod properties;

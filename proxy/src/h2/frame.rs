//! Frames as they come (RFC 9113, sections 4 and 6): their heads, and what their payloads must be.

use super::{Reason, Wrong};

/// Octets of a frame's head.
pub(crate) const HEAD: usize = 9;
/// The largest payload that we take: what both ends assume unless one says otherwise, and we don't.
pub(crate) const LARGEST: usize = 16_384;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A piece of a body.
    Data,
    /// The beginning of a block of fields.
    Headers,
    /// Advice that nobody follows any more.
    Priority,
    /// The end of a stream.
    RstStream,
    /// What the other end may do.
    Settings,
    /// What only servers may send.
    PushPromise,
    /// A question whether somebody is there.
    Ping,
    /// The end of the connection.
    GoAway,
    /// More may be sent.
    WindowUpdate,
    /// The rest of a block of fields.
    Continuation,
    /// Passed over.
    Unknown,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Octets of the payload.
    pub(crate) length: usize,
    /// What it is.
    pub(crate) kind: Kind,
    flags: u8,
    /// The stream; 0 is the connection itself.
    pub(crate) stream: u32,
}

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

impl Head {
    /// Reads a frame's head; `None` when more bytes are needed.
    pub(crate) fn read(input: &[u8]) -> Option<Self> {
        let (&[l0, l1, l2, kind, flags, s0, s1, s2, s3], _) = input.split_first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                2 => Kind::Priority,
                3 => Kind::RstStream,
                4 => Kind::Settings,
                5 => Kind::PushPromise,
                6 => Kind::Ping,
                7 => Kind::GoAway,
                8 => Kind::WindowUpdate,
                9 => Kind::Continuation,
                _ => Kind::Unknown,
            },
            flags,
            // The first bit is reserved, and ignored.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        })
    }

    /// The stream ends with this frame.
    pub(crate) const fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The block of fields ends with this frame.
    pub(crate) const fn ends_block(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// It answers ours.
    pub(crate) const fn is_ack(&self) -> bool {
        self.flags & ACK != 0
    }

    /// Whether a frame of this kind may be of this size, and on this stream.
    ///
    /// # Errors
    /// What the standard makes of it.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        if self.length > LARGEST {
            return Err(Wrong::size("a frame is too large"));
        }
        let of_connection = matches!(self.kind, Kind::Settings | Kind::Ping | Kind::GoAway);
        let of_either = matches!(self.kind, Kind::WindowUpdate | Kind::Unknown);
        if !of_either && of_connection != (self.stream == 0) {
            return Err(Wrong::protocol("a frame is on the wrong stream"));
        }
        let fits = match self.kind {
            Kind::RstStream | Kind::WindowUpdate => self.length == 4,
            Kind::Ping => self.length == 8,
            Kind::GoAway => self.length >= 8,
            Kind::Settings if self.is_ack() => self.length == 0,
            Kind::Settings => self.length.is_multiple_of(6),
            Kind::Priority if self.length != 5 => {
                return Err(Wrong::Stream(
                    self.stream,
                    Reason::FrameSize,
                    "a priority is of a wrong size",
                ));
            }
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(Wrong::size("a frame is of a wrong size"))
        }
    }

    /// The payload of DATA or HEADERS without padding and priority.
    ///
    /// # Errors
    /// When there is more padding than payload, or a stream depends on itself.
    pub(crate) fn content<'p>(&self, payload: &'p [u8]) -> Result<&'p [u8], Wrong> {
        let mut content = payload;
        if self.flags & PADDED != 0 {
            let (&padding, rest) = content
                .split_first()
                .ok_or(Wrong::size("no length of the padding"))?;
            let length = rest
                .len()
                .checked_sub(usize::from(padding))
                .ok_or(Wrong::protocol("more padding than payload"))?;
            content = rest.get(..length).unwrap_or_default();
        }
        if self.kind == Kind::Headers && self.flags & PRIORITY != 0 {
            let (priority, rest) = content
                .split_at_checked(5)
                .ok_or(Wrong::size("no room for a priority"))?;
            if self.depends_on_itself(priority) {
                return Err(Wrong::protocol("a stream depends on itself"));
            }
            content = rest;
        }
        Ok(content)
    }

    /// What is left of priorities: a stream doesn't depend on itself (RFC 7540, section 5.3.1).
    ///
    /// # Errors
    /// When it does.
    pub(crate) fn check_priority(&self, priority: &[u8]) -> Result<(), Wrong> {
        if self.depends_on_itself(priority) {
            let what = "a stream depends on itself";
            return Err(Wrong::Stream(self.stream, Reason::Protocol, what));
        }
        Ok(())
    }
}

impl Head {
    fn depends_on_itself(&self, priority: &[u8]) -> bool {
        number(priority) & 0x7fff_ffff == self.stream
    }
}

/// The number at the start of a payload whose size was checked.
pub(crate) fn number(payload: &[u8]) -> u32 {
    let bytes = payload.first_chunk::<4>().copied().unwrap_or_default();
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: usize, kind: u8, flags: u8, stream: u32) -> Head {
        let mut bytes = (length as u32).to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        Head::read(&bytes).unwrap()
    }

    #[test]
    fn heads_are_read_and_the_reserved_bit_is_not() {
        assert_eq!(Head::read(&[0; 8]), None);
        let data = head(300, 0, END_STREAM, 0x8000_0005);
        assert_eq!((data.kind, data.length, data.stream), (Kind::Data, 300, 5));
        assert!(data.ends_stream() && !data.ends_block());
        assert_eq!(head(0, 77, 0, 0).kind, Kind::Unknown);
    }

    #[test]
    fn sizes_and_streams_are_checked() {
        let reason = |head: Head| match head.check() {
            Ok(()) => None,
            Err(Wrong::Connection(reason, _)) => Some((reason, true)),
            Err(Wrong::Stream(_, reason, _)) => Some((reason, false)),
        };
        let (size, protocol) = (
            Some((Reason::FrameSize, true)),
            Some((Reason::Protocol, true)),
        );
        for (frame, expected) in [
            (head(16_384, 0, 0, 1), None),
            (head(16_385, 0, 0, 1), size),
            (head(0, 0, 0, 0), protocol),
            (head(0, 1, 0, 0), protocol),
            (head(5, 2, 0, 1), None),
            (head(5, 2, 0, 0), protocol),
            (head(4, 2, 0, 1), Some((Reason::FrameSize, false))),
            (head(3, 3, 0, 1), size),
            (head(4, 3, 0, 0), protocol),
            (head(12, 4, 0, 0), None),
            (head(13, 4, 0, 0), size),
            (head(0, 4, ACK, 0), None),
            (head(6, 4, ACK, 0), size),
            (head(0, 4, 0, 1), protocol),
            (head(8, 6, 0, 0), None),
            (head(7, 6, 0, 0), size),
            (head(8, 6, 0, 1), protocol),
            (head(7, 7, 0, 0), size),
            (head(8, 7, 0, 1), protocol),
            (head(4, 8, 0, 0), None),
            (head(4, 8, 0, 1), None),
            (head(5, 8, 0, 1), size),
            (head(0, 9, 0, 0), protocol),
            (head(9, 99, 0, 0), None),
        ] {
            assert_eq!(reason(frame), expected, "{frame:?}");
        }
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let padded = head(6, 0, PADDED, 1);
        assert_eq!(padded.content(b"\x02abc\0\0"), Ok(&b"abc"[..]));
        assert_eq!(padded.content(b"\x05abc\0\0"), Ok(&b""[..]));
        assert!(padded.content(b"\x06abc\0\0").is_err());
        assert!(padded.content(b"").is_err());
        let both = head(9, 1, PADDED | PRIORITY, 1);
        assert_eq!(both.content(b"\x01\0\0\0\x03\x10ab\0"), Ok(&b"ab"[..]));
        assert!(both.content(b"\x01\0\0\0").is_err());
        let itself = both.content(b"\x00\x80\0\0\x01\x10ab");
        assert!(matches!(
            itself,
            Err(Wrong::Connection(Reason::Protocol, _))
        ));
    }
}

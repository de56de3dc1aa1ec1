//! Names that we give: request ids, trace ids, and the dice of load balancing.
//!
//! Keyed SipHash over a counter: unpredictable from outside (the keys come from the operating system), and a
//! handful of nanoseconds. Each worker has its own keys, and draws once for all the names of a request.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use http::HeaderValue;

/// One worker's source of names.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    keys: RandomState,
    drawn: Cell<u64>,
}

/// A request's id: a UUID of version 7 (RFC 9562), so ids sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId([u8; 36]);

impl Identity {
    /// 64 random bits.
    pub(crate) fn draw(&self) -> u64 {
        let drawn = self.drawn.get().wrapping_add(1);
        self.drawn.set(drawn);
        self.keys.hash_one(drawn)
    }

    /// A new request's id. Behind the time stands a counter (RFC 9562, section 6.2, method 1), so that a worker's ids of
    /// one millisecond sort too; the rest is drawn.
    pub(crate) fn request_id(&self, now_ms: u64) -> RequestId {
        const VERSION_7: u64 = 7 << 12;
        const VARIANT: u64 = 0b10 << 62;
        let low = VARIANT | self.draw() >> 2;
        let high = now_ms << 16 | VERSION_7 | self.drawn.get() & 0xfff;
        let (high, low) = (hex(high), hex(low));
        let mut text = [b'-'; 36];
        text[..8].copy_from_slice(&high[..8]);
        text[9..13].copy_from_slice(&high[8..12]);
        text[14..18].copy_from_slice(&high[12..]);
        text[19..23].copy_from_slice(&low[..4]);
        text[24..].copy_from_slice(&low[4..]);
        RequestId(text)
    }

    /// A `traceparent` (W3C Trace Context) that begins a request's trace; not sampled, since we record no spans. The
    /// trace has the request's id: who knows one of them has found the other. Its first span has the part of it that was
    /// drawn.
    pub(crate) fn new_trace(&self, request: RequestId) -> [u8; 55] {
        let id = request.as_bytes();
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..11].copy_from_slice(&id[..8]);
        text[11..15].copy_from_slice(&id[9..13]);
        text[15..19].copy_from_slice(&id[14..18]);
        text[19..23].copy_from_slice(&id[19..23]);
        text[23..35].copy_from_slice(&id[24..]);
        text.copy_within(19..35, 36);
        text
    }

    /// The same, as a header's value.
    pub(crate) fn traceparent(&self, request: RequestId) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.new_trace(request)).ok()
    }
}

impl RequestId {
    /// Its text, as bytes.
    pub(crate) const fn as_bytes(&self) -> &[u8; 36] {
        &self.0
    }

    /// Its text.
    pub(crate) fn as_str(&self) -> &str {
        // Hexadecimal digits and hyphens.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As a header's value.
    pub(crate) fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.0).ok()
    }
}

/// Sixteen digits, in lower case.
fn hex(value: u64) -> [u8; 16] {
    let (high, low) = (value >> 32, value & 0xffff_ffff);
    let mut text = [0; 16];
    text[..8].copy_from_slice(&eight_digits(high).to_be_bytes());
    text[8..].copy_from_slice(&eight_digits(low).to_be_bytes());
    text
}

/// The digits of 32 bits, all at once: each half byte becomes a byte, and each byte a digit.
const fn eight_digits(value: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let quarters = (value | value << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (quarters | quarters << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes << 4) & (15 * ONES);
    let are_letters = ((halves + 6 * ONES) >> 4) & ONES;
    halves + b'0' as u64 * ONES + are_letters * (b'a' - b'0' - 10) as u64
}

/// Whether this is a `traceparent` that may be passed on: version 00 with its four fields, or a later version
/// that begins with them.
pub(crate) fn is_traceparent(text: &[u8]) -> bool {
    let lower_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let not_zero = |part: &[u8]| part.iter().any(|&b| b != b'0');
    let Some((fields, rest)) = text.split_at_checked(55) else {
        return false;
    };
    let mut parts = fields.split(|&b| b == b'-');
    let (Some(version), Some(trace), Some(span), Some(flags), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return false;
    };
    let sizes = [version.len(), trace.len(), span.len(), flags.len()] == [2, 32, 16, 2];
    let later = version != b"00" && rest.first() == Some(&b'-');
    sizes
        && version != b"ff"
        && [version, trace, span, flags].into_iter().all(lower_hex)
        && not_zero(trace)
        && not_zero(span)
        && (rest.is_empty() || later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids_that_sort_by_time() {
        let identity = Identity::default();
        let earlier = identity.request_id(1_700_000_000_000);
        let later = identity.request_id(1_700_000_000_001);
        assert!(earlier.as_str() < later.as_str());
        let ids: Vec<_> = (0..100).map(|_| identity.request_id(7)).collect();
        assert!(ids.is_sorted_by(|one, next| one.as_str() < next.as_str()));
        assert_ne!(identity.request_id(5), identity.request_id(5));
        let text = earlier.as_str().to_owned();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "7");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        assert_eq!(text.matches('-').count(), 4);
    }

    #[test]
    fn digits_are_those_of_the_standard_library() {
        let identity = Identity::default();
        let drawn = std::iter::repeat_with(|| identity.draw()).take(1_000);
        for value in drawn.chain([0, u64::MAX, 0x0123_4567_89ab_cdef]) {
            assert_eq!(hex(value), format!("{value:016x}").as_bytes());
        }
    }

    #[test]
    fn traceparents_are_made_and_checked() {
        let identity = Identity::default();
        let id = identity.request_id(1_700_000_000_000);
        let made = identity.traceparent(id).unwrap();
        assert!(is_traceparent(made.as_bytes()), "{made:?}");
        assert_eq!(made.to_str().unwrap()[3..35], id.as_str().replace('-', ""));
        let good = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good));
        let bad: [&[u8]; 6] = [
            b"",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
            b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        ];
        for text in bad {
            assert!(!is_traceparent(text), "{}", text.escape_ascii());
        }
        assert!(is_traceparent(
            b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"
        ));
    }
}

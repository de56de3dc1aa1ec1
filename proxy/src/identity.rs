//! Names that we give: request ids, trace ids, and the dice of load balancing.
//!
//! Keyed SipHash over a counter: unpredictable from outside (the keys come from the operating system), and a
//! handful of nanoseconds. Each worker has its own keys.

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

    /// A new request's id.
    pub(crate) fn request_id(&self, now_ms: u64) -> RequestId {
        const VERSION_7: u64 = 7 << 12;
        const VARIANT: u64 = 0b10 << 62;
        let high = now_ms << 16 | VERSION_7 | self.draw() & 0xfff;
        let low = VARIANT | self.draw() >> 2;
        let mut text = [b'-'; 36];
        let digits = hex(high).into_iter().chain(hex(low));
        let places = (0..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
        for (at, digit) in places.zip(digits) {
            if let Some(place) = text.get_mut(at) {
                *place = digit;
            }
        }
        RequestId(text)
    }

    /// A `traceparent` (W3C Trace Context) that begins a trace; not sampled, since we record no spans.
    pub(crate) fn new_trace(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // The ids must not be zero.
        let digits = [self.draw(), self.draw() | 1, self.draw() | 1].map(hex);
        let places = text.iter_mut().skip(3).filter(|place| **place != b'-');
        for (place, digit) in places.zip(digits.as_flattened()) {
            *place = *digit;
        }
        text
    }

    /// The same, as a header's value.
    pub(crate) fn traceparent(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.new_trace()).ok()
    }
}

impl RequestId {
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

fn hex(value: u64) -> [u8; 16] {
    value
        .to_be_bytes()
        .map(digits)
        .as_flattened()
        .try_into()
        .unwrap_or([b'0'; 16])
}

fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| {
        if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        }
    })
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
        assert_ne!(identity.request_id(5), identity.request_id(5));
        let text = earlier.as_str().to_owned();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "7");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        assert_eq!(text.matches('-').count(), 4);
    }

    #[test]
    fn traceparents_are_made_and_checked() {
        let made = Identity::default().traceparent().unwrap();
        assert!(is_traceparent(made.as_bytes()), "{made:?}");
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

//! `traceparent` (W3C Trace Context): read from clients, written for endpoints.

use http::HeaderValue;

use crate::identity::is_traceparent;

/// A span in some process, as others are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// Of the whole trace; not zero.
    pub trace: u128,
    /// Of the span; not zero.
    pub span: u64,
    /// Whether the span is recorded.
    pub is_sampled: bool,
}

impl Traceparent {
    /// The fields of a valid one.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if !is_traceparent(text) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut fields = text.split('-').skip(1);
        let trace = u128::from_str_radix(fields.next()?, 16).ok()?;
        let span = u64::from_str_radix(fields.next()?, 16).ok()?;
        let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
        Some(Self {
            trace,
            span,
            is_sampled: flags & 1 == 1,
        })
    }

    /// As a header's value.
    pub(crate) fn to_value(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

impl std::fmt::Display for Traceparent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { trace, span, .. } = self;
        let flags = u8::from(self.is_sampled);
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written() {
        let read = Traceparent::parse(SAMPLED.as_bytes()).unwrap();
        assert_eq!(read.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(read.span, 0xb7ad_6b71_6920_3331);
        assert!(read.is_sampled);
        assert_eq!(read.to_value().unwrap(), SAMPLED);
        let small = Traceparent {
            trace: 1,
            span: 2,
            is_sampled: false,
        };
        let text = "00-00000000000000000000000000000001-0000000000000002-00";
        assert_eq!(small.to_value().unwrap(), text);
        assert_eq!(Traceparent::parse(text.as_bytes()), Some(small));
    }

    #[test]
    fn of_later_versions_flags_only_the_first_is_known() {
        let later = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02-more";
        assert!(Traceparent::parse(later).is_some_and(|parent| !parent.is_sampled));
        assert_eq!(Traceparent::parse(b"00-xyz"), None);
    }
}

//! gRPC: what a call's status means. It stands in the trailers, or in the head when there is no message.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};
use serin_stats::snapshot::Outcome;

use super::relay::Meaning;
use crate::h1::field;
use crate::h1::head::Fields;

/// The header or trailer that holds a call's status.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The status "deadline exceeded".
pub(crate) const DEADLINE_EXCEEDED: u16 = 4;

/// The status "unavailable".
pub(crate) const UNAVAILABLE: u16 = 14;

/// How long a call may take, as its client says.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Whether a request is a gRPC call (gRPC-Web is another protocol: its status stands in the body).
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| field::is_call(kind.as_bytes()))
}

/// How long the client will wait for all of its call: at most eight digits and a unit (gRPC over HTTP/2, "Requests").
/// `None` when it doesn't say, or says something else.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (&unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    let is_number = matches!(digits.len(), 1..=8) && digits.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    let value = value.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(value * 3600)),
        b'M' => Some(Duration::from_secs(value * 60)),
        b'S' => Some(Duration::from_secs(value)),
        b'm' => Some(Duration::from_millis(value)),
        b'u' => Some(Duration::from_micros(value)),
        b'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// How a call's status counts; `None` when there is no status here. A status that is no number is an error.
pub(crate) fn outcome(fields: &HeaderMap) -> Option<Outcome> {
    fields
        .get(GRPC_STATUS)
        .map(|status| outcome_of(status.as_bytes()))
}

/// What a whole response to a call will have meant, by the fields of its head.
pub(crate) fn meaning(fields: &Fields<'_>) -> Meaning {
    let mut fields = fields.iter();
    let status = fields.find(|(_, field)| is_status(field.name));
    match status {
        Some((_, field)) => Meaning::Known(outcome_of(field.value)),
        None => Meaning::InTrailers { can_append: false },
    }
}

/// How a call's status counts that stands in a trailer section.
pub(crate) fn outcome_in(trailer: &[u8]) -> Option<Outcome> {
    trailer.split(|&byte| byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        is_status(std::str::from_utf8(name).ok()?)
            .then(|| outcome_of(value.get(1..).unwrap_or_default().trim_ascii()))
    })
}

fn is_status(name: &str) -> bool {
    name.eq_ignore_ascii_case(GRPC_STATUS.as_str())
}

fn outcome_of(status: &[u8]) -> Outcome {
    let code = std::str::from_utf8(status)
        .ok()
        .and_then(|text| text.parse::<u8>().ok());
    match code {
        Some(0) => Outcome::Success,
        Some(1) => Outcome::Aborted,
        // UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        Some(2 | 4 | 8 | 12 | 13 | 14 | 15) | None => Outcome::Error,
        Some(_) => Outcome::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_content_type() {
        for (kind, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            assert_eq!(is_call(&headers), is, "{kind}");
        }
    }

    #[test]
    fn timeouts_are_numbers_with_a_unit() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("3u", Some(Duration::from_micros(3))),
            ("0n", Some(Duration::ZERO)),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("123456789S", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(GRPC_TIMEOUT, text.parse().unwrap())]);
            assert_eq!(timeout(&headers), expected, "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn statuses_fall_into_their_classes() {
        for (status, expected) in [
            ("0", Outcome::Success),
            ("1", Outcome::Aborted),
            ("2", Outcome::Error),
            ("3", Outcome::Rejected),
            ("5", Outcome::Rejected),
            ("8", Outcome::Error),
            ("12", Outcome::Error),
            ("14", Outcome::Error),
            ("16", Outcome::Rejected),
            ("x", Outcome::Error),
        ] {
            let fields = HeaderMap::from_iter([(GRPC_STATUS, status.parse().unwrap())]);
            assert_eq!(outcome(&fields), Some(expected), "{status}");
        }
        assert_eq!(outcome(&HeaderMap::new()), None);
    }
}

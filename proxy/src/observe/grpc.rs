//! gRPC: what a call's status means. It stands in the trailers, or in the head when there is no message.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};
use serin_stats::snapshot::Outcome;

/// The header or trailer that holds a call's status.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The status "unavailable".
pub(crate) const UNAVAILABLE: u16 = 14;

/// Whether a request is a gRPC call (gRPC-Web is another protocol: its status stands in the body).
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How a call's status counts; `None` when there is no status here. A status that is no number is an error.
pub(crate) fn outcome(fields: &HeaderMap) -> Option<Outcome> {
    let status = fields.get(GRPC_STATUS)?;
    let code = status
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u8>().ok());
    Some(match code {
        Some(0) => Outcome::Success,
        Some(1) => Outcome::Aborted,
        // UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        Some(2 | 4 | 8 | 12 | 13 | 14 | 15) | None => Outcome::Error,
        Some(_) => Outcome::Rejected,
    })
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

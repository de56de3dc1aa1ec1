//! Header fields that end here: hop-by-hop ones, those that `Connection` names, and our own.

use http::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::h1::field::{self, InTrailer, Known};

/// The one field of ours that clients may send.
const ROUTING_KEY: HeaderName = HeaderName::from_static("x-serin-routing-key");

/// Concern one connection only (RFC 9110, section 7.6.1). `Expect` is here because we answer it ourselves, `TE`
/// because we say for ourselves whether we take trailers.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
];

/// Removes what concerns one connection only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Few messages have any, and a look at all names costs less than one for each of these.
    if !headers.keys().any(ends_here) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| field::known(name.as_str()) == Known::Other)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a field is one of [`HOP_BY_HOP`].
fn ends_here(name: &HeaderName) -> bool {
    matches!(
        field::known(name.as_str()),
        Known::Connection
            | Known::Expect
            | Known::HopByHop
            | Known::Te
            | Known::TransferEncoding
            | Known::Upgrade
    )
}

/// Removes every `x-serin-…`: those are ours to set.
pub(super) fn strip_ours(headers: &mut HeaderMap) {
    strip_ours_but(headers, None);
}

/// Removes every `x-serin-…` that a client may not send.
pub(crate) fn strip_ours_from_client(headers: &mut HeaderMap) {
    strip_ours_but(headers, Some(&ROUTING_KEY));
}

fn strip_ours_but(headers: &mut HeaderMap, kept: Option<&HeaderName>) {
    remove_all(headers, |name| {
        name.as_str().starts_with("x-serin-") && Some(name) != kept
    });
}

/// Removes every field whose name has an underscore: servers that turn names into variables take it for another
/// field, such as `content_length` for `content-length`.
pub(crate) fn strip_underscored(headers: &mut HeaderMap) {
    remove_all(headers, |name| name.as_str().contains('_'));
}

/// Removes from trailers what would frame, route or authenticate, or is ours to say (RFC 9110, section 6.5.1): those
/// that come over HTTP/1.1 are without it already. Names with underscores are another affair.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_all(trailers, |name| {
        let name = name.as_str();
        field::known(name) != Known::Underscored && field::in_trailer(name) != InTrailer::Passes
    });
}

/// One at a time: a client that sends many of them is no hot path.
fn remove_all(headers: &mut HeaderMap, is_wanted: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_wanted(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether trailers are welcome (`TE: trailers`).
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TE).iter();
    codings
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_connection_names_goes_too() {
        let mut headers = map(&[
            ("connection", "close, X-One"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic x"),
            ("accept", "*/*"),
        ]);
        headers.append(CONNECTION, "x-two".parse().unwrap());
        assert!(takes_trailers(&headers));
        strip_hop_by_hop(&mut headers);
        assert_eq!(names(&headers), ["accept"]);
    }

    #[test]
    fn each_that_ends_here_is_known_to() {
        for name in &HOP_BY_HOP {
            assert!(ends_here(name), "{name}");
        }
    }

    #[test]
    fn trailers_neither_frame_nor_route() {
        let mut trailers = map(&[
            ("content-length", "5"),
            ("host", "a"),
            ("set-cookie", "a=b"),
            ("x-serin-arm", "canary"),
            ("grpc-status", "0"),
            ("error_details", "none"),
        ]);
        clean_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["error_details", "grpc-status"]);
    }

    #[test]
    fn ours_go_save_the_routing_key() {
        let fields = [
            ("x-serin-arm", "canary"),
            ("x-serin-shadow", "1"),
            ("x-serin-routing-key", "u1"),
            ("x-other", "1"),
        ];
        let mut headers = map(&fields);
        strip_ours_from_client(&mut headers);
        assert_eq!(names(&headers), ["x-other", "x-serin-routing-key"]);
        strip_ours(&mut headers);
        assert_eq!(names(&headers), ["x-other"]);
    }
}

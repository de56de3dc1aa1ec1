//! What single fields mean to a proxy: which ones frame a message, which ones end at this hop.

/// What a field is to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Host`.
    Host,
    /// `Connection`.
    Connection,
    /// `Expect`.
    Expect,
    /// `Upgrade`.
    Upgrade,
    /// `TE`.
    Te,
    /// Meant for this hop only (RFC 9110, section 7.6.1) and dropped.
    HopByHop,
    /// `Via`.
    Via,
    /// `Date`.
    Date,
    /// `Content-Type`.
    ContentType,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `X-Forwarded-Host`.
    ForwardedHost,
    /// `traceparent`.
    Traceparent,
    /// `tracestate`.
    Tracestate,
    /// `x-serin-routing-key`: the one field of ours that clients may send.
    RoutingKey,
    /// Any other `x-serin-…`.
    Ours,
    /// A name with an underscore: servers that turn names into variables take it for another field.
    Underscored,
    /// Everything else travels on.
    Other,
}

/// Classifies a field name: by length and first letter first, since nearly every name is of the last kind.
pub(crate) fn known(name: &str) -> Known {
    let first = name.as_bytes().first().map_or(0, u8::to_ascii_lowercase);
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let known = match (name.len(), first) {
        (2, b't') if is("te") => Known::Te,
        (3, b'v') if is("via") => Known::Via,
        (4, b'h') if is("host") => Known::Host,
        (4, b'd') if is("date") => Known::Date,
        (6, b'e') if is("expect") => Known::Expect,
        (7, b'u') if is("upgrade") => Known::Upgrade,
        (10, b'c') if is("connection") => Known::Connection,
        (10, b'k') if is("keep-alive") => Known::HopByHop,
        (10, b't') if is("tracestate") => Known::Tracestate,
        (11, b't') if is("traceparent") => Known::Traceparent,
        (12, b'c') if is("content-type") => Known::ContentType,
        (14, b'c') if is("content-length") => Known::ContentLength,
        (14, b'h') if is("http2-settings") => Known::HopByHop,
        (15, b'x') if is("x-forwarded-for") => Known::ForwardedFor,
        (16, b'p') if is("proxy-connection") => Known::HopByHop,
        (16, b'x') if is("x-forwarded-host") => Known::ForwardedHost,
        (17, b't') if is("transfer-encoding") => Known::TransferEncoding,
        (17, b'x') if is("x-forwarded-proto") => Known::ForwardedProto,
        (18, b'p') if is("proxy-authenticate") => Known::HopByHop,
        (19, b'p') if is("proxy-authorization") => Known::HopByHop,
        (19, b'x') if is("x-serin-routing-key") => Known::RoutingKey,
        _ => Known::Other,
    };
    match (known, name.as_bytes()) {
        (Known::Other, [b'x' | b'X', b'-', b's' | b'S', ..]) if is_ours(name) => Known::Ours,
        (Known::Other, bytes) if bytes.contains(&b'_') => Known::Underscored,
        (known, _) => known,
    }
}

/// Whether a name begins with `x-serin-`.
pub(crate) fn is_ours(name: &str) -> bool {
    const OURS: &[u8] = b"x-serin-";
    let start = name.as_bytes().get(..OURS.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

/// What the `Connection` fields of one message say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection<'b> {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// `Connection` fields that name other fields; two are more than anybody sends.
    naming: [Option<&'b [u8]>; 2],
    overflow: bool,
}

impl<'b> Connection<'b> {
    /// Takes one field's value into account.
    pub(crate) fn add(&mut self, value: &'b [u8]) {
        let mut names = false;
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if !option.eq_ignore_ascii_case(b"te") {
                names = true;
            }
        }
        if names {
            match self.naming.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = Some(value),
                None => self.overflow = true,
            }
        }
    }

    /// Whether the connection stays open, given the message's version.
    pub(crate) const fn keeps_alive(&self, version_11: bool) -> bool {
        !self.close && (version_11 || self.keep_alive)
    }

    /// Whether the sender wants to speak another protocol on this connection.
    pub(crate) const fn upgrades(&self) -> bool {
        self.upgrade
    }

    /// Whether more `Connection` fields named other fields than are kept; such a message is refused.
    pub(crate) const fn overflows(&self) -> bool {
        self.overflow
    }

    /// Whether a field is named here and so ends at this hop.
    pub(crate) fn names(&self, field: &str) -> bool {
        let mut naming = self.naming.iter().flatten();
        naming
            .any(|value| options(value).any(|option| option.eq_ignore_ascii_case(field.as_bytes())))
    }
}

/// The members of a comma-separated list, without surrounding blanks and empty ones.
pub(crate) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

/// A `Content-Length`: digits only, one number, within 63 bits.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, &byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

/// Which bytes may stand in an authority.
const fn may_stand_in_authority(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'
            | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' | b':' | b'[' | b']' | b'%'
    )
}

/// A `host[:port]` as text: the characters of RFC 3986's `host` and no user information. Empty is allowed
/// (RFC 9110 §7.2: a client without an authority sends an empty `Host`).
pub(crate) fn authority(value: &[u8]) -> Option<&str> {
    if !value.iter().all(|&byte| may_stand_in_authority(byte)) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    let port = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            match after.strip_prefix(':') {
                Some(port) => port,
                None if after.is_empty() => "",
                None => return None,
            }
        }
        None => match value.iter().position(|&byte| byte == b':') {
            Some(0) => return None,
            Some(colon) => text.get(colon + 1..)?,
            None => "",
        },
    };
    (port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// Whether a `TE` field's value welcomes trailers.
pub(crate) fn takes_trailers(value: &[u8]) -> bool {
    options(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Whether a `Content-Type` is gRPC's (gRPC-Web is another protocol: its status stands in the body).
pub(crate) fn is_call(value: &[u8]) -> bool {
    value
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What becomes of a field in a trailer section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InTrailer {
    /// It travels on.
    Passes,
    /// It would route or authenticate (RFC 9110, section 6.5.1), or is ours to say: left out.
    Dropped,
    /// It would frame the message: nobody says that in good faith.
    Refused,
}

/// What becomes of a field in a trailer section.
pub(crate) fn in_trailer(name: &str) -> InTrailer {
    const UNSAFE: [&str; 8] = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "cookie",
        "location",
        "set-cookie",
        "trailer",
    ];
    match known(name) {
        Known::ContentLength | Known::TransferEncoding | Known::Host | Known::Connection => {
            InTrailer::Refused
        }
        Known::Other
            if UNSAFE
                .iter()
                .any(|unsafe_one| name.eq_ignore_ascii_case(unsafe_one)) =>
        {
            InTrailer::Dropped
        }
        Known::Other => InTrailer::Passes,
        _ => InTrailer::Dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for good in [
            "a",
            "a:80",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "",
            "a.b-c_d",
            "a:",
        ] {
            assert_eq!(authority(good.as_bytes()), Some(good), "{good}");
        }
        for bad in [
            "a b", "u@a", "a:b", "[::1", "[x]", ":80", "a:123456", "a/b", "a,b", "[::1]x",
        ] {
            assert_eq!(authority(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn connection_options() {
        let mut connection = Connection::default();
        connection.add(b"Keep-Alive, X-Secret ,, close");
        assert!(!connection.keeps_alive(true));
        assert!(connection.names("x-secret"));
        assert!(!connection.names("x-other"));
        assert!(Connection::default().keeps_alive(true));
        assert!(!Connection::default().keeps_alive(false));
    }
}

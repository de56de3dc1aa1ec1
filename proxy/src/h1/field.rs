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

/// Classifies a field name, which is a token.
pub(crate) fn known(name: &str) -> Known {
    let name = name.as_bytes();
    let word = word(name);
    match (name.len(), word) {
        (2, TE) => Known::Te,
        (3, VIA) => Known::Via,
        (4, HOST) => Known::Host,
        (4, DATE) => Known::Date,
        (6, EXPECT) => Known::Expect,
        (7, UPGRADE) => Known::Upgrade,
        (10, CONNECTION) => Known::Connection,
        (10, KEEP_ALIVE) => Known::HopByHop,
        (10, TRACESTATE) => Known::Tracestate,
        (11, TRACEPARENT) => Known::Traceparent,
        (12, CONTENT_TYPE) => Known::ContentType,
        (14, CONTENT_LENGTH) => Known::ContentLength,
        (14, HTTP2_SETTINGS) => Known::HopByHop,
        (15, X_FORWARDED_FOR) => Known::ForwardedFor,
        (16, PROXY_CONNECTION) => Known::HopByHop,
        (16, X_FORWARDED_HOST) => Known::ForwardedHost,
        (17.., _) => known_long(name, word),
        (8.., _) if begins_ours(word) => Known::Ours,
        _ if has_underscore(word) => Known::Underscored,
        _ => Known::Other,
    }
}

/// The same for names that are longer than their word.
fn known_long(name: &[u8], word: u128) -> Known {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    match name.len() {
        17 if is(b"transfer-encoding") => Known::TransferEncoding,
        17 if is(b"x-forwarded-proto") => Known::ForwardedProto,
        18 if is(b"proxy-authenticate") => Known::HopByHop,
        19 if is(b"proxy-authorization") => Known::HopByHop,
        19 if is(b"x-serin-routing-key") => Known::RoutingKey,
        _ if begins_ours(word) => Known::Ours,
        _ if name.contains(&b'_') => Known::Underscored,
        _ => Known::Other,
    }
}

const OURS: u128 = word(b"x-serin-");
const TE: u128 = word(b"te");
const VIA: u128 = word(b"via");
const HOST: u128 = word(b"host");
const DATE: u128 = word(b"date");
const EXPECT: u128 = word(b"expect");
const UPGRADE: u128 = word(b"upgrade");
const CONNECTION: u128 = word(b"connection");
const KEEP_ALIVE: u128 = word(b"keep-alive");
const TRACESTATE: u128 = word(b"tracestate");
const TRACEPARENT: u128 = word(b"traceparent");
const CONTENT_TYPE: u128 = word(b"content-type");
const CONTENT_LENGTH: u128 = word(b"content-length");
const HTTP2_SETTINGS: u128 = word(b"http2-settings");
const X_FORWARDED_FOR: u128 = word(b"x-forwarded-for");
const PROXY_CONNECTION: u128 = word(b"proxy-connection");
const X_FORWARDED_HOST: u128 = word(b"x-forwarded-host");

/// A name's beginning and end as one number, in lower case: with the length, all of a name that has at most sixteen
/// bytes. Of the bytes of a token only a letter becomes a letter, and only a hyphen a hyphen.
const fn word(name: &[u8]) -> u128 {
    let (first, last) = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        (first as u64, last as u64)
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u16::from_le_bytes(*first), u16::from_le_bytes(*last));
        (first as u64, last as u64)
    } else if let [only] = name {
        (*only as u64, 0)
    } else {
        (0, 0)
    };
    const LOWER_CASE: u128 = u128::from_ne_bytes([0x20; 16]);
    (first as u128 | (last as u128) << 64) | LOWER_CASE
}

/// Whether a name with this word begins with `x-serin-`.
const fn begins_ours(word: u128) -> bool {
    word as u64 == OURS as u64
}

/// Whether there is an underscore in a name with this word: which becomes the one byte 0x7f, as no other of a token.
const fn has_underscore(word: u128) -> bool {
    const LOWEST: u128 = u128::from_ne_bytes([1; 16]);
    const HIGHEST: u128 = u128::from_ne_bytes([0x80; 16]);
    // Zero where one stands, and the lowest byte that is zero is the lowest that borrows.
    let others = word ^ u128::from_ne_bytes([0x7f; 16]);
    others.wrapping_sub(LOWEST) & !others & HIGHEST != 0
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

/// Which bytes may stand in an authority that is no address in brackets.
const fn may_stand_in_authority(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'
            | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' | b':' | b'%'
    )
}

/// The same by byte: names are looked at whole, at every request.
const IN_AUTHORITY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while let Some((entry, _)) = table.split_at_mut(byte).1.split_first_mut() {
        *entry = may_stand_in_authority(byte as u8);
        byte += 1;
    }
    table
};

/// A `host[:port]` as text: the characters of RFC 3986's `host` and no user information. Empty is allowed
/// (RFC 9110 §7.2: a client without an authority sends an empty `Host`).
pub(crate) fn authority(value: &[u8]) -> Option<&str> {
    let may_stand = |&byte: &u8| IN_AUTHORITY.get(usize::from(byte)) == Some(&true);
    // What stands in brackets is read as an address below, and what follows it as a port.
    let is_literal = value.first() == Some(&b'[');
    if !is_literal && (!value.iter().all(may_stand) || !is_escaped_well(value)) {
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

/// Whether two hexadecimal digits follow each `%`.
fn is_escaped_well(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'%', rest) {
        rest = match rest.get(at + 1..) {
            Some([high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            _ => return false,
        };
    }
    true
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

    /// What a name is, looked up one by one.
    fn looked_up(name: &str) -> Known {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "te" => Known::Te,
            "via" => Known::Via,
            "host" => Known::Host,
            "date" => Known::Date,
            "expect" => Known::Expect,
            "upgrade" => Known::Upgrade,
            "connection" => Known::Connection,
            "keep-alive" | "http2-settings" | "proxy-connection" => Known::HopByHop,
            "proxy-authenticate" | "proxy-authorization" => Known::HopByHop,
            "tracestate" => Known::Tracestate,
            "traceparent" => Known::Traceparent,
            "content-type" => Known::ContentType,
            "content-length" => Known::ContentLength,
            "x-forwarded-for" => Known::ForwardedFor,
            "x-forwarded-host" => Known::ForwardedHost,
            "x-forwarded-proto" => Known::ForwardedProto,
            "transfer-encoding" => Known::TransferEncoding,
            "x-serin-routing-key" => Known::RoutingKey,
            ours if ours.starts_with("x-serin-") => Known::Ours,
            other if other.contains('_') => Known::Underscored,
            _ => Known::Other,
        }
    }

    const NAMES: [&str; 30] = [
        "te",
        "via",
        "host",
        "date",
        "expect",
        "upgrade",
        "connection",
        "keep-alive",
        "tracestate",
        "traceparent",
        "content-type",
        "content-length",
        "http2-settings",
        "x-forwarded-for",
        "proxy-connection",
        "x-forwarded-host",
        "transfer-encoding",
        "x-forwarded-proto",
        "proxy-authenticate",
        "proxy-authorization",
        "x-serin-routing-key",
        "x-serin-",
        "x-serin-arm",
        "x-serin-anything-else",
        "x-serin",
        "x-user-id",
        "accept",
        "a",
        "x-a-rather-long-name-of-a-field",
        "",
    ];

    /// Every name with every byte of it replaced by every byte of a token, and by an upper case letter.
    #[test]
    fn names_are_told_by_all_their_bytes() {
        let is_token =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let tokens: Vec<u8> = (0..=u8::MAX).filter(is_token).collect();
        let check = |name: &[u8]| {
            let name = std::str::from_utf8(name).unwrap();
            assert_eq!(known(name), looked_up(name), "{name}");
        };
        for name in NAMES {
            check(name.as_bytes());
            check(name.to_ascii_uppercase().as_bytes());
            check(format!("{name}x").as_bytes());
            for at in 0..name.len() {
                let mut changed = name.as_bytes().to_vec();
                for &byte in &tokens {
                    changed[at] = byte;
                    check(&changed);
                }
                changed.remove(at);
                check(&changed);
            }
        }
    }

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
            "a%2fb%C3%A9",
        ] {
            assert_eq!(authority(good.as_bytes()), Some(good), "{good}");
        }
        for bad in [
            "a b", "u@a", "a:b", "[::1", "[x]", ":80", "a:123456", "a/b", "a,b", "a[b", "a]",
            "[::1]x", "a%", "a%2", "a%2x", "%:80",
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

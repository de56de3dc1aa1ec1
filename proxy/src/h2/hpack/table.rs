//! The fields that an index stands for: HPACK's static table, and what was sent before (RFC 7541, section 2.3).

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};

/// What a field's name is to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:scheme`
    Scheme,
    /// Any other name with a colon: not a request's.
    OtherPseudo,
    /// A field of HTTP.
    Field(HeaderName),
    /// No name that HTTP/2 knows: uppercase, empty, or not a token.
    Bad,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: Name,
    /// Octets of its name.
    name_length: usize,
    /// Its value.
    pub(crate) value: Value,
    /// As the standard counts it: octets of both, and 32 (RFC 7541, section 4.1).
    pub(crate) size: usize,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of a pseudo field: what it may hold is the request's to say.
    Pseudo(Bytes),
    /// Of a field of HTTP.
    Field(HeaderValue),
    /// Not one that HTTP allows.
    Bad,
}

/// What the standard counts for each field beside its octets.
const OVERHEAD: usize = 32;

impl Name {
    /// Reads a name.
    pub(super) fn read(text: &[u8]) -> Self {
        match text {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":scheme" => Self::Scheme,
            [b':', ..] => Self::OtherPseudo,
            // No token has it (RFC 9110, section 5.6.2), which the next one doesn't know.
            _ if memchr::memchr(b'"', text).is_some() => Self::Bad,
            // It refuses uppercase letters.
            _ => HeaderName::from_lowercase(text).map_or(Self::Bad, Self::Field),
        }
    }
}

impl Field {
    /// A field of this name, whose octets are `name_length`, with a value as it was read.
    pub(super) fn new(name: Name, name_length: usize, value: &[u8]) -> Self {
        let size = name_length + value.len() + OVERHEAD;
        let value = match &name {
            Name::Field(_) => {
                let surrounded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
                if surrounded(value.first()) || surrounded(value.last()) {
                    Value::Bad
                } else {
                    HeaderValue::from_bytes(value).map_or(Value::Bad, Value::Field)
                }
            }
            Name::Bad => Value::Bad,
            _ => Value::Pseudo(Bytes::copy_from_slice(value)),
        };
        Self {
            name,
            name_length,
            value,
            size,
        }
    }
}

/// What the peer's indexes stand for.
pub(super) struct Table {
    /// The latest first.
    known: VecDeque<Field>,
    size: usize,
    largest: usize,
}

impl Table {
    pub(super) const fn new(largest: usize) -> Self {
        Self {
            known: VecDeque::new(),
            size: 0,
            largest,
        }
    }

    /// Remembers a field, and forgets the oldest that find no room beside it.
    pub(super) fn add(&mut self, field: Field) {
        self.evict(self.largest.saturating_sub(field.size));
        if field.size <= self.largest {
            self.size += field.size;
            self.known.push_front(field);
        }
    }

    pub(super) fn resize(&mut self, largest: usize) {
        self.largest = largest;
        self.evict(largest);
    }

    fn evict(&mut self, room: usize) {
        while self.size > room {
            match self.known.pop_back() {
                Some(oldest) => self.size -= oldest.size,
                None => self.size = 0,
            }
        }
    }

    /// The field that an index stands for.
    pub(super) fn field(&self, index: usize) -> Option<Field> {
        match STATIC.get(index.checked_sub(1)?) {
            Some((name, value)) => Some(Field {
                name: static_name(index)?,
                name_length: name.len(),
                value: if index < FIRST_FIELD {
                    Value::Pseudo(Bytes::from_static(value.as_bytes()))
                } else {
                    Value::Field(HeaderValue::from_static(value))
                },
                size: name.len() + value.len() + OVERHEAD,
            }),
            None => self.known.get(index - 1 - STATIC.len()).cloned(),
        }
    }

    /// Its name, and the name's octets.
    pub(super) fn name(&self, index: usize) -> Option<(Name, usize)> {
        match STATIC.get(index.checked_sub(1)?) {
            Some((name, _)) => Some((static_name(index)?, name.len())),
            None => {
                let field = self.known.get(index - 1 - STATIC.len())?;
                Some((field.name.clone(), field.name_length))
            }
        }
    }
}

fn static_name(index: usize) -> Option<Name> {
    Some(match index {
        1 => Name::Authority,
        2 | 3 => Name::Method,
        4 | 5 => Name::Path,
        6 | 7 => Name::Scheme,
        8..=14 => Name::OtherPseudo,
        _ => Name::Field(STATIC_NAMES.get(index - FIRST_FIELD)?.clone()),
    })
}

/// The index of the first field that is none of HTTP/2's own.
const FIRST_FIELD: usize = 15;

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The names from [`FIRST_FIELD`] on, read already.
static STATIC_NAMES: [HeaderName; 47] = [
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::ACCEPT_RANGES,
    header::ACCEPT,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::AGE,
    header::ALLOW,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::ETAG,
    header::EXPECT,
    header::EXPIRES,
    header::FROM,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::REFRESH,
    header::RETRY_AFTER,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
    header::VARY,
    header::VIA,
    header::WWW_AUTHENTICATE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_names_are_those_of_the_table() {
        let texts = STATIC.iter().skip(FIRST_FIELD - 1).map(|(name, _)| *name);
        let names = STATIC_NAMES.iter().map(HeaderName::as_str);
        assert!(texts.eq(names));
        let table = Table::new(0);
        assert_eq!(table.field(0), None);
        assert_eq!(table.field(62), None);
        assert_eq!(table.name(38), Some((Name::Field(header::HOST), 4)));
        let get = table.field(2).unwrap();
        assert_eq!((get.name, get.size), (Name::Method, 42));
        assert_eq!(get.value, Value::Pseudo(Bytes::from_static(b"GET")));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let field = |value: &str| Field::new(Name::read(b"x"), 1, value.as_bytes());
        let mut table = Table::new(3 * 34);
        for value in ["a", "b", "c", "d"] {
            table.add(field(value));
        }
        assert_eq!(table.field(62), Some(field("d")));
        assert_eq!(table.field(64), Some(field("b")));
        assert_eq!(table.field(65), None);
        table.resize(34);
        assert_eq!(table.field(62), Some(field("d")));
        assert_eq!(table.field(63), None);
        // Too large for the table: it empties it (RFC 7541, section 4.4).
        table.add(field("long"));
        assert_eq!(table.field(62), None);
        assert_eq!(table.size, 0);
    }

    #[test]
    fn names_and_values_that_http_refuses_are_marked() {
        assert_eq!(Name::read(b"X"), Name::Bad);
        assert_eq!(Name::read(b""), Name::Bad);
        assert_eq!(Name::read(b"a b"), Name::Bad);
        assert_eq!(Name::read(b"a\"b"), Name::Bad);
        assert_eq!(Name::read(b":status"), Name::OtherPseudo);
        for bad in ["a\r\nb", "a\0", " a", "a\t"] {
            let field = Field::new(Name::read(b"x"), 1, bad.as_bytes());
            assert_eq!(field.value, Value::Bad, "{bad:?}");
        }
        let empty = Field::new(Name::read(b"x"), 1, b"");
        assert_eq!(empty.value, Value::Field(HeaderValue::from_static("")));
    }
}

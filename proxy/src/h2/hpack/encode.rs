//! Writes fields: literals without indexing, names by the static table's index where there is one.

/// Appends `:status`.
pub(crate) fn status(out: &mut Vec<u8>, status: u16) {
    let index = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
            out.extend_from_slice(&[0x08, 3, digit(100), digit(10), digit(1)]);
            return;
        }
    };
    out.push(0x80 | index);
}

/// Appends a field; what is `secret` is never to be indexed by anybody (RFC 7541, section 6.2.3).
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &[u8], secret: bool) {
    let kind = if secret { 0x10 } else { 0 };
    match index(name) {
        Some(index) => integer(out, kind, 4, index),
        None => {
            out.push(kind);
            string(out, name.as_bytes());
        }
    }
    string(out, value);
}

/// Appends that our table holds nothing: said when the peer allows less than both assumed (section 4.2).
pub(crate) fn resize_to_nothing(out: &mut Vec<u8>) {
    out.push(0x20);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// RFC 7541, section 5.1.
fn integer(out: &mut Vec<u8>, kind: u8, prefix: u32, value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        out.push(kind | value as u8);
        return;
    }
    out.push(kind | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The static table's index of a name that responses often have.
fn index(name: &str) -> Option<usize> {
    Some(match name {
        "accept-ranges" => 18,
        "access-control-allow-origin" => 20,
        "age" => 21,
        "cache-control" => 24,
        "content-disposition" => 25,
        "content-encoding" => 26,
        "content-length" => 28,
        "content-type" => 31,
        "date" => 33,
        "etag" => 34,
        "expires" => 36,
        "last-modified" => 44,
        "location" => 46,
        "retry-after" => 53,
        "server" => 54,
        "set-cookie" => 55,
        "strict-transport-security" => 56,
        "vary" => 59,
        "via" => 60,
        "www-authenticate" => 61,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Decoder, Name, Value};
    use super::*;

    #[test]
    fn statuses_are_an_index_or_three_digits() {
        for (code, expected) in [
            (200, &[0x88][..]),
            (404, &[0x8d]),
            (503, &[0x08, 3, b'5', b'0', b'3']),
            (103, &[0x08, 3, b'1', b'0', b'3']),
        ] {
            let mut out = Vec::new();
            status(&mut out, code);
            assert_eq!(out, expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            fields in prop::collection::vec(("[a-z][a-z-]{0,200}|via|date|content-type", "[!-~]{0,300}", any::<bool>()), 0..20)
        ) {
            let mut block = Vec::new();
            for (name, value, secret) in &fields {
                field(&mut block, name, value.as_bytes(), *secret);
            }
            let mut read = Vec::new();
            let mut see = |field: super::super::Field| {
                if let (Name::Field(name), Value::Field(value)) = (field.name, field.value) {
                    read.push((name.to_string(), value.to_str().unwrap().to_owned()));
                }
            };
            Decoder::new().read(&block, &mut see).unwrap();
            let written: Vec<_> = fields.into_iter().map(|(name, value, _)| (name, value)).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn no_block_makes_the_reader_fall_over(block in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new();
            let _ = decoder.read(&block, |_| {});
            let _ = decoder.read(&block, |_| {});
        }
    }
}

//! Builds heads anew from their parsed form.

/// Appends a field.
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a field whose name, `: ` included, is known beforehand. Part of its caller: what is known of the sizes
/// spares a call for every piece.
#[inline(always)]
pub(crate) fn named(out: &mut Vec<u8>, name: &'static [u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a request line. A query without a path gets one.
pub(crate) fn request_line(out: &mut Vec<u8>, method: &str, target: &str) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    if target.starts_with('?') {
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Appends a status line; `status` is 100–999. A client of HTTP/1.0 gets its own version.
pub(crate) fn status_line(out: &mut Vec<u8>, version_11: bool, status: u16, reason: &str) {
    out.extend_from_slice(if version_11 {
        b"HTTP/1.1 "
    } else {
        b"HTTP/1.0 "
    });
    out.extend_from_slice(&digits(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `Content-Length`.
pub(crate) fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Appends one chunk of a chunked body.
pub(crate) fn chunk(out: &mut Vec<u8>, content: &[u8]) {
    if content.is_empty() {
        // Would be the last one.
        return;
    }
    let mut size = content.len();
    let mut text = [0; 16];
    let mut used = 0;
    for place in text.iter_mut().rev() {
        *place = char::from_digit((size % 16) as u32, 16).map_or(b'0', |digit| digit as u8);
        size /= 16;
        used += 1;
        if size == 0 {
            break;
        }
    }
    out.extend_from_slice(text.get(text.len() - used..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

fn digits(status: u16) -> [u8; 3] {
    [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8)
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut text = [0; 20];
    let mut used = 0;
    for place in text.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(text.get(text.len() - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_formatting_would() {
        for value in [0, 1, 9, 10, 4095, 65_536, 1_073_741_824, u64::MAX] {
            let mut out = Vec::new();
            content_length(&mut out, value);
            assert_eq!(out, format!("content-length: {value}\r\n").as_bytes());
        }
        for length in [1, 15, 16, 4096, 70_000] {
            let mut out = Vec::new();
            chunk(&mut out, &vec![b'x'; length]);
            assert!(out.starts_with(format!("{length:x}\r\nx").as_bytes()));
            assert!(out.ends_with(b"x\r\n"));
        }
        let mut out = Vec::new();
        chunk(&mut out, b"");
        assert!(out.is_empty());
        status_line(&mut out, true, 404, "Not Found");
        assert_eq!(out, b"HTTP/1.1 404 Not Found\r\n");
    }
}

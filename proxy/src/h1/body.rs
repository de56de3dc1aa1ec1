//! Watches the framing of a body while it is relayed.
//!
//! A strictly valid chunked body means the same to every reader, so its bytes may be passed on as they are; what
//! is not strictly valid ends the message with an error. Trailers are the exception: they are held until they
//! are complete, and written anew. Who needs the content itself (a routing key stands in it, the other side
//! knows no chunks) asks for [`Body::content`] instead.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::field::{self, InTrailer};
use super::head::Framing;
use super::write;

/// Longest chunk-size line, extensions included, and longest trailer section, in bytes.
const MAX_SIZE_LINE: u16 = 1024;
const MAX_TRAILER: usize = 16 * 1024;
/// Most fields in a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;
const MAX_SIZE_DIGITS: u8 = 15;

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Not chunked coding, or not strictly so.
    #[error("malformed chunked body: {0}")]
    Malformed(&'static str),
    /// More than the limit.
    #[error("the body is larger than allowed")]
    TooLarge,
}

/// What is still to come of a body.
#[derive(Debug)]
pub(crate) struct Body {
    rest: Rest,
    /// Bytes of content that may still come.
    allowance: u64,
}

/// How much of the bytes looked at belongs to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    /// So many of them are the body's.
    pub(crate) taken: usize,
    /// So many may be passed on as they are; the rest of those taken is the trailer section, see
    /// [`Body::take_trailer`].
    pub(crate) passed: usize,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    UntilClose,
    Chunked {
        chunk: Chunk,
        /// Bytes of the size line so far.
        size_line: u16,
        /// What is held of the trailer section.
        trailer: Vec<u8>,
    },
}

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the hexadecimal size: value and digits so far.
    Size(u64, u8),
    /// In the extensions after the size; whether inside a quoted string.
    Extension(u64, Quote),
    /// After the size line's CR.
    SizeLf(u64),
    /// In the chunk's data.
    Data(u64),
    /// After the data.
    DataCr,
    DataLf,
    /// In the trailer section.
    Trailer,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    /// In blanks after the size, before the first extension.
    Before,
    /// After a delimiter: something may follow, blanks too.
    Due,
    /// In a token, or after a string.
    Outside,
    /// In blanks after that: only a delimiter may follow.
    After,
    Inside,
    Escaped,
}

/// A run of bytes of one kind.
enum Run {
    Framing(usize),
    Content(usize),
    Trailer(usize),
}

impl Body {
    /// A body with this framing, of at most `limit` bytes of content.
    ///
    /// # Errors
    /// When its length is known and above the limit.
    pub(crate) fn new(framing: Framing, limit: u64) -> Result<Self, BodyError> {
        match framing {
            Framing::Length(length) if length > limit => Err(BodyError::TooLarge),
            _ => {
                let mut body = Self::unlimited(framing);
                body.allowance = limit;
                Ok(body)
            }
        }
    }

    /// A body with this framing, however long.
    pub(crate) const fn unlimited(framing: Framing) -> Self {
        let rest = match framing {
            Framing::Empty => Rest::Length(0),
            Framing::Length(length) => Rest::Length(length),
            Framing::UntilClose => Rest::UntilClose,
            Framing::Chunked => Rest::Chunked {
                chunk: Chunk::Size(0, 0),
                size_line: 0,
                trailer: Vec::new(),
            },
        };
        Self {
            rest,
            allowance: u64::MAX,
        }
    }

    /// Whether nothing more belongs to this message.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(
            self.rest,
            Rest::Length(0)
                | Rest::Chunked {
                    chunk: Chunk::Done,
                    ..
                }
        )
    }

    /// How many bytes of content are still to come, if that is known.
    pub(crate) const fn length(&self) -> Option<u64> {
        match self.rest {
            Rest::Length(left) => Some(left),
            Rest::UntilClose | Rest::Chunked { .. } => None,
        }
    }

    /// Whether the next so many bytes are content, and nothing else, if they are the body's.
    pub(crate) const fn is_content(&self, bytes: usize) -> bool {
        match self.rest {
            Rest::Length(_) | Rest::UntilClose => true,
            Rest::Chunked { chunk, .. } => {
                matches!(chunk, Chunk::Data(left) if left >= bytes as u64)
            }
        }
    }

    /// Whether the end of the connection is the end of the body.
    pub(crate) const fn ends_with_connection(&self) -> bool {
        matches!(self.rest, Rest::UntilClose)
    }

    /// Advances over bytes that follow.
    ///
    /// # Errors
    /// When they break the framing or the limit.
    pub(crate) fn relay(&mut self, data: &[u8]) -> Result<Relayed, BodyError> {
        let mut relayed = Relayed {
            taken: 0,
            passed: 0,
        };
        while let Some(rest) = data.get(relayed.taken..).filter(|rest| !rest.is_empty()) {
            match self.run(rest)? {
                Some(Run::Framing(count) | Run::Content(count)) => {
                    relayed.taken += count;
                    relayed.passed = relayed.taken;
                }
                Some(Run::Trailer(count)) => relayed.taken += count,
                None => break,
            }
        }
        Ok(relayed)
    }

    /// Advances over bytes that follow, and appends the content in them to `content`; returns how many of them
    /// are the body's.
    ///
    /// # Errors
    /// When they break the framing or the limit.
    pub(crate) fn content(
        &mut self,
        data: &[u8],
        content: &mut Vec<u8>,
    ) -> Result<usize, BodyError> {
        let mut taken = 0;
        while let Some(rest) = data.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.run(rest)? {
                Some(Run::Content(count)) => {
                    content.extend_from_slice(rest.get(..count).unwrap_or_default());
                    taken += count;
                }
                Some(Run::Framing(count) | Run::Trailer(count)) => taken += count,
                None => break,
            }
        }
        Ok(taken)
    }

    /// After the end: the trailer section, written anew, with the empty line that ends it. Empty when there is
    /// nothing left to pass on.
    pub(crate) fn take_trailer(&mut self) -> Vec<u8> {
        match &mut self.rest {
            Rest::Chunked {
                chunk: Chunk::Done,
                trailer,
                ..
            } => std::mem::take(trailer),
            _ => Vec::new(),
        }
    }

    /// The next run of one kind; `None` at the body's end.
    fn run(&mut self, data: &[u8]) -> Result<Option<Run>, BodyError> {
        match &mut self.rest {
            Rest::Length(0) => Ok(None),
            Rest::Length(left) => {
                let taken = (*left).min(data.len() as u64);
                *left -= taken;
                Ok(Some(Run::Content(taken as usize)))
            }
            Rest::UntilClose => {
                spend(&mut self.allowance, data.len() as u64)?;
                Ok(Some(Run::Content(data.len())))
            }
            Rest::Chunked {
                chunk,
                size_line,
                trailer,
            } => match *chunk {
                Chunk::Done => Ok(None),
                Chunk::Data(left) => {
                    let taken = left.min(data.len() as u64);
                    *chunk = if taken == left {
                        Chunk::DataCr
                    } else {
                        Chunk::Data(left - taken)
                    };
                    Ok(Some(Run::Content(taken as usize)))
                }
                // Nearly always: no trailers, and the end is here already.
                Chunk::Trailer if trailer.is_empty() && data.starts_with(b"\r\n") => {
                    *chunk = Chunk::Done;
                    Ok(Some(Run::Framing(2)))
                }
                Chunk::Trailer => {
                    let (taken, is_done) = hold(trailer, data)?;
                    if is_done {
                        *trailer = rewritten(trailer)?;
                        *chunk = Chunk::Done;
                    }
                    Ok(Some(Run::Trailer(taken)))
                }
                _ => {
                    let taken = framing(chunk, size_line, &mut self.allowance, data)?;
                    Ok(Some(Run::Framing(taken)))
                }
            },
        }
    }
}

fn spend(allowance: &mut u64, bytes: u64) -> Result<(), BodyError> {
    *allowance = allowance.checked_sub(bytes).ok_or(BodyError::TooLarge)?;
    Ok(())
}

/// Advances over size lines and line ends, up to data or the trailer section.
fn framing(
    chunk: &mut Chunk,
    size_line: &mut u16,
    allowance: &mut u64,
    data: &[u8],
) -> Result<usize, BodyError> {
    let mut taken = 0;
    for &byte in data {
        *size_line += 1;
        if *size_line > MAX_SIZE_LINE {
            return Err(BodyError::Malformed("size line too long"));
        }
        *chunk = framing_byte(*chunk, byte)?;
        taken += 1;
        match *chunk {
            Chunk::Data(size) => {
                *size_line = 0;
                spend(allowance, size)?;
                break;
            }
            Chunk::Trailer => break,
            Chunk::Size(0, 0) => *size_line = 0,
            _ => {}
        }
    }
    Ok(taken)
}

/// One byte of a size line or of the line end after a chunk's data.
fn framing_byte(state: Chunk, byte: u8) -> Result<Chunk, BodyError> {
    match (state, byte) {
        (Chunk::Size(value, digits), _) if byte.is_ascii_hexdigit() => {
            if digits == MAX_SIZE_DIGITS {
                return Err(BodyError::Malformed("size too large"));
            }
            let digit = char::from(byte).to_digit(16).unwrap_or_default();
            Ok(Chunk::Size(value << 4 | u64::from(digit), digits + 1))
        }
        (Chunk::Size(_, 0), _) => Err(BodyError::Malformed("no size")),
        (Chunk::Size(value, _), b';') => Ok(Chunk::Extension(value, Quote::Due)),
        (Chunk::Size(value, _), b' ' | b'\t') => Ok(Chunk::Extension(value, Quote::Before)),
        (Chunk::Size(value, _) | Chunk::Extension(value, Quote::Outside | Quote::Due), b'\r') => {
            Ok(Chunk::SizeLf(value))
        }
        (Chunk::Extension(value, quote), _) => extension_byte(value, quote, byte),
        (Chunk::SizeLf(0), b'\n') => Ok(Chunk::Trailer),
        (Chunk::SizeLf(value), b'\n') => Ok(Chunk::Data(value)),
        (Chunk::DataCr, b'\r') => Ok(Chunk::DataLf),
        (Chunk::DataLf, b'\n') => Ok(Chunk::Size(0, 0)),
        _ => Err(BodyError::Malformed("line end")),
    }
}

/// RFC 9112, section 7.1.1: tokens and quoted strings, and blanks where recipients must bear them: around the
/// delimiters, and nowhere else.
fn extension_byte(value: u64, quote: Quote, byte: u8) -> Result<Chunk, BodyError> {
    let printable = byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80;
    let next = match (quote, byte) {
        (Quote::Outside | Quote::Due, b'"') => Quote::Inside,
        (Quote::Before, b';') | (Quote::Outside | Quote::Due | Quote::After, b';' | b'=') => {
            Quote::Due
        }
        (Quote::Before | Quote::Due | Quote::After, b' ' | b'\t') => quote,
        (Quote::Outside, b' ' | b'\t') => Quote::After,
        (Quote::Outside | Quote::Due, _) if is_token_byte(byte) => Quote::Outside,
        (Quote::Inside, b'"') => Quote::Outside,
        (Quote::Inside, b'\\') => Quote::Escaped,
        (Quote::Inside | Quote::Escaped, _) if printable => Quote::Inside,
        _ => return Err(BodyError::Malformed("extension")),
    };
    Ok(Chunk::Extension(value, next))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Holds bytes of the trailer section, up to its end; says whether that was reached.
fn hold(section: &mut Vec<u8>, data: &[u8]) -> Result<(usize, bool), BodyError> {
    for (at, &byte) in data.iter().enumerate() {
        section.push(byte);
        if section.len() > MAX_TRAILER {
            return Err(BodyError::Malformed("trailer too long"));
        }
        let is_bare = byte == b'\n' && !section.ends_with(b"\r\n");
        if is_bare {
            return Err(BodyError::Malformed("trailer's line end"));
        }
        if section == b"\r\n" || section.ends_with(b"\r\n\r\n") {
            return Ok((at + 1, true));
        }
    }
    Ok((data.len(), false))
}

/// The trailer section from its parsed form, with the empty line that ends it.
fn rewritten(section: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut room = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut room)
    else {
        return Err(BodyError::Malformed("trailer"));
    };
    let mut anew = Vec::with_capacity(section.len() + fields.len());
    for one in fields {
        match field::in_trailer(one.name) {
            InTrailer::Passes => write::field(&mut anew, one.name.as_bytes(), one.value),
            InTrailer::Dropped => {}
            InTrailer::Refused => return Err(BodyError::Malformed("framing in a trailer")),
        }
    }
    anew.extend_from_slice(b"\r\n");
    Ok(anew)
}

/// A trailer section, as [`Body::take_trailer`] gives it, as the rest of the house knows it.
pub(crate) fn trailers(section: &[u8]) -> Option<HeaderMap> {
    let mut room = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut room)
    else {
        return None;
    };
    let fields = fields.iter().filter_map(|field| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(field.value).ok()?))
    });
    Some(fields.collect()).filter(|trailers: &HeaderMap| !trailers.is_empty())
}

#[cfg(test)]
mod tests;

//! Parses one request or response head, strictly.
//!
//! Grammar is httparse's business; this module refuses what httparse lets pass and RFC 9112 calls an attack
//! or leaves ambiguous: bare line feeds, more than one `Host`, lists of lengths, `Content-Length` beside
//! `Transfer-Encoding`, codings other than `chunked`, targets that are not what the method allows.

use std::mem::MaybeUninit;

use httparse::Header;

use super::field::{self, Connection, Known};
use super::target;

/// Most fields in a request's head; more: 431.
pub(crate) const MAX_FIELDS: usize = 100;

/// Most fields in a response's head.
pub(crate) const MAX_RESPONSE_FIELDS: usize = 256;

/// The largest response head.
pub(crate) const LARGEST_HEAD: usize = 256 * 1024;

/// Room for the fields of one head: on the stack, and never across an await.
pub(crate) struct Room<'b, const MOST: usize = MAX_FIELDS> {
    fields: [MaybeUninit<Header<'b>>; MOST],
    kinds: [Known; MOST],
}

impl<const MOST: usize> Room<'_, MOST> {
    /// Nothing in it yet.
    pub(crate) const fn new() -> Self {
        Self {
            fields: [const { MaybeUninit::uninit() }; MOST],
            kinds: [Known::Other; MOST],
        }
    }
}

/// Room for the fields of those responses that have more of them than a request may have: few.
pub(crate) type LargeRoom<'b> = Option<Box<Room<'b, MAX_RESPONSE_FIELDS>>>;

/// The fields of one head, in order, each with what it is to a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'b> {
    fields: &'b [Header<'b>],
    kinds: &'b [Known],
    connection: Connection<'b>,
}

impl<'b> Fields<'b> {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Known, &'b Header<'b>)> + use<'b> {
        self.kinds.iter().copied().zip(self.fields)
    }

    /// The values of the fields that are this to a proxy, in order.
    pub(crate) fn values(&self, kind: Known) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        self.iter()
            .filter(move |(one, _)| *one == kind)
            .map(|(_, field)| field.value)
    }

    /// Whether `Connection` says that this field ends here. Only fields that no proxy depends on can be named.
    pub(crate) fn is_named(&self, kind: Known, field: &Header<'_>) -> bool {
        kind == Known::Other && self.connection.names(field.name)
    }
}

/// How much of a body follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    Empty,
    /// So many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection closes (responses only).
    UntilClose,
}

/// A parsed request head; borrows from the input.
#[derive(Debug)]
pub(crate) struct RequestHead<'b> {
    /// Bytes of the input that the head takes.
    pub(crate) len: usize,
    /// Case-sensitive token.
    pub(crate) method: &'b str,
    /// Path and query (`*` for OPTIONS). An empty path before a query goes upstream as `/`.
    pub(crate) target: &'b str,
    /// Authority from the absolute form or from `Host`; empty only for HTTP/1.0 without one.
    pub(crate) authority: &'b str,
    /// HTTP/1.1 rather than 1.0.
    pub(crate) version_11: bool,
    /// All fields, in order.
    pub(crate) fields: Fields<'b>,
    /// How the body is delimited.
    pub(crate) framing: Framing,
    /// The client would use the connection again.
    pub(crate) keep_alive: bool,
    /// The client waits for a 100 before it sends its body.
    pub(crate) expect_continue: bool,
    /// Trailers are welcome (`TE: trailers`).
    pub(crate) takes_trailers: bool,
    /// The protocol that the client would rather speak.
    pub(crate) upgrade: Option<&'b [u8]>,
    /// A gRPC call.
    pub(crate) is_call: bool,
}

/// A parsed response head; borrows from the input.
#[derive(Debug)]
pub(crate) struct ResponseHead<'b> {
    /// Bytes of the input that the head takes.
    pub(crate) len: usize,
    /// 100–999.
    pub(crate) status: u16,
    /// May be empty.
    pub(crate) reason: &'b str,
    /// All fields, in order.
    pub(crate) fields: Fields<'b>,
    /// How the body is delimited, given the request's method.
    pub(crate) framing: Framing,
    /// The protocol that a 101 switches to.
    pub(crate) upgrade: Option<&'b [u8]>,
    /// HTTP/1.1 rather than 1.0.
    pub(crate) version_11: bool,
    /// The upstream keeps the connection open after this exchange.
    pub(crate) keep_alive: bool,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// Not HTTP, or ambiguous: two readers could see two different messages in it.
    #[error("{0}")]
    Malformed(&'static str),
    /// A transfer coding other than `chunked`.
    #[error("The transfer coding is not supported.")]
    UnsupportedCoding,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("The HTTP version is not supported.")]
    UnsupportedVersion,
    /// CONNECT or TRACE.
    #[error("The method is not served.")]
    MethodRefused,
    /// An expectation other than `100-continue`.
    #[error("The expectation cannot be met.")]
    UnknownExpectation,
    /// More fields than there is room for.
    #[error("There are too many header fields.")]
    TooManyFields,
}

/// Parses a request head from the start of `input`; `None` when more bytes are needed.
///
/// # Errors
/// When it is malformed, ambiguous or not for a proxy like this one.
pub(crate) fn request<'b>(
    input: &'b [u8],
    room: &'b mut Room<'b>,
) -> Result<Option<RequestHead<'b>>, HeadError> {
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(input, &mut room.fields) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            return bare_line_feed(input).map_or(Ok(None), Err);
        }
        Err(error) => return Err(refusal(error, input)),
    };
    if let Some(error) = bare_line_feed(input.get(..len).unwrap_or_default()) {
        return Err(error);
    }
    let method = parsed.method.unwrap_or_default();
    let version_11 = parsed.version == Some(1);
    let fields: &'b [Header<'b>] = parsed.headers;
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(HeadError::MethodRefused);
    }
    let seen = Seen::of(fields, &mut room.kinds)?;
    if version_11 && seen.host.is_none() {
        return malformed("The request has no Host.");
    }
    let (target, authority) = target::split(method, parsed.path.unwrap_or_default(), seen.host)?;
    let framing = seen.request_framing(version_11)?;
    if seen.unknown_expectation && version_11 {
        return Err(HeadError::UnknownExpectation);
    }
    Ok(Some(RequestHead {
        len,
        method,
        target,
        authority,
        version_11,
        framing,
        keep_alive: seen.connection.keeps_alive(version_11),
        expect_continue: version_11 && seen.expect_continue && framing != Framing::Empty,
        takes_trailers: seen.takes_trailers,
        upgrade: seen.upgrade(version_11),
        is_call: seen.is_call,
        fields: seen.fields(fields, &room.kinds),
    }))
}

/// Whether the head that begins here asks for a head only, whatever else is wrong with it.
pub(crate) fn asks_for_head(input: &[u8]) -> bool {
    // Empty lines before a request are passed over.
    let begins = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let line = input.get(begins.unwrap_or_default()..);
    line.is_some_and(|line| line.starts_with(b"HEAD "))
}

/// Parses a response head from the start of `input`; `None` when more bytes are needed. `to_head` says that
/// it answers a HEAD request and has no body whatever its fields say (RFC 9112, section 6.3).
///
/// # Errors
/// When it is malformed or ambiguous.
pub(crate) fn response<'b>(
    input: &'b [u8],
    (usual, large): (&'b mut Room<'b>, &'b mut LargeRoom<'b>),
    to_head: bool,
) -> Result<Option<ResponseHead<'b>>, HeadError> {
    match response_in(input, (&mut usual.fields, &mut usual.kinds), to_head) {
        Err(HeadError::TooManyFields) => {
            let large = large.insert(Box::new(Room::new()));
            response_in(input, (&mut large.fields, &mut large.kinds), to_head)
        }
        read => read,
    }
}

fn response_in<'b>(
    input: &'b [u8],
    (fields, kinds): (&'b mut [MaybeUninit<Header<'b>>], &'b mut [Known]),
    to_head: bool,
) -> Result<Option<ResponseHead<'b>>, HeadError> {
    // httparse passes over empty lines; before a response they are bytes that nobody asked for.
    if input.first().is_some_and(|&byte| byte != b'H') {
        return Err(HeadError::Malformed("The status line is malformed."));
    }
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        input,
        fields,
    );
    let len = match status {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            return bare_line_feed(input).map_or(Ok(None), Err);
        }
        Err(error) => return Err(refusal(error, input)),
    };
    if let Some(error) = bare_line_feed(input.get(..len).unwrap_or_default()) {
        return Err(error);
    }
    let code = parsed.code.unwrap_or_default();
    if !(100..600).contains(&code) {
        return Err(HeadError::Malformed("The status code is out of range."));
    }
    let version_11 = parsed.version == Some(1);
    let fields: &'b [Header<'b>] = parsed.headers;
    let seen = Seen::of(fields, kinds)?;
    let framing = seen.response_framing(code, to_head, version_11)?;
    // Who speaks of a body where none may be sends it, perhaps.
    let is_clean = framing != Framing::UntilClose && !(code == 204 && seen.says_content());
    Ok(Some(ResponseHead {
        len,
        status: code,
        reason: parsed.reason.unwrap_or_default(),
        framing,
        version_11,
        upgrade: seen.upgrade(version_11),
        keep_alive: is_clean && seen.connection.keeps_alive(version_11),
        fields: seen.fields(fields, kinds),
    }))
}

/// The fields that decide framing and destination, each seen once.
#[derive(Default)]
struct Seen<'b> {
    length: Option<u64>,
    chunked: bool,
    host: Option<&'b str>,
    connection: Connection<'b>,
    expect_continue: bool,
    unknown_expectation: bool,
    takes_trailers: bool,
    upgrade: Option<&'b [u8]>,
    is_call: bool,
}

impl<'b> Seen<'b> {
    fn of(fields: &'b [Header<'b>], kinds: &mut [Known]) -> Result<Self, HeadError> {
        let mut seen = Self::default();
        for (field, kind) in fields.iter().zip(kinds) {
            *kind = field::known(field.name);
            seen.add(*kind, field)?;
        }
        if seen.chunked && seen.length.is_some() {
            return malformed("Content-Length stands beside Transfer-Encoding.");
        }
        if seen.connection.overflows() {
            return malformed("There are too many Connection fields.");
        }
        Ok(seen)
    }

    fn add(&mut self, kind: Known, field: &'b Header<'b>) -> Result<(), HeadError> {
        match kind {
            Known::ContentLength => {
                let Some(length) = field::content_length(field.value) else {
                    return malformed("The Content-Length is not one number.");
                };
                if self.length.replace(length).is_some() {
                    return malformed("There is more than one Content-Length.");
                }
            }
            Known::TransferEncoding => {
                if !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::UnsupportedCoding);
                }
                if std::mem::replace(&mut self.chunked, true) {
                    return malformed("There is more than one Transfer-Encoding.");
                }
            }
            Known::Host => {
                let Some(host) = field::authority(field.value) else {
                    return malformed("The Host is malformed.");
                };
                if self.host.replace(host).is_some() {
                    return malformed("There is more than one Host.");
                }
            }
            Known::Connection => self.connection.add(field.value),
            Known::Expect if field.value.eq_ignore_ascii_case(b"100-continue") => {
                self.expect_continue = true;
            }
            Known::Expect => self.unknown_expectation = true,
            Known::Te => self.takes_trailers |= field::takes_trailers(field.value),
            Known::Upgrade => self.upgrade = Some(field.value),
            Known::ContentType => self.is_call |= field::is_call(field.value),
            _ => {}
        }
        Ok(())
    }

    fn fields(&self, fields: &'b [Header<'b>], kinds: &'b [Known]) -> Fields<'b> {
        Fields {
            fields,
            kinds,
            connection: self.connection,
        }
    }

    /// A wish to switch is one only when `Connection` says so too.
    fn upgrade(&self, version_11: bool) -> Option<&'b [u8]> {
        self.upgrade
            .filter(|_| version_11 && self.connection.upgrades())
    }

    /// Whether a body is announced. A length of 0 is a common, harmless slip where there may be none.
    fn says_content(&self) -> bool {
        self.chunked || self.length.is_some_and(|length| length > 0)
    }

    fn request_framing(&self, version_11: bool) -> Result<Framing, HeadError> {
        match (self.chunked, self.length) {
            (true, _) if !version_11 => malformed("HTTP/1.0 knows no Transfer-Encoding."),
            (true, _) => Ok(Framing::Chunked),
            (false, Some(0) | None) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }

    fn response_framing(
        &self,
        code: u16,
        to_head: bool,
        version_11: bool,
    ) -> Result<Framing, HeadError> {
        if code == 204 {
            // Whatever its fields say (RFC 9112 §6.3): servers do say it.
            return Ok(Framing::Empty);
        }
        if self.chunked && !version_11 {
            return malformed("HTTP/1.0 knows no Transfer-Encoding.");
        }
        if code < 200 && self.says_content() {
            return malformed("There is a body where none may be.");
        }
        if to_head || code < 200 || code == 304 {
            return Ok(Framing::Empty);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, Some(0)) => Framing::Empty,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        })
    }
}

/// httparse takes a bare LF for a line's end; two readers that differ here can be desynchronised.
fn bare_line_feed(input: &[u8]) -> Option<HeadError> {
    // Without branches: the compiler looks at sixteen pairs at once.
    let pairs = input.iter().zip(input.get(1..).unwrap_or_default());
    let bare = pairs.fold(input.first() == Some(&b'\n'), |bare, (&before, &byte)| {
        bare | (byte == b'\n') & (before != b'\r')
    });
    bare.then_some(HeadError::Malformed("A line ends without CR."))
}

pub(super) const fn malformed<T>(what: &'static str) -> Result<T, HeadError> {
    Err(HeadError::Malformed(what))
}

fn refusal(error: httparse::Error, input: &[u8]) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::HeaderName => "A field name is malformed.",
        httparse::Error::HeaderValue => "A field value is malformed.",
        httparse::Error::NewLine => "A line end is malformed.",
        httparse::Error::Status => "The status line is malformed.",
        httparse::Error::Token => "The start line is malformed.",
        httparse::Error::TooManyHeaders => return HeadError::TooManyFields,
        httparse::Error::Version if names_a_version(input) => {
            return HeadError::UnsupportedVersion;
        }
        httparse::Error::Version => "The HTTP version is malformed.",
    })
}

/// Whether the first line has three words of which the last is a version, if not one of ours.
fn names_a_version(input: &[u8]) -> bool {
    let line = input.split(|&byte| byte == b'\n').next();
    let mut words = line
        .unwrap_or_default()
        .trim_ascii_end()
        .split(|&byte| byte == b' ');
    let version = words.nth(2).unwrap_or_default();
    let is_version = matches!(
        version,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit()
    );
    is_version && words.next().is_none()
}

#[cfg(test)]
mod tests;

//! How a client is told something before its answer (1xx), by those who don't write to it themselves.

use std::cell::RefCell;
use std::rc::Rc;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::connection;
use crate::h1::write;

/// What may wait for a client that takes nothing: an upstream may say such things without end, and each can be left
/// out.
const MOST: usize = 64 * 1024;

/// The way to a client.
pub(crate) enum Interim {
    /// Over HTTP/2.
    Http2(connection::Interim),
    /// Over HTTP/1.1.
    Http1(Words),
}

/// What an HTTP/1.1 client is to be told.
#[derive(Clone, Default)]
pub(crate) struct Words(Rc<RefCell<Vec<u8>>>);

impl Interim {
    /// The client's address as text, where that is kept.
    pub(super) fn address(&self) -> Option<HeaderValue> {
        match self {
            Self::Http2(interim) => interim.address(),
            Self::Http1(_) => None,
        }
    }

    /// Tells the client, unless its answer has begun or too much waits for it.
    pub(crate) fn say(&self, status: u16, headers: &HeaderMap) {
        match self {
            Self::Http2(interim) => interim.say(status, headers),
            Self::Http1(words) => words.add(status, headers),
        }
    }
}

impl Words {
    fn add(&self, status: u16, headers: &HeaderMap) {
        let mut words = self.0.borrow_mut();
        if words.len() >= MOST {
            return;
        }
        let reason = StatusCode::from_u16(status).ok();
        let reason = reason.and_then(|status| status.canonical_reason());
        write::status_line(&mut words, true, status, reason.unwrap_or_default());
        for (name, value) in headers {
            write::field(&mut words, name.as_str().as_bytes(), value.as_bytes());
        }
        words.extend_from_slice(b"\r\n");
    }

    /// What has come since.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

//! What routing may see of a request, whichever codec read it.
//!
//! Borrowed from the codec's own buffers: nothing is copied to route a request.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

/// A request as routing sees it.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Its header fields, as the client sent them.
    pub fields: &'a dyn Fields,
    /// The `Host` header or `:authority`; a port may still be on it.
    pub host: Option<&'a str>,
    /// The path, not decoded.
    pub path: &'a str,
    /// What follows the `?`, not decoded.
    pub query: Option<&'a str>,
    /// What is known of the body.
    pub body: Body<'a>,
    /// The socket's peer.
    pub peer: IpAddr,
    /// Our own id for this request, unique and random.
    pub request_id: &'a [u8],
}

/// What is known of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Not looked at: routing says when it needs it.
    Unread,
    /// All of it; empty when there is none.
    Whole(&'a [u8]),
    /// Larger than may be buffered: what would stand in it counts as absent.
    TooLarge,
}

/// Header fields of any codec.
pub trait Fields {
    /// Shows the values of the fields with this name, in order, until one is accepted.
    fn visit<'a>(&'a self, name: &HeaderName, accepts: &mut dyn FnMut(&'a [u8]) -> bool);
}

impl Fields for HeaderMap {
    fn visit<'a>(&'a self, name: &HeaderName, accepts: &mut dyn FnMut(&'a [u8]) -> bool) {
        for value in self.get_all(name) {
            if accepts(value.as_bytes()) {
                return;
            }
        }
    }
}

impl<'a> RequestFacts<'a> {
    /// The first thing that `find` finds in the values of a header.
    pub fn find_in<T>(
        &self,
        name: &HeaderName,
        mut find: impl FnMut(&'a [u8]) -> Option<T>,
    ) -> Option<T> {
        let mut found = None;
        self.fields.visit(name, &mut |value| {
            found = find(value);
            found.is_some()
        });
        found
    }
}

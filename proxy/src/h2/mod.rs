//! HTTP/2 as servers read and write it (RFC 9113), without I/O: frames, field compression, requests, windows.
//!
//! Of our own because a proxy's cost on HTTP/2 is nearly all in here, and because what a codec does with abuse is a
//! proxy's to decide. The connection that uses it is [`connection::http2`](crate::connection); what is spoken to
//! HTTP/2 upstreams is hyper's.

pub(crate) mod frame;
pub(crate) mod hpack;
pub(crate) mod request;
pub(crate) mod settings;
pub(crate) mod toll;
pub(crate) mod window;
pub(crate) mod write;

/// Why a stream or a connection ends (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Reason {
    /// Nothing is wrong.
    No = 0x0,
    /// The peer broke a rule.
    Protocol = 0x1,
    /// We failed.
    Internal = 0x2,
    /// More was sent than the window allows.
    FlowControl = 0x3,
    /// A frame for a stream that is over.
    StreamClosed = 0x5,
    /// A frame of a wrong size.
    FrameSize = 0x6,
    /// Nothing was done for the stream.
    Refused = 0x7,
    /// The stream is not wanted any more.
    Cancel = 0x8,
    /// The field compression can't be followed any more.
    Compression = 0x9,
    /// The peer asks for too much.
    EnhanceYourCalm = 0xb,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// One stream ends.
    #[error("stream {0}: {1:?}: {2}")]
    Stream(u32, Reason, &'static str),
    /// The connection ends.
    #[error("{0:?}: {1}")]
    Connection(Reason, &'static str),
}

impl Wrong {
    /// A broken rule that ends the connection.
    pub(crate) const fn protocol(what: &'static str) -> Self {
        Self::Connection(Reason::Protocol, what)
    }

    /// A frame of a wrong size, which ends the connection.
    pub(crate) const fn size(what: &'static str) -> Self {
        Self::Connection(Reason::FrameSize, what)
    }
}

//! A connection as codecs read and write it: a socket, or TLS on one.
//!
//! One type for clients and upstreams and for both codecs, so that nothing above has to know. The handshake is
//! over when a stream is made; it belongs to [`tls`](crate::tls) and to dialling.

use std::io::{self, BufRead};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::CommonState;
use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::Socket;

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Bytes as they are.
    Plain(Socket),
    /// TLS, after its handshake.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Whether the connection is encrypted.
    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The protocol that both ends agreed on in the handshake (ALPN).
    pub(crate) fn agreed_protocol(&self) -> Option<&[u8]> {
        self.tls()?.alpn_protocol()
    }

    /// Waits until a read would bring something: bytes, the end, or an error. Holds no buffer meanwhile.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.stream().poll_read_ready(cx),
            // What was decrypted already makes no socket readable: the read itself has to say.
            Self::Tls(stream) => {
                ready!(Pin::new(stream.as_mut()).poll_fill_buf(cx))?;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Reads from a connection that was found readable, without asking again whether it is; `None` when it is not.
    pub(crate) fn read_now(&mut self, bytes: &mut Vec<u8>) -> Option<io::Result<usize>> {
        match self {
            Self::Plain(socket) => match socket.read_now(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                read => Some(read),
            },
            Self::Tls(stream) => {
                let decrypted = match stream.as_mut() {
                    TlsStream::Client(stream) => stream.get_mut().1.reader(),
                    TlsStream::Server(stream) => stream.get_mut().1.reader(),
                };
                take(decrypted, bytes).map(Ok)
            }
        }
    }

    /// Makes a connection of another worker this worker's own.
    pub(crate) fn move_here(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.move_here(),
            Self::Tls(stream) => match stream.as_mut() {
                TlsStream::Client(stream) => stream.get_mut().0.move_here(),
                TlsStream::Server(stream) => stream.get_mut().0.move_here(),
            },
        }
    }

    /// Whether an idle connection can be used again: still open, and nothing came that nobody asked for. Without a
    /// closer `look` it is what the last turn of the event loop knew.
    pub(crate) fn is_quiet(&mut self, look: bool) -> bool {
        match self {
            Self::Plain(socket) => socket.is_quiet(look),
            // The peer's tickets and keys are no unasked bytes: decrypting tells.
            Self::Tls(stream) => {
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(stream.as_mut())
                    .poll_fill_buf(&mut nobody)
                    .is_pending()
            }
        }
    }

    /// The connection is to be reset when it is dropped: what still waits to be sent is not, and who reads until
    /// the end must see that this was none.
    pub(crate) fn break_off(&self) {
        // It may be gone already, which is just as well.
        let _ = SockRef::from(self.socket().stream()).set_linger(Some(Duration::ZERO));
    }

    /// Whether the other end has hung up, though bytes of it may lie unread before that.
    pub(crate) fn has_hung_up(&self) -> bool {
        #[cfg(target_os = "linux")]
        const HUNG_UP: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
        #[cfg(not(target_os = "linux"))]
        const HUNG_UP: PollFlags = PollFlags::HUP.union(PollFlags::ERR);
        let mut asked = [PollFd::new(self.socket().stream(), HUNG_UP)];
        let now = Timespec::default();
        rustix::event::poll(&mut asked, Some(&now)).is_ok_and(|count| count > 0)
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    fn tls(&self) -> Option<&CommonState> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().1),
        }
    }
}

/// Takes over what was decrypted already, as much as there is room for; `None` when there is nothing.
fn take(mut decrypted: rustls::Reader<'_>, bytes: &mut Vec<u8>) -> Option<usize> {
    let chunk = decrypted.fill_buf().ok()?;
    let room = bytes.capacity() - bytes.len();
    let now = chunk.get(..room).unwrap_or(chunk);
    let count = now.len();
    bytes.extend_from_slice(now);
    decrypted.consume(count);
    (count > 0).then_some(count)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

//! A TCP stream that its owner can still look at while a codec reads and writes it.
//!
//! The codec holds one handle for as long as it serves the connection; a [`Probe`] beside it can see whether the
//! peer hung up, and cut the connection, without keeping it open. [`Stream`](stream::Stream) is what codecs
//! read and write: the socket itself, or TLS on it.

mod stream;

pub(crate) use stream::Stream;

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The codec's handle.
#[derive(Clone, Debug)]
pub(crate) struct Socket(Rc<TcpStream>);

/// A handle that doesn't keep the connection open.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    stream: Weak<TcpStream>,
    /// What is written here reaches the peer as it is.
    is_plain: bool,
}

impl Socket {
    /// Takes over a connected stream; small writes leave at once.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(Rc::new(stream)))
    }

    /// A second look at this connection.
    pub(crate) fn probe(&self) -> Probe {
        Probe {
            stream: Rc::downgrade(&self.0),
            is_plain: true,
        }
    }

    /// The stream itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0
    }
}

impl Probe {
    /// Whether an idle connection can be used again: still open, and nothing came that nobody asked for.
    pub(crate) fn is_quiet(&self) -> bool {
        let Some(stream) = self.stream.upgrade() else {
            return false;
        };
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(&*stream).peek(&mut byte) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Says a last word, if it can be said at once, to a client that waits for nothing else. Nothing is said
    /// past TLS.
    pub(crate) fn say(&self, word: &[u8]) {
        if self.is_plain
            && let Some(stream) = self.stream.upgrade()
        {
            // Who doesn't listen misses it.
            let _ = stream.try_write(word);
        }
    }

    /// Ends the connection both ways, whoever still holds it.
    pub(crate) fn cut(&self) {
        if let Some(stream) = self.stream.upgrade() {
            // It may be gone already, which is just as well.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.0).shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

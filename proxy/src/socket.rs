//! A TCP stream that can be looked at without reading it. [`Stream`] is what codecs read and write: the socket
//! itself, or TLS on it.

mod stream;

pub(crate) use stream::Stream;

use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A connected stream.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Socket {
    /// Takes over a connected stream; small writes leave at once.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Registers the stream with this thread's event loop, and with no other any more.
    fn move_here(&mut self) -> io::Result<()> {
        let stream = SockRef::from(&self.0).try_clone()?;
        self.0 = TcpStream::from_std(stream.into())?;
        Ok(())
    }

    /// Whether an idle connection can be used again. Without a closer `look` it is what the last turn of the event
    /// loop knew.
    fn is_quiet(&self, look: bool) -> bool {
        let looked_at = if look {
            peek(&self.0)
        } else {
            // Where nothing is known to have come it isn't looked; nobody is to be woken either.
            self.0.try_io(Interest::READABLE, || peek(&self.0))
        };
        looked_at.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The stream itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0
    }
}

/// Looks whether something came, the end or an error; it would block on one that is open and silent.
fn peek(stream: &TcpStream) -> io::Result<usize> {
    SockRef::from(stream).peek(&mut [MaybeUninit::uninit()])
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            let (before, room) = (buf.filled().len(), buf.remaining());
            match self.0.try_read_buf(buf) {
                Ok(_) => {
                    let read = buf.filled().len() - before;
                    if read > 0 && read < room {
                        self.is_empty_now();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    /// Reads what is there, into the room that there is.
    fn read_now(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let room = bytes.capacity() - bytes.len();
        let read = self.0.try_read_buf(&mut bytes.limit(room))?;
        if read > 0 && read < room {
            self.is_empty_now();
        }
        Ok(read)
    }

    /// A read that was not filled has emptied the socket: the next would only be told so. Saves that system call,
    /// as tokio does in its own reads.
    fn is_empty_now(&self) {
        let would_block = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        // The answer is the error that was put in.
        let _ = self.0.try_io(Interest::READABLE, would_block);
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
        match SockRef::from(&self.0).shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

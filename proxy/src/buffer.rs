//! Buffers that connections borrow while they have something to hold, and give back when they are idle.
//!
//! Each worker has its own; what was used last is used next, so that a busy worker works on warm memory and
//! ten thousand idle connections hold none.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::socket::Stream;

/// What one buffer holds, unless a head or a body read ahead is larger.
const SIZE: usize = 32 * 1024;
/// What waits is moved out of a buffer when it is no larger than this.
const SMALL: usize = SIZE / 4;
/// Buffers that are kept for later.
const MOST_KEPT: usize = 64;

/// One worker's free buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
}

/// Bytes that were read and not yet used.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// What stands before was used.
    start: usize,
}

impl Buffers {
    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let free = self.free.borrow_mut().pop();
        free.unwrap_or_else(|| Vec::with_capacity(SIZE))
    }

    /// For the next who needs one. Buffers that have grown are not kept.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == SIZE {
            let mut free = self.free.borrow_mut();
            if free.len() < MOST_KEPT {
                buffer.clear();
                free.push(buffer);
            }
        }
    }

    /// Takes a buffer back that will wait with little in it, and leaves one that is just large enough.
    pub(crate) fn fit(&self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == SIZE && buffer.len() <= SMALL {
            let small = buffer.as_slice().to_vec();
            self.give(std::mem::replace(buffer, small));
        }
    }
}

impl Buffer {
    /// What was read and not yet used.
    pub(crate) fn unused(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() <= self.start
    }

    /// Whether it holds memory, if nothing in it.
    pub(crate) fn has_memory(&self) -> bool {
        self.bytes.capacity() > 0
    }

    /// The first so many bytes were used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Nobody wants what was read.
    pub(crate) fn clear(&mut self) {
        self.consume(self.unused().len());
    }

    /// What was read and not yet used, without copying it.
    pub(crate) fn take(&mut self) -> Bytes {
        let start = std::mem::take(&mut self.start);
        let mut bytes = Bytes::from(std::mem::take(&mut self.bytes));
        bytes.advance(start.min(bytes.len()));
        bytes
    }

    /// Gives the memory back when nothing is held.
    pub(crate) fn release(&mut self, buffers: &Buffers) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            self.start = 0;
            buffers.give(std::mem::take(&mut self.bytes));
        }
    }

    /// Gives the memory back, whatever is held.
    pub(crate) fn give_back(self, buffers: &Buffers) {
        if self.bytes.capacity() > 0 {
            buffers.give(self.bytes);
        }
    }

    /// Reads on: how many bytes came, 0 at the end. Grows when it is full: who calls knows the bound.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.capacity() == 0 {
            ready!(stream.poll_readable(cx))?;
            self.bytes = buffers.take();
            if let Some(read) = stream.read_now(&mut self.bytes) {
                return Poll::Ready(read);
            }
        }
        if self.bytes.len() == self.bytes.capacity() {
            if self.start > 0 {
                self.bytes.drain(..self.start.min(self.bytes.len()));
                self.start = 0;
            } else {
                self.bytes.reserve(self.bytes.capacity());
            }
        }
        let read = pin!(stream.read_buf(&mut self.bytes)).poll(cx);
        if read.is_pending() {
            // Who waits holds no memory: a stream may be thought readable and not be.
            self.release(buffers);
        }
        read
    }
}

/// Writes what `pending` still holds behind `sent`; ready when all is on its way.
pub(crate) fn poll_write_all(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    pending: &[u8],
    sent: &mut usize,
) -> Poll<io::Result<()>> {
    while let Some(rest) = pending.get(*sent..).filter(|rest| !rest.is_empty()) {
        match Pin::new(&mut *stream).poll_write(cx, rest) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => *sent += count,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    // TLS may hold a record still.
    Pin::new(stream).poll_flush(cx)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::socket::Socket;

    #[tokio::test]
    async fn a_buffer_is_borrowed_filled_used_and_given_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (source, _) = listener.accept().await.unwrap();
        let mut source = Stream::Plain(Socket::new(source).unwrap());
        let buffers = Buffers::default();
        let mut buffer = Buffer::default();
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        assert!(
            buffer
                .poll_fill(&mut nobody, &mut source, &buffers)
                .is_pending()
        );
        assert_eq!(buffer.bytes.capacity(), 0, "who waits holds no memory");
        sender.write_all(&vec![7; SIZE + 10]).await.unwrap();
        while buffer.unused().len() < SIZE {
            poll_fn(|cx| buffer.poll_fill(cx, &mut source, &buffers))
                .await
                .unwrap();
        }
        buffer.consume(100);
        let more = poll_fn(|cx| buffer.poll_fill(cx, &mut source, &buffers)).await;
        assert_eq!(more.unwrap(), 10);
        assert_eq!(buffer.unused().len(), SIZE + 10 - 100);
        buffer.release(&buffers);
        assert!(!buffer.is_empty());
        buffer.consume(SIZE + 10 - 100);
        buffer.release(&buffers);
        assert_eq!(buffers.free.borrow().len(), 1);
        assert_eq!(buffers.take().capacity(), SIZE);
        sender.write_all(b"0123456789").await.unwrap();
        while buffer.unused().len() < 10 {
            poll_fn(|cx| buffer.poll_fill(cx, &mut source, &buffers))
                .await
                .unwrap();
        }
        buffer.consume(4);
        assert_eq!(buffer.take(), "456789");
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_waits_is_moved_out_of_a_large_buffer_when_it_is_small() {
        let buffers = Buffers::default();
        let mut waiting = buffers.take();
        waiting.extend_from_slice(&[7; 1500]);
        buffers.fit(&mut waiting);
        assert_eq!((waiting.len(), waiting.capacity()), (1500, 1500));
        assert_eq!(waiting, [7; 1500]);
        assert_eq!(
            buffers.free.borrow().len(),
            1,
            "the large one is the next's"
        );
        // What is fitted already, and what fills its buffer, stays where it is.
        buffers.fit(&mut waiting);
        assert_eq!(buffers.free.borrow().len(), 1);
        let mut large = buffers.take();
        large.resize(SMALL + 1, 7);
        buffers.fit(&mut large);
        assert_eq!((large.len(), large.capacity()), (SMALL + 1, SIZE));
        assert!(buffers.free.borrow().is_empty());
    }
}

//! After a switch of protocols (101): bytes both ways, whatever they mean, until both ends are done or nothing
//! has moved for too long.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::buffer::{Buffer, Buffers, poll_write_all};
use crate::connection::Client;
use crate::socket::Stream;

/// One direction.
struct Half {
    buffer: Buffer,
    sent: usize,
    has_ended: bool,
    is_done: bool,
}

/// Relays until the end. `answer` is what the upstream said behind its 101.
pub(super) async fn tunnel(
    client: &mut Client,
    upstream: &mut Stream,
    answer: Buffer,
    idle: Duration,
) {
    let desk = std::rc::Rc::clone(&client.desk);
    let mut up = Half::new(std::mem::take(&mut client.input));
    let mut down = Half::new(answer);
    let mut moved = Instant::now();
    // How it ends is the two ends' affair.
    let _ = poll_fn(|cx| {
        let buffers = &desk.buffers;
        let first = up.poll(cx, &mut client.stream, upstream, buffers, &mut moved)?;
        let second = down.poll(cx, upstream, &mut client.stream, buffers, &mut moved)?;
        if first.is_ready() && second.is_ready() {
            return Poll::Ready(Ok::<_, io::Error>(()));
        }
        ready!(client.alarm.poll_due(cx, moved + idle));
        Poll::Ready(Ok(()))
    })
    .await;
    up.buffer.give_back(&desk.buffers);
    down.buffer.give_back(&desk.buffers);
}

impl Half {
    const fn new(buffer: Buffer) -> Self {
        Self {
            buffer,
            sent: 0,
            has_ended: false,
            is_done: false,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        buffers: &Buffers,
        moved: &mut Instant,
    ) -> Poll<io::Result<()>> {
        while !self.is_done {
            ready!(poll_write_all(cx, to, self.buffer.unused(), &mut self.sent))?;
            self.buffer.consume(self.sent);
            self.sent = 0;
            if self.has_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.is_done = true;
                break;
            }
            let count = ready!(self.buffer.poll_fill(cx, from, buffers))?;
            *moved = Instant::now();
            self.has_ended = count == 0;
        }
        Poll::Ready(Ok(()))
    }
}

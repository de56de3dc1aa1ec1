//! Responses whose HTTP/2 client takes nothing: given up after a while, so that a window of nothing holds nothing.
//!
//! The codec asks a body for more only while there is room in the stream's window, so a body cannot notice by
//! itself that its client stopped taking, and no timer in it would be looked at. So the connection keeps a list of
//! the bodies that are out, and looks through it now and then: one that has not been asked for more through a whole
//! idle timeout, although it is not the one that was waited for, is dropped with everything behind it (upstream
//! connection, buffers, its count as a request in flight). What is left of the stream is an error for who comes back.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::error::BoxError;

/// The list is tidied when it is longer than the streams that a client may have.
const TIDY_ABOVE: usize = 512;

/// The bodies that are out on one connection.
#[derive(Default)]
pub(super) struct Outstanding(RefCell<Vec<Weak<dyn Watched>>>);

/// A body that can be taken away from its codec.
pub(super) struct Held<B>(Rc<Inside<B>>);

struct Inside<B> {
    body: RefCell<Option<Pin<Box<B>>>>,
    /// Asked for more so many times.
    asked: Cell<u32>,
    /// The last time it had nothing yet: it is the upstream that is waited for.
    waits_for_upstream: Cell<bool>,
    /// What was seen at the last look, and since when it is so.
    seen: Cell<(u32, Option<Instant>)>,
}

trait Watched {
    /// Whether nobody took anything for so long.
    fn is_stuck(&self, now: Instant, limit: Duration) -> bool;
    fn give_up(&self);
}

impl Outstanding {
    /// Watches a body until it is dropped.
    pub(super) fn hold<B: 'static>(&self, body: B) -> Held<B> {
        let inside = Rc::new(Inside {
            body: RefCell::new(Some(Box::pin(body))),
            asked: Cell::new(0),
            waits_for_upstream: Cell::new(false),
            seen: Cell::new((0, None)),
        });
        let mut list = self.0.borrow_mut();
        if list.len() >= TIDY_ABOVE {
            list.retain(|held| held.strong_count() > 0);
        }
        let watched: Weak<dyn Watched> = Rc::downgrade(&inside) as Weak<dyn Watched>;
        list.push(watched);
        Held(inside)
    }

    /// Whether none is out, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Gives up what is stuck: how many.
    pub(super) fn give_up_stuck(&self, now: Instant, limit: Duration) -> usize {
        let mut stuck = Vec::new();
        self.0.borrow_mut().retain(|held| match held.upgrade() {
            Some(held) if held.is_stuck(now, limit) => {
                stuck.push(held);
                false
            }
            held => held.is_some(),
        });
        // Dropping a body can lead back here: the list is free by now.
        for held in &stuck {
            held.give_up();
        }
        stuck.len()
    }
}

impl<B> Watched for Inside<B> {
    fn is_stuck(&self, now: Instant, limit: Duration) -> bool {
        let asked = self.asked.get();
        match self.seen.get() {
            _ if self.waits_for_upstream.get() => {
                self.seen.set((asked, None));
                false
            }
            (seen, Some(since)) if seen == asked => since + limit <= now,
            _ => {
                self.seen.set((asked, Some(now)));
                false
            }
        }
    }

    fn give_up(&self) {
        let body = self.body.borrow_mut().take();
        drop(body);
    }
}

impl<B> Body for Held<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let inside = &*self.0;
        inside.asked.set(inside.asked.get().wrapping_add(1));
        let mut body = inside.body.borrow_mut();
        let Some(body) = body.as_mut() else {
            let error = "the client took nothing for too long";
            return Poll::Ready(Some(Err(error.into())));
        };
        let polled = body.as_mut().poll_frame(cx);
        inside.waits_for_upstream.set(polled.is_pending());
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.body.borrow();
        body.as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.body.borrow();
        body.as_ref()
            .map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full, combinators::BoxBody};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn poll(held: &mut Held<impl Body<Data = Bytes, Error: Into<BoxError>>>) -> Poll<Option<bool>> {
        let mut context = Context::from_waker(Waker::noop());
        let polled = Pin::new(held).poll_frame(&mut context);
        polled.map(|frame| frame.map(|frame| frame.is_ok()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_asks_for_more_is_given_up() {
        let outstanding = Outstanding::default();
        let mut held = outstanding.hold(Full::new(Bytes::from_static(b"x")));
        let begin = Instant::now();
        assert_eq!(outstanding.give_up_stuck(begin, LIMIT), 0);
        assert_eq!(outstanding.give_up_stuck(begin + LIMIT / 2, LIMIT), 0);
        // Asked once: the time begins again.
        assert_eq!(poll(&mut held), Poll::Ready(Some(true)));
        assert_eq!(outstanding.give_up_stuck(begin + LIMIT, LIMIT), 0);
        assert_eq!(outstanding.give_up_stuck(begin + LIMIT * 2, LIMIT), 1);
        assert_eq!(poll(&mut held), Poll::Ready(Some(false)));
        assert_eq!(outstanding.give_up_stuck(begin + LIMIT * 9, LIMIT), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_for_its_upstream_is_not() {
        let silent: BoxBody<Bytes, std::io::Error> =
            http_body_util::StreamBody::new(futures_util::stream::pending()).boxed();
        let outstanding = Outstanding::default();
        let mut held = outstanding.hold(silent);
        let begin = Instant::now();
        assert_eq!(poll(&mut held), Poll::Pending);
        for turn in 1..10 {
            assert_eq!(outstanding.give_up_stuck(begin + LIMIT * turn, LIMIT), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_ended_are_forgotten() {
        let outstanding = Outstanding::default();
        for _ in 0..3 * TIDY_ABOVE {
            drop(outstanding.hold(Full::new(Bytes::new())));
        }
        assert!(outstanding.0.borrow().len() <= TIDY_ABOVE);
        outstanding.give_up_stuck(Instant::now(), LIMIT);
        assert!(outstanding.0.borrow().is_empty());
    }
}

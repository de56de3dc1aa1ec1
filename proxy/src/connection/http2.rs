//! HTTP/2 clients: hyper's codec, with every bound stated here, and watched from outside.
//!
//! [`activity`](super::activity) says when a connection has been idle, or busy with nothing, for too long, and
//! [`held`](super::held) which of its streams are.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};

use super::Peer;
use super::activity::{Activity, Patience, Verdict};
use super::held::Outstanding;
use super::stream::ClientStream;
use crate::exchange;
use crate::socket::{Probe, Stream};
use crate::upstream::SameThread;
use crate::worker::{Desk, InFlight};

/// Streams that a client may have open at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Receive window of one stream: what a slow upstream can make us hold of one request.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Receive window of one connection.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What may wait to be written on one stream.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that a client has reset before we looked at them ("rapid reset"): more end the connection.
const MAX_PENDING_RESETS: usize = 32;
/// Streams that we had to reset for a client's mistakes ("MadeYouReset"): more end the connection.
const MAX_OWN_RESETS: usize = 256;
/// An HTTP/2 client is asked whether it is alive.
const PING_EVERY: Duration = Duration::from_secs(30);
/// … and given up when it doesn't answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection to its end. `start` was read of it already.
pub(super) async fn serve(desk: Rc<Desk>, peer: Peer, stream: Stream, start: Bytes) {
    let patience = desk.with_limits(|limits| Patience {
        head: limits.header_timeout,
        idle: limits.idle_timeout,
    });
    let activity = Rc::new(Activity::new());
    let probe = stream.probe();
    let stream = TokioIo::new(ClientStream::new(stream, start, Rc::clone(&activity)));
    let outstanding = Rc::new(Outstanding::default());
    let service = {
        let (desk, activity) = (Rc::clone(&desk), Rc::clone(&activity));
        let outstanding = Rc::clone(&outstanding);
        service_fn(move |request: Request<Incoming>| {
            let in_flight = InFlight::noted(&desk, &activity);
            // Boxed where it is made: the codec hands it from place to place, and it is large.
            let response = Box::pin(exchange::serve(Rc::clone(&desk), peer, in_flight, request));
            let outstanding = Rc::clone(&outstanding);
            async move { Ok::<_, Infallible>(response.await.map(|body| outstanding.hold(body))) }
        })
    };
    let watch = Watch {
        desk: &desk,
        activity: &activity,
        outstanding: &outstanding,
        patience,
        probe,
    };
    let builder = desk.with_limits(http2_builder);
    watch.drive(builder.serve_connection(stream, service)).await;
}

fn http2_builder(limits: &serin_config::model::Limits) -> http2::Builder<SameThread> {
    let mut builder = http2::Builder::new(SameThread);
    let largest = limits.max_header_bytes + limits.max_uri_bytes;
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(largest).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// The codec's connection.
trait Codec: Future<Output = hyper::Result<()>> {
    /// Takes no more requests and ends when those in flight are done.
    fn wind_up(self: Pin<&mut Self>);
}

impl<S> Codec for http2::Connection<TokioIo<ClientStream>, S, SameThread>
where
    S: hyper::service::HttpService<Incoming>,
    Self: Future<Output = hyper::Result<()>>,
    S::Error: Into<crate::error::BoxError>,
    S::ResBody: http_body::Body<Error: Into<crate::error::BoxError>> + 'static,
    SameThread: hyper::rt::bounds::Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn wind_up(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// What ends a connection.
struct Watch<'c> {
    desk: &'c Desk,
    activity: &'c Activity,
    outstanding: &'c Outstanding,
    patience: Patience,
    probe: Probe,
}

impl Watch<'_> {
    /// When to look again: bodies that are out tell nothing by themselves.
    fn look_at(&self) -> Instant {
        let due = self.activity.due(&self.patience);
        if self.outstanding.is_empty() {
            due
        } else {
            due.min(Instant::now() + self.patience.idle / 4)
        }
    }

    fn look(&self) -> Verdict {
        let now = Instant::now();
        let given_up = self.outstanding.give_up_stuck(now, self.patience.idle);
        if given_up > 0 {
            tracing::debug!(given_up, "the client takes nothing of some responses");
        }
        self.activity.judge(&self.patience, now)
    }

    async fn drive(&self, connection: impl Codec) {
        let mut connection = pin!(connection);
        let mut closing = pin!(self.desk.closing.begun());
        let mut is_closing = false;
        let mut timer = pin!(sleep_until(self.look_at()));
        loop {
            tokio::select! {
                biased;
                result = &mut connection => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a client connection ended");
                    }
                    return;
                }
                () = &mut closing, if !is_closing => {
                    is_closing = true;
                    connection.as_mut().wind_up();
                }
                () = &mut timer => match self.look() {
                    Verdict::Fine => timer.as_mut().reset(self.look_at()),
                    // A second time: it didn't take the hint.
                    Verdict::Idle if is_closing => return,
                    Verdict::Idle => {
                        is_closing = true;
                        connection.as_mut().wind_up();
                        timer.as_mut().reset(Instant::now() + self.patience.head);
                    }
                    Verdict::Stuck => {
                        self.probe.cut();
                        return;
                    }
                },
            }
        }
    }
}

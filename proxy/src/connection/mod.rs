//! One client connection: which protocol it speaks, how long it may be idle, how it ends.
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge share a port: the first bytes tell ([`preface`]). What a connection
//! may not do is stated here, in one place: sizes, streams, windows, resets. [`activity`] says when it has been
//! idle, or busy with nothing, for too long; closing is polite (`Connection: close`, GOAWAY) and waits for the
//! requests in flight.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};

use crate::exchange;
use crate::socket::{Probe, Socket, Stream};
use crate::upstream::SameThread;
use crate::worker::{Desk, Handover, InFlight};

mod activity;
mod preface;
mod stream;

pub(crate) use activity::Activity;

use activity::{Patience, Verdict};
use preface::Protocol;
use stream::ClientStream;

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
/// The longest target that the HTTP/1.1 codec can tell from a head that is too large.
const LONGEST_TARGET: usize = 64 * 1024;
/// Idle HTTP/1.1 connections wait for one more request when draining, but not longer.
const LINGER: Duration = Duration::from_secs(2);
/// Heads are read into buffers of at least this.
const SMALLEST_BUFFER: usize = 64 * 1024;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The socket's address.
    pub(crate) ip: IpAddr,
    /// Whether the connection is encrypted.
    pub(crate) is_secure: bool,
}

/// Serves a connection to its end.
pub(crate) async fn serve(desk: Rc<Desk>, handover: Handover) {
    let _seat = handover.seat;
    let socket = tokio::net::TcpStream::from_std(handover.stream).and_then(Socket::new);
    let Ok(socket) = socket else {
        return;
    };
    let mut stream = Stream::Plain(socket);
    let patience = desk.with_limits(|limits| Patience {
        head: limits.header_timeout,
        idle: limits.idle_timeout,
    });
    let opening = tokio::select! {
        opening = preface::read(&mut stream, &patience) => opening,
        () = too_late(&desk) => None,
    };
    let Some((protocol, start)) = opening else {
        return;
    };
    let activity = Rc::new(Activity::new(protocol == Protocol::Http1));
    let peer = Peer {
        ip: handover.peer.ip(),
        is_secure: stream.is_tls(),
    };
    let probe = stream.probe();
    let stream = TokioIo::new(ClientStream::new(stream, start, Rc::clone(&activity)));
    let service = {
        let (desk, activity) = (Rc::clone(&desk), Rc::clone(&activity));
        service_fn(move |request: Request<Incoming>| {
            let in_flight = InFlight::begin(&desk, &activity);
            let response = exchange::serve(Rc::clone(&desk), peer, in_flight, request);
            async move { Ok::<_, Infallible>(response.await) }
        })
    };
    let watch = Watch {
        desk: &desk,
        activity: &activity,
        patience,
        probe,
        protocol,
    };
    match protocol {
        Protocol::Http1 => {
            let builder = desk.with_limits(http1_builder);
            watch.drive(builder.serve_connection(stream, service)).await;
        }
        Protocol::Http2 => {
            let builder = desk.with_limits(http2_builder);
            watch.drive(builder.serve_connection(stream, service)).await;
        }
    }
}

/// A connection that was accepted before the end began may be about to send its first request.
async fn too_late(desk: &Desk) {
    desk.closing.begun().await;
    tokio::time::sleep(linger(desk)).await;
}

/// How long an HTTP/1.1 connection without a request is kept once no more are wanted. Its client may be writing
/// one this moment: it is answered, with `Connection: close`, where closing at once would cost the client an error.
fn linger(desk: &Desk) -> Duration {
    desk.with_limits(|limits| LINGER.min(limits.drain / 4))
}

fn http1_builder(limits: &serin_config::model::Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Targets and heads are measured again, and told apart, in the exchange.
    let largest = limits.max_header_bytes + limits.max_uri_bytes.max(LONGEST_TARGET);
    builder
        .header_read_timeout(None)
        .max_header_size(largest)
        .max_buf_size(largest.max(SMALLEST_BUFFER));
    builder
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

/// A codec's connection.
trait Codec: Future<Output = hyper::Result<()>> {
    /// Takes no more requests and ends when those in flight are done.
    fn wind_up(self: Pin<&mut Self>);
}

impl<S> Codec for http1::Connection<TokioIo<ClientStream>, S>
where
    S: hyper::service::HttpService<Incoming>,
    Self: Future<Output = hyper::Result<()>>,
    S::Error: Into<crate::error::BoxError>,
    S::ResBody: http_body::Body<Error: Into<crate::error::BoxError>> + 'static,
{
    fn wind_up(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
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
    patience: Patience,
    probe: Probe,
    protocol: Protocol,
}

impl Watch<'_> {
    /// In HTTP/2 the peer can be told at once (GOAWAY); in HTTP/1.1 only with an answer.
    async fn end_wanted(&self) {
        self.desk.closing.begun().await;
        if self.protocol == Protocol::Http1 {
            let mut over = pin!(tokio::time::sleep(linger(self.desk)));
            // Polled after the codec, by which requests begin.
            poll_fn(|cx| match self.activity.is_busy() {
                true => Poll::Ready(()),
                false => over.as_mut().poll(cx),
            })
            .await;
        }
    }

    async fn drive(&self, connection: impl Codec) {
        let mut connection = pin!(connection);
        let mut closing = pin!(self.end_wanted());
        let mut is_closing = false;
        let mut timer = pin!(sleep_until(self.activity.due(&self.patience)));
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
                () = &mut timer => match self.activity.judge(&self.patience, Instant::now()) {
                    Verdict::Fine => timer.as_mut().reset(self.activity.due(&self.patience)),
                    Verdict::HeadLate => {
                        self.probe.say(preface::HEAD_LATE);
                        return;
                    }
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

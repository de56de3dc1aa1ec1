//! An exchange between an HTTP/1.1 client and an upstream that speaks HTTP/2, or may choose to: the client's side is
//! ours, the upstream's is the one that HTTP/2 clients have too.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use tokio::time::Instant;

use super::Exchange;
use super::ahead::Ahead;
use super::http1::heads::{self, Sent};
use super::http1::order::{Traits, method};
use super::http1::{CONTINUE, Next, patience, refuse};
use super::interim::{Interim, Words};
use super::pipe::{ClientBody, PipeWriter, pipe};
use crate::buffer::poll_write_all;
use crate::connection::{Client, Ended};
use crate::error::Failure;
use crate::h1::body::{self, Body};
use crate::h1::field::Known;
use crate::h1::head::{Framing, RequestHead};
use crate::h1::target;
use crate::h1::write;
use crate::observe::{Relay, Ticket};

/// A request's head as the rest of the house knows it.
pub(super) struct Head {
    parts: Parts,
    host: HeaderValue,
}

impl Head {
    pub(super) fn of(head: &RequestHead<'_>, host: &str) -> Result<Self, Failure> {
        let bad = || Failure::Malformed("The request head is malformed.");
        let mut parts = Request::new(()).into_parts().0;
        parts.method = method(head.method)?;
        let path = if head.target.starts_with('?') {
            target::path_and_query(format!("/{}", head.target).as_bytes())
        } else {
            target::path_and_query(head.target.as_bytes())
        };
        parts.uri = Uri::from(path.ok_or_else(bad)?);
        parts.version = if head.version_11 {
            Version::HTTP_11
        } else {
            Version::HTTP_10
        };
        for (kind, field) in head.fields.iter() {
            if !matches!(kind, Known::Ours | Known::Underscored | Known::Host)
                && !head.fields.is_named(kind, field)
            {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| bad())?;
                let value = HeaderValue::from_bytes(field.value).map_err(|_| bad())?;
                parts.headers.append(name, value);
            }
        }
        // What it names is gone already; what it must not name stays.
        parts.headers.remove(http::header::CONNECTION);
        Ok(Self {
            parts,
            host: HeaderValue::from_str(host).map_err(|_| bad())?,
        })
    }
}

/// Serves it.
pub(super) async fn serve(
    client: &mut Client,
    exchange: &Exchange<'_>,
    ticket: Ticket,
    traits: Traits,
    head: Head,
) -> Next {
    let limits = &exchange.rules.limits;
    let patience = patience(exchange.desk);
    if traits.expect_continue
        && client.input.is_empty()
        && client.write(CONTINUE, patience).await.is_err()
    {
        return Next::Cut;
    }
    let length = match traits.framing {
        Framing::Length(length) => Some(length),
        Framing::Empty => Some(0),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let (writer, reader) = pipe(length);
    // Its bound is watched where the body is taken.
    let mut feed = Feed {
        body: Body::unlimited(traits.framing),
        writer: Some(writer),
        failure: None,
    };
    let ahead = match traits.framing {
        Framing::Empty => Ahead::empty(),
        _ => Ahead::nothing(ClientBody::Piped(reader)),
    };
    let words = Words::default();
    let exchange = &Exchange {
        // HTTP/1.0 knows no interim responses.
        interim: traits.version_11.then(|| Interim::Http1(words.clone())),
        ..*exchange
    };
    let asking = exchange.forward(head.parts, Some(head.host), ahead, ticket);
    let mut asking = pin!(asking);
    let mut told = Told::new(words);
    let asked = poll_fn(|cx| {
        if let Poll::Ready(answer) = asking.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        if told.poll(cx, client).is_err() {
            return Poll::Ready(None);
        }
        let fed = feed.poll(cx, client);
        if fed.is_ready() && feed.body.is_done() {
            ready!(client.poll_gone(cx));
            return Poll::Ready(None);
        }
        feed.poll_left(cx, client).map(|()| None)
    });
    let _ = limits;
    let asked = asked.await;
    match asked {
        None => Next::Cut,
        Some(Err(refused)) => {
            if client.write(told.rest(), patience).await.is_err() {
                return Next::Cut;
            }
            let refused = match feed.failure.take() {
                Some(failure) => super::Refused {
                    failure: failure.into(),
                    ..refused
                },
                None => refused,
            };
            refuse(client, refused, Some(traits), feed.body.is_done()).await
        }
        Some(Ok(response)) => relay(client, exchange, traits, response, (feed, told)).await,
    }
}

/// Tells the client what comes before its answer.
struct Told {
    words: Words,
    out: Vec<u8>,
    sent: usize,
}

impl Told {
    const fn new(words: Words) -> Self {
        Self {
            words,
            out: Vec::new(),
            sent: 0,
        }
    }

    /// Says as much as the client takes just now; an error when it is gone.
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client) -> std::io::Result<()> {
        loop {
            match poll_write_all(cx, &mut client.stream, &self.out, &mut self.sent) {
                Poll::Ready(written) => written?,
                Poll::Pending => return Ok(()),
            }
            self.out = self.words.take();
            self.sent = 0;
            if self.out.is_empty() {
                return Ok(());
            }
        }
    }

    /// What was not said yet.
    fn rest(&mut self) -> &[u8] {
        self.out.append(&mut self.words.take());
        self.out.get(self.sent..).unwrap_or_default()
    }
}

/// Brings the client's body to the pipe.
struct Feed {
    body: Body,
    /// `None` once there is nothing more to put in.
    writer: Option<PipeWriter>,
    failure: Option<Failure>,
}

impl Feed {
    /// Ready when the client has left while nothing of it is taken.
    fn poll_left(&self, cx: &mut Context<'_>, client: &mut Client) -> Poll<()> {
        // Who waits too long for whom is watched where the body is taken.
        const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
        if self.writer.is_none() {
            return Poll::Pending;
        }
        match ready!(client.poll_late(cx, Instant::now() + NEVER, true)) {
            Ended::Gone => Poll::Ready(()),
            Ended::Late => Poll::Pending,
        }
    }

    /// Ready when there is nothing more to do.
    fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<()> {
        while let Some(writer) = &self.writer {
            if !ready!(writer.poll_wanted(cx)) {
                self.writer = None;
                break;
            }
            if self.body.is_done() {
                writer.end(body::trailers(&self.body.take_trailer()));
                self.writer = None;
                break;
            }
            if client.input.is_empty() && !matches!(ready!(client.poll_fill(cx)), Ok(1..)) {
                // The pipe breaks.
                self.writer = None;
                break;
            }
            let mut content = Vec::new();
            match self.body.content(client.input.unused(), &mut content) {
                Ok(taken) => client.input.consume(taken),
                Err(error) => {
                    self.failure = Some(error.into());
                    self.writer = None;
                    break;
                }
            }
            if !content.is_empty() {
                writer.put(content.into());
            }
        }
        Poll::Ready(())
    }
}

/// Brings the response to the client.
async fn relay(
    client: &mut Client,
    exchange: &Exchange<'_>,
    traits: Traits,
    response: Response<Relay>,
    (mut feed, mut told): (Feed, Told),
) -> Next {
    let desk = exchange.desk;
    let (head, body) = response.into_parts();
    let bodiless = traits.is_head
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let sent = match body.size_hint().exact() {
        _ if bodiless => Sent::Nothing,
        Some(length) => Sent::Length(length),
        None if traits.version_11 => Sent::Chunked,
        None => Sent::UntilClose,
    };
    // Who refuses a request in the middle of it, or has said all, does not wait for its rest.
    let is_early = !feed.body.is_done() && (head.status.as_u16() >= 400 || body.is_end_stream());
    let closing = is_early || desk.closing.has_begun();
    let client_stays = traits.keep_alive && sent != Sent::UntilClose && !closing;
    let mut out = desk.buffers.take();
    out.extend_from_slice(told.rest());
    let how = (traits.version_11, client_stays);
    heads::own(&mut out, head.status, &head.headers, sent, how, desk);
    let mut relaying = Relaying {
        out,
        sent: 0,
        body,
        chunked: sent == Sent::Chunked,
        is_complete: false,
        stuck_since: None,
    };
    let whole = poll_fn(|cx| relaying.poll(cx, client, &mut feed, exchange)).await;
    client.served_at = Instant::now();
    desk.buffers.give(relaying.out);
    let is_read = feed.body.is_done();
    match whole {
        Err(()) => {
            if sent == Sent::UntilClose {
                client.stream.break_off();
            }
            Next::Cut
        }
        Ok(()) if client_stays && is_read => Next::Again,
        Ok(()) => Next::Close,
    }
}

struct Relaying {
    out: Vec<u8>,
    sent: usize,
    body: Relay,
    chunked: bool,
    is_complete: bool,
    /// Since when the client takes nothing.
    stuck_since: Option<Instant>,
}

impl Relaying {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        feed: &mut Feed,
        exchange: &Exchange<'_>,
    ) -> Poll<Result<(), ()>> {
        let fed = feed.poll(cx, client);
        loop {
            match poll_write_all(cx, &mut client.stream, &self.out, &mut self.sent) {
                Poll::Ready(Ok(())) => self.stuck_since = None,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    let since = *self.stuck_since.get_or_insert_with(Instant::now);
                    let patience = exchange.rules.limits.idle_timeout;
                    ready!(client.alarm.poll_due(cx, since + patience));
                    return Poll::Ready(Err(()));
                }
            }
            self.out.clear();
            self.sent = 0;
            if self.is_complete {
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.put(&data),
                    Err(frame) => self.end(frame.into_trailers().ok()),
                },
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(())),
                Poll::Ready(None) => self.end(None),
                Poll::Pending => break,
            }
        }
        if fed.is_ready() && feed.body.is_done() {
            ready!(client.poll_gone(cx));
            return Poll::Ready(Err(()));
        }
        feed.poll_left(cx, client).map(Err)
    }

    fn put(&mut self, data: &Bytes) {
        if self.chunked {
            write::chunk(&mut self.out, data);
        } else {
            self.out.extend_from_slice(data);
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.is_complete = true;
        if self.chunked {
            self.out.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.iter().flatten() {
                write::field(&mut self.out, name.as_str().as_bytes(), value.as_bytes());
            }
            self.out.extend_from_slice(b"\r\n");
        }
    }
}

//! One exchange on a connection of HTTP/2: the request's head goes up, interim responses and the response's head come
//! down, then its body. Dropping it at any moment resets the stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::uploading::Uploading;
use super::{Http2, Place};
use crate::error::BoxError;
use crate::exchange::{Interim, Upload};
use crate::h1::field::{self, Known};

/// A response's body as it comes.
pub(crate) struct Strand {
    body: RecvStream,
    /// What is still to come of the length that was said.
    left: Option<u64>,
    uploading: Uploading,
    _place: Rc<Place>,
}

/// Why there is no response.
pub(in crate::upstream) struct Unheard {
    pub(in crate::upstream) error: h2::Error,
    /// Something was said before.
    pub(in crate::upstream) was_told: bool,
}

impl Http2 {
    /// Sends the request, and waits for its response's head. What the upstream says before that is told to `interim`.
    pub(in crate::upstream) async fn ask(
        &self,
        request: Request<Upload>,
        interim: Option<&Interim>,
    ) -> Result<Response<Strand>, Unheard> {
        let place = Rc::new(self.place().await);
        let (mut head, upload) = request.into_parts();
        say_length(&head.method, &mut head.headers, upload.size_hint().exact());
        let is_whole = upload.is_end_stream();
        let head = Request::from_parts(head, ());
        let sent = self.0.sender.clone().send_request(head, is_whole);
        let (mut response, stream) = sent.map_err(|error| Unheard {
            error,
            was_told: false,
        })?;
        let uploading = if is_whole {
            Uploading::nothing()
        } else {
            Uploading::begin(stream, upload, Rc::clone(&place))
        };
        let mut was_told = false;
        let head = poll_fn(|cx| poll_head(cx, &mut response, interim, &mut was_told)).await;
        let head = head.map_err(|error| Unheard { error, was_told })?;
        let length = head.headers().get(CONTENT_LENGTH);
        let left = length.and_then(|length| field::content_length(length.as_bytes()));
        Ok(head.map(|body| Strand::new(body, left, uploading, place)))
    }
}

/// Polls for the response's head. An interim response that ends its stream, as no response may, is not passed on.
fn poll_head(
    cx: &mut Context<'_>,
    response: &mut ResponseFuture,
    interim: Option<&Interim>,
    was_told: &mut bool,
) -> Poll<Result<Response<RecvStream>, h2::Error>> {
    let mut told = Vec::new();
    while let Poll::Ready(Some(Ok(one))) = response.poll_informational(cx) {
        *was_told = true;
        match one.status() {
            // Nobody asked for it.
            StatusCode::SWITCHING_PROTOCOLS => {
                return Poll::Ready(Err(Reason::PROTOCOL_ERROR.into()));
            }
            // Leave to continue was given already.
            StatusCode::CONTINUE => {}
            _ => told.push(one),
        }
    }
    let head = Pin::new(response).poll(cx);
    if let Some(interim) = interim.filter(|_| !matches!(head, Poll::Ready(Err(_)))) {
        for one in told {
            interim.say(one.status().as_u16(), &passed_on(one.headers()));
        }
    }
    head
}

/// A body's length is said where it is known, and a body is expected.
fn say_length(method: &Method, headers: &mut HeaderMap, length: Option<u64>) {
    let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if let Some(length) = length.filter(|&length| length > 0 || expects_body)
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// The fields of an interim response that go on.
fn passed_on(told: &HeaderMap) -> HeaderMap {
    let goes_on = |name: &HeaderName| {
        let known = field::known(name.as_str());
        name != CONNECTION && matches!(known, Known::Other | Known::Date | Known::ContentType)
    };
    let fields = told.iter().filter(|(name, _)| goes_on(name));
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value.clone());
    }
    headers
}

impl Strand {
    fn new(body: RecvStream, left: Option<u64>, uploading: Uploading, place: Rc<Place>) -> Self {
        let mut strand = Self {
            body,
            left,
            uploading,
            _place: place,
        };
        strand.leave_if_over();
        strand
    }

    /// A request that was answered whole may still go up.
    fn leave_if_over(&mut self) {
        if self.body.is_end_stream() {
            self.uploading.leave();
        }
    }

    fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let trailers = ready!(self.body.poll_trailers(cx));
        self.uploading.leave();
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error.into())),
        })
    }
}

impl Body for Strand {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                // A stream that has ended has no window any more.
                let _ = self.body.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                self.leave_if_over();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // It had enough of the request, and all was said.
            Some(Err(_)) if self.body.is_end_stream() => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => self.poll_trailers(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

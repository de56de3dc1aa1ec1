//! A row of [`both_paths`](super::both_paths) over HTTP/2.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::both_paths::{Body, Heard, Pairs, Row, Says, Stage};
use super::frames::*;
use super::hpack::block;
use super::http2_client::Http2;
use super::streaming::SyncStream;
use super::support::{AnyBody, Proxy, empty, full, raw_upstream};

/// Asks on a connection of its own.
pub(crate) async fn ask(proxy: &Proxy, row: &Row, stage: &Stage) -> Heard {
    let mut client = Http2::hello(proxy, row.name).await;
    let mut fields = head(row.method, row.path).to_vec();
    fields.extend(row.fields);
    let length = row.body.text().len().to_string();
    if let Body::Length(_) = row.body {
        fields.push(("content-length", &length));
    }
    let is_all = matches!(row.body, Body::Nothing) && row.trailers.is_empty();
    let flags = if is_all { WHOLE } else { END_HEADERS };
    let fields = block(&fields);
    let mut pieces = fields.chunks(16_000);
    let mut words = frame(HEADERS, flags & !END_HEADERS, 1, pieces.next().unwrap());
    for piece in pieces {
        words.extend(frame(CONTINUATION, 0, 1, piece));
    }
    words.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    let pieces = match &row.body {
        Body::Nothing => &[][..],
        Body::Length(text) => std::slice::from_ref(text),
        Body::Pieces(pieces) => pieces,
    };
    let ends = !is_all && !matches!(row.says, Says::Early);
    client.send(&words).await;
    for piece in pieces {
        let now = if ends { piece.len() } else { piece.len() / 2 };
        let mut rest = &piece.as_bytes()[..now];
        while !rest.is_empty() && client.has_room(1, 1).await {
            let (now, later) = rest.split_at(client.room(1).min(16_384).min(rest.len()));
            client.send(&data(1, now)).await;
            rest = later;
        }
    }
    if ends && row.trailers.is_empty() {
        client.send(&last_data(1, b"")).await;
    } else if ends {
        let trailers = frame(HEADERS, WHOLE, 1, &block(row.trailers));
        client.send(&trailers).await;
    }
    while !client.so_far(1).has_begun() && client.event().await != Event::Closed {}
    stage.is_answered();
    let answer = client.answer(1).await;
    let status = |fields: &[(String, String)]| fields[0].1.parse().unwrap();
    let mut heard = Heard {
        start: answer.status.to_string(),
        fields: answer.fields.iter().skip(1).cloned().collect(),
        body: answer.text().to_owned(),
        is_whole: answer.is_whole,
        interim: answer.interim.iter().map(|one| status(one)).collect(),
        trailers: answer.trailers.unwrap_or_default(),
        ..Heard::default()
    };
    heard.length = heard.take("content-length");
    heard
}

/// Hears every request and does what the row says.
pub(crate) async fn upstream(stage: Stage) -> SocketAddr {
    raw_upstream(move |stream| {
        let stage = stage.clone();
        async move {
            let service = service_fn(move |request| serve(request, stage.clone()));
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

async fn serve(request: Request<Incoming>, stage: Stage) -> Result<Response<AnyBody>, io::Error> {
    let row = stage.row();
    if matches!(row.says, Says::Early) {
        return Ok(answer(&row, &stage));
    }
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().unwrap();
    let mut heard = Heard {
        start: format!("{} {target}", head.method),
        authority: head.uri.authority().unwrap().to_string(),
        fields: pairs(&head.headers),
        ..Heard::default()
    };
    heard.length = heard.take("content-length");
    if let Ok(body) = body.collect().await {
        heard.is_whole = true;
        heard.trailers = body.trailers().map(pairs).unwrap_or_default();
        heard.body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    }
    stage.hears(heard);
    match row.says {
        Says::Nothing => Err(io::ErrorKind::Other.into()),
        Says::Waits => std::future::pending().await,
        Says::Answer | Says::BreaksOff => Ok(answer(&row, &stage)),
        Says::Early | Says::Words(_) | Says::Half(_) => panic!("{}: not over HTTP/2", row.name),
    }
}

fn answer(row: &Row, stage: &Stage) -> Response<AnyBody> {
    let mut response = Response::new(match row.answer_body {
        _ if row.is_bodiless() => empty(),
        Body::Nothing => empty(),
        Body::Length(text) if !matches!(row.says, Says::BreaksOff) => full(text),
        body => {
            let breaks = matches!(row.says, Says::BreaksOff);
            let text = body.text();
            let mut frames: Vec<Result<_, Box<dyn std::error::Error + Send + Sync>>> = match body {
                Body::Pieces(pieces) => pieces
                    .iter()
                    .map(|piece| Ok(Frame::data(Bytes::from(*piece))))
                    .collect(),
                _ => vec![Ok(Frame::data(Bytes::from(
                    text[..text.len() / 2].to_owned(),
                )))],
            };
            if breaks {
                frames.push(Err("it breaks off".into()));
            } else if !row.answer_trailers.is_empty() {
                frames.push(Ok(Frame::trailers(map(row.answer_trailers))));
            }
            let frames = futures_util::stream::iter(frames);
            let stage = stage.clone();
            let frames = frames.then(move |frame| {
                let stage = stage.clone();
                async move {
                    if frame.is_err() {
                        stage.answered().await;
                    }
                    frame
                }
            });
            BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(frames))))
        }
    });
    *response.status_mut() = http::StatusCode::from_u16(row.status).unwrap();
    *response.headers_mut() = map(row.answer);
    if let Body::Length(text) = row.answer_body
        && row.status != 204
    {
        let length = text.len().into();
        response.headers_mut().insert("content-length", length);
    }
    response
}

fn map(fields: Pairs) -> HeaderMap {
    let each = fields.iter();
    each.map(|(name, value)| {
        let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        (name.parse().unwrap(), value)
    })
    .collect()
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let each = fields.iter();
    each.map(|(name, value)| {
        let value = String::from_utf8(value.as_bytes().to_vec()).unwrap();
        (name.as_str().to_owned(), value)
    })
    .collect()
}

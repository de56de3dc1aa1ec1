//! Asks a member whether it is well.
//!
//! Each question is a connection of its own, so that accepting is tried too. What one answer means is
//! [`Streak`]'s: so many in a row of the other kind turn the verdict. A member that nobody asked yet counts as
//! well.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use serin_config::model::{HealthCheck, HealthProbe};
use tokio::time::timeout;

use super::dial::{self, SameThread, Wire};
use super::member::Member;
use crate::error::BoxError;

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Answers in a row that contradict the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streak {
    is_unwell: bool,
    against: u32,
}

impl Streak {
    /// Of a member that counts as this.
    pub(super) const fn new(is_well: bool) -> Self {
        Self {
            is_unwell: !is_well,
            against: 0,
        }
    }

    /// After another answer; whether the verdict turned.
    pub(super) fn after(self, is_good: bool, rule: &HealthCheck) -> (Self, bool) {
        if is_good != self.is_unwell {
            let against = 0;
            return (Self { against, ..self }, false);
        }
        let enough = if self.is_unwell {
            rule.healthy
        } else {
            rule.unhealthy
        };
        let against = self.against + 1;
        if against < enough {
            return (Self { against, ..self }, false);
        }
        let turned = Self {
            is_unwell: !self.is_unwell,
            against: 0,
        };
        (turned, true)
    }

    /// The verdict.
    pub(super) const fn is_well(self) -> bool {
        !self.is_unwell
    }
}

/// Asks once; why the answer is bad, if it is. gRPC is HTTP/2, whatever else is spoken.
pub(super) async fn ask(
    member: &Member,
    rule: &HealthCheck,
    wire: Option<Wire>,
) -> Result<(), String> {
    let asking = async {
        match &rule.probe {
            HealthProbe::Http(path) => {
                let answer = ask_http(member, get(member, path)?, wire, rule.timeout).await?;
                good_status(answer.status())
            }
            HealthProbe::Grpc(service) => ask_grpc(member, service, rule.timeout).await,
        }
    };
    match timeout(rule.timeout, asking).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn good_status(status: StatusCode) -> Result<(), BoxError> {
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("status {status}").into())
    }
}

fn get(member: &Member, path: &str) -> Result<Request<Full<Bytes>>, BoxError> {
    let uri: Uri = format!("{}{path}", member.endpoint).parse()?;
    let request = Request::get(uri).header(USER_AGENT, "serin-health-check");
    Ok(request.body(Full::default())?)
}

async fn ask_http(
    member: &Member,
    mut request: Request<Full<Bytes>>,
    wire: Option<Wire>,
    limit: Duration,
) -> Result<http::Response<Incoming>, BoxError> {
    let stream = dial::connect(member, member.address, wire, limit).await?;
    let wire = Wire::on(&stream, wire);
    let stream = TokioIo::new(stream);
    // The connections end when the sender and the answer are dropped.
    match wire {
        Wire::Http1 => {
            let (mut sender, connection) = http1::handshake(stream).await?;
            tokio::task::spawn_local(connection);
            let host = HeaderValue::try_from(member.endpoint.authority())?;
            request.headers_mut().insert(HOST, host);
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
            Ok(sender.send_request(request).await?)
        }
        Wire::Http2 => {
            let (mut sender, connection) = http2::handshake(SameThread, stream).await?;
            tokio::task::spawn_local(connection);
            Ok(sender.send_request(request).await?)
        }
    }
}

/// See `grpc/health/v1/health.proto`: a service's name goes out, a status comes back, 1 is SERVING.
async fn ask_grpc(member: &Member, service: &str, limit: Duration) -> Result<(), BoxError> {
    let uri = format!("{}/grpc.health.v1.Health/Check", member.endpoint);
    let mut request = Request::post(uri.parse::<Uri>()?).version(Version::HTTP_2);
    if let Some(headers) = request.headers_mut() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let request = request.body(Full::new(question(service)))?;
    let answer = ask_http(member, request, Some(Wire::Http2), limit).await?;
    good_status(answer.status())?;
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER);
    let body = body.collect().await?.to_bytes();
    match status(&body) {
        Some(1) => Ok(()),
        Some(other) => Err(format!("gRPC health status {other}").into()),
        None => Err("no gRPC health status".into()),
    }
}

/// A message with the service's name in its first field, framed.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// The enum in the first field of a framed message; 0 (UNKNOWN) isn't written.
fn status(framed: &[u8]) -> Option<u8> {
    let (prefix, message) = framed.split_at_checked(5)?;
    match (prefix.first()?, message) {
        (0, []) => Some(0),
        (0, [0x08, status, ..]) => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_row_turn_the_verdict() {
        let rule = HealthCheck {
            probe: HealthProbe::Http("/".into()),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy: 3,
            healthy: 2,
        };
        let mut streak = Streak::new(true);
        let mut seen = String::new();
        for answer in "++--+----+-++-+++".chars() {
            (streak, _) = streak.after(answer == '+', &rule);
            seen.push(if streak.is_well() { 'w' } else { 'u' });
        }
        assert_eq!(seen, "wwwwwwwuuuuuwwwww");
    }

    #[test]
    fn the_messages_of_grpc_health() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status(&[1, 0, 0, 0, 2, 8, 1]), None);
        assert_eq!(status(&[]), None);
    }
}

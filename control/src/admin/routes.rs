//! Paths, methods, and what is behind them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::json;

use super::answer::{AdminBody, json, text};
use super::desk::{Desk, Question, Reply};
use super::gate::Gate;
use super::meter::Meter;
use super::problem::Problem;
use super::pulse::Pulse;
use super::{events, operation};

/// Of a request's body.
const MAX_BODY: usize = 1 << 20;
/// For a request's whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Decisions in one answer, unless asked otherwise.
const DECISIONS: u32 = 50;
/// Decisions in one answer, at most.
const MAX_DECISIONS: u32 = 1_000;

/// What curl calls every body.
const FORM: &str = "application/x-www-form-urlencoded";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src \
                           'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; \
                           base-uri 'none'; form-action 'none'";

/// What requests are answered from.
pub(super) struct Office {
    pub(super) desk: Desk,
    pub(super) gate: Gate,
    pub(super) pulse: Arc<Pulse>,
    pub(super) meter: Meter,
}

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
enum Resource {
    Page,
    Live,
    Ready,
    Metrics,
    Rollouts,
    Rollout(String),
    Verb(String, String),
    Decisions(String),
    Decision(String, u64),
    Events,
    Config,
    /// Of the contract, and not there yet.
    Later(&'static str),
}

/// Answers on the admin listener.
pub(super) async fn answer_admin(
    office: Arc<Office>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<AdminBody> {
    // The page holds nothing; its script asks with the token that a person gives it.
    let is_page = request.uri().path() == "/" && reads(request.method());
    let passed = match office.gate.check(&request) {
        Err(problem) if is_page && problem.is_unauthorized() => Ok(()),
        passed => passed,
    };
    let answered = match passed {
        Ok(()) => dispatch(&office, peer, request).await,
        Err(problem) => Err(problem),
    };
    answered.unwrap_or_else(Problem::into_response)
}

/// Answers on the probe listener: nothing that needs a token, so nothing but health and metrics.
pub(super) async fn answer_probe(
    office: Arc<Office>,
    request: Request<Incoming>,
) -> Response<AdminBody> {
    let resource = resource(request.uri().path());
    let answered = match resource {
        Some(Resource::Live | Resource::Ready | Resource::Metrics) if !reads(request.method()) => {
            Err(Problem::method_not_allowed("GET, HEAD"))
        }
        Some(Resource::Live) => Ok(live()),
        Some(Resource::Ready) => Ok(ready(&office.pulse)),
        Some(Resource::Metrics) => Ok(metrics(&office).await),
        _ => Err(Problem::not_found(request.uri().path())),
    };
    answered.unwrap_or_else(Problem::into_response)
}

async fn dispatch(
    office: &Office,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<AdminBody>, Problem> {
    let path = request.uri().path();
    let resource = resource(path).ok_or_else(|| Problem::not_found(path))?;
    let allowed = match resource {
        Resource::Verb(..) | Resource::Later(_) => "POST",
        Resource::Config => "GET, HEAD, POST",
        _ => "GET, HEAD",
    };
    if !allowed
        .split(", ")
        .any(|method| method == request.method().as_str())
    {
        return Err(Problem::method_not_allowed(allowed));
    }
    let question = match resource {
        Resource::Page => return Ok(page()),
        Resource::Live => return Ok(live()),
        Resource::Ready => return Ok(ready(&office.pulse)),
        Resource::Metrics => return Ok(metrics(office).await),
        Resource::Events => return Ok(events::stream(office.desk.listen())),
        Resource::Config if *request.method() == Method::POST => {
            return validate(request).await;
        }
        Resource::Config => Question::Config,
        Resource::Later(what) => {
            let detail = format!("{what} is not supported yet");
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
        }
        Resource::Rollouts => Question::Rollouts,
        Resource::Rollout(name) => Question::Rollout(name),
        Resource::Decisions(rollout) => Question::Decisions {
            rollout,
            limit: limit(request.uri().query())?,
        },
        Resource::Decision(rollout, id) => Question::Decision { rollout, id },
        Resource::Verb(rollout, verb) => {
            let body = body(request, &["application/json"]).await?;
            let actor = format!("admin API from {}", peer.ip().to_canonical());
            Question::Operate {
                rollout,
                command: operation::read(&verb, &body, actor)?,
            }
        }
    };
    match office.desk.ask(question).await? {
        Reply::Json(document) => Ok(json(&document)),
        Reply::Metrics(page) => Ok(text(PROMETHEUS, page.to_text())),
    }
}

fn resource(path: &str) -> Option<Resource> {
    match path {
        "/" => return Some(Resource::Page),
        "/livez" => return Some(Resource::Live),
        "/readyz" => return Some(Resource::Ready),
        "/metrics" => return Some(Resource::Metrics),
        _ => {}
    }
    let parts: Vec<String> = path
        .strip_prefix("/api/v1/")?
        .split('/')
        .map(decoded)
        .collect::<Option<_>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Some(match *parts.as_slice() {
        ["rollouts"] => Resource::Rollouts,
        ["events"] => Resource::Events,
        ["config"] => Resource::Config,
        ["feedback"] => Resource::Later("feedback"),
        ["rollouts", _, "drill"] => Resource::Later("drill"),
        ["rollouts", name] => Resource::Rollout(name.to_owned()),
        ["rollouts", name, "decisions"] => Resource::Decisions(name.to_owned()),
        ["rollouts", name, "decisions", id] => {
            Resource::Decision(name.to_owned(), id.parse().ok()?)
        }
        ["rollouts", name, verb] if operation::is_verb(verb) => {
            Resource::Verb(name.to_owned(), verb.to_owned())
        }
        _ => return None,
    })
}

/// One segment of a path without its percent escapes.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn limit(query: Option<&str>) -> Result<u32, Problem> {
    let mut limit = DECISIONS;
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        match pair.split_once('=') {
            Some(("limit", number)) => {
                limit = number
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_DECISIONS).contains(limit))
                    .ok_or_else(|| {
                        Problem::bad_request(format!("limit: expected 1 to {MAX_DECISIONS}"))
                    })?;
            }
            _ => return Err(Problem::bad_request(format!("{pair}: expected limit=N"))),
        }
    }
    Ok(limit)
}

/// Reads a whole body of one of these types; an empty one needs no type. Whoever is no browser may leave the type to
/// what its tool says of every body (curl's -d); a page, whose browser would say where it comes from, may not.
async fn body(request: Request<Incoming>, types: &[&str]) -> Result<Bytes, Problem> {
    let is_page = is_from_page(request.headers());
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let collected = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, collected)
        .await
        .map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            )
        })?
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("a body may have {MAX_BODY} bytes"),
                )
            } else {
                Problem::bad_request(format!("the body: {error}"))
            }
        })?
        .to_bytes();
    let essence = content_type
        .as_ref()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    let known = match essence.as_deref() {
        Some(essence) if types.contains(&essence) => true,
        Some(FORM) => !is_page,
        Some(_) => false,
        None => content_type.is_none() && (body.is_empty() || !is_page),
    };
    if known {
        Ok(body)
    } else {
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("expected Content-Type: {}", types.join(" or ")),
        ))
    }
}

/// Whether a browser says that a page is behind the request.
fn is_from_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Validates a configuration without taking it over.
async fn validate(request: Request<Incoming>) -> Result<Response<AdminBody>, Problem> {
    if request.uri().query() != Some("dry_run=true") {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "configuration comes from the file; here it can only be validated: ?dry_run=true",
        ));
    }
    let types = [
        "application/yaml",
        "text/yaml",
        "application/x-yaml",
        "application/json",
    ];
    let body = body(request, &types).await?;
    let yaml = std::str::from_utf8(&body)
        .map_err(|_| Problem::bad_request("the configuration is not UTF-8"))?;
    match serin_config::parse(yaml, "config.yaml") {
        Ok(config) => Ok(json(&json!({
            "valid": true,
            "routes": config.routes.len(),
        }))),
        Err(mistakes) => Err(Problem::invalid_config(
            mistakes.errors().iter().map(ToString::to_string).collect(),
        )),
    }
}

fn page() -> Response<AdminBody> {
    let mut response = text("text/html; charset=utf-8", include_str!("page.html"));
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(PAGE_POLICY),
    );
    response
}

fn live() -> Response<AdminBody> {
    text("text/plain; charset=utf-8", "ok\n")
}

fn ready(pulse: &Pulse) -> Response<AdminBody> {
    match pulse.ready() {
        Ok(()) => {
            let remark = match pulse.remark() {
                "" => String::new(),
                remark => format!(": {remark}"),
            };
            text("text/plain; charset=utf-8", format!("ok{remark}\n"))
        }
        Err(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

async fn metrics(office: &Office) -> Response<AdminBody> {
    text(PROMETHEUS, office.meter.page().await.to_text())
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let name = || "a b".to_owned();
        for (path, expected) in [
            ("/", Some(Resource::Page)),
            ("/livez", Some(Resource::Live)),
            ("/api/v1/rollouts", Some(Resource::Rollouts)),
            ("/api/v1/rollouts/a%20b", Some(Resource::Rollout(name()))),
            (
                "/api/v1/rollouts/a%20b/set-weight",
                Some(Resource::Verb(name(), "set-weight".to_owned())),
            ),
            (
                "/api/v1/rollouts/a%20b/decisions",
                Some(Resource::Decisions(name())),
            ),
            (
                "/api/v1/rollouts/a%20b/decisions/7",
                Some(Resource::Decision(name(), 7)),
            ),
            (
                "/api/v1/rollouts/x%2Fpause",
                Some(Resource::Rollout("x/pause".to_owned())),
            ),
            ("/api/v1/feedback", Some(Resource::Later("feedback"))),
            ("/api/v1/rollouts/x/drill", Some(Resource::Later("drill"))),
            ("/api/v1/rollouts/x/explode", None),
            ("/api/v1/rollouts/x/decisions/last", None),
            ("/api/v1/rollouts/%zz", None),
            ("/api/v1/rollouts/%e", None),
            ("/api/v1/", None),
            ("/api/v2/rollouts", None),
            ("/livez/", None),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(limit(None).unwrap(), DECISIONS);
        assert_eq!(limit(Some("limit=7")).unwrap(), 7);
        for query in ["limit=0", "limit=1001", "limit=x", "limit", "page=2"] {
            assert!(limit(Some(query)).is_err(), "{query}");
        }
    }
}

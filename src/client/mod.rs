//! The admin API, asked over HTTP: what every verb that acts on a running proxy goes through.
//!
//! Each question has a deadline, each answer a bound, and each failure says what to do about it. Answers stay
//! JSON here; [`view`] reads from them what the tables show.

pub(crate) mod view;

mod error;

pub(crate) use error::AskError;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::cli::Failure;

/// For a whole question and its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// To open a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Of an answer.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Where the admin API is and what opens it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Of a running proxy")]
pub(crate) struct AdminOptions {
    /// The admin API of a running proxy.
    #[arg(
        long,
        value_name = "URL",
        env = "SERIN_ADMIN",
        default_value = "http://127.0.0.1:9911",
        global = true
    )]
    pub(crate) admin: String,
    /// PEM file: who signs the admin API's certificate, where it is not one of the system's roots.
    #[arg(long, value_name = "FILE", env = "SERIN_ADMIN_CA", global = true)]
    pub(crate) admin_ca: Option<PathBuf>,
    /// File with the admin API's bearer token.
    #[arg(long, value_name = "FILE", env = "SERIN_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
}

/// A client of one admin API.
#[derive(Debug)]
pub(crate) struct AdminClient {
    base: String,
    token: Option<HeaderValue>,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl AdminClient {
    /// Checks the URL and reads the token; connects when first asked.
    pub(crate) fn new(options: &AdminOptions) -> Result<Self, Failure> {
        let base = base_url(&options.admin).map_err(Failure::usage)?;
        let token = options.token_file.as_deref().map(bearer).transpose()?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust(options.admin_ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base, token, http })
    }

    /// Asks for a resource.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, AskError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Asks for a change.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, AskError> {
        self.ask(Method::POST, path, Bytes::from(body.to_string()))
            .await
    }

    /// Every rollout's status.
    pub(crate) async fn rollouts(&self) -> Result<Vec<Value>, AskError> {
        match self.get("/api/v1/rollouts").await? {
            Value::Array(rollouts) => Ok(rollouts),
            other => Err(AskError::Malformed(format!(
                "a list of rollouts was expected, found {other}"
            ))),
        }
    }

    /// The rollout that is meant: the one named, or the only one there is.
    pub(crate) async fn the_rollout(&self, named: Option<&str>) -> Result<String, Failure> {
        if let Some(name) = named {
            return Ok(name.to_owned());
        }
        let mut names: Vec<String> = self
            .rollouts()
            .await?
            .iter()
            .filter_map(|rollout| rollout.get("name")?.as_str().map(str::to_owned))
            .collect();
        match names.len() {
            0 => Err(Failure::no("there is no rollout")),
            1 => Ok(names.remove(0)),
            _ => Err(Failure::usage(format!(
                "there are several rollouts, name one: {}",
                names.join(", ")
            ))),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, AskError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| AskError::Malformed(error.to_string()))?;
        tokio::time::timeout(DEADLINE, self.exchange(request))
            .await
            .unwrap_or(Err(AskError::TooSlow {
                url: self.base.clone(),
                after: DEADLINE,
            }))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Value, AskError> {
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| AskError::unreachable(&self.base, &error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| AskError::Malformed(error.to_string()))?
            .to_bytes();
        if status.is_success() {
            serde_json::from_slice(&body).map_err(|error| AskError::Malformed(error.to_string()))
        } else {
            Err(AskError::refused(status, &body, self.token.is_some()))
        }
    }
}

/// A path below `/api/v1/rollouts/`, with the name escaped.
pub(crate) fn rollout_path(name: &str, rest: &str) -> String {
    let mut path = String::from("/api/v1/rollouts/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path.push_str(rest);
    path
}

fn base_url(given: &str) -> Result<String, String> {
    let url = if given.contains("://") {
        given.to_owned()
    } else {
        format!("http://{given}")
    };
    let expected = "expected http://HOST:PORT or https://HOST:PORT";
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("--admin {given}: {error}, {expected}"))?;
    let bare = uri.path() == "/" && uri.query().is_none();
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) if bare => {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(format!("--admin {given}: {expected}")),
    }
}

/// Reads whom to trust; the system's roots are read when there is no file.
fn trust(file: Option<&std::path::Path>) -> Result<rustls::ClientConfig, Failure> {
    let pem = file.map(|file| {
        std::fs::read(file)
            .map_err(|error| Failure::usage(format!("--admin-ca {}: {error}", file.display())))
    });
    serin_config::tls::trusting(pem.transpose()?.as_deref())
        .map_err(|error| Failure::usage(format!("--admin-ca: {error}")))
}

fn bearer(file: &std::path::Path) -> Result<HeaderValue, Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("--token-file {shown}: {error}")))?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| Failure::usage(format!("--token-file {shown}: no usable token in it")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_urls() {
        for (given, base) in [
            ("http://127.0.0.1:9911", Ok("http://127.0.0.1:9911")),
            ("http://127.0.0.1:9911/", Ok("http://127.0.0.1:9911")),
            ("localhost:9911", Ok("http://localhost:9911")),
            ("https://serin.example", Ok("https://serin.example")),
            (
                "http://127.0.0.1:9911/api",
                Err("expected http://HOST:PORT"),
            ),
            ("ftp://127.0.0.1", Err("expected http://HOST:PORT")),
            ("http://", Err("expected http://HOST:PORT")),
        ] {
            match (base_url(given), base) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => {
                    assert!(found.contains(expected), "{given}: {found}");
                }
                (found, _) => panic!("{given}: {found:?}"),
            }
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            rollout_path("a b/ü", "/abort"),
            "/api/v1/rollouts/a%20b%2F%C3%BC/abort"
        );
    }
}

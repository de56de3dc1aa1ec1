//! Where metrics and traces are sent, and how many requests are traced.
//!
//! The file of headers is a secret (it holds the collector's token): one `Name: value` per line, empty lines and
//! lines that begin with `#` are skipped. No message shows what stands in it.

use std::path::Path;
use std::time::Duration;

use super::matcher::header_name;
use super::secret;
use crate::model::{Collector, Otlp, OtlpProtocol, Secret, Telemetry};
use crate::units;
use crate::walk::{At, Fields, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &["otlp", "trace_sample", "service_name"],
    later: &[],
};
pub(crate) const OTLP_KEYS: Keys = Keys {
    known: &["endpoint", "protocol", "headers_file", "interval"],
    later: &["tls", "compression"],
};
pub(crate) const PROTOCOLS: [(&str, OtlpProtocol); 2] =
    [("grpc", OtlpProtocol::Grpc), ("http", OtlpProtocol::Http)];
/// Share of requests that are traced unless told otherwise.
pub(crate) const TRACE_SAMPLE: f64 = 0.01;
/// Who reports unless told otherwise.
pub(crate) const SERVICE_NAME: &str = "serin";
/// Between two reports of the metrics unless told otherwise.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

const ENDPOINT: &str = "a collector such as \"http://127.0.0.1:4317\"";
/// Most headers of the file.
const MOST_HEADERS: usize = 64;
/// Longest name of a service.
const LONGEST_NAME: usize = 256;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

pub(crate) fn telemetry(at: &At<'_>) -> Option<Telemetry> {
    let fields = at.fields(KEYS)?;
    let otlp = fields
        .require("otlp", "where the collector is")
        .and_then(otlp);
    let trace_sample = fields.or("trace_sample", TRACE_SAMPLE, |at| {
        at.measured(units::parse_percent)
    });
    let service_name = fields.or("service_name", SERVICE_NAME.to_owned(), service_name);
    Some(Telemetry {
        otlp: otlp?,
        trace_sample,
        service_name,
    })
}

fn service_name(at: &At<'_>) -> Option<String> {
    let text = at.text("a name such as \"serin\"")?;
    if text.len() > LONGEST_NAME || text.chars().any(char::is_control) {
        at.unexpected("a name of at most 256 bytes, without control characters");
        return None;
    }
    Some(text.to_owned())
}

fn otlp(at: &At<'_>) -> Option<Otlp> {
    let fields = at.fields(OTLP_KEYS)?;
    let protocol = fields.or("protocol", OtlpProtocol::Grpc, |at| at.choice(&PROTOCOLS));
    let (headers_file, headers) = headers(&fields);
    let endpoint = fields.require("endpoint", ENDPOINT);
    Some(Otlp {
        endpoint: endpoint.and_then(|at| collector(at, protocol))?,
        protocol,
        headers_file,
        headers,
        interval: fields.or("interval", INTERVAL, interval),
    })
}

fn interval(at: &At<'_>) -> Option<Duration> {
    let interval = at.duration()?;
    if (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        return Some(interval);
    }
    at.unexpected("a duration from 100ms to 1h");
    None
}

/// `http://host:port`, with a path where OTLP goes over plain HTTP.
fn collector(at: &At<'_>, protocol: OtlpProtocol) -> Option<Collector> {
    let url = at.text(ENDPOINT)?;
    let Some((scheme, rest)) = url.split_once("://") else {
        at.unexpected(ENDPOINT);
        return None;
    };
    if scheme.eq_ignore_ascii_case("https") {
        at.refuse("an https collector, which is not supported yet", ENDPOINT);
        return None;
    }
    if rest.contains('@') {
        // Not shown: a password may stand there.
        let expected = format!("{ENDPOINT}, without user; a token goes into `headers_file`");
        at.refuse("a URL with user information", &expected);
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.trim_end_matches('/');
    let port = match protocol {
        OtlpProtocol::Grpc => 4317,
        OtlpProtocol::Http => 4318,
    };
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"?#%\"<>\\^`{|}".contains(&b);
    let address = super::backend::authority(authority, port)
        .filter(|_| scheme.eq_ignore_ascii_case("http") && path.bytes().all(is_plain));
    let Some((host, port)) = address else {
        at.unexpected(ENDPOINT);
        return None;
    };
    if protocol == OtlpProtocol::Grpc && !path.is_empty() {
        at.refuse(
            &at.described(),
            &format!("{ENDPOINT}, without path unless `protocol: http`"),
        );
        return None;
    }
    Some(Collector {
        host,
        port,
        path: path.to_owned(),
    })
}

fn headers(fields: &Fields<'_>) -> (Option<std::path::PathBuf>, Vec<(String, Secret)>) {
    let Some(at) = fields.get("headers_file") else {
        return (None, Vec::new());
    };
    let path = at.as_text().map(|text| Path::new(text).to_owned());
    let Some(secret) = secret::secret(at) else {
        return (path, Vec::new());
    };
    (path, lines(at, &secret))
}

fn lines(at: &At<'_>, content: &Secret) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (line, number) in content.0.split(|&byte| byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some(header) = header(line) else {
            at.refuse(
                &format!("{}, whose line {number} is no header", at.described()),
                "one `Name: value` per line, in plain ASCII",
            );
            continue;
        };
        headers.push(header);
    }
    if headers.len() > MOST_HEADERS {
        let found = format!("{}, which holds {} headers", at.described(), headers.len());
        at.refuse(&found, &format!("at most {MOST_HEADERS} headers"));
    }
    headers
}

fn header(line: &[u8]) -> Option<(String, Secret)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let value = value.trim_ascii();
    let plain = |b: u8| b.is_ascii_graphic() || b == b' ' || b == b'\t';
    if value.is_empty() || !value.bytes().all(plain) {
        return None;
    }
    Some((header_name(name)?, Secret(value.into())))
}

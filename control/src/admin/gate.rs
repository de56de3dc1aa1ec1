//! Who may ask: token, `Host` and `Origin`.
//!
//! On loopback anybody on the machine may read; a token, where one is set, is needed to change something.
//! Elsewhere it is needed for everything but the empty status page. A browser on the machine can be made to
//! ask too: a page from elsewhere that posts here bears a foreign `Origin`, and one that had its own name
//! resolved to 127.0.0.1 bears that name as `Host`. Both are refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{Method, Request, StatusCode};
use serin_config::model::{Admin, Secret};

use super::problem::Problem;

/// What the configuration says about access; follows reloads.
#[derive(Debug)]
pub(super) struct Gate {
    address: SocketAddr,
    token: RwLock<Option<Secret>>,
    is_https: AtomicBool,
}

impl Gate {
    pub(super) fn new(admin: &Admin) -> Self {
        Self {
            address: admin.address,
            token: RwLock::new(admin.token.clone()),
            is_https: AtomicBool::new(admin.tls.is_some()),
        }
    }

    /// Takes over a new token, and whether the listener is encrypted.
    pub(super) fn reload(&self, admin: &Admin) {
        self.is_https.store(admin.tls.is_some(), Relaxed);
        *self
            .token
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = admin.token.clone();
    }

    /// Lets a request pass, or says why not.
    ///
    /// # Errors
    /// 401 without the right token, 403 for a request that another site may have caused.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let local = self.address.ip().to_canonical().is_loopback();
        let host = host(request);
        if local && !host.as_ref().is_some_and(|host| self.is_ours(host)) {
            return Err(forbidden(
                "the Host header names neither this machine nor the configured admin address",
            ));
        }
        if !(local && reads) {
            self.check_token(request, !local)?;
        }
        let is_https = self.is_https.load(Relaxed);
        check_origin(request, host.as_ref(), is_https)
    }

    fn check_token<B>(&self, request: &Request<B>, required: bool) -> Result<(), Problem> {
        let token = self
            .token
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(Secret(token)) = &*token else {
            return if required {
                Err(unauthorized("no token is configured, so nobody may ask"))
            } else {
                Ok(())
            };
        };
        let Some(given) = request.headers().get(AUTHORIZATION) else {
            return Err(unauthorized("this needs `Authorization: Bearer …`"));
        };
        let given = given.as_bytes();
        let bearer = match given.split_at_checked(7) {
            Some((scheme, bearer)) if scheme.eq_ignore_ascii_case(b"bearer ") => bearer,
            _ => return Err(unauthorized("this needs `Authorization: Bearer …`")),
        };
        if same(bearer.trim_ascii(), token) {
            Ok(())
        } else {
            Err(unauthorized("the token is not the right one"))
        }
    }

    /// Whether a `Host` is one that this listener may be called by.
    fn is_ours(&self, host: &Authority) -> bool {
        let name = bare(host);
        name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback() || ip == self.address.ip())
    }
}

/// A request that a browser sends for another site's page says so.
fn check_origin<B>(
    request: &Request<B>,
    host: Option<&Authority>,
    is_https: bool,
) -> Result<(), Problem> {
    let (scheme, usual) = if is_https {
        ("https://", 443)
    } else {
        ("http://", 80)
    };
    let headers = request.headers();
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    // A person who follows a link to the status page comes from another site, too.
    let visits = *request.method() == Method::GET
        && headers
            .get("sec-fetch-mode")
            .is_some_and(|mode| mode == "navigate");
    if matches!(site, Some(b"cross-site" | b"same-site")) && !visits {
        return Err(forbidden("the request comes from another site's page"));
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Ok(());
    };
    let own = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix(scheme))
        .and_then(|origin| origin.parse::<Authority>().ok())
        .is_some_and(|origin| {
            host.is_some_and(|host| {
                bare(&origin).eq_ignore_ascii_case(bare(host))
                    && origin.port_u16().unwrap_or(usual) == host.port_u16().unwrap_or(usual)
            })
        });
    if own && origins.next().is_none() {
        Ok(())
    } else {
        Err(forbidden("the Origin header is not the admin's own"))
    }
}

/// The one authority that a request is addressed to.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), None, None) => Some(authority.clone()),
        (None, Some(host), None) => host.to_str().ok()?.parse().ok(),
        (Some(authority), Some(host), None) if host == authority.as_str() => {
            Some(authority.clone())
        }
        _ => None,
    }
}

fn bare(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Compares without telling by its duration how far the two agree.
fn same(given: &[u8], token: &[u8]) -> bool {
    let difference = given.iter().zip(token).fold(0, |difference, (a, b)| {
        difference | std::hint::black_box(a ^ b)
    });
    given.len() == token.len() && difference == 0
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(address: &str, token: Option<&str>) -> Admin {
        Admin {
            address: address.parse().unwrap(),
            token_file: None,
            token: token.map(|token| Secret(token.as_bytes().to_vec())),
            tls: None,
        }
    }

    fn gate(address: &str, token: Option<&str>) -> Gate {
        Gate::new(&admin(address, token))
    }

    /// The status that a request with these headers gets; 200 when it may pass.
    fn check(gate: &Gate, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri("/api/v1/rollouts");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match gate.check(&request.body(()).unwrap()) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn hosts_on_loopback() {
        let gate = gate("127.0.0.1:9911", None);
        for (host, status) in [
            ("127.0.0.1:9911", 200),
            ("127.0.0.2", 200),
            ("localhost:9911", 200),
            ("LOCALHOST", 200),
            ("[::1]:9911", 200),
            ("evil.example:9911", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("10.0.0.1", 403),
            ("", 403),
        ] {
            for method in ["GET", "POST"] {
                assert_eq!(check(&gate, method, &[("host", host)]), status, "{host}");
            }
        }
        assert_eq!(check(&gate, "GET", &[]), 403);
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(check(&gate, "GET", &twice), 403);
    }

    #[test]
    fn origins() {
        let gate = gate("127.0.0.1:9911", None);
        for (origin, status) in [
            ("http://127.0.0.1:9911", 200),
            ("http://127.0.0.1:8080", 403),
            ("http://localhost:9911", 403),
            ("https://127.0.0.1:9911", 403),
            ("http://evil.example", 403),
            ("null", 403),
        ] {
            let headers = [("host", "127.0.0.1:9911"), ("origin", origin)];
            assert_eq!(check(&gate, "POST", &headers), status, "{origin}");
        }
        for (site, mode, status) in [
            ("same-origin", "cors", 200),
            ("none", "navigate", 200),
            ("cross-site", "navigate", 200),
            ("cross-site", "no-cors", 403),
            ("same-site", "cors", 403),
        ] {
            let headers = [
                ("host", "localhost:9911"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
            ];
            assert_eq!(check(&gate, "GET", &headers), status, "{site} {mode}");
        }
        let posted = [
            ("host", "localhost:9911"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert_eq!(check(&gate, "POST", &posted), 403);
    }

    #[test]
    fn tokens() {
        let local = gate("127.0.0.1:9911", Some("s3cret"));
        let remote = gate("0.0.0.0:9911", Some("s3cret"));
        let host = ("host", "127.0.0.1:9911");
        for (token, status) in [
            (None, 401),
            (Some("Bearer s3cret"), 200),
            (Some("bearer s3cret "), 200),
            (Some("Bearer s3cre"), 401),
            (Some("Bearer s3crets"), 401),
            (Some("Bearer "), 401),
            (Some("Basic s3cret"), 401),
        ] {
            let mut headers = vec![host];
            headers.extend(token.map(|token| ("authorization", token)));
            assert_eq!(check(&local, "POST", &headers), status, "{token:?}");
            assert_eq!(check(&local, "GET", &headers), 200, "{token:?}");
            assert_eq!(check(&remote, "POST", &headers), status, "{token:?}");
            assert_eq!(check(&remote, "GET", &headers), status, "{token:?}");
        }
        let named = [
            ("host", "serin.svc:9911"),
            ("authorization", "Bearer s3cret"),
        ];
        assert_eq!(check(&remote, "POST", &named), 200);
        local.reload(&admin("127.0.0.1:9911", None));
        assert_eq!(check(&local, "POST", &[host]), 200);
        remote.reload(&admin("127.0.0.1:9911", None));
        assert_eq!(check(&remote, "GET", &[host]), 401);
    }
}

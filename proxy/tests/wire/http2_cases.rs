//! What a client says after the prefaces, and what RFC 9113 lets us do about it: the form of most of the tests of
//! HTTP/2.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::frames::get;
use super::http2_client::Http2;
use super::support::{Proxy, full, route, upstream};

/// What must come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// Nothing: it is right, or to be ignored.
    Ignored,
    /// This stream is answered with success.
    Serves(u32),
    /// This stream is refused, one way or another, and no upstream hears of it.
    Refuses(u32),
    /// This stream is in error for one of these reasons; to end the connection is allowed too (section 5.4.2).
    Resets(u32, &'static [u32]),
    /// The connection is in error for one of these reasons.
    Breaks(&'static [u32]),
}

/// One thing that is said.
pub(crate) struct Case {
    name: String,
    words: Vec<u8>,
    verdict: Verdict,
}

pub(crate) fn case(name: &str, words: impl Into<Vec<u8>>, verdict: Verdict) -> Case {
    Case {
        name: name.to_owned(),
        words: words.into(),
        verdict,
    }
}

/// A proxy, and how many requests its upstream has seen. The upstream waits for the whole body and sends it back, and what
/// `x-say` says as `x-said`.
pub(crate) struct Front {
    pub(crate) proxy: Proxy,
    pub(crate) reached: Arc<AtomicUsize>,
}

impl Front {
    pub(crate) async fn start() -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reached);
        let server = upstream(move |request: Request<Incoming>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let said = request.headers().get_all("x-say").iter();
                let said: Vec<_> = said.map(|value| value.to_str().unwrap()).collect();
                let said = said.join("|").parse().unwrap();
                let body = request.into_body().collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                let mut response = Response::new(full(body));
                response.headers_mut().insert("x-said", said);
                response
            }
        });
        Self {
            proxy: Proxy::of(route(server.await)),
            reached,
        }
    }

    /// Each case on a connection of its own; all that fail are told at once.
    pub(crate) async fn check(&self, cases: Vec<Case>) {
        let mut failed = Vec::new();
        for case in &cases {
            // What is wrong was printed already.
            let tried = AssertUnwindSafe(self.play(case)).catch_unwind();
            if tried.await.is_err() {
                failed.push(&case.name);
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
        // Nobody else has suffered.
        let mut client = Http2::hello(&self.proxy, "somebody else").await;
        client.send(&get(1, "/")).await;
        client.served(1).await;
    }

    async fn play(&self, case: &Case) {
        let mut client = Http2::hello(&self.proxy, &case.name).await;
        let reached = self.reached.load(Ordering::SeqCst);
        client.send(&case.words).await;
        match case.verdict {
            Verdict::Ignored => client.goes_on().await,
            Verdict::Serves(stream) => {
                client.served(stream).await;
                client.goes_on().await;
            }
            Verdict::Refuses(stream) => {
                client.refuses(stream).await;
                let now = self.reached.load(Ordering::SeqCst);
                assert_eq!(now, reached, "{}: it went up", case.name);
            }
            Verdict::Resets(stream, codes) => client.resets(stream, codes).await,
            Verdict::Breaks(codes) => client.breaks(codes).await,
        }
    }
}

/// Each case, before a proxy of its own.
pub(crate) async fn check(cases: Vec<Case>) {
    Front::start().await.check(cases).await;
}

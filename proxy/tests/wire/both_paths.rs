//! One table of exchanges for all ways through the proxy: HTTP/1.1 and HTTP/2 clients of HTTP/1.1 and HTTP/2
//! upstreams. Each row says what is asked and answered, and what the upstream and the client must have seen of it;
//! where the ways differ, the row says so.
//!
//! The tables are in `both_paths_requests.rs`, `both_paths_answers.rs` and `both_paths_calls.rs`; how a row is said and heard over each
//! protocol in `both_paths_http1.rs` and `both_paths_http2.rs`.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use serin_config::model::{Protocol, Route};
use serin_stats::snapshot::{Arm, Outcome};
use tokio::sync::{Notify, mpsc};

use super::support::{Proxy, config, refusing, rollout, until, within};
use super::{both_paths_http1 as http1, both_paths_http2 as http2};

pub(crate) type Text = &'static str;
pub(crate) type Pairs = &'static [(Text, Text)];

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Http1,
    Http2,
}

pub(crate) const BOTH: &[Over] = &[Over::Http1, Over::Http2];
pub(crate) const ONLY_HTTP1: &[Over] = &[Over::Http1];
pub(crate) const ONLY_HTTP2: &[Over] = &[Over::Http2];

/// A body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// There is none, and nothing is said of it.
    Nothing,
    /// Its length is said.
    Length(Text),
    /// It comes in pieces, and nobody knows how many.
    Pieces(&'static [Text]),
}

impl Body {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Length(text) => text.to_owned(),
            Self::Pieces(pieces) => pieces.concat(),
        }
    }
}

/// What an upstream does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    /// Answers when it has all of it.
    Answer,
    /// Answers when it has the head; the client's body never ends before it has the answer.
    Early,
    /// Answers, and breaks off behind the body's pieces.
    BreaksOff,
    /// Goes without an answer.
    Nothing,
    /// Waits for ever.
    Waits,
    /// These bytes (HTTP/1.1 only), and closes.
    Words(Text),
    /// The same, and it is not all of the answer.
    Half(Text),
}

/// An exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: Text,
    /// Over what it is asked and answered.
    pub(crate) clients: &'static [Over],
    pub(crate) upstreams: &'static [Over],
    pub(crate) method: Text,
    pub(crate) path: Text,
    pub(crate) fields: Pairs,
    pub(crate) body: Body,
    pub(crate) trailers: Pairs,
    /// Of all trailers, those that don't arrive.
    pub(crate) trailers_without: &'static [Text],
    /// Of the fields, those that don't reach the upstream; and what reaches it besides or instead.
    pub(crate) up_without: &'static [Text],
    pub(crate) up_with: Pairs,
    pub(crate) says: Says,
    pub(crate) status: u16,
    /// What comes before the answer, as it is (HTTP/1.1 only), and the statuses that the client sees of it.
    pub(crate) before: (Text, &'static [u16]),
    pub(crate) answer: Pairs,
    pub(crate) answer_body: Body,
    pub(crate) answer_trailers: Pairs,
    /// Of the answer's fields, those that don't reach the client; and what reaches it besides or instead.
    pub(crate) down_without: &'static [Text],
    pub(crate) down_with: Pairs,
    /// The client is answered by the proxy itself, so; the upstream may not even have been asked. A call is answered
    /// by a status of gRPC.
    pub(crate) refused: Option<u16>,
    /// What is counted.
    pub(crate) counted: Option<Outcome>,
}

/// The largest body that is taken: more than any window holds at first.
pub(crate) const MOST: u64 = 300_000;

/// Trailers of which the last alone has its place there.
pub(crate) const STRAY: Pairs = &[
    ("authorization", "Basic x"),
    ("set-cookie", "a=b"),
    ("via", "1.1 other"),
    ("x-serin-arm", "canary"),
    ("x-t", "y"),
];
/// … and the others.
pub(crate) const STOPPED: &[Text] = &["authorization", "set-cookie", "via", "x-serin-arm"];

/// The plainest of all.
pub(crate) const ROW: Row = Row {
    name: "",
    clients: BOTH,
    upstreams: BOTH,
    method: "GET",
    path: "/",
    fields: &[],
    body: Body::Nothing,
    trailers: &[],
    trailers_without: &[],
    up_without: &[],
    up_with: &[],
    says: Says::Answer,
    status: 200,
    before: ("", &[]),
    answer: &[],
    answer_body: Body::Length("hello"),
    answer_trailers: &[],
    down_without: &[],
    down_with: &[],
    refused: None,
    counted: Some(Outcome::Success),
};

impl Row {
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether it is a call of gRPC.
    pub(crate) fn is_call(&self) -> bool {
        self.fields.contains(&("content-type", "application/grpc"))
    }

    /// Whether an answer of this kind has no body, whatever it says of one.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.is_head() || matches!(self.status, 204 | 304)
    }
}

/// A message as it was understood: the fields that frame it or concern its connection are taken out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    /// Method and target, or the status.
    pub(crate) start: String,
    pub(crate) authority: String,
    pub(crate) fields: Vec<(String, String)>,
    /// As it was said.
    pub(crate) length: Option<String>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) is_whole: bool,
    /// Statuses that came before.
    pub(crate) interim: Vec<u16>,
}

impl Heard {
    /// Takes the field out: its value, if there is exactly one.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|field| field.0 == name)?;
        let value = self.fields.remove(at).1;
        assert!(
            self.fields.iter().all(|field| field.0 != name),
            "two {name}"
        );
        Some(value)
    }
}

/// The row that is played, and what the upstream hears.
#[derive(Clone)]
pub(crate) struct Stage {
    row: Arc<Mutex<Row>>,
    heard: mpsc::UnboundedSender<Heard>,
    answered: Arc<Notify>,
}

impl Stage {
    pub(crate) fn row(&self) -> Row {
        *self.row.lock().unwrap()
    }

    pub(crate) fn hears(&self, heard: Heard) {
        let _ = self.heard.send(heard);
    }

    /// The client has the answer's head: now it may break off.
    pub(crate) fn is_answered(&self) {
        if matches!(self.row().says, Says::BreaksOff) {
            self.answered.notify_one();
        }
    }

    pub(crate) async fn answered(&self) {
        self.answered.notified().await;
    }
}

/// A proxy and its upstream.
struct Way {
    client: Over,
    upstream: Over,
    proxy: Proxy,
    stage: Stage,
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Way {
    async fn open(client: Over, upstream: Over, change: &impl Fn(&mut Route)) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        let stage = Stage {
            row: Arc::new(Mutex::new(ROW)),
            heard: tell,
            answered: Arc::default(),
        };
        let (server, protocol) = match upstream {
            Over::Http1 => (http1::upstream(stage.clone()).await, Protocol::Http1),
            Over::Http2 => (http2::upstream(stage.clone()).await, Protocol::Http2),
        };
        let mut route = rollout(server, refusing().await);
        route.baseline.protocol = protocol;
        change(&mut route);
        let mut config = config(vec![route]);
        config.limits.max_body = MOST;
        config.limits.max_header_bytes = 8 * 1024;
        config.limits.max_uri_bytes = 2 * 1024;
        Self {
            client,
            upstream,
            proxy: Proxy::start(config, 0.0),
            stage,
            heard,
        }
    }

    async fn play(&mut self, row: Row) {
        *self.stage.row.lock().unwrap() = row;
        while self.heard.try_recv().is_ok() {}
        let before = self.proxy.counted();
        let asking = async {
            match self.client {
                Over::Http1 => http1::ask(&self.proxy, &row, &self.stage).await,
                Over::Http2 => http2::ask(&self.proxy, &row, &self.stage).await,
            }
        };
        let got = within("an answer", asking).await;
        self.judge_answer(&row, got);
        if row.refused.is_none() && !matches!(row.says, Says::Early) {
            let heard = within("the request", self.heard.recv()).await;
            self.judge_request(&row, heard.unwrap());
        }
        until("the end", || self.proxy.plane.in_flight() == 0).await;
        let counted = u64::from(row.counted.is_some());
        until("a record", || {
            self.proxy.counted().total() >= before.total() + counted
        })
        .await;
        let now = self.proxy.counted();
        assert_eq!(now.total(), before.total() + counted, "records");
        for outcome in Outcome::ALL {
            let by = now.of(Arm::Baseline, outcome) - before.of(Arm::Baseline, outcome);
            assert_eq!(by, u64::from(row.counted == Some(outcome)), "{outcome:?}");
        }
    }

    /// What the upstream must have heard.
    fn judge_request(&self, row: &Row, mut heard: Heard) {
        assert_eq!(
            heard.take("x-serin-request-id").map(|id| id.len()),
            Some(36)
        );
        assert_eq!(heard.take("traceparent").map(|id| id.len()), Some(55));
        let mut fields = expected(row.fields, row.up_without, row.up_with);
        let mut otherwise = |name: &str, value: &str| {
            if fields.iter().all(|field| field.0 != name) {
                fields.push((name.to_owned(), value.to_owned()));
            }
        };
        otherwise("x-forwarded-for", "127.0.0.1");
        otherwise("x-forwarded-proto", "http");
        otherwise("x-forwarded-host", "models.example");
        otherwise("via", "{} serin");
        let version = match self.client {
            Over::Http1 => "1.1",
            Over::Http2 => "2",
        };
        for field in &mut fields {
            field.1 = field.1.replace("{}", version);
        }
        let expects_body = ["POST", "PUT", "PATCH"].contains(&row.method);
        let length = match row.body {
            // HTTP/2 says by the head's end what HTTP/1.1 says by a length of nothing.
            Body::Nothing if expects_body && self.upstream == Over::Http1 => Some("0".to_owned()),
            Body::Nothing | Body::Pieces(_) => None,
            Body::Length(text) => Some(text.len().to_string()),
        };
        let expected = Heard {
            start: format!("{} {}", row.method, row.path),
            authority: "models.example".to_owned(),
            fields: sorted(fields),
            length,
            body: row.body.text(),
            trailers: sorted(expected(row.trailers, row.trailers_without, &[])),
            is_whole: true,
            interim: Vec::new(),
        };
        heard.fields = sorted(heard.fields);
        heard.trailers = sorted(heard.trailers);
        // Of a body that is there already the length is known.
        let known = Some(expected.body.len().to_string());
        let may_know = self.client == Over::Http2 && row.trailers.is_empty();
        let is_nothing = matches!(row.body, Body::Nothing);
        if heard.length == known && (may_know || is_nothing) {
            heard.length.clone_from(&expected.length);
        }
        assert_eq!(heard, expected, "what the upstream heard");
    }

    /// What the client must have got.
    fn judge_answer(&self, row: &Row, mut got: Heard) {
        got.take("date");
        if let Some(status) = row.refused {
            // What was meant for an arm and is counted for it says so, whoever answers.
            let arm = row.counted.map(|_| "baseline");
            assert_eq!(got.take("x-serin-arm").as_deref(), arm);
            assert!(got.is_whole);
            let kind = got.take("content-type");
            if row.is_call() {
                assert_eq!(kind.as_deref(), Some("application/grpc"));
                assert_eq!(got.take("grpc-status"), Some(status.to_string()));
                assert!(got.take("grpc-message").is_some());
                assert_eq!((got.start.as_str(), got.body.as_str()), ("200", ""));
                return;
            }
            assert_eq!(got.start, status.to_string(), "{got:?}");
            assert_eq!(kind.as_deref(), Some("application/problem+json"));
            let problem: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&got.body).unwrap();
            assert_eq!(problem["status"], status);
            return;
        }
        assert_eq!(got.take("x-serin-arm").as_deref(), Some("baseline"));
        assert_eq!(got.take("x-serin-release").as_deref(), Some("digest-1"));
        assert_eq!(got.take("x-serin-request-id").map(|id| id.len()), Some(36));
        let mut fields = expected(row.answer, row.down_without, row.down_with);
        if fields.iter().all(|field| field.0 != "via") {
            fields.push(("via".to_owned(), "{} serin".to_owned()));
        }
        let version = match self.upstream {
            Over::Http1 => "1.1",
            Over::Http2 => "2",
        };
        for field in &mut fields {
            field.1 = field.1.replace("{}", version);
        }
        let breaks = matches!(row.says, Says::BreaksOff | Says::Half(_));
        // Leave to go on is ours to give, and may be given or not.
        got.interim.retain(|&status| status != 100);
        if matches!(row.answer_body, Body::Nothing) && self.client == Over::Http1 {
            // HTTP/2 says it by the head's end.
            got.length.take_if(|length| length == "0");
        }
        let length = match row.answer_body {
            Body::Length(text) if row.status != 204 => Some(text.len().to_string()),
            _ => None,
        };
        let mut body = row.answer_body.text();
        if breaks && body.starts_with(&got.body) {
            // How much of it is seen is left to chance.
            body.clone_from(&got.body);
        }
        // Who understands trailers everywhere is told the call's end in its own way.
        let is_told = breaks && row.is_call() && self.client == Over::Http2;
        let trailers = if is_told {
            &[("grpc-status", "14")]
        } else {
            row.answer_trailers
        };
        let expected = Heard {
            start: row.status.to_string(),
            authority: String::new(),
            fields: sorted(fields),
            length,
            body: if row.is_bodiless() {
                String::new()
            } else {
                body
            },
            trailers: sorted(expected(trailers, row.trailers_without, &[])),
            is_whole: !breaks || is_told,
            interim: row.before.1.to_vec(),
        };
        got.fields = sorted(got.fields);
        got.trailers = sorted(got.trailers);
        assert_eq!(got, expected, "what the client got");
    }
}

/// What becomes of fields on their way.
fn expected(fields: Pairs, without: &[Text], with: Pairs) -> Vec<(String, String)> {
    let kept = fields.iter().filter(|field| !without.contains(&field.0));
    kept.chain(with)
        .map(|field| (field.0.to_owned(), field.1.to_owned()))
        .collect()
}

/// By name; of one name the order means something.
fn sorted(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

/// Plays each row on each of its ways, and tells at once which failed.
pub(crate) async fn play(rows: &[Row]) {
    play_where(rows, |_| {}).await;
}

/// The same on a route that is changed like this.
pub(crate) async fn play_where(rows: &[Row], change: impl Fn(&mut Route)) {
    let mut failed = Vec::new();
    for &client in BOTH {
        for &upstream in BOTH {
            let mut way = Way::open(client, upstream, &change).await;
            for row in rows {
                if !row.clients.contains(&client) || !row.upstreams.contains(&upstream) {
                    continue;
                }
                // What is wrong is printed where it is found.
                if AssertUnwindSafe(way.play(*row))
                    .catch_unwind()
                    .await
                    .is_err()
                {
                    failed.push(format!("{client:?} to {upstream:?}: {}", row.name));
                    way = Way::open(client, upstream, &change).await;
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

//! What a collector gets: spans of sampled exchanges with arm and release on them, and the metrics.

use hyper::Method;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status};

use super::{Scene, TOKEN};
use crate::support::client::Version;
use crate::support::collector::{Manner, Seen, text};
use crate::support::model::{Behaviour, ModelServer};
use crate::support::{SOON, eventually};

/// A caller's, sampled.
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn of(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Server spans and client spans, as many as that.
async fn spans(scene: &Scene, count: usize) -> Seen {
    scene
        .collector
        .when("all spans", |seen| {
            seen.of_kind(SpanKind::Server).len() >= count
                && seen.of_kind(SpanKind::Client).len() >= count
        })
        .await
}

async fn everything_arrives(protocol: &str) {
    let scene = Scene::start(protocol, "100%", Manner::Takes).await;
    let secret_body = "patient-4711";
    for version in [Version::Http1, Version::Http2] {
        let mut client = scene.site.client(version);
        for user in 0..10 {
            let path = format!("/v2/models/digits/infer?api_key=qu3ry&n={user}");
            let headers = [
                ("x-user-id", format!("user-{user}")),
                ("authorization", "Bearer cl1ent".to_owned()),
            ];
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let reply = client
                .ask(Method::POST, &path, &headers, secret_body)
                .await
                .unwrap();
            assert_eq!(reply.status, 200);
        }
    }
    let seen = spans(&scene, 20).await;
    assert_eq!(seen.of_kind(SpanKind::Server).len(), 20);
    assert_eq!(
        text(&seen.process, "service.name").unwrap(),
        "digits-router"
    );
    let digests = scene.site.admin().status().await;
    let mut arms = std::collections::BTreeSet::new();
    for server in seen.of_kind(SpanKind::Server) {
        assert_eq!(server.name, "POST digits");
        assert!(server.parent_span_id.is_empty(), "a root");
        for (key, value) in [
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("url.path", "/v2/models/digits/infer"),
            ("url.scheme", "http"),
            ("serin.route", "digits"),
            ("serin.outcome", "success"),
        ] {
            assert_eq!(of(server, key).as_deref(), Some(value), "{server:?}");
        }
        let arm = of(server, "serin.arm").unwrap();
        let digest = digests["arms"][&arm]["digest"].as_str().unwrap();
        assert_eq!(of(server, "serin.release").unwrap(), digest, "{arm}");
        let number = |key| of(server, key).unwrap().parse::<f64>().unwrap();
        let (first, total) = (
            number("serin.time_to_first_byte_ms"),
            number("serin.duration_ms"),
        );
        assert!(0.0 < first && first <= total, "{first} {total}");
        assert!(server.start_time_unix_nano < server.end_time_unix_nano);
        let mut clients = seen.of_kind(SpanKind::Client).into_iter();
        let client = clients.find(|client| client.parent_span_id == server.span_id);
        let client = client.expect("a client span below every server span");
        assert_eq!(client.trace_id, server.trace_id);
        assert_eq!(of(client, "serin.arm").unwrap(), arm);
        assert_eq!(of(client, "serin.release").unwrap(), digest);
        let port = scene.model.address().port().to_string();
        assert_eq!(of(client, "server.port").unwrap(), port);
        assert_eq!(of(client, "http.response.status_code").unwrap(), "200");
        arms.insert(arm);
    }
    assert_eq!(arms.len(), 2, "{arms:?}");

    let seen = scene
        .collector
        .when("every request in the metrics", |seen| {
            seen.number("serin.requests", &[("outcome", "success")]) == Some(20.0)
                && seen.count("http.client.request.duration") == Some(20)
        })
        .await;
    assert_eq!(seen.count("http.server.request.duration"), Some(20));
    let weight = seen.number("serin.weight", &[("rollout", "digits"), ("kind", "actual")]);
    assert_eq!(weight, Some(0.5));
    assert_eq!(
        seen.number("serin.phase", &[("phase", "Progressing")]),
        Some(1.0)
    );
    assert_eq!(seen.number("serin.telemetry.spans_dropped", &[]), Some(0.0));

    assert_eq!(seen.headers["authorization"], format!("Bearer {TOKEN}"));
    let sent = format!("{:?}{:?}", seen.spans, seen.metrics);
    for secret in [TOKEN, "qu3ry", "cl1ent", secret_body, "user-1"] {
        assert!(!sent.contains(secret), "{secret} in {sent}");
    }
    let config = scene.site.admin().get("/api/v1/config").await;
    assert!(!String::from_utf8_lossy(&config.body).contains(TOKEN));
    assert!(!scene.serin.log().contains(TOKEN), "{}", scene.serin.log());
}

#[tokio::test]
async fn everything_arrives_over_grpc() {
    everything_arrives("grpc").await;
}

#[tokio::test]
async fn everything_arrives_over_http() {
    everything_arrives("http").await;
}

/// Both HTTP versions, since they rewrite heads in places of their own.
#[tokio::test]
async fn callers_decide_and_endpoints_become_our_children() {
    let scene = Scene::start("grpc", "0%", Manner::Takes).await;
    for version in [Version::Http1, Version::Http2] {
        let before = scene.collector.seen().spans.len();
        let mut client = scene.site.client(version);
        let mut told = async |headers: &[(&str, &str)]| {
            let reply = client.infer_with("u", headers).await.unwrap();
            String::from_utf8(reply.body.to_vec()).unwrap()
        };
        let unsampled = PARENT.replace("-01", "-00");
        assert_eq!(told(&[("traceparent", &unsampled)]).await, unsampled);
        let replaced = told(&[("traceparent", "00-malformed-01")]).await;
        assert!(
            replaced.len() == 55 && replaced.ends_with("-00"),
            "{replaced}"
        );
        let own = told(&[]).await;
        assert!(
            own.len() == 55 && own.ends_with("-00") && own != replaced,
            "{own}"
        );
        let child = told(&[("traceparent", PARENT)]).await;

        let seen = scene
            .collector
            .when("both spans", |seen| seen.spans.len() == before + 2)
            .await;
        let server = *seen.of_kind(SpanKind::Server).last().unwrap();
        let asked = *seen.of_kind(SpanKind::Client).last().unwrap();
        assert_eq!(hex(&server.trace_id), PARENT[3..35]);
        assert_eq!(hex(&server.parent_span_id), PARENT[36..52]);
        assert_eq!(asked.parent_span_id, server.span_id);
        let expected = format!("00-{}-{}-01", hex(&asked.trace_id), hex(&asked.span_id));
        assert_eq!(child, expected);
    }
}

#[tokio::test]
async fn failures_are_marked() {
    let scene = Scene::start("http", "100%", Manner::Takes).await;
    let mut client = scene.site.client(Version::Http1);
    // A body that is cut may take the head with it.
    for (behaviour, status) in [(Behaviour::BROKEN, Some("500")), (Behaviour::CutBody, None)] {
        scene.model.behave(behaviour);
        let before = scene.collector.seen().spans.len();
        drop(client.infer("u").await);
        let seen = scene
            .collector
            .when("both spans", |seen| seen.spans.len() == before + 2)
            .await;
        for kind in [SpanKind::Server, SpanKind::Client] {
            let span = *seen.of_kind(kind).last().unwrap();
            if let Some(status) = status {
                assert_eq!(of(span, "http.response.status_code").unwrap(), status);
                assert_eq!(of(span, "error.type").unwrap(), status, "{span:?}");
            }
            assert!(of(span, "error.type").is_some(), "{span:?}");
            let code = span.status.as_ref().unwrap().code;
            assert_eq!(code, i32::from(status::StatusCode::Error));
        }
        let server = *seen.of_kind(SpanKind::Server).last().unwrap();
        assert_eq!(of(server, "serin.outcome").unwrap(), "error");
    }
}

/// The canary fails, baseline answers: one exchange, and its client span tells of the answer that was given.
#[tokio::test]
async fn an_answer_in_place_of_the_canary_is_told_as_such() {
    let broken = ModelServer::start(Behaviour::BROKEN);
    for version in [Version::Http1, Version::Http2] {
        let scene = Scene::start_with("grpc", "100%", Manner::Takes, |model, text| {
            let (arms, canary) = text.split_once("      canary:").unwrap();
            let (old, new) = (model.address().to_string(), broken.address().to_string());
            let arms = arms.replace("    backends:", "    fallback: baseline\n    backends:");
            format!("{arms}      canary:{}", canary.replace(&old, &new))
        })
        .await;
        let mut client = scene.site.client(version);
        let mut sent = 0;
        let reply = loop {
            let reply = client.infer(&format!("user-{sent}")).await.unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
            sent += 1;
            if reply.header("x-serin-fallback").is_some() {
                break reply;
            }
        };
        let seen = spans(&scene, sent).await;
        let mut servers = seen.of_kind(SpanKind::Server).into_iter();
        let server = servers.find(|span| of(span, "serin.arm").unwrap() == "canary");
        let server = server.unwrap();
        for (key, value) in [
            ("serin.fallback", "canary"),
            ("serin.fallback.error_type", "500"),
            ("serin.outcome", "error"),
            ("http.response.status_code", "200"),
        ] {
            assert_eq!(of(server, key).as_deref(), Some(value), "{server:?}");
        }
        let mut asked = seen.of_kind(SpanKind::Client).into_iter();
        let asked = asked.find(|span| span.parent_span_id == server.span_id);
        let asked = asked.unwrap();
        let port = scene.model.address().port().to_string();
        for (key, value) in [
            ("serin.arm", "baseline"),
            ("http.request.resend_count", "1"),
            ("http.response.status_code", "200"),
            ("server.port", port.as_str()),
        ] {
            assert_eq!(of(asked, key).as_deref(), Some(value), "{asked:?}");
        }
        for span in [server, asked] {
            let code = span.status.as_ref().unwrap().code;
            assert_eq!(code, i32::from(status::StatusCode::Unset), "{span:?}");
        }
        let told = format!("00-{}-{}-01", hex(&asked.trace_id), hex(&asked.span_id));
        assert_eq!(reply.body, told);
        // Both tries are counted, each under the arm that was asked.
        let name = "http_client_request_duration_seconds_count";
        let count = async |arm| scene.site.admin().metric(name, &[("arm", arm)]).await;
        assert_eq!(count("canary").await, 1.0);
        assert_eq!(count("baseline").await, sent as f64);
    }
}

#[tokio::test]
async fn what_is_left_is_sent_before_the_end() {
    let scene = Scene::start("grpc", "100%", Manner::Takes).await;
    let Scene {
        site,
        mut serin,
        collector,
        ..
    } = scene;
    let mut client = site.client(Version::Http1);
    client.infer("u").await.unwrap();
    drop(client);
    serin.terminate();
    assert!(serin.ended(SOON).await.success(), "{}", serin.log());
    eventually("the last spans", SOON, async || {
        (collector.seen().spans.len() == 2).then_some(())
    })
    .await;
}

//! Who may ask the admin API, and what it answers to strangers.

use std::fs;

use hyper::{Method, StatusCode};

use crate::support::admin::actual;
use crate::support::client::Client;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::ports::free_address;
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};
use crate::verbs::expect_problem;

const ABORT: &str = "/api/v1/rollouts/digits/abort";

struct Scene {
    site: Site,
    serin: Serin,
    _model: ModelServer,
}

impl Scene {
    async fn start(edit: impl FnOnce(&Site, String) -> String) -> Self {
        let model = ModelServer::start(Behaviour::GOOD);
        let site = Site::new();
        let digits = Digits::new(model.address(), model.address(), "weight: 10%");
        let text = edit(&site, site.text(&digits));
        site.write(text);
        let serin = site.start().await;
        Self {
            site,
            serin,
            _model: model,
        }
    }

    async fn post(&self, headers: &[(&str, &str)]) -> StatusCode {
        let json = ("content-type", "application/json");
        let headers = &[&[json], headers].concat();
        let reply = self
            .site
            .admin()
            .ask(Method::POST, ABORT, headers, "{}")
            .await;
        reply.unwrap().status
    }
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_is_set() {
    let scene = Scene::start(|site, text| {
        fs::write(site.path("token"), "correct-horse\n").unwrap();
        fs::write(site.path("wrong"), "battery-staple\n").unwrap();
        let (admin, file) = (site.admin, site.path("token"));
        text.replace(
            &format!("admin: {admin}"),
            &format!(
                "admin: {{address: {admin}, token_file: {}}}",
                file.display()
            ),
        )
    })
    .await;
    let site = &scene.site;
    assert_eq!(scene.post(&[]).await, 401);
    assert_eq!(scene.post(&[("authorization", "Bearer wrong")]).await, 401);
    assert_eq!(
        scene
            .post(&[("authorization", "Basic correct-horse")])
            .await,
        401
    );
    assert_eq!(actual(&site.admin().status().await), 0.1);

    site.verb_exits(1, &["abort", "digits"]).await;
    let wrong = site.path("wrong").display().to_string();
    site.verb_exits(1, &["abort", "digits", "--token-file", &wrong])
        .await;
    assert_eq!(actual(&site.admin().status().await), 0.1);
    let right = site.path("token").display().to_string();
    site.verb_exits(0, &["abort", "digits", "--token-file", &right])
        .await;
    assert_eq!(actual(&site.admin().status().await), 0.0);
    assert_eq!(
        scene
            .post(&[("authorization", "Bearer correct-horse")])
            .await,
        200
    );

    let config = site.admin().get("/api/v1/config").await;
    assert!(!String::from_utf8_lossy(&config.body).contains("correct-horse"));
    assert!(!scene.serin.log().contains("correct-horse"));
}

#[tokio::test]
async fn requests_from_other_sites_are_refused() {
    let scene = Scene::start(|_, text| text).await;
    let own = format!("http://{}", scene.site.admin);
    for headers in [
        &[("origin", "https://evil.example")] as &[_],
        &[("origin", "null")],
        &[("host", "evil.example")],
        &[("host", "evil.example"), ("origin", "http://evil.example")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example"),
        ],
    ] {
        assert_eq!(scene.post(headers).await, 403, "{headers:?}");
    }
    assert_eq!(actual(&scene.site.admin().status().await), 0.1);
    assert_eq!(scene.post(&[("origin", &own)]).await, 200);
}

#[tokio::test]
async fn strangers_get_problem_documents() {
    let scene = Scene::start(|_, text| text).await;
    let admin = scene.site.admin();
    for (method, path, status) in [
        (Method::GET, "/api/v1/rollouts/nobody", 404),
        (Method::POST, "/api/v1/rollouts/nobody/abort", 404),
        (Method::POST, "/api/v1/rollouts/digits/no-such-verb", 404),
        (Method::GET, "/api/v2/anything", 404),
        (Method::DELETE, "/api/v1/rollouts/digits", 405),
        (Method::GET, ABORT, 405),
    ] {
        let reply = admin.ask(method.clone(), path, &[], "").await.unwrap();
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        expect_problem(&reply);
    }
    let reply = admin.get("/api/v1/rollouts").await;
    assert!(String::from_utf8_lossy(&reply.body).contains("digits"));
    assert_eq!(admin.get("/livez").await.status, 200);
}

#[tokio::test]
async fn the_probe_port_shows_health_and_metrics_only() {
    let probe = free_address();
    let scene = Scene::start(|_, text| format!("probe: {probe}\n{text}")).await;
    let mut client = Client::http1(probe);
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/api/v1/rollouts", 404),
        ("/api/v1/config", 404),
    ] {
        let reply = client.ask(Method::GET, path, &[], "").await.unwrap();
        assert_eq!(reply.status, status, "{path}");
    }
    let reply = client.ask(Method::POST, ABORT, &[], "{}").await.unwrap();
    assert!(reply.status.is_client_error());
    assert_eq!(actual(&scene.site.admin().status().await), 0.1);
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let scene = Scene::start(|_, text| text.replace("weight: 10%", "weight: 50%")).await;
    let mut client = scene.site.client(crate::support::client::Version::Http1);
    for user in 0..100 {
        client.infer(&format!("user-{user}")).await.unwrap();
    }
    let admin = scene.site.admin();
    eventually("every request is counted", SOON, async || {
        let counted = admin
            .metric(
                "serin_requests_total",
                &[("rollout", "digits"), ("outcome", "success")],
            )
            .await;
        (counted == 100.0).then_some(())
    })
    .await;
    let weight = admin
        .metric("serin_weight", &[("rollout", "digits"), ("kind", "actual")])
        .await;
    assert_eq!(weight, 0.5);
    let phase = [("rollout", "digits"), ("phase", "Progressing")];
    assert_eq!(admin.metric("serin_phase", &phase).await, 1.0);
    let duration = "http_server_request_duration_seconds_count";
    assert_eq!(admin.metric(duration, &[]).await, 100.0);
    let text = admin.get("/metrics").await;
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    assert!(!text.contains("user-"), "labels come from the config only");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "not a sample: {line}");
    }
}

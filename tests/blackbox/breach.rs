//! A bad canary is taken back by itself, after a handful of requests; a good one is not.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;

use crate::support::SOON;
use crate::support::admin::{actual, number};
use crate::support::client::{Client, Version};
use crate::support::model::{Behaviour, ModelServer};
use crate::support::ports::RefusingAddress;
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};

/// More users than any of these canaries should need to be found out.
const USERS: usize = 2_000;

/// A running site whose baseline is good.
struct Scene {
    site: Site,
    serin: Serin,
    _baseline: ModelServer,
}

impl Scene {
    async fn start(canary: SocketAddr, plan: &str, edit: impl FnOnce(&mut Digits)) -> Self {
        let baseline = ModelServer::start(Behaviour::GOOD);
        let site = Site::new();
        let mut digits = Digits::new(baseline.address(), canary, plan);
        digits.interval = "5s";
        edit(&mut digits);
        site.configure(&digits);
        let serin = site.start().await;
        Self {
            site,
            serin,
            _baseline: baseline,
        }
    }

    /// One request after another, each of another user; how many were not answered with 200.
    async fn failures(&self, users: std::ops::Range<usize>) -> usize {
        let mut client = self.site.client(Version::Http1);
        let mut failures = 0;
        for user in users {
            let reply = client.infer(&format!("user-{user}")).await;
            failures += usize::from(!reply.is_ok_and(|reply| reply.status == 200));
        }
        failures
    }

    /// The same after some failures, but nobody asks before the last failure has been judged; stops when the
    /// canary is gone. All failures.
    async fn judged_failures(&self, mut failures: u64, users: std::ops::Range<usize>) -> u64 {
        let admin = self.site.admin();
        let mut client = self.site.client(Version::Http1);
        for user in users {
            let reply = client.infer(&format!("user-{user}")).await.unwrap();
            if reply.status != 200 {
                failures += 1;
                let status = admin
                    .status_when("the failure is judged", SOON, |status| {
                        number(status, "/arms/canary/errors") == failures as f64
                    })
                    .await;
                if actual(&status) == 0.0 {
                    break;
                }
            }
        }
        failures
    }

    /// The rollback as the status tells it.
    async fn expect_rolled_back(&self) {
        let status = self.site.admin().phase("RolledBack").await;
        assert_eq!(actual(&status), 0.0, "{status:#}");
        assert_eq!(status["recommendation"], "ROLLBACK_IMMEDIATELY");
        let reason = status["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "{status:#}");
    }
}

#[track_caller]
fn expect_few(failures: usize, most: usize) {
    println!("{failures} requests failed before the weight was 0");
    assert!(
        (1..=most).contains(&failures),
        "{failures} requests failed before the weight was 0; at most {most} expected"
    );
}

async fn broken_canary(plan: &str, behaviour: Behaviour, most: usize) {
    let canary = ModelServer::start(behaviour);
    let scene = Scene::start(canary.address(), plan, |_| {}).await;
    let failures = scene.failures(0..USERS).await;
    expect_few(failures, most);
    assert_eq!(canary.requests(), failures as u64, "only those reached it");
    scene.expect_rolled_back().await;
    let failures = scene.failures(USERS..USERS + 300).await;
    assert_eq!(failures, 0, "after the rollback");
}

#[tokio::test]
async fn a_canary_that_fails_every_request_at_5_percent() {
    broken_canary("weight: 5%", Behaviour::BROKEN, 12).await;
}

#[tokio::test]
async fn a_canary_that_fails_every_request_at_25_percent() {
    // A busy machine serves some more while the decision is on its way.
    broken_canary("weight: 25%", Behaviour::BROKEN, 20).await;
}

/// What the first-error process needs, when every failure is judged before the next request.
async fn judged_one_by_one(plan: &str, theory: std::ops::RangeInclusive<u64>) {
    let canary = ModelServer::start(Behaviour::BROKEN);
    let scene = Scene::start(canary.address(), plan, |_| {}).await;
    let failures = scene.judged_failures(0, 0..USERS).await;
    assert!(theory.contains(&failures), "{failures} failures at {plan}");
    scene.expect_rolled_back().await;
}

#[tokio::test]
async fn five_failures_are_enough_when_judged_one_by_one() {
    judged_one_by_one("weight: 5%", 5..=5).await;
    judged_one_by_one("weight: 25%", 5..=5).await;
    judged_one_by_one("weight: 50%", 9..=12).await;
}

#[tokio::test]
async fn failures_before_a_restart_count() {
    let canary = ModelServer::start(Behaviour::BROKEN);
    let mut scene = Scene::start(canary.address(), "weight: 5%", |_| {}).await;
    let mut client = scene.site.client(Version::Http1);
    let mut asked = 0;
    while canary.requests() < 3 {
        client.infer(&format!("user-{asked}")).await.unwrap();
        asked += 1;
    }
    scene.serin.terminate();
    assert!(scene.serin.ended(SOON).await.success());
    scene.serin = scene.site.start().await;
    let failures = scene.judged_failures(3, asked..USERS).await;
    assert_eq!(failures, 5, "three before the restart, two after");
    scene.expect_rolled_back().await;
}

#[tokio::test]
async fn a_canary_that_fails_every_request_in_a_ramp() {
    let plan = "steps: [{weight: 5%, min_duration: 10m}, {weight: 100%, min_duration: 10m}]";
    broken_canary(plan, Behaviour::BROKEN, 12).await;
}

#[tokio::test]
async fn a_canary_that_breaks_off_in_the_middle_of_every_body() {
    broken_canary("weight: 5%", Behaviour::CutBody, 12).await;
}

#[tokio::test]
async fn a_canary_that_answers_404_to_everything() {
    let status = StatusCode::NOT_FOUND;
    broken_canary("weight: 5%", Behaviour::Answer(status), 30).await;
}

#[tokio::test]
async fn a_canary_that_answers_429_to_everything() {
    let status = StatusCode::TOO_MANY_REQUESTS;
    broken_canary("weight: 5%", Behaviour::Answer(status), 12).await;
}

#[tokio::test]
async fn a_canary_that_never_answers() {
    let canary = ModelServer::start(Behaviour::Hold);
    let scene = Scene::start(canary.address(), "weight: 5%", |digits| {
        digits.response = "200ms";
    })
    .await;
    expect_few(scene.failures(0..USERS).await, 12);
    scene.expect_rolled_back().await;
}

#[tokio::test]
async fn a_canary_that_hangs_until_its_clients_give_up() {
    let canary = ModelServer::start(Behaviour::Hold);
    let scene = Scene::start(canary.address(), "weight: 25%", |digits| {
        digits.response = "10m";
    })
    .await;
    let mut left = 0;
    for user in 0..USERS {
        let mut client = Client::http1(scene.site.http);
        let name = format!("user-{user}");
        let patience = Duration::from_millis(250);
        if tokio::time::timeout(patience, client.infer(&name))
            .await
            .is_err()
        {
            left += 1;
            if left % 20 == 0 && scene.site.admin().status().await["phase"] == "RolledBack" {
                break;
            }
        }
        assert!(left <= 60, "{left} clients gave up and it is still there");
    }
    assert!(left >= 5, "clients gave up: {left}");
    scene.expect_rolled_back().await;
}

#[tokio::test]
async fn a_canary_that_cannot_be_connected() {
    let nobody = RefusingAddress::bind();
    let scene = Scene::start(nobody.address, "weight: 5%", |_| {}).await;
    expect_few(scene.failures(0..USERS).await, 12);
    scene.expect_rolled_back().await;
}

/// Both arms refuse or fail the same requests: the clients' fault, or the world's, not the canary's.
async fn equal_arms(behaviour: Behaviour, malformed: impl Fn(usize) -> bool, expected: StatusCode) {
    let baseline = ModelServer::start(behaviour);
    let canary = ModelServer::start(behaviour);
    let site = Site::new();
    let mut digits = Digits::new(baseline.address(), canary.address(), "weight: 50%");
    digits.interval = "100ms";
    site.configure(&digits);
    let _serin = site.start().await;
    let mut client = site.client(Version::Http1);
    let users = 1_500;
    let mut refused = 0;
    for user in 0..users {
        let headers: &[_] = if malformed(user) {
            &[("x-malformed", "yes")]
        } else {
            &[]
        };
        let name = format!("user-{user}");
        let reply = client.infer_with(&name, headers).await.unwrap();
        refused += u64::from(reply.status == expected);
    }
    let all_judged = |status: &serde_json::Value| {
        let asked = |arm| number(status, &format!("/arms/{arm}/requests"));
        asked("baseline") + asked("canary") == users as f64
    };
    let admin = site.admin();
    let status = admin
        .status_when("every request is judged", SOON, all_judged)
        .await;
    assert_eq!(status["phase"], "Progressing", "{status:#}");
    assert_eq!(actual(&status), 0.5, "{status:#}");
    assert!(refused > 300, "only {refused} requests were refused");
    assert!(canary.requests() > 600 && baseline.requests() > 600);
}

#[tokio::test]
async fn bad_requests_that_both_arms_refuse_roll_nothing_back() {
    let some = |user| user % 10 < 3;
    equal_arms(Behaviour::RefuseMalformed, some, StatusCode::BAD_REQUEST).await;
}

#[tokio::test]
async fn nothing_but_bad_requests_rolls_nothing_back() {
    equal_arms(
        Behaviour::RefuseMalformed,
        |_| true,
        StatusCode::BAD_REQUEST,
    )
    .await;
}

#[tokio::test]
async fn an_outage_of_both_arms_rolls_nothing_back() {
    let failed = StatusCode::INTERNAL_SERVER_ERROR;
    equal_arms(Behaviour::BROKEN, |_| false, failed).await;
}

#[tokio::test]
async fn good_arms_are_left_alone() {
    equal_arms(Behaviour::GOOD, |_| false, StatusCode::OK).await;
}

#[tokio::test]
async fn a_hold_keeps_the_weight_and_says_so() {
    let baseline = ModelServer::start(Behaviour::GOOD);
    let canary = ModelServer::start(Behaviour::BROKEN);
    let site = Site::new();
    let plan = "weight: 25%\n      on_breach: hold";
    site.configure(&Digits::new(baseline.address(), canary.address(), plan));
    let _serin = site.start().await;
    let mut client = site.client(Version::Http1);
    for user in 0..400 {
        client.infer(&format!("user-{user}")).await.unwrap();
    }
    let admin = site.admin();
    let status = admin
        .status_when("an alarm", SOON, |status| {
            status["alarms"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        })
        .await;
    assert_eq!(actual(&status), 0.25, "{status:#}");
    assert_ne!(status["phase"], "RolledBack");
}

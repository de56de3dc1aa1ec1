//! Assignment: raising the weight only moves users to the canary, and everybody agrees who is who.

use std::collections::BTreeSet;

use crate::support::client::Version;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};

const USERS: usize = 3_000;

struct Pair {
    baseline: ModelServer,
    canary: ModelServer,
}

impl Pair {
    fn good() -> Self {
        Self {
            baseline: ModelServer::start(Behaviour::GOOD),
            canary: ModelServer::start(Behaviour::GOOD),
        }
    }

    async fn serve(&self, plan: &str) -> (Site, Serin, Digits) {
        let site = Site::new();
        let digits = Digits::new(self.baseline.address(), self.canary.address(), plan);
        site.configure(&digits);
        let serin = site.start().await;
        (site, serin, digits)
    }
}

/// Which of these users the canary answers.
async fn on_canary(
    site: &Site,
    version: Version,
    users: std::ops::Range<usize>,
) -> BTreeSet<usize> {
    let mut client = site.client(version);
    let mut found = BTreeSet::new();
    for user in users {
        let reply = client.infer(&format!("user-{user}")).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        if reply.is_canary() {
            found.insert(user);
        }
    }
    found
}

#[tokio::test]
async fn nobody_goes_back_while_the_weight_rises() {
    let pair = Pair::good();
    let (site, _serin, digits) = pair.serve("weight: 5%").await;
    let mut before = BTreeSet::new();
    for percent in [5, 25, 50, 100] {
        let share = f64::from(percent) / 100.0;
        site.configure(&digits.plan(format!("weight: {percent}%")));
        site.admin().weight(share).await;
        let now = on_canary(&site, Version::Http1, 0..USERS).await;
        let back: Vec<_> = before.difference(&now).collect();
        assert!(back.is_empty(), "went back at {percent} %: {back:?}");
        let measured = now.len() as f64 / USERS as f64;
        // Three and a half standard deviations of a fair draw.
        let tolerance = 3.5 * (share * (1.0 - share) / USERS as f64).sqrt();
        assert!(
            (measured - share).abs() <= tolerance,
            "{measured} of the users at {share}"
        );
        before = now;
    }
}

#[tokio::test]
async fn lowering_the_weight_only_moves_users_back() {
    let pair = Pair::good();
    let (site, _serin, digits) = pair.serve("weight: 50%").await;
    let before = on_canary(&site, Version::Http1, 0..500).await;
    site.configure(&digits.plan("weight: 20%"));
    site.admin().weight(0.2).await;
    let now = on_canary(&site, Version::Http1, 0..500).await;
    assert!(now.is_subset(&before) && now.len() < before.len());
}

#[tokio::test]
async fn one_user_one_arm_on_both_protocols_and_in_every_process() {
    let pair = Pair::good();
    let (one, _first, _) = pair.serve("weight: 50%").await;
    let (other, _second, _) = pair.serve("weight: 50%").await;
    let expected = on_canary(&one, Version::Http1, 0..500).await;
    assert!((200..300).contains(&expected.len()), "{}", expected.len());
    assert_eq!(on_canary(&one, Version::Http2, 0..500).await, expected);
    assert_eq!(on_canary(&other, Version::Http1, 0..500).await, expected);
    assert_eq!(on_canary(&other, Version::Http2, 0..500).await, expected);
}

#[tokio::test]
async fn a_ramp_of_good_releases_arrives_by_itself() {
    let pair = Pair::good();
    // Margins that some hundreds of requests can prove.
    let plan = "steps: [{weight: 20%, min_duration: 300ms, min_samples: 20}, \
                {weight: 60%, min_duration: 300ms, min_samples: 20}, \
                {weight: 100%, min_duration: 300ms, min_samples: 20}]\n      \
                guardrails: [{error_rate: {max_increase: 5pp}}, {latency_p95: {max_increase: 500ms}}]";
    let site = Site::new();
    let mut digits = Digits::new(pair.baseline.address(), pair.canary.address(), plan);
    digits.interval = "100ms, warmup: 0s";
    site.configure(&digits);
    let _serin = site.start().await;
    let load = crate::support::load::Load::start(site.http, 2);
    let status = site.admin().phase("Healthy").await;
    assert_eq!(crate::support::admin::actual(&status), 1.0);
    load.stop().await.expect_clean();
    site.verb_exits(0, &["status", "digits"]).await;
}

#[tokio::test]
async fn no_header_of_a_client_chooses_its_arm() {
    let pair = Pair::good();
    let (site, _serin, _) = pair.serve("weight: 50%").await;
    let expected = on_canary(&site, Version::Http1, 0..100).await;
    let mut client = site.client(Version::Http1);
    for user in 0..100 {
        for arm in ["canary", "baseline"] {
            let name = format!("user-{user}");
            let forged = [("x-serin-arm", arm), ("x-serin-release", arm)];
            let reply = client.infer_with(&name, &forged).await.unwrap();
            assert_eq!(reply.is_canary(), expected.contains(&user));
        }
    }
}

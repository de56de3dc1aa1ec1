//! A decision can be checked by whoever doubts it: from a running process, and from the journal alone.

use serde_json::Value;

use crate::support::client::Version;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::site::{Digits, Site};

/// The newest decision that moved the rollout.
async fn newest_transition(site: &Site) -> Value {
    let reply = site
        .admin()
        .get("/api/v1/rollouts/digits/decisions?limit=20")
        .await;
    let decisions = reply.json();
    let decisions = decisions.as_array().unwrap();
    let moved = |decision: &&Value| decision["kind"] == "transition";
    decisions.iter().find(moved).unwrap().clone()
}

#[tokio::test]
async fn a_rollback_is_recomputed_from_its_receipt_alone() {
    let models = [
        ModelServer::start(Behaviour::GOOD),
        ModelServer::start(Behaviour::BROKEN),
    ];
    let site = Site::new();
    let plan = "steps: [{weight: 25%, min_duration: 10m}, {weight: 100%}]";
    site.configure(&Digits::new(models[0].address(), models[1].address(), plan));
    let mut serin = site.start().await;
    let mut client = site.client(Version::Http1);
    for user in 0..200 {
        _ = client.infer(&format!("user-{user}")).await;
    }
    site.admin().phase("RolledBack").await;

    let said = site.verb_exits(0, &["explain", "digits"]).await;
    assert!(said.out.starts_with("rolled back after "), "{said:?}");
    for part in [
        "canary request",
        "on baseline",
        "by chance in fewer than 1 of 40 such rollouts",
        "error_rate",
        "first errors in the canary",
        "classic (fixed horizon, not used for decisions)",
        "to the last bit",
    ] {
        assert!(said.out.contains(part), "no {part:?} in\n{}", said.out);
    }

    // The admin API gives the receipt to whoever wants to check it elsewhere.
    let id = newest_transition(&site).await["id"].to_string();
    let path = format!("/api/v1/rollouts/digits/decisions/{id}");
    let decision = site.admin().get(&path).await.json();
    assert!(decision["receipt"]["stages"].is_array(), "{decision:#}");
    let json = ["explain", "digits", &id, "--output", "json"];
    let told: Value = serde_json::from_str(&site.verb_exits(0, &json).await.out).unwrap();
    assert_eq!(told["agrees"], true, "{told:#}");
    assert_eq!(told["recomputed"], decision["inputs"]["report"]);
    site.verb_exits(1, &["explain", "digits", "999999"]).await;

    serin.terminate();
    serin.ended(crate::support::SOON).await;
    let state = site.path("state");
    let state = state.to_str().unwrap();
    let said = site.verb_exits(0, &["explain", "--state", state]).await;
    assert!(said.out.starts_with("rolled back after "), "{said:?}");
    site.verb_exits(1, &["explain", "--state", "/nowhere"])
        .await;
}

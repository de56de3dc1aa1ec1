//! A decision can be checked by whoever doubts it: from a running process, and from the journal alone.

use serde_json::Value;

use crate::support::client::Version;
use crate::support::model::{Behaviour, ModelServer};
use crate::support::site::{Digits, Site};
use crate::support::{SOON, eventually};

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

/// `explain`, `status` and `history` tell the same story, and so does the journal when the process is gone.
#[tokio::test]
async fn what_explain_tells_is_what_status_and_history_say() {
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

    let json = async |code, words: &[&str]| -> Value {
        let words = [words, &["--output", "json"]].concat();
        let said = site.verb_exits(code, &words).await;
        serde_json::from_str(&said.out).unwrap()
    };
    let told = json(0, &["explain"]).await;
    let status = json(1, &["status", "digits"]).await;
    let judged = &told["recomputed"];
    for member in ["reason", "recommendation", "sample_ratio", "stage"] {
        assert_eq!(judged[member], status[member], "{member}");
    }
    for at in [0, 1] {
        let (told_of, shown) = (&judged["guardrails"][at], &status["guardrails"][at]);
        for member in [
            "metric",
            "verdict",
            "baseline",
            "canary",
            "effect",
            "interval",
            "max_increase",
            "p_value",
            "ln_e",
            "samples",
        ] {
            assert_eq!(told_of[member], shown[member], "{member} of {shown:#}");
        }
        assert!(told_of["metric"].is_string(), "{judged:#}");
        // The estimated shift needs all latencies: it is shown, and no part of the receipt.
        for test in [
            "/two_proportion_z",
            "/mann_whitney/p_value",
            "/mann_whitney/auc",
        ] {
            let of = |judged: &Value| judged["classic"].pointer(test).cloned();
            assert_eq!(of(told_of), of(shown), "{test} of {shown:#}");
        }
    }
    for arm in ["baseline", "canary"] {
        for count in ["requests", "errors", "rejected", "aborted", "latency_ms"] {
            let (told, shown) = (&judged["arms"][arm][count], &status["arms"][arm][count]);
            assert_eq!(told, shown, "{count} of {arm}");
            assert!(!told.is_null(), "{count} of {arm}");
        }
    }
    let canary = &judged["arms"]["canary"];
    let sentence = told["sentence"].as_str().unwrap();
    let counted = format!("after {} canary requests", canary["requests"]);
    assert!(sentence.contains(&counted), "{sentence}, {canary:#}");

    let history = json(0, &["history"]).await;
    let newest = &history[0];
    assert_eq!(&told["decision"], newest, "{history:#}");
    let summary = newest["summary"].as_str().unwrap();
    let reason = status["reason"].as_str().unwrap();
    assert_eq!(summary, format!("RolledBack: {reason}"));
    // Whoever reads the log hears of it too.
    let told_of = |log: String| {
        log.lines()
            .any(|line| line.contains("\"to\":\"RolledBack\"") && line.contains(reason))
    };
    eventually("the log tells of the rollback", SOON, async || {
        told_of(serin.log()).then_some(())
    })
    .await;
    // What entered the first step was no evidence.
    let first = history.as_array().unwrap().last().unwrap();
    let entered = site
        .verb_exits(1, &["explain", &first["id"].to_string()])
        .await;
    assert!(
        entered.err.contains("not made from evidence"),
        "{entered:?}"
    );

    serin.terminate();
    serin.ended(crate::support::SOON).await;
    let state = site.path("state");
    let state = state.to_str().unwrap();
    let offline = json(0, &["explain", "digits", "--state", state]).await;
    for member in ["sentence", "recomputed", "receipt", "steps", "agrees"] {
        assert_eq!(offline[member], told[member], "{member}");
    }
    let nobody = site
        .verb_exits(1, &["explain", "nobody", "--state", state])
        .await;
    assert!(nobody.err.contains("there is: digits"), "{nobody:?}");
}

//! What operators ask before they run anything: `plan`, `check --rps` and `simulate`, and that they agree.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::ports::free_address;
use crate::support::site::{Digits, Site};

/// The defaults of the README's example.
const RAMP: &str = "steps: [{weight: 5%, min_duration: 10m, min_samples: 1000}, {weight: 25%, min_duration: 10m}, \
                    {weight: 50%, min_duration: 10m, requires_approval: true}, {weight: 100%}]";

/// A ramp that some thousand requests take to its end.
const SHORT: &str = "steps: [{weight: 20%}, {weight: 50%}, {weight: 100%}]\n      \
                     guardrails: [{error_rate: {max_increase: 2pp}}, {latency_p95: {max_increase: 150ms}}]";

/// The same after copies.
const COPIES_FIRST: &str = "steps: [{shadow: 100%, min_samples: 500}, {weight: 20%}, {weight: 50%}, {weight: 100%}]\n      \
                            guardrails: [{error_rate: {max_increase: 2pp}}, {latency_p95: {max_increase: 150ms}}]";

/// A site with this plan; nobody serves at its endpoints.
fn site(plan: &str) -> Site {
    let site = Site::new();
    let mut digits = Digits::new(free_address(), free_address(), plan);
    digits.interval = "10s, warmup: 10s";
    site.configure(&digits);
    site
}

/// A verb on the site's file; it must succeed, in silence on standard error.
async fn ask(site: &Site, verb: &str, more: &[&str]) -> String {
    let config = site.config();
    let mut arguments = vec![verb, "-c", config.to_str().unwrap()];
    arguments.extend(more);
    let said = site.verb_exits(0, &arguments).await;
    assert_eq!(said.err, "", "{arguments:?}");
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
    said.out
}

async fn ask_json(site: &Site, verb: &str, more: &[&str]) -> Value {
    let more = [more, &["--output", "json"]].concat();
    serde_json::from_str(&ask(site, verb, &more).await).unwrap()
}

/// The members of an object, no more and no less.
#[track_caller]
fn expect_members(value: &Value, members: &[&str]) {
    let found: BTreeSet<_> = value.as_object().unwrap().keys().cloned().collect();
    let expected: BTreeSet<_> = members.iter().map(|&member| member.to_owned()).collect();
    assert_eq!(found, expected, "{value:#}");
}

#[track_caller]
fn number(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {pointer} in {value:#}"))
}

#[tokio::test]
async fn a_plan_says_what_each_step_needs() {
    let site = site(RAMP);
    let independent = ["--rps", "100", "--deff", "1"];
    let plan = ask_json(&site, "plan", &independent).await;
    expect_members(&plan, &["rollout", "assumptions", "steps", "expected_s"]);
    assert_eq!(plan["rollout"], "digits");
    expect_members(
        &plan["assumptions"],
        &[
            "requests_per_second",
            "baseline_error_rate",
            "design_effect",
            "median_latency_ms",
        ],
    );
    let steps = plan["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4);
    for step in steps {
        expect_members(
            step,
            &[
                "share",
                "shadow",
                "requires_approval",
                "canary_requests",
                "expected_s",
                "likely_s",
                "max_duration_s",
                "ends",
                "warning",
                "guardrails",
            ],
        );
        for guardrail in step["guardrails"].as_array().unwrap() {
            let members = ["metric", "margin", "prove", "detect", "detectable"];
            expect_members(guardrail, &members);
            expect_members(&guardrail["prove"], &["canary_requests", "seconds"]);
        }
    }
    // The first step proves twice half a point: the specification's example.
    let errors = &steps[0]["guardrails"][0];
    assert_eq!(errors["metric"], "error_rate");
    let requests = number(errors, "/prove/canary_requests");
    assert!((requests - 1_699.0).abs() < 3.0, "{requests}");
    let seconds = number(errors, "/prove/seconds");
    assert!((seconds - requests / (100.0 * 0.05)).abs() < 1e-6);
    assert_eq!(steps[2]["requires_approval"], true);
    assert_eq!(steps[3]["guardrails"], Value::Array(Vec::new()));
    assert_eq!(number(&steps[3], "/canary_requests"), 200.0);
    let all: f64 = steps.iter().map(|step| number(step, "/expected_s")).sum();
    assert!((all - number(&plan, "/expected_s")).abs() < 1e-6);

    let text = ask(&site, "plan", &independent).await;
    for part in [
        "digits: 100 requests a second, 1% of baseline's failing",
        "1,699",
        "latency_p95",
        "nothing to compare with",
        "once it is approved",
        "in all about",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    // Requests of one user that belong together say less; twice the traffic takes half the time.
    let clustered = ask_json(&site, "plan", &["--rps", "100", "--icc", "0.3"]).await;
    let pointer = "/steps/0/guardrails/0/prove/canary_requests";
    assert!(number(&clustered, pointer) > 2.0 * requests);
    let twice = ask_json(&site, "plan", &["--rps", "200", "--deff", "1"]).await;
    let pointer = "/steps/0/guardrails/0/prove/seconds";
    assert!((number(&twice, pointer) - seconds / 2.0).abs() < 1e-6);
}

#[tokio::test]
async fn check_warns_of_steps_that_cannot_conclude() {
    let site = site(
        "steps: [{weight: 5%, max_duration: 5m}, {weight: 50%, max_duration: 6h}, {weight: 100%}]",
    );
    let text = ask(&site, "check", &["--rps", "50"]).await;
    let warning = "step 1 can't conclude within its max_duration of 5m";
    assert!(text.contains(warning), "{text}");
    assert!(!text.contains("step 2 can't conclude"), "{text}");
    let checked = ask_json(&site, "check", &["--rps", "50"]).await;
    let forecast = &checked["rollouts"][0]["forecast"];
    assert_eq!(forecast[0]["ends"], "late", "{forecast:#}");
    let said = forecast[0]["warning"].as_str().unwrap();
    assert!(said.starts_with(warning), "{said}");
    assert_eq!(number(&forecast[0], "/max_duration_s"), 300.0);
    assert_eq!(forecast[1]["ends"], "in_time", "{forecast:#}");
    // The same numbers as `plan` has, and none without a rate.
    let planned = ask_json(&site, "plan", &["--rps", "50"]).await;
    assert_eq!(forecast, &planned["steps"]);
    let silent = ask_json(&site, "check", &[]).await;
    assert!(silent["rollouts"][0]["forecast"].is_null());
    let busy = ask(&site, "check", &["--rps", "5000"]).await;
    assert!(!busy.contains("can't conclude"), "{busy}");
}

#[tokio::test]
async fn a_step_that_is_never_left_is_told_apart_from_a_long_one() {
    let dry = site(
        "steps: [{weight: 10%}, {weight: 100%}]\n      guardrails: [{error_rate: {dry_run: true}}]",
    );
    let plan = ask_json(&dry, "plan", &["--rps", "50"]).await;
    assert_eq!(plan["steps"][0]["ends"], "never", "{plan:#}");
    assert!(plan["steps"][0]["expected_s"].is_null(), "{plan:#}");
    assert!(plan["expected_s"].is_null(), "{plan:#}");
    let text = ask(&dry, "check", &["--rps", "50"]).await;
    assert!(text.contains("step 1 is never left by itself"), "{text}");
    assert!(
        text.contains("dry_run"),
        "check warns without a rate too: {text}"
    );
}

#[tokio::test]
async fn simulated_rollouts_promote_the_good_and_take_back_the_bad() {
    let site = site(SHORT);
    let question = ["--rps", "200", "--runs", "12", "--for", "1h"];
    let harmed = [&question[..], &["--effect", "error_rate=+20pp"]].concat();
    let answer = ask_json(&site, "simulate", &harmed).await;
    expect_members(
        &answer,
        &["rollout", "assumptions", "like_baseline", "harmed", "notes"],
    );
    expect_members(
        &answer["assumptions"],
        &[
            "requests_per_second",
            "baseline_error_rate",
            "icc",
            "active_users",
            "median_latency_ms",
            "median_first_byte_ms",
            "interval_s",
            "watched_s",
            "seed",
        ],
    );
    let good = &answer["like_baseline"];
    assert_eq!(good["runs"], 12);
    assert!(number(good, "/promoted/value") > 0.8, "{good:#}");
    assert!(number(good, "/promoted/std_error") > 0.0, "{good:#}");
    assert!(number(good, "/reached_100/value") > 0.8, "{good:#}");
    let bad = &answer["harmed"];
    expect_members(bad, &["effects", "after_s", "outcome"]);
    assert_eq!(bad["effects"][0], "error_rate=+20pp");
    let bad = &bad["outcome"];
    for outcome in [good, bad] {
        expect_members(
            outcome,
            &[
                "runs",
                "rolled_back",
                "promoted",
                "reached_100",
                "rules",
                "seconds_to_rollback",
                "canary_requests_to_rollback",
                "canary_errors_to_rollback",
                "copies_to_rollback",
                "rolled_back_before_clients",
                "seconds_to_100",
            ],
        );
    }
    assert_eq!(number(bad, "/rolled_back/value"), 1.0, "{bad:#}");
    assert_eq!(number(bad, "/reached_100/value"), 0.0, "{bad:#}");
    assert!(bad["seconds_to_100"].is_null(), "{bad:#}");
    let requests = number(bad, "/canary_requests_to_rollback/median");
    assert!((5.0..300.0).contains(&requests), "{bad:#}");
    let by_rule = bad["rules"].as_object().unwrap().values();
    assert_eq!(by_rule.filter_map(Value::as_u64).sum::<u64>(), 12);

    // What was foreseen is what happens, about.
    let plan = ask_json(&site, "plan", &["--rps", "200"]).await;
    let (foreseen, happened) = (
        number(&plan, "/expected_s"),
        number(good, "/seconds_to_100/median"),
    );
    assert!(
        (0.4..2.5).contains(&(foreseen / happened)),
        "{foreseen} s foreseen, {happened} s simulated"
    );

    let text = ask(&site, "simulate", &harmed).await;
    for part in [
        "12 rollouts, each of digits, watched for 1h",
        "a canary like the baseline",
        "reached 100 %",
        "a canary with error_rate=+20pp",
        "rolled back           100%",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer() {
    let site = site(SHORT);
    let ask = async |seed: &str| {
        let question = ["--rps", "100", "--runs", "6", "--for", "10m"];
        let harm = ["--effect", "latency_p95=+300ms", "--seed", seed];
        ask_json(&site, "simulate", &[question.as_slice(), &harm].concat()).await
    };
    let (first, again) = (ask("7").await, ask("7").await);
    assert_eq!(first, again);
    let other = ask("8").await;
    assert_ne!(first["harmed"]["outcome"], other["harmed"]["outcome"]);
    assert_eq!(other["assumptions"]["seed"], 8);
}

#[tokio::test]
async fn shadow_steps_are_simulated_too() {
    let site = site(COPIES_FIRST);
    let question = ["--rps", "200", "--runs", "8", "--for", "1h"];
    let harmed = [&question[..], &["--effect", "error_rate=+30pp"]].concat();
    let answer = ask_json(&site, "simulate", &harmed).await;
    assert!(
        number(&answer, "/like_baseline/reached_100/value") > 0.7,
        "{answer:#}"
    );
    let bad = &answer["harmed"]["outcome"];
    assert_eq!(number(bad, "/rolled_back/value"), 1.0, "{bad:#}");
    // No client has met it.
    assert_eq!(number(bad, "/rolled_back_before_clients/value"), 1.0);
    assert_eq!(number(bad, "/canary_requests_to_rollback/median"), 0.0);
    assert!(number(bad, "/copies_to_rollback/median") >= 5.0, "{bad:#}");
    assert!(bad["rules"]["shadow"].is_u64(), "{bad:#}");
    let text = ask(&site, "simulate", &harmed).await;
    assert!(
        text.contains("before a client met the canary: 100%"),
        "{text}"
    );
    let plan = ask(&site, "plan", &["--rps", "200"]).await;
    assert!(plan.contains("copies, pair by pair"), "{plan}");
}

#[tokio::test]
async fn what_the_figures_leave_out_stands_beside_them() {
    let site = site(RAMP);
    let question = ["--rps", "10", "--runs", "1", "--for", "1m"];
    let harmed = [&question[..], &["--effect", "rejected_rate=+5pp"]].concat();
    let answer = ask_json(&site, "simulate", &harmed).await;
    let notes = answer["notes"].to_string();
    for part in ["approved at once", "rejected_rate=+5pp"] {
        assert!(notes.contains(part), "no {part:?} in {notes}");
    }
    let text = ask(&site, "simulate", &harmed).await;
    assert!(
        text.contains("note: no guardrail that acts watches"),
        "{text}"
    );
    let harmed = [&question[..], &["--effect", "error_rate=+5pp"]].concat();
    let answer = ask_json(&site, "simulate", &harmed).await;
    assert!(!answer["notes"].to_string().contains("error_rate"));
}

#[tokio::test]
async fn wrong_questions_are_refused_with_what_was_meant() {
    let site = site(RAMP);
    let two = Site::new();
    let text = site.text(&Digits::new(free_address(), free_address(), RAMP));
    let (head, route) = text.split_at(text.find("  - name: digits").unwrap());
    let letters = route.replace("digits", "letters");
    two.write(format!("{head}{route}{letters}"));
    let plain = Site::new();
    plain.write(
        "routes: [{name: all, backends: {baseline: {endpoints: [\"http://127.0.0.1:9\"]}}}]\nlisten: 127.0.0.1:0\n",
    );
    let path = |site: &Site| site.config().display().to_string();
    let (one, two, plain) = (path(&site), path(&two), path(&plain));
    let rps = " --rps 50";
    for (code, question, expected) in [
        (2, format!("plan -c {one}"), "--rps"),
        (2, format!("plan -c {one} --rps 0"), "from 0.001"),
        (2, format!("plan -c {one} --rps -5"), "from 0.001"),
        (2, format!("plan -c {one} --rps NaN"), "from 0.001"),
        (2, format!("check -c {one} --rps 1e9"), "to 1000000"),
        (2, format!("plan -c {one}x{rps}"), "serin.yamlx"),
        (2, format!("plan -c {two}{rps}"), "digits, letters"),
        (1, format!("plan nobody -c {two}{rps}"), "digits, letters"),
        (1, format!("plan -c {plain}{rps}"), "no rollout"),
        (1, format!("simulate -c {plain}{rps}"), "no rollout"),
        (2, format!("plan -c {one}{rps} --latency 0ms"), "latency"),
        (2, format!("plan -c {one}{rps} --latency 100"), "100ms"),
        (2, format!("plan -c {one}{rps} --icc 1"), "below 1"),
        (2, format!("plan -c {one}{rps} --deff 0.5"), "from 1"),
        (
            2,
            format!("plan -c {one}{rps} --baseline-error-rate 1"),
            "1%",
        ),
        (2, format!("simulate -c {one}"), "--rps"),
        (
            2,
            format!("simulate -c {one}{rps} --effect errors=+2pp"),
            "error_rate",
        ),
        (
            2,
            format!("simulate -c {one}{rps} --effect error_rate=+2%"),
            "2pp",
        ),
        (
            2,
            format!("simulate -c {one}{rps} --effect error_rate=2"),
            "2pp",
        ),
        (
            2,
            format!("simulate -c {one}{rps} --effect latency_p95=+50"),
            "+50%",
        ),
        (2, format!("simulate -c {one}{rps} --after 1h"), "--effect"),
        (2, format!("simulate -c {one}{rps} --runs 0"), "1..=100000"),
        (2, format!("simulate -c {one}{rps} --for 0s"), "above 0s"),
        (2, format!("simulate -c {one}{rps} --ttft 1s"), "--latency"),
        (2, format!("simulate --suite -c {one}"), "--suite"),
        (2, "simulate --suite --icc 0.3".to_owned(), "--suite"),
    ] {
        let words: Vec<&str> = question.split(' ').collect();
        let said = site.verb_exits(code, &words).await;
        assert!(said.err.contains(expected), "serin {question}: {said:?}");
        assert_eq!(said.out, "", "serin {question}");
    }
}

/// One run a cell says nothing about the figures, but all about the document and the exit code.
#[tokio::test]
async fn the_reference_table_is_a_document() {
    let site = Site::new();
    let suite = ["simulate", "--suite", "--runs", "1", "--output", "json"];
    let said = site.verb(&suite).await;
    assert_eq!(said.err, "");
    let table: Value = serde_json::from_str(&said.out).unwrap();
    expect_members(&table, &["cells"]);
    let cells = table["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 18, "{table:#}");
    for cell in cells {
        expect_members(
            cell,
            &[
                "name",
                "value",
                "std_error",
                "runs",
                "target",
                "met",
                "naive",
                "bound",
                "unit",
                "conditions",
            ],
        );
        assert_eq!(cell["runs"], 1, "{cell:#}");
        assert!(cell["target"].is_number(), "{cell:#}");
        // A figure that is not there was never reached, and so keeps no promise but that of never.
        if let (Some(value), Some(target)) = (cell["value"].as_f64(), cell["target"].as_f64()) {
            let keeps = match cell["bound"].as_str() {
                Some("at most") => value <= target,
                Some("at least") => value >= target,
                _ => panic!("no bound: {cell:#}"),
            };
            assert_eq!(cell["met"], keeps, "{cell:#}");
        } else {
            assert_eq!(cell["met"], false, "{cell:#}");
        }
    }
    let all_met = cells.iter().all(|cell| cell["met"] == true);
    assert_eq!(said.code, Some(i32::from(!all_met)), "{table:#}");
}

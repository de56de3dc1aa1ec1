//! The command a newcomer types first.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;

use crate::support::client::Client;
use crate::support::process::Serin;
use crate::support::{SOON, eventually};

/// Each takes three quarters of a minute, most of it waiting: they go side by side.
#[tokio::test]
async fn the_demo_promotes_a_good_release_takes_back_a_bad_one_and_can_be_kept() {
    tokio::join!(ends_by_itself(), can_be_kept());
}

async fn ends_by_itself() {
    let mut demo = Serin::spawn(&["demo"]);
    let exit = demo.ended(Duration::from_secs(180)).await;
    let log = demo.log();
    assert_eq!(exit.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains('\u{1b}'), "colours without a terminal");
    let lines: Vec<_> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(8)..].join("\n");
    for part in [
        "rolled back",
        "version 3",
        "RolledBack at 0%",
        "guardrail",
        "error_rate",
        "canary requests",
        "p-values",
    ] {
        assert!(end.contains(part), "no {part:?} at the end:\n{end}");
    }
    assert!(log.contains("Healthy at 100%"), "{log}");
}

async fn can_be_kept() {
    let mut demo = Serin::spawn(&["demo", "--keep"]);
    let limit = Duration::from_secs(180);
    let admin = eventually("the demo is over", limit, async || {
        let log = demo.log();
        assert!(demo.is_running(), "{log}");
        let (_, after) = log.split_once("Admin API: http://")?;
        log.contains("p-values").then_some(())?;
        after.lines().next()?.trim().parse::<SocketAddr>().ok()
    })
    .await;
    let mut client = Client::http1(admin);
    let rollouts = client
        .ask(Method::GET, "/api/v1/rollouts", &[], "")
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&rollouts.body).into_owned();
    assert!(text.contains("RolledBack"), "{text}");
    demo.signal(rustix::process::Signal::INT);
    assert_eq!(demo.ended(SOON).await.code(), Some(0), "{}", demo.log());
}

//! The command a newcomer types first.

use std::time::Duration;

use crate::support::process::Serin;

#[tokio::test]
async fn the_demo_promotes_a_good_release_and_takes_back_a_bad_one() {
    let mut demo = Serin::spawn(&["demo"]);
    let exit = demo.ended(Duration::from_secs(180)).await;
    let log = demo.log();
    assert_eq!(exit.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains('\u{1b}'), "colours without a terminal");
    let lines: Vec<_> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    let lower = end.to_lowercase();
    for part in ["rolled back", "error_rate", "canary requests", "p"] {
        assert!(lower.contains(part), "no {part:?} at the end:\n{end}");
    }
    assert!(log.contains("100 %") || log.contains("100%"), "{log}");
}

//! The soak, for some seconds: mixed load, restarts, reloads, and not one wrong answer. `serin-soak` runs the same
//! for as long as you like.

use std::time::Duration;

use serin_soak::{Options, run};

#[tokio::test]
async fn some_seconds_of_mixed_load_leave_nothing_wrong_and_nothing_behind() {
    let report = run(&Options {
        serin: env!("CARGO_BIN_EXE_serin").into(),
        length: Duration::from_secs(16),
        talks: false,
    })
    .await
    .unwrap();
    let complaints = report.complaints();
    assert!(complaints.is_empty(), "{complaints:?}\n{report}");
    assert!(report.tally().right() > 500, "{report}");
}

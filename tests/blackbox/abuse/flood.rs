//! More connections and larger heads than anybody needs.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::upstream::INFER;
use super::{MIB, SOON, Victim, until_closed};
use crate::support::client::Version;

#[tokio::test]
async fn a_flood_beyond_max_connections_waits_outside() {
    let victim = Victim::start("max_connections: 50, idle_timeout: 3s").await;
    let mut flood = Vec::new();
    for _ in 0..500 {
        flood.push(victim.connect().await);
    }
    // Who is inside goes on; the process doesn't turn in circles because of those outside.
    let before = victim.serin.vitals().processor;
    let answered = victim
        .bystander
        .answered
        .load(std::sync::atomic::Ordering::Relaxed);
    victim.bystander.is_served().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = victim.serin.vitals().processor - before;
    assert!(used < Duration::from_millis(400), "{used:?} for waiting");
    assert!(
        victim
            .bystander
            .answered
            .load(std::sync::atomic::Ordering::Relaxed)
            > answered
    );
    assert!(victim.gauge("serin_connections").await <= 50);
    // Those who say nothing have to leave, and so there is room again even while the flood lasts.
    let mut late = victim.site.client(Version::Http1);
    let turn = tokio::time::timeout(SOON * 3, late.infer("late"));
    drop(flood.split_off(100));
    assert_eq!(turn.await.expect("a turn").unwrap().status, 200);
    drop(late);
    drop(flood);
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

/// Writes this again and again until the other side has had enough: the bytes it took, and what it said.
async fn pour_head(
    stream: &mut TcpStream,
    start: &str,
    piece: &[u8],
    most: usize,
) -> (usize, String) {
    let (mut reads, mut writes) = stream.split();
    let mut taken = 0;
    let mut said = Vec::new();
    let pour = async {
        let mut alive = writes.write_all(start.as_bytes()).await.is_ok();
        while alive && taken < most {
            alive = writes.write_all(piece).await.is_ok();
            taken += piece.len();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = pour => {}
        _ = tokio::time::timeout(SOON, reads.read_to_end(&mut said)) => {}
    }
    (taken, String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn a_header_bomb_is_refused_at_the_limit() {
    let victim = Victim::start("max_header_bytes: 32KiB").await;
    let starts = [
        // A line that never ends, a great many of them, and a target that never ends.
        (
            format!("GET {INFER} HTTP/1.1\r\nhost: a\r\nx: "),
            "x".repeat(1024),
        ),
        (
            format!("GET {INFER} HTTP/1.1\r\nhost: a\r\n"),
            "a: b\r\n".repeat(200),
        ),
        ("GET /".to_owned(), "x".repeat(1024)),
    ];
    for (start, piece) in starts {
        for _ in 0..20 {
            let mut stream = victim.connect().await;
            let most = 64 * MIB as usize;
            let (taken, said) = pour_head(&mut stream, &start, piece.as_bytes(), most).await;
            // Beyond what is read there is what the sockets hold.
            assert!(taken < most / 2, "{taken} bytes of a head were taken");
            let refused = ["HTTP/1.1 431", "HTTP/1.1 414", "HTTP/1.1 400", ""];
            assert!(
                refused.iter().any(|status| said.starts_with(status)) && !said.contains(" 200 "),
                "{said}"
            );
        }
    }
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

#[tokio::test]
async fn a_great_many_headers_within_the_limit_are_answered_one_way_or_the_other() {
    let victim = Victim::start("max_header_bytes: 32KiB").await;
    for count in [90, 500, 5_000] {
        let mut head = format!("GET {INFER} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n");
        for number in 0..count {
            head.push_str(&format!("a{}:\r\n", number % 7));
        }
        head.push_str("\r\n");
        let mut stream = victim.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let said = String::from_utf8(until_closed(&mut stream, SOON).await).unwrap();
        let status = said.get(9..12).unwrap_or_default();
        let expected: &[&str] = if count < 100 {
            &["200"]
        } else {
            &["200", "400", "431"]
        };
        assert!(expected.contains(&status), "{count} headers: {said}");
    }
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

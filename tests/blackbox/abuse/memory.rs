//! A fast side and a slow one: what is between them is bounded, whichever is which.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::frames::{
    Attacker, DATA, END_HEADERS, END_STREAM, HEADERS, WINDOW_UPDATE, frame, request,
};
use super::upstream::{DEAF, ENDLESS};
use super::{MIB, SOON, Victim, eventually};

/// How long slow readers read. The upstream could send gigabytes in it.
const FOR: Duration = Duration::from_secs(2);

/// Asks for a stream without end and reads a little of it, now and then.
async fn read_slowly(mut stream: TcpStream, until: Instant) -> TcpStream {
    let ask = format!("GET {ENDLESS} HTTP/1.1\r\nhost: a\r\nx-user-id: slow\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 4096];
    while Instant::now() < until {
        assert!(stream.read(&mut buffer).await.unwrap() > 0, "it ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream
}

async fn slow_readers(count: usize, allowed: u64) {
    let victim = Victim::start("idle_timeout: 60s").await;
    let until = Instant::now() + FOR;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..count {
        readers.spawn(read_slowly(victim.connect().await, until));
    }
    let held = readers.join_all().await;
    assert_eq!(held.len(), count);
    victim.grew_by_at_most(allowed);
    drop(held);
    victim.recovers().await;
}

#[tokio::test]
async fn one_slow_reader_of_an_endless_stream_costs_at_most_16_mib() {
    slow_readers(1, 16 * MIB).await;
}

#[tokio::test]
async fn fifty_slow_readers_cost_at_most_64_mib() {
    slow_readers(50, 64 * MIB).await;
}

#[tokio::test]
async fn a_gibibyte_passes_in_little_memory() {
    const GIB: u64 = 1 << 30;
    let victim = Victim::start("idle_timeout: 60s").await;
    let mut stream = victim.connect().await;
    let ask = format!("GET {ENDLESS} HTTP/1.1\r\nhost: a\r\nx-user-id: fast\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let (mut passed, mut largest) = (0, 0);
    let passing = async {
        while passed < GIB {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "it ended after {passed} bytes");
            // Now and then it looks elsewhere.
            if passed / (64 * MIB) != (passed + count as u64) / (64 * MIB) {
                largest = largest.max(victim.growth());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            passed += count as u64;
        }
    };
    tokio::time::timeout(SOON * 3, passing)
        .await
        .expect("a gibibyte in a minute");
    assert!(largest <= 16 * MIB, "memory grew by {largest} bytes");
    drop(stream);
    victim.recovers().await;
}

#[tokio::test]
async fn fifty_slow_readers_of_one_http2_connection_cost_at_most_64_mib() {
    let victim = Victim::start("idle_timeout: 60s").await;
    let mut reader = Attacker::connect(victim.address(), 1 << 20).await;
    let streams: Vec<u32> = (0..50).map(|number| 2 * number + 1).collect();
    for &stream in &streams {
        let open = frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &request("GET", ENDLESS),
        );
        assert!(reader.say(&open).await);
    }
    // Each may send a mebibyte, all together 64 KiB; a little more at times.
    let (mut reads, mut writes) = reader.stream.into_split();
    let received = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&received);
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = reads.read(&mut buffer).await {
            counted.fetch_add(count as u64, Ordering::Relaxed);
        }
    });
    let until = Instant::now() + FOR;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let more = frame(WINDOW_UPDATE, 0, 0, &16_384_u32.to_be_bytes());
        writes.write_all(&more).await.unwrap();
    }
    let received = received.load(Ordering::Relaxed);
    assert!(received > 64 * 1024, "only {received} bytes came");
    victim.grew_by_at_most(64 * MIB);
    reading.abort();
    drop(writes);
    victim.recovers().await;
}

#[tokio::test]
async fn uploads_to_an_upstream_that_reads_nothing_cost_at_most_64_mib() {
    // A client that leaves while nothing can be passed on is noticed at the response timeout.
    let victim = Victim::start_with("body_timeout: 60s", "10s").await;
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut stream = victim.connect().await;
        held.spawn(async move {
            let length = 1 << 30;
            let head = format!(
                "POST {DEAF} HTTP/1.1\r\nhost: a\r\nx-user-id: fast\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 64 * 1024];
            let full = Duration::from_millis(200);
            while let Ok(written) = tokio::time::timeout(full, stream.write(&piece)).await {
                written.unwrap();
            }
            stream
        });
    }
    let held = held.join_all().await;
    // The same in HTTP/2, where the window is what stops it.
    let mut attacker = Attacker::connect(victim.address(), 65_535).await;
    // The connection's window is 64 KiB until we are told of a larger one; who sends more is shown the door.
    loop {
        let frame = attacker.read().await.expect("a larger window");
        if frame.kind == WINDOW_UPDATE && frame.stream == 0 {
            break;
        }
    }
    for number in 0..50 {
        let stream = 2 * number + 1;
        assert!(
            attacker
                .say(&frame(HEADERS, END_HEADERS, stream, &request("POST", DEAF)))
                .await
        );
        // All together less than the connection's window.
        for _ in 0..2 {
            assert!(attacker.say(&frame(DATA, 0, stream, &[0; 16_000])).await);
        }
    }
    eventually("they are all in flight", SOON, async || {
        (victim.gauge("http_server_active_requests").await >= 100).then_some(())
    })
    .await;
    victim.grew_by_at_most(64 * MIB);
    drop((held, attacker));
    victim.recovers().await;
}

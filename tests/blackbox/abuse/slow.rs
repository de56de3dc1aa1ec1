//! Clients that hold on to what they are given: heads and bodies that never end, connections that say nothing.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::upstream::INFER;
use super::{MIB, SOON, Victim, eventually, until_closed};

#[tokio::test]
async fn slow_headers_are_cut_off_at_the_header_timeout() {
    let victim = Victim::start("header_timeout: 1s").await;
    let address = victim.address();
    let mut attackers = JoinSet::new();
    for _ in 0..200 {
        attackers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (mut reads, mut writes) = stream.split();
            let drip = async {
                let head = format!("POST {INFER} HTTP/1.1\r\nhost: a\r\nx-slow: ");
                let mut alive = writes.write_all(head.as_bytes()).await.is_ok();
                while alive {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    alive = writes.write_all(b"x").await.is_ok();
                }
            };
            let mut said = Vec::new();
            tokio::select! {
                () = drip => {}
                _ = reads.read_to_end(&mut said) => {}
            }
            said
        });
    }
    let all = tokio::time::timeout(SOON, attackers.join_all()).await;
    let all = all.expect("each is cut off, however regularly it drips");
    let told = all.iter().filter(|said| said.starts_with(b"HTTP/1.1 408 "));
    assert!(told.count() > 150, "408 says why");
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

#[tokio::test]
async fn a_body_that_stops_is_given_up_at_the_body_timeout() {
    let victim = Victim::start("body_timeout: 1s").await;
    let mut attackers = Vec::new();
    for _ in 0..100 {
        let mut stream = victim.connect().await;
        let head = format!("POST {INFER} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc");
        stream.write_all(head.as_bytes()).await.unwrap();
        attackers.push(stream);
    }
    for stream in &mut attackers {
        let said = until_closed(stream, SOON).await;
        assert!(!said.starts_with(b"HTTP/1.1 200"));
    }
    victim.grew_by_at_most(16 * MIB);
    victim.recovers().await;
}

/// As many connections as ten thousand, or as the limit on descriptors leaves to two processes that both pay for
/// each of them.
fn idle_connections() -> usize {
    const WANTED: usize = 10_000;
    const OTHERS: usize = 2_000;
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let most = hard.map_or(usize::MAX, |hard| usize::try_from(hard).unwrap());
    let count = WANTED.min(most.saturating_sub(OTHERS));
    if count < WANTED {
        eprintln!("only {count} connections: the limit on descriptors is {most}");
    }
    count
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_block_nobody() {
    let count = idle_connections();
    let victim = Victim::start("idle_timeout: 5m").await;
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        // From another address, so that the ports of the usual one are left to the others.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.7:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(victim.address()).await.unwrap();
        // Some have worked before they went to sleep.
        if number % 10 == 0 {
            let ask = format!("GET {INFER} HTTP/1.1\r\nhost: a\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
        idle.push(stream);
    }
    eventually("all are accepted", SOON, async || {
        (victim.gauge("serin_connections").await >= count as u64).then_some(())
    })
    .await;
    victim.bystander.is_served().await;
    // 24 KiB each would be 234 MiB; what they cost optimised is the benchmarks' business.
    victim.grew_by_at_most(count as u64 * 24 * 1024);
    let before = victim.serin.vitals().processor;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = victim.serin.vitals().processor - before;
    assert!(
        used < Duration::from_millis(500),
        "{used:?} for doing nothing"
    );
    drop(idle);
    victim.recovers().await;
}

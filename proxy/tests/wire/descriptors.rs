//! Out of file descriptors: those that are served go on, nothing spins, and others are served when there is
//! room again.
//!
//! The limit holds for a whole process, so the proxy under test runs in one of its own: this test's binary
//! again, with a few descriptors.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use super::support::{Proxy, config, full, get, read_head, route, text, upstream, within};

const UPSTREAM: &str = "SERIN_TEST_UPSTREAM";
const DESCRIPTORS: usize = 64;

/// The process under test; does nothing unless it was started by the test below.
#[tokio::test]
async fn few_descriptors_child() {
    let Ok(upstream) = std::env::var(UPSTREAM) else {
        return;
    };
    let mut one_worker = config(vec![route(upstream.parse().unwrap())]);
    one_worker.workers = std::num::NonZeroUsize::new(1);
    let proxy = Proxy::start(one_worker, 0.0);
    println!("\nlistens on {}", proxy.address);
    // Until the parent lets go.
    let until_the_end = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(until_the_end)
        .await
        .unwrap()
        .unwrap();
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time that a process has used, in clock ticks (a hundredth of a second on Linux).
fn ticks(process: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn out_of_descriptors_nothing_breaks_and_nothing_spins() {
    // As many as there are descriptors for, all at once.
    const AT_ONCE: usize = 20;
    let all_are_here = Arc::new(Barrier::new(AT_ONCE));
    let upstream = upstream(move |request| {
        let all_are_here = Arc::clone(&all_are_here);
        async move {
            if request.uri().path() == "/all" {
                all_are_here.wait().await;
            }
            Response::new(full("x"))
        }
    })
    .await;
    let limited = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"");
    let process = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "descriptors::few_descriptors_child",
            "--nocapture",
        ])
        .env(UPSTREAM, upstream.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut process = Killed(process.unwrap());
    let said = BufReader::new(process.0.stdout.take().unwrap());
    let address = said
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("listens on ").map(str::to_owned))
        .unwrap();

    let stream = TokioIo::new(TcpStream::connect(&address).await.unwrap());
    let (mut early, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(text(early.send_request(get("/")).await.unwrap()).await, "x");

    let mut crowd = Vec::new();
    for _ in 0..AT_ONCE {
        let mut one = TcpStream::connect(&address).await.unwrap();
        let words = b"GET /all HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        one.write_all(words).await.unwrap();
        crowd.push(one);
    }
    for mut one in crowd {
        let head = within("who was let in", read_head(&mut one)).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }

    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    // A late one is not served while there is no room …
    let mut late = TcpStream::connect(&address).await.unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let before = (ticks(&process.0), Instant::now());
    let mut byte = [0];
    let served = tokio::time::timeout(Duration::from_millis(500), late.read_exact(&mut byte));
    assert!(served.await.is_err());
    let used = (ticks(&process.0) - before.0) as f64 / 100.0;
    let share = used / before.1.elapsed().as_secs_f64();
    assert!(share < 0.5, "{share} of a processor for waiting");
    // … the early one is …
    assert_eq!(text(early.send_request(get("/")).await.unwrap()).await, "x");
    // … and the late one too once others have left.
    idle.clear();
    within("an answer", late.read_exact(&mut byte))
        .await
        .unwrap();
    assert_eq!(&byte, b"H");
}

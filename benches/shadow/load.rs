//! A steady stream of requests: each is due at its moment, whether or not those before it were answered in time,
//! so that a stall counts for everything that it held up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Requests per second, all connections together.
pub(crate) const RATE: u32 = 800;
/// Connections.
pub(crate) const CONNECTIONS: u32 = 16;
/// How long it lasts.
pub(crate) const SECONDS: u32 = 6;
/// Bytes of each request's body.
pub(crate) const BODY: usize = 32 * 1024;
/// What is not counted, at the beginning.
const WARM_UP: Duration = Duration::from_secs(1);

/// What came of it.
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    /// In milliseconds, sorted.
    latencies: Vec<f64>,
}

impl Load {
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let at = (self.latencies.len() as f64 * q) as usize;
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Asks the proxy at this address.
pub(crate) fn run(proxy: SocketAddr) -> Load {
    let start = Instant::now() + Duration::from_millis(100);
    let pause = Duration::from_secs(1) / RATE;
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let first = start + pause * number;
            thread::spawn(move || one(proxy, start, first, pause * CONNECTIONS))
        })
        .collect();
    let mut latencies = Vec::new();
    let mut failed = 0;
    for connection in connections {
        let (own, own_failed) = connection.join().unwrap();
        latencies.extend(own);
        failed += own_failed;
    }
    latencies.sort_by(f64::total_cmp);
    Load {
        requests: latencies.len() + failed,
        failed,
        latencies,
    }
}

fn one(proxy: SocketAddr, start: Instant, first: Instant, pause: Duration) -> (Vec<f64>, usize) {
    let mut request =
        format!("POST /v2/infer HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY}\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + BODY, b'x');
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let mut due = first;
    while due < start + Duration::from_secs(u64::from(SECONDS)) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answered = stream.write_all(&request).is_ok() && is_good(&mut stream);
        if !answered {
            failed += 1;
            stream = TcpStream::connect(proxy).unwrap();
        } else if due >= start + WARM_UP {
            latencies.push(due.elapsed().as_secs_f64() * 1e3);
        }
        due += pause;
    }
    (latencies, failed)
}

/// Reads an answer of two bytes.
fn is_good(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    let mut block = [0; 4096];
    while !read.ends_with(b"\r\n\r\nok") {
        match stream.read(&mut block) {
            Ok(count @ 1..) => read.extend_from_slice(block.get(..count).unwrap_or_default()),
            _ => return false,
        }
    }
    read.starts_with(b"HTTP/1.1 200")
}

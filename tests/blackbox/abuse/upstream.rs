//! An upstream without manners of its own: it answers, streams without end, or doesn't take what it is sent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Streams without end.
pub(super) const ENDLESS: &str = "/v2/models/digits/endless";
/// Reads the head and nothing more.
pub(super) const DEAF: &str = "/v2/models/digits/deaf";
/// Reads the whole request and answers.
pub(super) const INFER: &str = "/v2/models/digits/infer";

/// Bytes of one chunk of an endless body.
const CHUNK: usize = 32 * 1024;

/// A running upstream; stops when dropped.
pub(super) struct Upstream {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Upstream {
    /// Starts one on a port of its own.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream));
            }
        });
        Self { address, accepting }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse(mut stream: TcpStream) {
    let mut buffer = Vec::new();
    while let Some(head) = head(&mut stream, &mut buffer).await {
        if head.contains(ENDLESS) {
            endless(stream).await;
            return;
        }
        if head.contains(DEAF) {
            // Until the other side gives up; what it sends stays in the socket.
            while stream.writable().await.is_ok()
                && stream.peek(&mut [0]).await.is_ok_and(|n| n > 0)
            {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            return;
        }
        if !skip_body(&head, &mut stream, &mut buffer).await {
            return;
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next head, in lower case; what follows it stays in the buffer.
async fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = buffer.split_off(at + 4);
            let head = std::mem::replace(buffer, rest);
            return Some(String::from_utf8_lossy(&head).to_lowercase());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads a body of stated length, or one in chunks by its last chunk.
async fn skip_body(head: &str, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map(|length| length.trim().parse::<usize>().unwrap());
    let is_chunked = head.contains("transfer-encoding: chunked");
    loop {
        let end = match length {
            Some(length) => (buffer.len() >= length).then_some(length),
            None if is_chunked => buffer
                .windows(5)
                .position(|five| five == b"0\r\n\r\n")
                .map(|at| at + 5),
            None => Some(0),
        };
        if let Some(end) = end {
            buffer.drain(..end);
            return true;
        }
        if !stream.read_buf(buffer).await.is_ok_and(|read| read > 0) {
            return false;
        }
    }
}

async fn endless(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunk = format!("{CHUNK:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + CHUNK, b'x');
    chunk.extend_from_slice(b"\r\n");
    if stream.write_all(head.as_bytes()).await.is_ok() {
        while stream.write_all(&chunk).await.is_ok() {}
    }
}

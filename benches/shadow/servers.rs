//! The baseline, which answers at once, and the shadows, each bad in its own way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers every request at once; its address.
pub(crate) fn baseline() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || serve(&listener, |stream| stream.write_all(ANSWER)));
    address
}

/// A shadow of this kind; says where it listens, and lives until its input ends.
pub(crate) fn shadow(kind: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    match kind {
        "dead" => drop(listener),
        "well" => spawn(listener, |stream| stream.write_all(ANSWER)),
        "slow" => spawn(listener, |stream| {
            thread::sleep(Duration::from_secs(2));
            stream.write_all(ANSWER)
        }),
        "endless" => spawn(listener, |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                stream.write_all(b"5\r\ntick\n\r\n")?;
                thread::sleep(Duration::from_millis(10));
            }
        }),
        "flooding" => spawn(listener, |stream| {
            let block = vec![b'x'; 256 * 1024];
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&block)?;
            }
        }),
        kind => panic!("no such shadow: {kind}"),
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn spawn(
    listener: TcpListener,
    answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Copy + Send + 'static,
) {
    thread::spawn(move || serve(&listener, answer));
}

/// A thread a connection: there are few.
fn serve(
    listener: &TcpListener,
    answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Copy + Send + 'static,
) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        thread::spawn(
            move || {
                while read_request(&mut stream).is_some() && answer(&mut stream).is_ok() {}
            },
        );
    }
}

/// Reads a request with a `content-length`, and throws it away.
fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut read = Vec::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut block).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(block.get(..count)?);
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(read.get(..end)?).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1)?.lines().next()?;
        let whole = end + 4 + length.parse::<usize>().ok()?;
        while read.len() < whole {
            let count = stream.read(&mut block).ok().filter(|count| *count > 0)?;
            read.extend_from_slice(block.get(..count)?);
        }
        return Some(());
    }
}

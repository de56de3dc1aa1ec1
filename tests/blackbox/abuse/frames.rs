//! HTTP/2 frames by hand (RFC 9113, RFC 7541): whatever a test wants to say, valid or not.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// One frame as bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A literal field that changes no table (RFC 7541, section 6.2.2).
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x00];
    for text in [name, value] {
        field.extend(integer(0x00, 7, text.len()));
        field.extend_from_slice(text.as_bytes());
    }
    field
}

/// An integer with a prefix of so many bits (section 5.1).
pub(super) fn integer(first: u8, bits: u8, value: usize) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    if value < most {
        return vec![first | value as u8];
    }
    let mut bytes = vec![first | most as u8];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

/// The fields of a request, further ones at the end.
pub(super) fn request(method: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x86]; // :scheme http
    for (name, value) in [
        (":method", method),
        (":path", path),
        (":authority", "models.example"),
        ("x-user-id", "mallory"),
    ] {
        block.extend(literal(name, value));
    }
    block
}

/// A connection with the prefaces exchanged.
pub(super) struct Attacker {
    pub(super) stream: TcpStream,
}

impl Attacker {
    /// Connects and says hello, with this initial window for what the other side sends.
    pub(super) async fn connect(address: std::net::SocketAddr, window: u32) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut hello = PREFACE.to_vec();
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend_from_slice(&window.to_be_bytes());
        hello.extend(frame(SETTINGS, 0, 0, &settings));
        hello.extend(frame(SETTINGS, ACK, 0, &[]));
        stream.write_all(&hello).await.unwrap();
        Self { stream }
    }

    /// Writes, unless the other side closed the connection.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Writes the same again and again, never reading: how many bytes were taken until the other side had enough
    /// (closed, or took nothing for so long).
    pub(super) async fn pour(&mut self, bytes: &[u8], most: u64, patience: Duration) -> u64 {
        let mut taken = 0;
        while taken < most {
            match timeout(patience, self.stream.write(bytes)).await {
                Ok(Ok(count)) => taken += count as u64,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        taken
    }

    /// The next frame; `None` at the connection's end.
    pub(super) async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Reads to the end: everything that was said. The other side must end the connection within the limit.
    pub(super) async fn until_shown_the_door(mut self, limit: Duration) -> Vec<Frame> {
        let mut frames = Vec::new();
        let reading = async {
            while let Some(frame) = self.read().await {
                frames.push(frame);
            }
        };
        let ended = timeout(limit, reading).await;
        assert!(ended.is_ok(), "the connection goes on: {frames:?}");
        frames
    }
}

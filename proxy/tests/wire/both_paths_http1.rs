//! A row of [`both_paths`](super::both_paths) over HTTP/1.1.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::both_paths::{Body, Heard, Pairs, Row, Says, Stage};
use super::support::{Proxy, raw_upstream};

/// Asks on a connection of its own.
pub(crate) async fn ask(proxy: &Proxy, row: &Row, stage: &Stage) -> Heard {
    let mut words = format!(
        "{} {} HTTP/1.1\r\nhost: models.example\r\n",
        row.method, row.path
    );
    put_fields(&mut words, row.fields);
    put_framing(&mut words, row.body);
    put_body(
        &mut words,
        row.body,
        row.trailers,
        !matches!(row.says, Says::Early),
    );
    let mut stream = proxy.connect().await;
    // The answer may come first, and the connection be closed behind it.
    let _ = stream.write_all(words.as_bytes()).await;
    let (mut came, mut is_answered) = (Vec::new(), false);
    loop {
        let ended = !matches!(stream.read_buf(&mut came).await, Ok(1..));
        if has_head(&came) && !is_answered {
            is_answered = true;
            stage.is_answered();
        }
        if let Some((heard, _)) = understand(&came, row.is_head(), ended) {
            return heard;
        }
    }
}

/// Hears every request and does what the row says.
pub(crate) async fn upstream(stage: Stage) -> SocketAddr {
    raw_upstream(move |stream| serve(stream, stage.clone())).await
}

async fn serve(mut stream: TcpStream, stage: Stage) {
    let mut came = Vec::new();
    let mut is_answered = false;
    loop {
        let ended = !matches!(stream.read_buf(&mut came).await, Ok(1..));
        let row = stage.row();
        if has_head(&came) && !is_answered && matches!(row.says, Says::Early) {
            is_answered = true;
            let _ = stream.write_all(answer(&row).as_bytes()).await;
        }
        let Some((heard, used)) = understand(&came, false, ended) else {
            continue;
        };
        if heard.start.is_empty() {
            return;
        }
        stage.hears(heard);
        came.drain(..used);
        let words = match row.says {
            Says::Answer => answer(&row),
            Says::Early => {
                is_answered = false;
                continue;
            }
            Says::BreaksOff => {
                let _ = stream.write_all(answer(&row).as_bytes()).await;
                stage.answered().await;
                return;
            }
            Says::Words(words) | Says::Half(words) => {
                let _ = stream.write_all(words.as_bytes()).await;
                return;
            }
            Says::Nothing => return,
            Says::Waits => {
                let _ = stream.read_u8().await;
                return;
            }
        };
        if stream.write_all(words.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn has_head(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| four == b"\r\n\r\n")
}

fn answer(row: &Row) -> String {
    let mut words = format!("{}HTTP/1.1 {} Said\r\n", row.before.0, row.status);
    put_fields(&mut words, row.answer);
    if row.status == 204 {
        words.push_str("\r\n");
        return words;
    }
    let breaks = matches!(row.says, Says::BreaksOff);
    put_framing(&mut words, row.answer_body);
    if row.is_bodiless() {
        // The head alone.
    } else if let (true, Body::Length(text)) = (breaks, row.answer_body) {
        words.push_str(&text[..text.len() / 2]);
    } else {
        put_body(&mut words, row.answer_body, row.answer_trailers, !breaks);
    }
    words
}

fn put_fields(words: &mut String, fields: Pairs) {
    for (name, value) in fields {
        words.push_str(&format!("{name}: {value}\r\n"));
    }
}

fn put_framing(words: &mut String, body: Body) {
    match body {
        Body::Nothing => {}
        Body::Length(text) => words.push_str(&format!("content-length: {}\r\n", text.len())),
        Body::Pieces(_) => words.push_str("transfer-encoding: chunked\r\n"),
    }
    words.push_str("\r\n");
}

fn put_body(words: &mut String, body: Body, trailers: Pairs, ends: bool) {
    match body {
        Body::Nothing => {}
        Body::Length(text) if ends => words.push_str(text),
        Body::Length(text) => words.push_str(&text[..text.len() / 2]),
        Body::Pieces(pieces) => {
            for piece in pieces {
                words.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
            }
            if ends {
                words.push_str("0\r\n");
                put_fields(words, trailers);
                words.push_str("\r\n");
            }
        }
    }
}

/// The first message of these bytes, and how many of them it took; `None` when more must come.
fn understand(bytes: &[u8], is_head: bool, ended: bool) -> Option<(Heard, usize)> {
    let mut heard = Heard::default();
    // What is beyond ASCII stays what it is.
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut rest = text.as_str();
    loop {
        let Some((head, after)) = rest.split_once("\r\n\r\n") else {
            return ended.then_some((heard, bytes.len()));
        };
        rest = after;
        let (start, fields) = head.split_once("\r\n").unwrap_or((head, ""));
        let mut words = start.split(' ');
        let (first, second) = (words.next().unwrap(), words.next().unwrap());
        if !first.starts_with("HTTP/1.") {
            assert_eq!(words.next(), Some("HTTP/1.1"), "{start}");
            heard.start = format!("{first} {second}");
        } else if second.starts_with('1') {
            heard.interim.push(second.parse().unwrap());
            continue;
        } else {
            heard.start = second.to_owned();
        }
        heard.fields = fields
            .split("\r\n")
            .filter(|line| !line.is_empty())
            .map(field)
            .collect();
        break;
    }
    let is_request = heard.start.contains(' ');
    if is_request {
        heard.authority = heard.take("host").unwrap();
    }
    // What concerns one connection only; `te` is named by it.
    let connection = heard.take("connection");
    assert!(matches!(
        connection.as_deref(),
        None | Some("close" | "keep-alive" | "te")
    ));
    heard.length = heard.take("content-length");
    let coding = heard.take("transfer-encoding");
    let bodiless = is_head || matches!(heard.start.as_str(), "204" | "304");
    let length: Option<usize> = heard.length.as_ref().map(|length| length.parse().unwrap());
    if bodiless {
        heard.is_whole = true;
    } else if let Some(coding) = coding {
        assert_eq!((coding.as_str(), length), ("chunked", None));
        rest = dechunk(&mut heard, rest);
    } else if let Some(length) = length {
        let (body, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        heard.body = body.to_owned();
        heard.is_whole = body.len() == length;
        rest = after;
    } else {
        heard.is_whole = is_request || ended;
        if !is_request {
            heard.body = std::mem::take(&mut rest).to_owned();
        }
    }
    let used = text.len() - rest.len();
    (heard.is_whole || ended).then_some((heard, used))
}

/// Takes chunks and trailers: what is left.
fn dechunk<'t>(heard: &mut Heard, text: &'t str) -> &'t str {
    let mut rest = text;
    while let Some((size, after)) = rest.split_once("\r\n") {
        // Extensions mean nothing.
        let size = size.split(';').next().unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size > 0 {
            let (chunk, after) = after.split_at_checked(size + 2).unwrap_or((after, ""));
            heard.body.push_str(chunk.trim_end_matches("\r\n"));
            rest = after;
            continue;
        }
        if let Some(after) = after.strip_prefix("\r\n") {
            heard.is_whole = true;
            return after;
        }
        if let Some((trailers, after)) = after.split_once("\r\n\r\n") {
            heard.trailers = trailers.split("\r\n").map(field).collect();
            heard.is_whole = true;
            return after;
        }
        break;
    }
    ""
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
    (name.to_ascii_lowercase(), value.to_owned())
}

//! An HTTP/2 client that can say anything, and that holds the other side to every rule while it listens: windows,
//! frame sizes, states of streams, forms of heads.

use std::collections::{BTreeMap, VecDeque};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::*;
use super::hpack::{Decoder, Fields};
use super::support::{Proxy, within};

/// What the other side may do now.
struct Rights {
    connection: i64,
    streams: BTreeMap<u32, i64>,
    initial: i64,
    frame: usize,
    /// Said and not yet acknowledged.
    said: VecDeque<Vec<(u16, u32)>>,
}

/// What we may send.
struct Room {
    connection: i64,
    streams: BTreeMap<u32, i64>,
    initial: i64,
}

/// A client's connection.
pub(crate) struct Http2 {
    name: String,
    pub(crate) stream: TcpStream,
    /// What was said of a frame that is not whole yet.
    saying: Vec<u8>,
    came: Vec<u8>,
    is_closed: bool,
    /// How often that was said.
    farewells: u8,
    /// Answers to our pings so far.
    pub(crate) pongs: usize,
    decoder: Decoder,
    rights: Rights,
    room: Room,
    /// A head that goes on: its stream, its flags, what came of it.
    begun: Option<(u32, u8, Vec<u8>)>,
    answers: BTreeMap<u32, Answer>,
    /// What the other side has set.
    pub(crate) settings: BTreeMap<u16, u32>,
    /// Whether what came makes room for more.
    pub(crate) takes: bool,
}

impl Http2 {
    /// A connection on which nothing was said.
    pub(crate) async fn silent(proxy: &Proxy, name: &str) -> Self {
        let stream = proxy.connect().await;
        stream.set_nodelay(true).unwrap();
        Self {
            name: name.to_owned(),
            stream,
            saying: Vec::new(),
            came: Vec::new(),
            is_closed: false,
            farewells: 0,
            pongs: 0,
            decoder: Decoder::default(),
            rights: Rights {
                connection: FIRST_WINDOW,
                streams: BTreeMap::new(),
                initial: FIRST_WINDOW,
                frame: 16_384,
                said: VecDeque::new(),
            },
            room: Room {
                connection: FIRST_WINDOW,
                streams: BTreeMap::new(),
                initial: FIRST_WINDOW,
            },
            begun: None,
            answers: BTreeMap::new(),
            settings: BTreeMap::new(),
            takes: true,
        }
    }

    /// Has said hello, with these settings, and knows the other's.
    pub(crate) async fn with(proxy: &Proxy, name: &str, values: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(proxy, name).await;
        client.send(PREFACE).await;
        client.send(&settings(values)).await;
        let hello = client.event().await;
        assert_eq!(hello, Event::Settings, "{name}: no preface");
        client.awaits(Event::Acknowledged).await;
        client
    }

    /// The same without any.
    pub(crate) async fn hello(proxy: &Proxy, name: &str) -> Self {
        Self::with(proxy, name, &[]).await
    }

    /// Writes all of it, and takes in what comes meanwhile. A connection that was closed is no error: it will be
    /// seen.
    pub(crate) async fn send(&mut self, words: &[u8]) {
        self.note(words);
        let (mut reads, mut writes) = self.stream.split();
        let mut writing = std::pin::pin!(writes.write_all(words));
        let sent = async {
            loop {
                tokio::select! {
                    biased;
                    _ = &mut writing => return,
                    read = reads.read_buf(&mut self.came), if !self.is_closed => {
                        if !matches!(read, Ok(1..)) {
                            self.is_closed = true;
                            return;
                        }
                    }
                }
            }
        };
        within(&format!("{}: to be heard", self.name), sent).await;
    }

    /// What we said changes what the other side may do.
    fn note(&mut self, words: &[u8]) {
        self.saying.extend_from_slice(words);
        if self.saying.starts_with(PREFACE) {
            self.saying.drain(..PREFACE.len());
        }
        let said = std::mem::take(&mut self.saying);
        let mut rest = said.as_slice();
        if PREFACE.starts_with(rest) {
            rest = &[];
            self.saying = said.clone();
        }
        while let Some((kind, flags, stream, payload, after)) = split(rest) {
            rest = after;
            match kind {
                WINDOW_UPDATE if payload.len() == 4 => {
                    let by = i64::from(number(payload) & WIDEST);
                    *self.window_of(stream) += by;
                }
                SETTINGS if flags & ACK == 0 && payload.len() % 6 == 0 => {
                    let each = payload.chunks(6);
                    let values: Vec<(u16, u32)> = each
                        .map(|one| (u16::from_be_bytes([one[0], one[1]]), number(&one[2..])))
                        .collect();
                    self.apply(&values, true);
                    self.rights.said.push_back(values);
                }
                DATA => {
                    let length = payload.len() as i64;
                    self.room.connection -= length;
                    *self.room_on(stream) -= length;
                }
                _ => {}
            }
        }
        self.saying.extend_from_slice(rest);
    }

    /// What gives more holds from when it is said, what gives less from when it is acknowledged.
    fn apply(&mut self, values: &[(u16, u32)], is_said: bool) {
        for &(id, value) in values {
            match id {
                INITIAL_WINDOW_SIZE => {
                    let by = i64::from(value) - self.rights.initial;
                    if (by > 0) == is_said {
                        self.rights.initial += by;
                        self.rights.streams.values_mut().for_each(|one| *one += by);
                    }
                }
                MAX_FRAME_SIZE if (value as usize > self.rights.frame) == is_said => {
                    self.rights.frame = value as usize;
                }
                HEADER_TABLE_SIZE if !is_said => self.decoder.set_limit(value as usize),
                _ => {}
            }
        }
    }

    fn window_of(&mut self, stream: u32) -> &mut i64 {
        let Rights {
            connection,
            streams,
            initial,
            ..
        } = &mut self.rights;
        match stream {
            0 => connection,
            _ => streams.entry(stream).or_insert(*initial),
        }
    }

    fn room_on(&mut self, stream: u32) -> &mut i64 {
        let initial = self.room.initial;
        self.room.streams.entry(stream).or_insert(initial)
    }

    /// How much may be sent on this stream now.
    pub(crate) fn room(&mut self, stream: u32) -> usize {
        let room = (*self.room_on(stream)).min(self.room.connection);
        room.max(0) as usize
    }

    /// How much may be sent on all streams together.
    pub(crate) fn connection_room(&self) -> usize {
        self.room.connection.max(0) as usize
    }

    /// Waits until so much may be sent; false when the stream or the connection is over.
    pub(crate) async fn has_room(&mut self, stream: u32, bytes: usize) -> bool {
        while self.room(stream) < bytes {
            match self.event().await {
                Event::Closed => return false,
                Event::Reset(of, _) if of == stream => return false,
                _ => {}
            }
        }
        true
    }

    /// What comes next. Settings and pings are answered.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            if let Some((kind, flags, stream, payload, after)) = split(&self.came) {
                let (payload, left) = (payload.to_vec(), after.len());
                self.came.drain(..self.came.len() - left);
                if let Some(event) = self.take(kind, flags, stream, payload).await {
                    return event;
                }
                continue;
            }
            if self.is_closed {
                self.farewells += 1;
                assert!(self.farewells < 9, "{}: waits for the dead", self.name);
                return Event::Closed;
            }
            let reading = self.stream.read_buf(&mut self.came);
            let read = within(&format!("{}: anything", self.name), reading).await;
            self.is_closed = !matches!(read, Ok(1..));
        }
    }

    async fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: Vec<u8>) -> Option<Event> {
        let name = self.name.clone();
        let length = payload.len();
        assert!(length <= self.rights.frame, "{name}: a frame of {length}");
        let goes_on = self.begun.as_ref().map(|begun| begun.0);
        assert_eq!(goes_on.is_some(), kind == CONTINUATION, "{name}: {kind}");
        match kind {
            DATA => {
                for window in [0, stream] {
                    let left = self.window_of(window);
                    *left -= length as i64;
                    let overdrawn = *left < 0 && length > 0;
                    assert!(!overdrawn, "{name}: {length} too many on {window}: {left}");
                }
                let answer = self.answers.entry(stream).or_default();
                let is_open = answer.status != 0 && !answer.is_over();
                assert!(is_open, "{name}: data on {stream}, {answer:?}");
                answer.body.extend_from_slice(&payload);
                answer.pieces.push(length);
                answer.is_whole = flags & END_STREAM != 0;
                if self.takes && length > 0 {
                    let by = length as u32;
                    self.send(&[window(0, by), window(stream, by)].concat())
                        .await;
                }
                return Some(Event::Data(stream, length));
            }
            HEADERS | CONTINUATION => {
                let whole = match self.begun.take() {
                    None => (stream, flags, payload),
                    Some((of, first, mut begun)) => {
                        assert_eq!(of, stream, "{name}");
                        begun.extend(payload);
                        (of, first | flags, begun)
                    }
                };
                if whole.1 & END_HEADERS == 0 {
                    self.begun = Some(whole);
                    return None;
                }
                let fields = self.decoder.decode(&whole.2);
                let fields = fields.unwrap_or_else(|why| panic!("{name}: {why}"));
                self.take_head(stream, fields, whole.1 & END_STREAM != 0);
                return Some(Event::Head(stream));
            }
            RST_STREAM => {
                let code = number(&payload);
                self.answers.entry(stream).or_default().reset = Some(code);
                return Some(Event::Reset(stream, code));
            }
            SETTINGS if flags & ACK == 0 => {
                assert_eq!((stream, length % 6), (0, 0), "{name}");
                for one in payload.chunks(6) {
                    let id = u16::from_be_bytes([one[0], one[1]]);
                    let value = number(&one[2..]);
                    self.settings.insert(id, value);
                    if id == INITIAL_WINDOW_SIZE {
                        let by = i64::from(value) - self.room.initial;
                        self.room.initial += by;
                        self.room.streams.values_mut().for_each(|one| *one += by);
                    }
                }
                self.send(&frame(SETTINGS, ACK, 0, &[])).await;
                return Some(Event::Settings);
            }
            SETTINGS => {
                assert_eq!((stream, length), (0, 0), "{name}");
                let said = self.rights.said.pop_front();
                let said = said.unwrap_or_else(|| panic!("{name}: acknowledged what?"));
                self.apply(&said, false);
                return Some(Event::Acknowledged);
            }
            PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload)).await,
            PING => {
                assert_eq!((stream, payload.as_slice()), (0, &ping()[9..]), "{name}");
                self.pongs += 1;
                return Some(Event::Pong);
            }
            GOAWAY => {
                assert_eq!(stream, 0, "{name}");
                return Some(Event::GoAway(number(&payload), number(&payload[4..])));
            }
            WINDOW_UPDATE => {
                let by = number(&payload);
                assert!(length == 4 && by > 0 && by <= WIDEST, "{name}: {by}");
                let room = match stream {
                    0 => &mut self.room.connection,
                    _ => self.room_on(stream),
                };
                *room += i64::from(by);
                assert!(*room <= WIDEST.into(), "{name}: room of {room} on {stream}");
                return Some(Event::Window(stream, by));
            }
            other => panic!("{name}: a frame of kind {other}"),
        }
        None
    }

    /// Heads are checked for their form (section 8.3).
    fn take_head(&mut self, stream: u32, fields: Fields, ends: bool) {
        let name = &self.name;
        let answer = self.answers.entry(stream).or_default();
        assert!(!answer.is_over(), "{name}: {fields:?} after {answer:?}");
        for (at, (field, _)) in fields.iter().enumerate() {
            let is_status = field == ":status" && at == 0 && answer.status == 0;
            let is_plain = !field.starts_with(':')
                && !field.bytes().any(|byte| byte.is_ascii_uppercase())
                && !["connection", "keep-alive", "transfer-encoding", "upgrade"]
                    .contains(&field.as_str());
            assert!(is_status || is_plain, "{name}: {fields:?}");
        }
        if answer.status != 0 {
            assert!(ends, "{name}: trailers that don't end");
            answer.trailers = Some(fields);
            answer.is_whole = true;
            return;
        }
        let status = fields.first().filter(|field| field.0 == ":status");
        let status = status.unwrap_or_else(|| panic!("{name}: {fields:?}"));
        let status = status.1.parse::<u16>().unwrap();
        if status < 200 {
            assert!(!ends, "{name}: it ends with {status}");
            answer.interim.push(fields);
        } else {
            answer.status = status;
            answer.fields = fields;
            answer.is_whole = ends;
        }
    }

    /// Everything up to this.
    pub(crate) async fn awaits(&mut self, wanted: Event) {
        loop {
            let event = self.event().await;
            if event == wanted {
                return;
            }
            assert_ne!(event, Event::Closed, "{}: no {wanted:?}", self.name);
        }
    }

    /// The connection goes on, and has nothing against what was said.
    pub(crate) async fn goes_on(&mut self) {
        self.send(&ping()).await;
        loop {
            match self.event().await {
                Event::Pong => return,
                wrong @ (Event::Reset(..) | Event::GoAway(..) | Event::Closed) => {
                    panic!("{}: {wrong:?}", self.name)
                }
                _ => {}
            }
        }
    }

    /// What has come of a response until now.
    pub(crate) fn so_far(&self, stream: u32) -> Answer {
        self.answers.get(&stream).cloned().unwrap_or_default()
    }

    /// All of a response, or of what there will be.
    pub(crate) async fn answer(&mut self, stream: u32) -> Answer {
        while !self.so_far(stream).is_over() && self.event().await != Event::Closed {}
        self.so_far(stream)
    }

    /// A response that is whole, and good.
    pub(crate) async fn served(&mut self, stream: u32) -> Answer {
        let answer = self.answer(stream).await;
        let is_good = answer.is_whole && answer.status == 200;
        assert!(is_good, "{}: {stream}: {answer:?}", self.name);
        answer
    }

    /// The connection is ended for one of these reasons (section 5.4.1); that it is closed may be all that is
    /// seen of it.
    pub(crate) async fn breaks(&mut self, codes: &[u32]) {
        loop {
            match self.event().await {
                Event::Closed => return,
                Event::GoAway(_, code) => {
                    assert!(codes.contains(&code), "{}: GOAWAY {code}", self.name);
                }
                _ => {}
            }
        }
    }

    /// The stream is ended for one of these reasons (section 5.4.2), or the connection.
    pub(crate) async fn resets(&mut self, stream: u32, codes: &[u32]) {
        loop {
            match self.event().await {
                Event::Closed => return,
                Event::GoAway(_, code) => {
                    assert!(codes.contains(&code), "{}: GOAWAY {code}", self.name);
                    return self.breaks(codes).await;
                }
                Event::Reset(of, code) => {
                    assert_eq!(of, stream, "{}: {code}", self.name);
                    assert!(codes.contains(&code), "{}: RST_STREAM {code}", self.name);
                    return self.goes_on().await;
                }
                _ => {}
            }
        }
    }

    /// The request is not served: what is answered is the client's fault, or there is an error of protocol.
    pub(crate) async fn refuses(&mut self, stream: u32) {
        let answer = self.answer(stream).await;
        let is_refused = match answer.reset {
            Some(code) => code == PROTOCOL_ERROR || (400..500).contains(&answer.status),
            None => self.is_closed || (400..500).contains(&answer.status),
        };
        assert!(is_refused, "{}: {answer:?}", self.name);
    }
}

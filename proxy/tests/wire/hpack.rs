//! Header compression by hand (RFC 7541): an encoder that says whatever a test wants said, and a decoder that
//! believes nothing. Written from the RFC, apart from the proxy's own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

/// The fields of a message, in their order.
pub(crate) type Fields = Vec<(String, String)>;

/// Appendix A; the first has the index 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// How many bits each byte's code has, and at last the end's (Appendix B). The code is canonical: the lengths
/// say all.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The code of the end, which no text may contain.
const END: usize = 256;

/// Each symbol's code, and the symbols by length and code.
struct Huffman {
    codes: [u32; 257],
    symbols: BTreeMap<(u8, u32), usize>,
}

static HUFFMAN: LazyLock<Huffman> = LazyLock::new(|| {
    let mut order: Vec<usize> = (0..LENGTHS.len()).collect();
    order.sort_by_key(|&symbol| (LENGTHS[symbol], symbol));
    let (mut codes, mut symbols) = ([0; 257], BTreeMap::new());
    let (mut next, mut length) = (0_u32, LENGTHS[order[0]]);
    for symbol in order {
        next <<= LENGTHS[symbol] - length;
        length = LENGTHS[symbol];
        codes[symbol] = next;
        symbols.insert((length, next), symbol);
        next += 1;
    }
    Huffman { codes, symbols }
});

/// An integer behind a prefix of so many bits (section 5.1).
pub(crate) fn integer(first: u8, bits: u8, value: usize) -> Vec<u8> {
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

/// A text as it is (section 5.2).
pub(crate) fn string(text: &str) -> Vec<u8> {
    [&integer(0, 7, text.len()), text.as_bytes()].concat()
}

/// A text that is compressed.
pub(crate) fn compressed(text: &str) -> Vec<u8> {
    let bytes = squeeze(text.as_bytes());
    [integer(0x80, 7, bytes.len()), bytes].concat()
}

/// The bits of a text, filled up with ones.
pub(crate) fn squeeze(text: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for &byte in text {
        let (code, length) = (HUFFMAN.codes[byte as usize], LENGTHS[byte as usize]);
        bits.extend((0..length).rev().map(|at| code >> at & 1 == 1));
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    bits.chunks(8)
        .map(|eight| eight.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit)))
        .collect()
}

/// How a literal field is treated by tables (section 6.2).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Treat {
    /// It goes into the table.
    Keep,
    /// It doesn't.
    Forget,
    /// It never may, at nobody's.
    Never,
}

impl Treat {
    const fn prefix(self) -> (u8, u8) {
        match self {
            Self::Keep => (0x40, 6),
            Self::Forget => (0, 4),
            Self::Never => (0x10, 4),
        }
    }
}

/// A field in its own words.
pub(crate) fn literal(treat: Treat, name: &str, value: &str) -> Vec<u8> {
    [vec![treat.prefix().0], string(name), string(value)].concat()
}

/// A field whose name is in a table.
pub(crate) fn named(treat: Treat, index: usize, value: &str) -> Vec<u8> {
    let (first, bits) = treat.prefix();
    [integer(first, bits, index), string(value)].concat()
}

/// A field that is in a table.
pub(crate) fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// The dynamic table's new size.
pub(crate) fn resize(size: usize) -> Vec<u8> {
    integer(0x20, 5, size)
}

/// Fields in their own words, and no table touched.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let each = fields.iter();
    each.flat_map(|(name, value)| literal(Treat::Forget, name, value))
        .collect()
}

/// What one side remembers of the other's fields.
pub(crate) struct Decoder {
    entries: VecDeque<(String, String)>,
    size: usize,
    /// What it is now.
    max: usize,
    /// What it may be.
    limit: usize,
    /// The least that it might be since the last block.
    least: Option<usize>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max: 4096,
            limit: 4096,
            least: None,
        }
    }
}

impl Decoder {
    /// SETTINGS_HEADER_TABLE_SIZE, as we said it.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.least = Some(self.least.map_or(limit, |least| least.min(limit)));
    }

    /// The fields of a whole block, or what is wrong with it.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Result<Fields, String> {
        let mut rest = block;
        let mut fields = Vec::new();
        // A table that had to be smaller in between is said to be (section 4.2).
        let mut due = self.least.take().filter(|&least| least < self.max);
        while let Some(&first) = rest.first() {
            let is_size = first >> 5 == 1;
            if let Some(least) = due.filter(|_| !is_size) {
                return Err(format!("the table was to be {least} at most"));
            }
            if first & 0x80 != 0 {
                let index = take_integer(&mut rest, 7)?;
                fields.push(self.entry(index)?);
            } else if is_size {
                let size = take_integer(&mut rest, 5)?;
                if !fields.is_empty() || size > self.limit {
                    return Err(format!("a size of {size} after {} fields", fields.len()));
                }
                due = due.filter(|&least| size > least);
                self.max = size;
                self.make_room(0);
            } else {
                let keeps = first & 0x40 != 0;
                let name = match take_integer(&mut rest, if keeps { 6 } else { 4 })? {
                    0 => take_string(&mut rest)?,
                    index => self.entry(index)?.0,
                };
                let field = (name, take_string(&mut rest)?);
                if keeps {
                    self.keep(field.clone());
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn entry(&self, index: usize) -> Result<(String, String), String> {
        if let Some((name, value)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        let at = index.checked_sub(STATIC.len() + 1);
        let entry = at.and_then(|at| self.entries.get(at));
        entry.cloned().ok_or(format!("no entry {index}"))
    }

    fn keep(&mut self, field: (String, String)) {
        let size = field.0.len() + field.1.len() + 32;
        self.make_room(size);
        if size <= self.max {
            self.size += size;
            self.entries.push_front(field);
        }
    }

    fn make_room(&mut self, size: usize) {
        while self.size + size > self.max
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.size -= name.len() + value.len() + 32;
        }
    }
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8], String> {
    let (now, later) = rest.split_at_checked(count).ok_or("it breaks off")?;
    *rest = later;
    Ok(now)
}

fn take_integer(rest: &mut &[u8], bits: u8) -> Result<usize, String> {
    let most = (1_usize << bits) - 1;
    let mut value = take(rest, 1)?[0] as usize & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = take(rest, 1)?[0];
        value += (byte as usize & 127) << shift;
        if byte & 128 == 0 {
            return Ok(value);
        }
    }
    Err("a number without end".to_owned())
}

fn take_string(rest: &mut &[u8]) -> Result<String, String> {
    let first = rest.first().ok_or("no text")?;
    let is_compressed = first & 0x80 != 0;
    let length = take_integer(rest, 7)?;
    let bytes = take(rest, length)?;
    let bytes = if is_compressed {
        expand(bytes)?
    } else {
        bytes.to_vec()
    };
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// What was squeezed.
fn expand(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (mut text, mut code, mut length) = (Vec::new(), 0, 0);
    for at in 0..bytes.len() * 8 {
        code = code << 1 | u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
        length += 1;
        match HUFFMAN.symbols.get(&(length, code)) {
            Some(&END) => return Err("the end in a text".to_owned()),
            Some(&symbol) => {
                text.push(symbol as u8);
                (code, length) = (0, 0);
            }
            None => {}
        }
    }
    if length > 7 || code != (1 << length) - 1 {
        return Err("not filled up with ones".to_owned());
    }
    Ok(text)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The RFC's own examples: responses with Huffman codes, and a table of 256 bytes that overflows (C.6).
#[test]
fn the_examples_are_understood() {
    let mut decoder = Decoder {
        max: 256,
        ..Decoder::default()
    };
    let date = |second| ("date", format!("Mon, 21 Oct 2013 20:13:{second} GMT"));
    let location = ("location", "https://www.example.com".to_owned());
    let private = ("cache-control", "private".to_owned());
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1".to_owned();
    let examples = [
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d
             29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            vec![(":status", "302".to_owned()), private.clone(), date(21), location.clone()],
        ),
        (
            "4883 640e ffc1 c0bf",
            vec![(":status", "307".to_owned()), private.clone(), date(21), location.clone()],
        ),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d
             d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106
             3d50 07",
            vec![
                (":status", "200".to_owned()),
                private,
                date(22),
                location,
                ("content-encoding", "gzip".to_owned()),
                ("set-cookie", cookie),
            ],
        ),
    ];
    for (block, fields) in examples {
        let decoded = decoder.decode(&unhex(block)).unwrap();
        let decoded: Vec<_> = decoded
            .iter()
            .map(|(n, v)| (n.as_str(), v.clone()))
            .collect();
        assert_eq!(decoded, fields);
    }
    assert_eq!(decoder.size, 215);
    assert_eq!(
        compressed("www.example.com"),
        unhex("8c f1e3 c2e5 f23a 6ba0 ab90 f4ff")
    );
    assert_eq!(integer(0, 5, 1337), [31, 154, 10]);
    assert!(expand(&[0xff]).is_err());
    assert!(expand(&[0xff; 4]).is_err());
    assert!(expand(&[0b0001_1000]).is_err());
}

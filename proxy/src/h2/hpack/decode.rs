//! Reads blocks of fields.
//!
//! A block must be read to its end whatever it holds, because the next one builds on its table: what HTTP refuses is
//! marked and handed on like everything else, and only what is no HPACK at all is an error, which ends the connection.

use super::huffman;
use super::table::{Field, Name, Table};

/// What the peer's table may take up: what both ends assume unless one says otherwise, and we don't.
const TABLE_SIZE: usize = 4096;

/// The block is no HPACK: nothing after it could be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Reads the blocks of one connection.
pub(crate) struct Decoder {
    table: Table,
    /// For strings that are Huffman-coded.
    scratch: Vec<u8>,
}

impl Decoder {
    /// Of a new connection.
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new(TABLE_SIZE),
            scratch: Vec::new(),
        }
    }

    /// Reads a whole block and hands each field on.
    ///
    /// # Errors
    /// When it is no HPACK (RFC 7541): a decoding error, COMPRESSION_ERROR.
    pub(crate) fn read(&mut self, block: &[u8], mut see: impl FnMut(Field)) -> Result<(), Broken> {
        let mut input = block;
        let mut may_resize = true;
        while let Some(&first) = input.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut input, 7)?;
                see(self.table.field(index).ok_or(Broken)?);
            } else if first & 0x40 != 0 {
                let field = self.literal(&mut input, 6)?;
                self.table.add(field.clone());
                see(field);
            } else if first & 0x20 != 0 {
                let size = integer(&mut input, 5)?;
                if !may_resize || size > TABLE_SIZE {
                    return Err(Broken);
                }
                self.table.resize(size);
                continue;
            } else {
                see(self.literal(&mut input, 4)?);
            }
            may_resize = false;
        }
        Ok(())
    }

    /// A field that is written out, its name perhaps by index.
    fn literal(&mut self, input: &mut &[u8], prefix: u32) -> Result<Field, Broken> {
        let (name, length) = match integer(input, prefix)? {
            0 => self.string(input, |text| (Name::read(text), text.len()))?,
            index => self.table.name(index).ok_or(Broken)?,
        };
        self.string(input, |text| Field::new(name, length, text))
    }

    fn string<T>(&mut self, input: &mut &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<T, Broken> {
        let is_coded = *input.first().ok_or(Broken)? & 0x80 != 0;
        let length = integer(input, 7)?;
        let (text, rest) = input.split_at_checked(length).ok_or(Broken)?;
        *input = rest;
        if !is_coded {
            return Ok(read(text));
        }
        self.scratch.clear();
        huffman::decode(text, &mut self.scratch).ok_or(Broken)?;
        Ok(read(&self.scratch))
    }
}

/// An integer whose first byte has a prefix of so many bits (RFC 7541, section 5.1).
fn integer(input: &mut &[u8], prefix: u32) -> Result<usize, Broken> {
    let (&first, mut rest) = input.split_first().ok_or(Broken)?;
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & most;
    if value == most {
        // Four more bytes are enough for any size or index that makes sense.
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(Broken)?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return Err(Broken);
            }
        }
    }
    *input = rest;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::super::table::Value;
    use super::*;

    /// What a field says.
    fn text(field: &Field) -> String {
        let name = match &field.name {
            Name::Authority => ":authority",
            Name::Method => ":method",
            Name::Path => ":path",
            Name::Scheme => ":scheme",
            Name::OtherPseudo => ":other",
            Name::Field(name) => name.as_str(),
            Name::Bad => "bad",
        };
        let value = match &field.value {
            Value::Pseudo(value) => String::from_utf8_lossy(value),
            Value::Field(value) => String::from_utf8_lossy(value.as_bytes()),
            Value::Bad => "bad".into(),
        };
        format!("{name}: {value}")
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        let pairs = (0..digits.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    fn read(decoder: &mut Decoder, hex: &str) -> Result<Vec<String>, Broken> {
        let mut fields = Vec::new();
        decoder.read(&bytes(hex), |field| fields.push(text(&field)))?;
        Ok(fields)
    }

    /// RFC 7541, appendix C.3 and C.4: the same three requests, without and with Huffman's code.
    #[test]
    fn the_standards_requests() {
        let plain = [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ];
        let coded = [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::new();
            assert_eq!(
                read(&mut decoder, blocks[0]).unwrap(),
                [
                    ":method: GET",
                    ":scheme: http",
                    ":path: /",
                    ":authority: www.example.com"
                ]
            );
            assert_eq!(
                read(&mut decoder, blocks[1]).unwrap()[3..],
                [":authority: www.example.com", "cache-control: no-cache"]
            );
            assert_eq!(
                read(&mut decoder, blocks[2]).unwrap(),
                [
                    ":method: GET",
                    ":scheme: https",
                    ":path: /index.html",
                    ":authority: www.example.com",
                    "custom-key: custom-value"
                ]
            );
        }
    }

    #[test]
    fn what_is_no_hpack_is_an_error() {
        for bad in [
            "80",           // index 0
            "be",           // an index that stands for nothing
            "ff",           // an integer without an end
            "ffffffffffff", // … and one that is too long
            "40",           // no name
            "400161",       // no value
            "40016105",     // a value that is cut off
            "8220",         // a table's size behind a field
            "3fe21f",       // a table larger than allowed
        ] {
            assert_eq!(read(&mut Decoder::new(), bad), Err(Broken), "{bad}");
        }
        assert_eq!(
            read(&mut Decoder::new(), "3fe11f82"),
            Ok(vec![":method: GET".into()])
        );
        assert_eq!(read(&mut Decoder::new(), "203f0082").unwrap().len(), 1);
    }

    #[test]
    fn what_http_refuses_is_marked_and_the_table_goes_on() {
        let mut decoder = Decoder::new();
        // "X: a" is remembered; then both by index; then a good field with the bad one's value.
        let first = read(&mut decoder, "40015801 61").unwrap();
        assert_eq!(first, ["bad: bad"]);
        assert_eq!(read(&mut decoder, "be").unwrap(), ["bad: bad"]);
        assert_eq!(
            read(&mut decoder, "4001790161 bf").unwrap(),
            ["y: a", "bad: bad"]
        );
    }
}

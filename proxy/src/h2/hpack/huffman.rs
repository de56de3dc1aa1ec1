//! The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: its lengths say it all, and the table that decodes half a byte at a time is made of them
//! when the program is compiled.

/// Bits of each symbol's code; the last is the end's, which is never sent.
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

/// The code is a tree with as many inner nodes as it has symbols, less one.
const NODES: usize = 256;
/// What ends no symbol.
const NOTHING: u16 = u16::MAX;
/// What can't be.
const NOWHERE: u16 = u16::MAX;

/// What half a byte does at a node.
#[derive(Clone, Copy)]
struct Step {
    /// The node after it; [`NOWHERE`] when the end's own code was met.
    next: u16,
    /// The symbol that it completes, or [`NOTHING`]: no code is shorter than five bits.
    symbol: u16,
}

static STEPS: [[Step; 16]; NODES] = steps();

/// Whether a string may end at this node: fewer than eight bits of the end's code were read, which are all ones.
static MAY_END: [bool; NODES] = may_end();

/// Where the children of a node are: inner nodes as they are, symbols above [`NODES`].
#[expect(
    clippy::indexing_slicing,
    reason = "computed when compiled: what is out of bounds does not compile"
)]
const fn tree() -> [[u16; 2]; NODES] {
    let mut children = [[NOWHERE; 2]; NODES];
    let (mut nodes, mut code, mut length) = (1_u16, 0_u32, 5_u8);
    while length <= 30 {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] == length {
                let (mut node, mut bit) = (0, length);
                while bit > 1 {
                    bit -= 1;
                    let side = ((code >> bit) & 1) as usize;
                    if children[node][side] == NOWHERE {
                        children[node][side] = nodes;
                        nodes += 1;
                    }
                    node = children[node][side] as usize;
                }
                children[node][(code & 1) as usize] = (NODES + symbol) as u16;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    children
}

#[expect(
    clippy::indexing_slicing,
    reason = "computed when compiled: what is out of bounds does not compile"
)]
const fn steps() -> [[Step; 16]; NODES] {
    let children = tree();
    let mut steps = [[Step {
        next: NOWHERE,
        symbol: NOTHING,
    }; 16]; NODES];
    let mut node = 0;
    while node < NODES {
        let mut nibble = 0;
        while nibble < 16 {
            let (mut at, mut symbol, mut bit) = (node as u16, NOTHING, 4);
            while bit > 0 && at != NOWHERE {
                bit -= 1;
                let child = children[at as usize][(nibble >> bit) & 1];
                if child as usize == NODES + 256 {
                    at = NOWHERE;
                } else if child as usize >= NODES {
                    symbol = child - NODES as u16;
                    at = 0;
                } else {
                    at = child;
                }
            }
            steps[node][nibble] = Step { next: at, symbol };
            nibble += 1;
        }
        node += 1;
    }
    steps
}

#[expect(
    clippy::indexing_slicing,
    reason = "computed when compiled: what is out of bounds does not compile"
)]
const fn may_end() -> [bool; NODES] {
    let children = tree();
    let mut may = [false; NODES];
    let (mut node, mut bits) = (0, 0);
    while bits < 8 {
        may[node] = true;
        node = children[node][1] as usize;
        bits += 1;
    }
    may
}

/// Appends what `coded` stands for; `None` when it is no whole string.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut node = 0;
    for &byte in coded {
        for nibble in [byte >> 4, byte & 15] {
            let step = STEPS.get(node)?.get(usize::from(nibble))?;
            if let Ok(symbol) = u8::try_from(step.symbol) {
                out.push(symbol);
            }
            node = usize::from(step.next);
        }
    }
    MAY_END.get(node).copied()?.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        decode(coded, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    /// RFC 7541, appendix C.
    #[test]
    fn the_standards_examples() {
        let www = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&www).as_deref(), Some("www.example.com"));
        let no_cache = [0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        assert_eq!(decoded(&no_cache).as_deref(), Some("no-cache"));
        assert_eq!(decoded(&[0x64, 0x02]).as_deref(), Some("302"));
        let cookie = [
            0x94, 0xe7, 0x82, 0x1d, 0xd7, 0xf2, 0xe6, 0xc7, 0xb3, 0x35, 0xdf, 0xdf, 0xcd, 0x5b,
            0x39, 0x60, 0xd5, 0xaf, 0x27, 0x08, 0x7f, 0x36, 0x72, 0xc1, 0xab, 0x27, 0x0f, 0xb5,
            0x29, 0x1f, 0x95, 0x87, 0x31, 0x60, 0x65, 0xc0, 0x03, 0xed, 0x4e, 0xe5, 0xb1, 0x06,
            0x3d, 0x50, 0x07,
        ];
        let expected = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        assert_eq!(decoded(&cookie).as_deref(), Some(expected));
        assert_eq!(decoded(&[]).as_deref(), Some(""));
    }

    #[test]
    fn strings_that_do_not_end_well_are_none() {
        // Eight ones of padding, zeros as padding, the end's own code.
        for bad in [
            &[0x64, 0x02, 0xff][..],
            &[0xff],
            &[0x00],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
        ] {
            assert_eq!(decoded(bad), None, "{bad:x?}");
        }
    }

    /// Every symbol, written with the code that its length implies.
    #[test]
    fn every_symbol_comes_back() {
        let mut order: Vec<usize> = (0..257).collect();
        order.sort_by_key(|&symbol| LENGTHS[symbol]);
        let (mut code, mut length) = (0_u64, LENGTHS[order[0]]);
        for symbol in order {
            code <<= LENGTHS[symbol] - length;
            length = LENGTHS[symbol];
            if symbol < 256 {
                let padding = (8 - length % 8) % 8;
                let bits = (code << padding) | ((1 << padding) - 1);
                let bytes = usize::from((length + padding) / 8);
                let coded = &bits.to_be_bytes()[8 - bytes..];
                let mut out = Vec::new();
                assert_eq!(decode(coded, &mut out), Some(()));
                assert_eq!(out, [symbol as u8]);
            }
            code += 1;
        }
    }
}

//! Whatever the file holds, the answer is a configuration or a list of findings, never a panic.

use proptest::prelude::*;

const SAMPLE: &str = include_str!("samples/contract.yaml");

/// Pieces that YAML and the schema know, in any order.
const PIECES: [&str; 32] = [
    "listen",
    "routes",
    ": ",
    "\n",
    "  ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "5%",
    "10s",
    "1.10",
    "true",
    "null",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "|",
    ">",
    "#",
    "---",
    "...",
    "weight",
    "backends",
    "http://h:1",
    "\t",
    "é",
    "\0",
];

fn survives(text: &str) {
    match serin_config::parse(text, "serin.yaml") {
        Ok(config) => drop(serin_config::effective(&config).to_string()),
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                assert!(error.line >= 1 && error.column >= 1, "{error}");
            }
            drop(errors.to_string());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serin.yaml");
        std::fs::write(&path, bytes).unwrap();
        drop(serin_config::load(&path));
    }

    #[test]
    fn any_text(text: String) {
        survives(&text);
    }

    #[test]
    fn any_order_of_pieces(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..60)) {
        survives(&pieces.concat());
    }

    /// A good file with stretches cut out, doubled or overwritten.
    #[test]
    fn a_mutilated_file(edits in proptest::collection::vec((0..SAMPLE.len(), 0..40_usize, 0..=PIECES.len()), 1..6)) {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        for (start, length, piece) in edits {
            let start = start.min(bytes.len());
            let end = (start + length).min(bytes.len());
            let doubled = || bytes[start..end].repeat(2);
            let instead = PIECES.get(piece).map_or_else(doubled, |piece| piece.as_bytes().to_vec());
            bytes.splice(start..end, instead);
        }
        survives(&String::from_utf8_lossy(&bytes));
    }
}

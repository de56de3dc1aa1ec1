//! The page in `docs/` is the reference that this schema makes.
//!
//! After a change of the schema: `SERIN_WRITE_DOCS=1 cargo test -p serin-config --test reference`.

use std::fs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
const BEGIN: &str = "<!-- from the schema -->\n";
const END: &str = "<!-- end of what is from the schema -->";

#[test]
fn the_page_is_what_the_schema_says() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("a beginning");
    let (written, after) = rest.split_once(END).expect("an end");
    let expected = format!("\n{}", serin_config::markdown_reference());
    if std::env::var_os("SERIN_WRITE_DOCS").is_some() {
        fs::write(PAGE, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    let differing = written.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        written == expected,
        "docs/configuration.md has drifted, first at {differing:?}: run\n  \
         SERIN_WRITE_DOCS=1 cargo test -p serin-config --test reference"
    );
}

/// Every key has a meaning, and every value a kind: nothing is left to guess.
#[test]
fn nothing_is_left_blank() {
    for line in serin_config::markdown_reference().lines() {
        let cells: Vec<_> = line.split(" | ").collect();
        if !line.starts_with("| `") {
            continue;
        }
        assert_eq!(cells.len(), 4, "{line}");
        let (kind, meaning) = (cells.get(1).unwrap(), cells.get(3).unwrap());
        assert!(!kind.is_empty(), "no kind of value: {line}");
        assert!(meaning.len() > 5, "no meaning: {line}");
    }
}

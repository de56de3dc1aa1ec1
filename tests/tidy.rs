//! The house rules that no compiler checks: which floor may stand on which, what the pure rooms may not
//! touch, and the form of every file.
//!
//! Every rule reads the sources as text and reports all offenders at once, so that one run shows the whole
//! repair. What the compiler can check (`unsafe`, missing docs, panics) is left to the workspace lints; here
//! it is only made sure that every crate has them on.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

/// Above this a file is asked why.
const MAX_LINES: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "helper", "helpers", "manager", "common", "misc", "stuff",
];

/// A crate of ours and what it may import of ours.
struct Floor {
    folder: &'static str,
    may_import: &'static [&'static str],
}

const CRATES: [&str; 4] = ["config", "control", "proxy", "stats"];

const FLOORS: [Floor; 4] = [
    Floor {
        folder: "config",
        may_import: &["config"],
    },
    Floor {
        folder: "control/stats",
        may_import: &["stats"],
    },
    Floor {
        folder: "proxy",
        may_import: &["proxy", "config", "stats"],
    },
    Floor {
        folder: "control/src",
        may_import: &["control", "config", "stats"],
    },
];

/// What a pure room may not name: clocks, the outside world, chance, and maps whose order is chance.
const IMPURE: [&str; 13] = [
    "SystemTime",
    "Instant",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "tokio",
    "getrandom",
    "fastrand",
    "rand::",
    "HashMap",
    "HashSet",
];

#[test]
fn floors_import_downwards_only() {
    let mut offenders = Vec::new();
    for floor in &FLOORS {
        let forbidden = CRATES
            .iter()
            .filter(|name| !floor.may_import.contains(name));
        for name in forbidden {
            let import = format!("serin_{name}");
            for file in sources(floor.folder) {
                if names(&code(&file), &import) {
                    offenders.push(format!("{} imports {import}", file.display()));
                }
            }
            let manifest = manifest_of(floor.folder);
            if read(&manifest).contains(&format!("serin-{name}.")) {
                offenders.push(format!("{} depends on serin-{name}", manifest.display()));
            }
        }
    }
    expect_none(
        "the wings never meet, and imports run downwards",
        &offenders,
    );
}

#[test]
fn pure_rooms_touch_nothing_outside() {
    let rooms = [
        "control/stats/src",
        "control/src/analysis",
        "control/src/rollout",
    ];
    let mut offenders = Vec::new();
    for file in rooms.iter().flat_map(|room| sources(room)) {
        let text = code(&file);
        for word in IMPURE {
            if names(&text, word) {
                offenders.push(format!("{} names {word}", file.display()));
            }
        }
    }
    expect_none(
        "the same inputs give the same decision, bit for bit",
        &offenders,
    );
}

#[test]
fn mathematics_depends_on_distributions_only() {
    let mut offenders: Vec<String> = sources("control/stats/src")
        .iter()
        .filter(|file| names(&code(file), "serde"))
        .map(|file| format!("{} names serde", file.display()))
        .collect();
    let manifest = read(&root().join("control/stats/Cargo.toml"));
    let allowed = ["statrs", "thiserror"];
    for dependency in section(&manifest, "[dependencies]") {
        let name = dependency.split(['.', ' ', '=']).next().unwrap_or_default();
        if !allowed.contains(&name) {
            offenders.push(format!("control/stats depends on {name}"));
        }
    }
    expect_none("control/stats is mathematics", &offenders);
}

#[test]
fn every_crate_obeys_the_workspace_lints() {
    let workspace = read(&root().join("Cargo.toml"));
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    let offenders: Vec<String> = [
        "",
        "benches",
        "benches/soak",
        "config",
        "control",
        "control/stats",
        "proxy",
    ]
    .iter()
    .map(|folder| root().join(folder).join("Cargo.toml"))
    .filter(|manifest| section(&read(manifest), "[lints]") != ["workspace = true"])
    .map(|manifest| manifest.display().to_string())
    .collect();
    expect_none("[lints] workspace = true", &offenders);
}

#[test]
fn every_module_says_what_it_is_for() {
    let offenders: Vec<String> = sources("")
        .iter()
        .filter(|file| !read(file).starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    expect_none("a file begins with its `//!` documentation", &offenders);
}

#[test]
fn files_fit_a_reader() {
    let offenders: Vec<String> = sources("")
        .iter()
        .map(|file| (file, read(file).lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    expect_none("no source file above 500 lines", &offenders);
}

#[test]
fn names_say_something() {
    let offenders: Vec<String> = sources("")
        .iter()
        .filter(|file| {
            file.strip_prefix(root())
                .unwrap()
                .with_extension("")
                .iter()
                .any(|part| EMPTY_NAMES.iter().any(|name| part == *name))
        })
        .map(|file| file.display().to_string())
        .collect();
    expect_none("a file is named after what is inside", &offenders);
}

#[test]
fn nothing_is_left_for_later_or_tied_to_one_machine() {
    // Written in two halves, so that this file obeys its own rule.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let places = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
    ];
    let mut offenders = Vec::new();
    for file in walk(
        &root(),
        &["rs", "toml", "md", "yaml", "yml", "sh", "run", ""],
    ) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            let marked = marks.iter().any(|mark| names(line, mark));
            let tied = places.iter().any(|place| begins_a_path(line, place));
            if marked || tied {
                offenders.push(format!("{}:{}: {}", file.display(), at + 1, line.trim()));
            }
        }
    }
    expect_none("no notes to self, no paths of one machine", &offenders);
}

/// Codecs with the fixes for the known attacks on HTTP/2 (`tests/blackbox/abuse`): never older ones again.
#[test]
fn codecs_are_locked_at_versions_with_the_known_fixes() {
    let lock = read(&root().join("Cargo.lock"));
    let number = |text: &str| -> Vec<u32> {
        let parts = text.split('.');
        parts.map(|part| part.parse().unwrap()).collect()
    };
    let mut offenders = Vec::new();
    for (name, oldest) in [
        ("h2", "0.4.20"),
        ("hyper", "1.12.0"),
        ("httparse", "1.10.1"),
    ] {
        let head = format!("name = \"{name}\"\nversion = \"");
        let found = lock
            .split(&head)
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let found = found.unwrap_or_else(|| panic!("no {name} in Cargo.lock"));
        if number(found) < number(oldest) {
            offenders.push(format!("{name} {found} is older than {oldest}"));
        }
    }
    expect_none("no codec older than what was tested", &offenders);
}

#[track_caller]
fn expect_none(rule: &str, offenders: &[String]) {
    assert!(
        offenders.is_empty(),
        "{rule}; but:\n  {}",
        offenders.join("\n  ")
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest_of(folder: &str) -> PathBuf {
    root()
        .join(folder.trim_end_matches("/src"))
        .join("Cargo.toml")
}

/// The lines of one section of a manifest, without blanks and comments.
fn section<'a>(manifest: &'a str, heading: &str) -> Vec<&'a str> {
    manifest
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .collect()
}

/// Every Rust file below a folder of the repository (all of it for `""`); never none.
fn sources(folder: &str) -> Vec<PathBuf> {
    let found = walk(&root().join(folder), &["rs"]);
    assert!(!found.is_empty(), "no Rust file below {folder:?}");
    found
}

fn walk(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Not ours: what is built, and `.git` (a folder, or a file in a linked work tree).
        if ["target", "serin-state", ".git", ".venv"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            if !path.is_symlink() {
                found.extend(walk(&path, extensions));
            }
        } else {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if extensions.contains(&&*extension) && name != "Cargo.lock" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A file without its comments (no string of ours holds `//` before code that matters here).
fn code(file: &Path) -> String {
    read(file)
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether the text holds this as a whole word.
fn names(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(inside) && (word.ends_with(':') || !after.is_some_and(inside))
    })
}

/// Whether an absolute path begins with this somewhere in the line.
fn begins_a_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || "._-}~".contains(c))
    })
}

#[test]
fn the_rules_can_see() {
    assert!(names("use serin_proxy::x;", "serin_proxy"));
    assert!(!names("use my_serin_proxy::x;", "serin_proxy"));
    assert!(names("let t = Instant::now();", "Instant"));
    assert!(!names("Instantaneous", "Instant"));
    assert!(begins_a_path("cd /tmp/x", "/tmp/"));
    assert!(!begins_a_path("./tmp/x", "/tmp/"));
}

//! Secrets in files of their own: the admin token and the salt of assignment. Other named files are read the
//! same way.
//!
//! Relative paths are taken from the configuration file's folder, so that the two can be mounted together. A
//! line ending at the end is dropped, because editors and `echo` add one. Content never reaches a message.

use std::path::Path;

use crate::load::{content_hash, read_bounded};
use crate::model::Secret;
use crate::walk::At;

/// The longest secret.
const LONGEST: usize = 64 << 10;

/// The content of a file that the configuration names; it is watched from then on.
pub(crate) fn content(at: &At<'_>, expected: &str) -> Option<Vec<u8>> {
    let path = Path::new(at.text("a file's path")?);
    let report = at.report();
    let path = report.folder.join(path);
    let content = read_bounded(&path);
    let read = (path, content_hash(&content));
    report.files.borrow_mut().push(read);
    let unreadable = |error| {
        let found = format!("{}, which cannot be read ({error})", at.described());
        at.refuse(&found, expected);
    };
    content.map_err(unreadable).ok()
}

/// A secret of any bytes.
pub(crate) fn secret(at: &At<'_>) -> Option<Secret> {
    const EXPECTED: &str = "a file with a secret that can be read";
    let content = content(at, EXPECTED)?;
    let refuse = |found: &str| at.refuse(found, EXPECTED);
    let line = content.strip_suffix(b"\n").unwrap_or(&content);
    let secret = line.strip_suffix(b"\r").unwrap_or(line);
    if secret.is_empty() || secret.len() > LONGEST {
        let what = if secret.is_empty() {
            "empty"
        } else {
            "larger than 64KiB"
        };
        refuse(&format!("{}, which is {what}", at.described()));
        return None;
    }
    Some(Secret(secret.to_owned()))
}

/// A secret that can stand in an `Authorization` header.
pub(crate) fn token(at: &At<'_>) -> Option<Secret> {
    let secret = secret(at)?;
    if !secret.0.iter().all(u8::is_ascii_graphic) {
        at.refuse(
            &format!(
                "{}, which holds more than one word of plain ASCII",
                at.described()
            ),
            "a file with one token that fits into an HTTP header",
        );
        return None;
    }
    Some(secret)
}

//! Where the routing key is looked for: who keeps seeing the same arm.

use super::matcher::{HEADER_NAME, header_name, is_token};
use crate::model::KeySource;
use crate::walk::{At, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &["header", "cookie", "query", "json_pointer"],
    later: &[],
};

/// Most places to look for a key.
const MOST_SOURCES: usize = 16;

/// The header that is read when nothing else is configured.
pub(crate) const DEFAULT_HEADER: &str = "x-serin-routing-key";

pub(crate) fn default() -> Vec<KeySource> {
    vec![KeySource::Header(DEFAULT_HEADER.to_owned())]
}

/// One source, or a list that is tried in order.
pub(crate) fn sources(at: &At<'_>) -> Vec<KeySource> {
    if at.is_list() {
        let items = at.items("at least one source", MOST_SOURCES);
        return items.iter().filter_map(source).collect();
    }
    source(at).into_iter().collect()
}

fn source(at: &At<'_>) -> Option<KeySource> {
    let fields = at.fields(KEYS)?;
    let [(kind, at)] = fields.entries.as_slice() else {
        let found = if fields.entries.is_empty() {
            "no source"
        } else {
            "several sources at once"
        };
        at.refuse_with(
            found,
            "one of `header`, `cookie`, `query` and `json_pointer`",
            Some("a list of them is tried in order".to_owned()),
        );
        return None;
    };
    match *kind {
        "header" => header(at),
        "cookie" => cookie(at),
        "query" => {
            let name = at.text("a query parameter's name")?;
            Some(KeySource::Query(name.to_owned()))
        }
        _ => json_pointer(at),
    }
}

fn header(at: &At<'_>) -> Option<KeySource> {
    let Some(name) = header_name(at.text(HEADER_NAME)?) else {
        at.unexpected(HEADER_NAME);
        return None;
    };
    if name.starts_with("x-serin-") && name != DEFAULT_HEADER {
        at.refuse(
            &at.described(),
            "a header of your own: x-serin-* are Serin's",
        );
        return None;
    }
    Some(KeySource::Header(name))
}

fn cookie(at: &At<'_>) -> Option<KeySource> {
    let name = at.text("a cookie's name such as \"session\"")?;
    if !is_token(name) {
        at.unexpected("a cookie's name such as \"session\"");
        return None;
    }
    Some(KeySource::Cookie(name.to_owned()))
}

/// RFC 6901; the whole document (the empty pointer) is no key.
fn json_pointer(at: &At<'_>) -> Option<KeySource> {
    let expected = "a JSON pointer such as \"/user/id\"";
    let pointer = at.text(expected)?;
    let mut escapes = pointer.split('~').skip(1);
    if !pointer.starts_with('/') || !escapes.all(|after| after.starts_with(['0', '1'])) {
        at.unexpected(expected);
        return None;
    }
    Some(KeySource::JsonPointer(pointer.to_owned()))
}

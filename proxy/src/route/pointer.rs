//! JSON pointers (RFC 6901) into a buffered body, without building the document.
//!
//! The body is walked once; everything beside the pointer's way is skipped. What is not valid JSON to its end
//! holds nothing. Of duplicate members the last counts, as in most servers' parsers: the proxy and the model
//! server must see the same user.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A parsed pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    tokens: Box<[Box<str>]>,
}

impl Pointer {
    /// Parses a pointer; `None` unless it is empty or starts with `/`, and for an escape other than `~0`, `~1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self {
                tokens: Box::default(),
            });
        }
        let tokens = text.strip_prefix('/')?.split('/').map(unescaped);
        Some(Self {
            tokens: tokens.collect::<Option<_>>()?,
        })
    }

    /// The pointer to one member of the top-level object.
    #[must_use]
    pub fn member(name: &str) -> Self {
        Self {
            tokens: [name.into()].into(),
        }
    }

    /// The string or number it points to, as text; `None` for anything else.
    #[must_use]
    pub fn scalar(&self, json: &[u8]) -> Option<String> {
        let mut document = serde_json::Deserializer::from_slice(json);
        let found = At(&self.tokens).deserialize(&mut document).ok()?;
        document.end().ok()?;
        found
    }
}

fn unescaped(token: &str) -> Option<Box<str>> {
    let mut plain = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '~' => match characters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain.into())
}

/// The value that these tokens lead to from here.
struct At<'t>(&'t [Box<str>]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl At<'_> {
    fn here(&self, text: impl ToString) -> Option<String> {
        self.0.is_empty().then(|| text.to_string())
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.here(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.here(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.here(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(self.here(number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(on_the_way) =
            members.next_key_seed(IsName(self.0.first().map(|token| &**token)))?
        {
            match self.0.split_first() {
                Some((_, rest)) if on_the_way => found = members.next_value_seed(At(rest))?,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        if let Some((token, rest)) = self.0.split_first()
            && let Some(index) = array_index(token)
        {
            for _ in 0..index {
                if elements.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            let found = elements.next_element_seed(At(rest))?.flatten();
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(found);
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// An array index: digits without leading zeros.
fn array_index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = token.len() > 1 && token.starts_with('0');
    (digits && !leading_zero).then(|| token.parse().ok())?
}

/// Whether a member's name is the wanted one, without copying it.
struct IsName<'t>(Option<&'t str>);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(self.0.is_some_and(|wanted| wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pointer: &str, json: &str, expected: Option<&str>) {
        let found = Pointer::parse(pointer).unwrap().scalar(json.as_bytes());
        assert_eq!(found.as_deref(), expected, "{pointer} in {json}");
    }

    #[test]
    fn finds_the_examples_of_rfc_6901() {
        let document = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
            "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
        for (pointer, expected) in [
            ("", None),
            ("/foo", None),
            ("/foo/0", Some("bar")),
            ("/foo/1", Some("baz")),
            ("/foo/2", None),
            ("/foo/01", None),
            ("/foo/-", None),
            ("/foo/+1", None),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/e^f", Some("3")),
            ("/g|h", Some("4")),
            ("/i\\j", Some("5")),
            ("/k\"l", Some("6")),
            ("/ ", Some("7")),
            ("/m~0n", Some("8")),
            ("/foo/0/deeper", None),
        ] {
            check(pointer, document, expected);
        }
    }

    #[test]
    fn strings_and_numbers_are_keys_and_nothing_else_is() {
        check("/u", r#"{"u": "zo\u00eb"}"#, Some("zoë"));
        check("/u", r#"{"u": -7}"#, Some("-7"));
        check("/u", r#"{"u": 1.5}"#, Some("1.5"));
        check("", r#""whole""#, Some("whole"));
        for other in ["true", "null", "{}", "[1]"] {
            check("/u", &format!(r#"{{"u": {other}}}"#), None);
        }
    }

    #[test]
    fn the_last_of_duplicate_members_counts() {
        check("/u", r#"{"u": "first", "u": "last"}"#, Some("last"));
        check("/u/v", r#"{"u": {"v": 1}, "u": 2}"#, None);
    }

    #[test]
    fn broken_json_holds_nothing() {
        for broken in ["", "{", r#"{"u": "x""#, r#"{"u": "x"} trailing"#, "\u{0}"] {
            check("/u", broken, None);
        }
        let deep = format!(
            r#"{{"u": "x", "deep": {}1{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        check("/u", &deep, Some("x"));
    }

    #[test]
    fn refuses_what_is_no_pointer() {
        for text in ["u", "#/u", "/a~2", "/a~"] {
            assert_eq!(Pointer::parse(text), None, "{text}");
        }
    }
}

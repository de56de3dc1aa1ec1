//! A release's identity: by it a rollback is remembered.
//!
//! SHA-256 over the bundle's canonical JSON (keys sorted, no spaces, strings only), the first 16 hex digits.
//! Neither key order nor quoting style of the file matter; every key and value does. Endpoints are no part of
//! it: a server that moved is the same release.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::model::{Digest, Release};

/// Bytes of the hash that are kept.
const KEPT: usize = 8;

impl Release {
    /// A release with the digest of these fields.
    #[must_use]
    pub fn new(fields: BTreeMap<String, String>) -> Self {
        let digest = digest(&fields);
        Self { fields, digest }
    }
}

fn digest(fields: &BTreeMap<String, String>) -> Digest {
    let canonical = serde_json::Value::from_iter(fields.clone()).to_string();
    let mut hex = String::with_capacity(2 * KEPT);
    for byte in Sha256::digest(canonical).iter().take(KEPT) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Digest(hex.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(fields: &[(&str, &str)]) -> Release {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Release::new(fields.iter().map(own).collect())
    }

    /// `printf '{"model":"digits","prompt":"p7","version":"2"}' | sha256sum | head -c 16`
    #[test]
    fn golden() {
        let digits = release(&[("model", "digits"), ("version", "2"), ("prompt", "p7")]);
        assert_eq!(digits.digest.to_string(), "4a34603138a33ab0");
    }

    #[test]
    fn order_is_nothing_and_content_is_everything() {
        let one = release(&[("a", "1"), ("b", "2")]);
        assert_eq!(one, release(&[("b", "2"), ("a", "1")]));
        for other in [
            &[("a", "1")][..],
            &[("a", "2"), ("b", "1")],
            &[("a", "1"), ("b", "2"), ("c", "")],
            &[("a", "1\",\"b\":\"2")],
        ] {
            assert_ne!(one.digest, release(other).digest);
        }
    }
}

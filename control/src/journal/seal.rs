//! A checksum over a row's fields, against damage (not against forgery: that takes signatures).
//!
//! Fields are length-prefixed, so moving a byte from one to the next changes the sum.

use xxhash_rust::xxh3::Xxh3Default;

/// The checksum of a row.
pub(super) fn seal(fields: &[&[u8]]) -> i64 {
    let mut hasher = Xxh3Default::new();
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    hasher.digest().cast_signed()
}

/// Unix milliseconds or another count as SQLite stores it.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count as read back; a negative number can only be damage and reads as 0.
pub(super) fn loaded(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

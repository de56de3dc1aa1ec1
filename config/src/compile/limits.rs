//! Bounds on what clients may do, and how long stopping may take.

use std::time::Duration;

use crate::model::Limits;
use crate::units;
use crate::walk::{At, Fields, Keys};

pub(crate) const KEYS: Keys = Keys {
    known: &[
        "header_timeout",
        "body_timeout",
        "idle_timeout",
        "max_connections",
        "max_header_bytes",
        "max_uri_bytes",
        "max_body",
        "max_buffered_body",
        "drain",
    ],
    later: &[],
};

/// What holds where nothing is written.
pub(crate) const DEFAULTS: Limits = Limits {
    header_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(30),
    idle_timeout: Duration::from_secs(75),
    max_connections: 20_000,
    max_header_bytes: 32 << 10,
    max_uri_bytes: 16 << 10,
    max_body: 1 << 30,
    max_buffered_body: 1 << 20,
    drain: Duration::from_secs(30),
};

/// Largest request head, target and buffered body: memory that one client can claim.
const LARGEST_HEAD: u64 = 1 << 20;
const LARGEST_BUFFER: u64 = 1 << 30;

pub(crate) fn limits(at: Option<&At<'_>>) -> Limits {
    let Some(fields) = at.and_then(|at| at.fields(KEYS)) else {
        return DEFAULTS;
    };
    Limits {
        header_timeout: fields.or("header_timeout", DEFAULTS.header_timeout, At::duration),
        body_timeout: fields.or("body_timeout", DEFAULTS.body_timeout, At::duration),
        idle_timeout: fields.or("idle_timeout", DEFAULTS.idle_timeout, At::duration),
        max_connections: fields.or("max_connections", DEFAULTS.max_connections, |at| {
            usize::try_from(at.whole(1..=1_000_000)?).ok()
        }),
        max_header_bytes: bytes(
            &fields,
            "max_header_bytes",
            DEFAULTS.max_header_bytes,
            256,
            LARGEST_HEAD,
        ),
        max_uri_bytes: bytes(
            &fields,
            "max_uri_bytes",
            DEFAULTS.max_uri_bytes,
            64,
            LARGEST_HEAD,
        ),
        max_body: fields.or("max_body", DEFAULTS.max_body, |at| size(at, 0, u64::MAX)),
        max_buffered_body: bytes(
            &fields,
            "max_buffered_body",
            DEFAULTS.max_buffered_body,
            0,
            LARGEST_BUFFER,
        ),
        drain: fields.or("drain", DEFAULTS.drain, |at| {
            at.measured(units::parse_duration)
        }),
    }
}

fn bytes(fields: &Fields<'_>, name: &str, default: usize, least: u64, most: u64) -> usize {
    fields.or(name, default, |at| {
        usize::try_from(size(at, least, most)?).ok()
    })
}

pub(crate) fn size(at: &At<'_>, least: u64, most: u64) -> Option<u64> {
    let size = at.measured(units::parse_size)?;
    if (least..=most).contains(&size) {
        return Some(size);
    }
    let (least, most) = (units::format_size(least), units::format_size(most));
    at.unexpected(&format!("a size from {least} to {most}"));
    None
}

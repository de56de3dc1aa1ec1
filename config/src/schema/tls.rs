//! The schema of `tls`, on both sides.

use serde_json::Value;

use super::{object, text};
use crate::compile::tls;

pub(super) fn server() -> Value {
    object(
        "Encrypted: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN. Paths start from this file's folder.",
        tls::SERVER_KEYS,
        &["cert", "key"],
        [
            (
                "cert",
                text("PEM file: the certificate, then what leads to its root."),
            ),
            ("key", text("PEM file: its private key.")),
            (
                "client_ca",
                text("PEM file: who signs clients' certificates, which are required then."),
            ),
        ],
    )
}

pub(super) fn client() -> Value {
    object(
        "How https endpoints are recognised; without it by the system's roots. Verification is always on.",
        tls::CLIENT_KEYS,
        &[],
        [
            (
                "ca",
                text(
                    "PEM file: who signs the endpoints' certificates, instead of the system's roots.",
                ),
            ),
            ("cert", text("PEM file: our certificate, with `key`.")),
            ("key", text("PEM file: its private key.")),
            (
                "server_name",
                text(
                    "The name that endpoints must prove and are told (SNI), instead of their host.",
                ),
            ),
        ],
    )
}

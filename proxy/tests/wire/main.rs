//! The data plane over real sockets: clients, upstreams and the proxy between them, all on loopback.
//!
//! Nothing sleeps to let something happen: every wait is for an event, and has a deadline.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail where it stands"
)]

mod alpn;
mod authority;
mod both_paths;
mod both_paths_answers;
mod both_paths_calls;
mod both_paths_http1;
mod both_paths_http2;
mod both_paths_requests;
mod busy;
mod deadlines;
mod descriptors;
mod downgrade;
mod early_answers;
mod endpoints;
mod forwarding;
mod frames;
mod grpc_deadlines;
mod hpack;
mod http1_to_http2;
mod http2_abuse;
mod http2_answers;
mod http2_cases;
mod http2_client;
mod http2_closing;
mod http2_fields;
mod http2_framing;
mod http2_late;
mod http2_leaving;
mod http2_lies;
mod http2_refusals;
mod http2_requests;
mod http2_streams;
mod http2_strict;
mod http2_uploads;
mod http2_upstreams;
mod http2_windows;
mod leaving;
mod life;
mod max_connections;
mod outcomes;
mod retries;
mod routing;
mod shadow;
mod sins;
mod streaming;
mod strict;
mod support;
mod tls;
mod translation;
mod upgrade;

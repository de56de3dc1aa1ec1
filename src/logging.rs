//! Where the log goes: standard error, for people on a terminal and as JSON lines otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging; `RUST_LOG` overrides the level given here. A second call changes nothing.
pub(crate) fn start(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = if std::io::stderr().is_terminal() {
        builder.with_target(false).with_ansi(colours).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    // The only error is that somebody logs already.
    drop(started);
}

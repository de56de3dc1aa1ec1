//! `serin`: one binary, one entry point, three exit codes.
//!
//! Everything is decided below: [`cli`] knows the verbs, [`app`] knows how the two wings are put together.

mod app;
mod cli;
mod client;
mod descriptors;
mod logging;
mod signals;
mod telemetry;
mod term;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let end = match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => Err(cli::Failure::no(format!("cannot start: {error}"))),
    };
    if let Some(message) = end.as_ref().err().and_then(cli::Failure::message) {
        term::complain(&format!("serin: {message}"));
    }
    cli::exit_code(&end)
}

//! `serin-soak`: runs the mixed load and prints what came of it; exit code 0 when all was as it had to be.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

/// Mixed load on a real serin process: HTTP/1.1, HTTP/2, gRPC, event streams, 1 MiB bodies, aborts, upstream
/// restarts, reloads.
#[derive(Parser, Debug)]
struct Soak {
    /// How long, in minutes; fractions are allowed.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The binary under test [default: the one beside this one].
    #[arg(long)]
    serin: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Soak::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("serin-soak: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(soak: Soak) -> anyhow::Result<bool> {
    let serin = match soak.serin {
        Some(serin) => serin,
        None => std::env::current_exe()?.with_file_name("serin"),
    };
    anyhow::ensure!(
        serin.exists(),
        "{} is missing: cargo build --release -p serin, or --serin PATH",
        serin.display()
    );
    let length = Duration::try_from_secs_f64(soak.minutes * 60.0).context("--minutes")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(serin_soak::run(&serin_soak::Options {
        serin,
        length,
        talks: true,
    }))?;
    println!("{report}");
    let complaints = report.complaints();
    for complaint in &complaints {
        println!("WRONG: {complaint}");
    }
    if complaints.is_empty() {
        println!("all as it had to be");
    }
    Ok(complaints.is_empty())
}

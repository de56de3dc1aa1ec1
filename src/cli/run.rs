//! `serin run`: the proxy, its control loop and the admin API in one process, until it is told to stop.
//!
//! SIGHUP reads the configuration again. SIGTERM and SIGINT drain and end with exit code 0; a second one of
//! them ends at once, with what is in flight cut off, for the person who cannot wait.

use std::path::PathBuf;

use clap::Args;

use super::check::refused;
use super::{Answer, Failure};
use crate::app::{App, StartError};
use crate::logging;
use crate::signals::{Signals, Told};

/// Run the proxy, the control loop and the admin API until SIGTERM.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  serin run -c serin.yaml

SIGHUP reads the configuration again (so does any change of the file),
SIGTERM and Ctrl-C drain and stop, a second one stops at once.
RUST_LOG sets what is logged (default: info).")]
pub(crate) struct Run {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Run {
    pub(super) async fn run(self) -> Result<Answer, Failure> {
        logging::start("info");
        // Before anything starts: a signal that comes early must not kill half a process.
        let mut signals = Signals::listen()?;
        let app = App::start(&self.config).map_err(|error| match error {
            StartError::Config(diagnostics) => {
                refused(&self.config.display().to_string(), &diagnostics)
            }
            other => Failure::no(other.to_string()),
        })?;
        announce(&app);
        while signals.next().await == Told::Reload {
            app.reload();
        }
        tokio::select! {
            () = app.stop() => Ok(Answer::Yes),
            () = signals.stop() => Err(Failure::no("stopped at once by a second signal")),
        }
    }
}

/// The real ports, which a configuration with port 0 leaves to the system; the others say so of themselves.
fn announce(app: &App) {
    for address in app.addresses() {
        tracing::info!(listener = "proxy", %address, "listening");
    }
}

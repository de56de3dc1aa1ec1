//! One place where Serin runs: a folder with a configuration and a state, and the addresses in use.
//!
//! A site outlives its processes, so that a test can kill one and start the next on the same state.

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::admin::Admin;
use super::client::{Client, Version};
use super::ports::free_address;
use super::process::{Said, Serin, command, run};
use super::{SOON, eventually};

/// A folder, two addresses, and what to write between them.
pub(crate) struct Site {
    folder: TempDir,
    /// Where clients ask.
    pub(crate) http: SocketAddr,
    /// Where operators ask.
    pub(crate) admin: SocketAddr,
}

/// The part of a configuration that tests vary; the rest is the same everywhere.
#[derive(Clone)]
pub(crate) struct Digits {
    /// The baseline's endpoint.
    pub(crate) baseline: SocketAddr,
    /// The canary's endpoint.
    pub(crate) canary: SocketAddr,
    /// The canary's version: another one is another release.
    pub(crate) version: String,
    /// `weight: …` or `steps: …`, on one line.
    pub(crate) plan: String,
    /// The analysis' interval, and what else stands beside it.
    pub(crate) interval: &'static str,
    /// The response timeout.
    pub(crate) response: &'static str,
}

impl Digits {
    /// Version 2 against version 1, with this plan.
    pub(crate) fn new(baseline: SocketAddr, canary: SocketAddr, plan: impl Display) -> Self {
        Self {
            baseline,
            canary,
            version: "2".to_owned(),
            plan: plan.to_string(),
            interval: "1s, warmup: 0s",
            response: "10s",
        }
    }

    /// With another plan.
    pub(crate) fn plan(&self, plan: impl Display) -> Self {
        Self {
            plan: plan.to_string(),
            ..self.clone()
        }
    }
}

impl Site {
    /// An empty folder and fresh addresses.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            http: free_address(),
            admin: free_address(),
        }
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("serin.yaml")
    }

    /// A file beside the configuration.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The configuration of one rollout, as text.
    pub(crate) fn text(&self, digits: &Digits) -> String {
        let (http, admin, state) = (self.http, self.admin, self.path("state"));
        let state = state.display();
        let Digits {
            baseline,
            canary,
            version,
            plan,
            interval,
            response,
        } = digits;
        format!(
            r#"listen: {http}
admin: {admin}
state: {state}
workers: 2
limits: {{drain: 10s}}
routes:
  - name: digits
    match: {{path_prefix: /v2/models/digits}}
    routing_key: {{header: x-user-id}}
    timeouts: {{connect: 1s, response: {response}}}
    backends:
      baseline:
        release: {{model: digits, version: "1"}}
        endpoints: ["http://{baseline}"]
      canary:
        release: {{model: digits, version: "{version}"}}
        endpoints: ["http://{canary}"]
    rollout:
      {plan}
      analysis: {{interval: {interval}}}
"#
        )
    }

    /// Writes the configuration file in place, as an editor does.
    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.config(), text).unwrap();
    }

    /// Writes the configuration of one rollout.
    pub(crate) fn configure(&self, digits: &Digits) {
        self.write(self.text(digits));
    }

    /// Starts a process without waiting for it.
    pub(crate) fn launch(&self) -> Serin {
        Serin::spawn(&["run", "-c", self.config().to_str().unwrap()])
    }

    /// Starts a process and waits until it is ready.
    pub(crate) async fn start(&self) -> Serin {
        let mut serin = self.launch();
        eventually("the process is ready", SOON, async || {
            assert!(serin.is_running(), "it ended: {}", serin.log());
            self.admin().is_ready().await.then_some(())
        })
        .await;
        serin
    }

    /// The admin API.
    pub(crate) fn admin(&self) -> Admin {
        Admin::new(self.admin)
    }

    /// A client of the data plane.
    pub(crate) fn client(&self, version: Version) -> Client {
        Client::new(self.http, version)
    }

    /// Runs a verb of the command line against this site's process.
    pub(crate) async fn verb(&self, arguments: &[&str]) -> Said {
        let mut command = command();
        command
            .args(arguments)
            .env("SERIN_ADMIN", format!("http://{}", self.admin));
        run(command).await
    }

    /// Runs a verb and expects its exit code.
    #[track_caller]
    pub(crate) fn verb_exits(&self, code: i32, arguments: &[&str]) -> impl Future<Output = Said> {
        let called = std::panic::Location::caller();
        let shown = arguments.join(" ");
        let said = self.verb(arguments);
        async move {
            let said = said.await;
            assert_eq!(said.code, Some(code), "{called}: serin {shown}: {said:?}");
            said
        }
    }
}

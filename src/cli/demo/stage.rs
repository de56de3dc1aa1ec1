//! Everything that is on stage: three model servers, the proxy (put together as `serin run` does it), the
//! clients, and a folder for the configuration and the journal.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use super::load::Load;
use super::model_server::{Behaviour, ModelServer};
use super::scenario::{self, BAD, FIRST, GOOD, Release};
use crate::app::App;
use crate::cli::Failure;
use crate::client::{AdminClient, AdminOptions};

/// The stage, with the first act's scenery.
pub(super) struct Stage {
    folder: TempDir,
    app: App,
    admin_url: String,
    /// To look at the rollout with, like everybody else.
    pub(super) client: AdminClient,
    /// The clients.
    pub(super) load: Load,
    /// Serves when the demonstration begins; kept, for its users.
    _first: Player,
    /// Ramps up.
    pub(super) good: Player,
    /// Is rolled back.
    pub(super) bad: Player,
}

/// A release and its server.
pub(super) struct Player {
    pub(super) version: &'static str,
    pub(super) server: ModelServer,
}

impl Player {
    async fn enter(behaviour: Behaviour, seed: u64) -> Result<Self, Failure> {
        let server = ModelServer::start(behaviour, seed)
            .await
            .map_err(|error| Failure::no(format!("cannot start a model server: {error}")))?;
        Ok(Self {
            version: behaviour.version,
            server,
        })
    }

    const fn release(&self) -> Release {
        Release {
            version: self.version,
            address: self.server.address,
        }
    }
}

impl Stage {
    /// Starts everything; the first rollout begins at once.
    pub(super) async fn build(seed: u64) -> Result<Self, Failure> {
        let first = Player::enter(FIRST, seed ^ 0x1).await?;
        let good = Player::enter(GOOD, seed ^ 0x2).await?;
        let bad = Player::enter(BAD, seed ^ 0x3).await?;
        let folder = tempfile::Builder::new()
            .prefix("serin-demo-")
            .tempdir()
            .map_err(|error| Failure::no(format!("cannot make a folder: {error}")))?;
        write_config(folder.path(), first.release(), good.release())?;
        let app = App::start(&config_path(folder.path()))
            .map_err(|error| Failure::no(error.to_string()))?;
        let proxy = app
            .addresses()
            .first()
            .copied()
            .ok_or_else(|| Failure::no("the proxy does not listen"))?;
        let admin_url = app
            .admin_address()
            .map(|address| format!("http://{address}"))
            .ok_or_else(|| Failure::no("the admin API does not listen"))?;
        let client = AdminClient::new(&AdminOptions {
            admin: admin_url.clone(),
            admin_ca: None,
            token_file: None,
        })?;
        Ok(Self {
            load: Load::start(proxy, seed),
            folder,
            app,
            admin_url,
            client,
            _first: first,
            good,
            bad,
        })
    }

    /// Rewrites the configuration file: the good release is the baseline now, the bad one the canary.
    pub(super) fn release_the_bad_one(&self) -> Result<(), Failure> {
        write_config(self.folder.path(), self.good.release(), self.bad.release())
    }

    /// Where the admin API is.
    pub(super) fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// The configuration file that is being watched.
    pub(super) fn config_path(&self) -> PathBuf {
        config_path(self.folder.path())
    }

    /// Stops the clients, drains the proxy, ends the servers and removes the folder.
    pub(super) async fn strike(self) {
        drop(self.load);
        self.app.stop().await;
    }
}

fn config_path(folder: &Path) -> PathBuf {
    folder.join("serin.yaml")
}

/// Writes beside the file and renames over it, as editors and Kubernetes do.
fn write_config(folder: &Path, baseline: Release, canary: Release) -> Result<(), Failure> {
    let text = scenario::config(&folder.join("state"), baseline, canary);
    let write = || -> std::io::Result<()> {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(config_path(folder))?;
        Ok(())
    };
    write().map_err(|error| Failure::no(format!("cannot write the configuration: {error}")))
}

//! The process under test: its folder, its configuration, its life.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::SOON;
use crate::vitals::Vitals;
use crate::wire::{Connection, Upload, Version};

/// A running process with a folder of its own; killed when dropped.
pub(crate) struct Site {
    folder: TempDir,
    process: Child,
    http: SocketAddr,
    admin: SocketAddr,
    baseline: SocketAddr,
    canary: SocketAddr,
}

impl Site {
    /// Writes a configuration, starts the process and waits until it is ready.
    pub(crate) async fn start(
        serin: &Path,
        baseline: SocketAddr,
        canary: SocketAddr,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (http, admin) = (free_address()?, free_address()?);
        let config = folder.path().join("serin.yaml");
        std::fs::write(
            &config,
            text(folder.path(), http, admin, baseline, canary, 30),
        )?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = Command::new(serin)
            .args(["run", "-c"])
            .arg(&config)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", serin.display()))?;
        let mut site = Self {
            folder,
            process,
            http,
            admin,
            baseline,
            canary,
        };
        let deadline = Instant::now() + SOON;
        while site.get("/readyz").await.is_err() {
            site.expect_alive()?;
            anyhow::ensure!(Instant::now() < deadline, "not ready: {}", site.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(site)
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// What it uses now.
    pub(crate) fn vitals(&self) -> anyhow::Result<Vitals> {
        Vitals::of(self.process.id())
    }

    pub(crate) fn expect_alive(&mut self) -> anyhow::Result<()> {
        let ended = self.process.try_wait()?;
        anyhow::ensure!(
            ended.is_none(),
            "the process ended: {ended:?}\n{}",
            self.log()
        );
        Ok(())
    }

    /// Edits the configuration in place: the canary's weight.
    pub(crate) fn set_weight(&self, percent: u32) -> anyhow::Result<()> {
        let path = self.folder.path();
        let text = text(
            path,
            self.http,
            self.admin,
            self.baseline,
            self.canary,
            percent,
        );
        // As a careful editor does: never a half-written file.
        let draft = path.join("serin.yaml.new");
        std::fs::write(&draft, text)?;
        std::fs::rename(draft, path.join("serin.yaml"))?;
        Ok(())
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) -> anyhow::Result<()> {
        self.signal(Signal::HUP)
    }

    /// Asks it to stop, and waits: whether it ended well.
    pub(crate) async fn stops(&mut self) -> anyhow::Result<bool> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.success());
            }
            anyhow::ensure!(Instant::now() < deadline, "it does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// A page of the admin API that is there.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut connection = Connection::open(self.admin, Version::Http1).await?;
        let mut request = connection.request(http::Method::GET, path, 0, Upload::none())?;
        let host = self.admin.to_string().parse()?;
        request.headers_mut().insert("host", host);
        let response = connection.send(request).await?;
        anyhow::ensure!(response.status() == 200, "{path}: {}", response.status());
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec())?)
    }

    /// One number of `/metrics`.
    pub(crate) async fn gauge(&self, name: &str) -> anyhow::Result<u64> {
        let metrics = self.get("/metrics").await?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.with_context(|| format!("no {name}"))?;
        Ok(value.trim().parse()?)
    }

    fn log(&self) -> String {
        let mut log = String::new();
        let file = std::fs::File::open(self.folder.path().join("log"));
        let read = file.and_then(|mut file| file.read_to_string(&mut log));
        match read {
            Ok(_) => log,
            Err(error) => format!("no log: {error}"),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn text(
    folder: &Path,
    http: SocketAddr,
    admin: SocketAddr,
    baseline: SocketAddr,
    canary: SocketAddr,
    percent: u32,
) -> String {
    let state = folder.join("state").display().to_string();
    let backends = |protocol: &str| {
        format!(
            r#"backends:
      baseline:
        release: {{version: "1"}}
        endpoints: ["http://{baseline}"]
        protocol: {protocol}
      canary:
        release: {{version: "2"}}
        endpoints: ["http://{canary}"]
        protocol: {protocol}
    rollout:
      weight: {percent}%
      on_breach: warn
      guardrails:
        - error_rate: {{max_increase: 50pp}}"#
        )
    };
    format!(
        r#"listen: {http}
admin: {admin}
state: {state}
workers: 2
limits: {{drain: 10s}}
routes:
  - name: grpc
    match: {{path_prefix: /soak.Echo}}
    routing_key: {{header: x-user-id}}
    {}
  - name: everything-else
    match: {{path_prefix: /}}
    routing_key: {{header: x-user-id}}
    {}
"#,
        backends("http2"),
        backends("auto"),
    )
}

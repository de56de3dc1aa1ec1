//! The process under test: started, signalled, watched, and never left behind.

use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::eventually;

/// A `serin` process; killed when dropped. When the test fails its log is printed.
pub(crate) struct Serin {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Serin {
    /// Starts the binary with these arguments, its output captured.
    pub(crate) fn spawn(arguments: &[&str]) -> Self {
        let mut command = command();
        command.args(arguments);
        Self::launch(command)
    }

    /// The same, prepared for [`fill_disk`](Self::fill_disk): a write that finds no room is an error, not a
    /// deadly signal.
    pub(crate) fn spawn_on_small_disk(arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_serin"))
            .args(arguments);
        Self::launch(command)
    }

    /// The same with a socket that is listened on already, as a service manager passes it on (`sd_listen_fds(3)`).
    pub(crate) fn spawn_on_socket(arguments: &[&str], socket: OwnedFd) -> Self {
        // The shell's process becomes the proxy's: the number stays.
        let pass_on = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", pass_on])
            .arg(env!("CARGO_BIN_EXE_serin"))
            .args(arguments);
        Self::launch_with(command, socket.into())
    }

    /// Starts a prepared command, its output captured.
    pub(crate) fn launch(command: Command) -> Self {
        Self::launch_with(command, Stdio::null())
    }

    fn launch_with(mut command: Command, input: Stdio) -> Self {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        follow(child.stdout.take().unwrap(), &log);
        follow(child.stderr.take().unwrap(), &log);
        Self { child, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// From now on it cannot write a byte to any file.
    pub(crate) fn fill_disk(&self) {
        self.limit_files(Some(0));
    }

    /// From now on it can write again.
    pub(crate) fn free_disk(&self) {
        self.limit_files(None);
    }

    /// What it uses at this moment.
    pub(crate) fn vitals(&self) -> Vitals {
        Vitals::of(self.child.id())
    }

    /// The names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
            .map(|name| name.trim_end().to_owned())
            .collect()
    }

    fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Asks it to stop, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends it without a chance to tidy up (`kill -9`).
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self, limit: Duration) -> ExitStatus {
        eventually("the process ends", limit, async || {
            self.child.try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Serin {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of the process ---\n{}---", self.log());
        }
    }
}

/// What a process uses of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// Processor time since its start.
    pub(crate) processor: Duration,
    /// Open file descriptors.
    pub(crate) descriptors: usize,
}

impl Vitals {
    fn of(process: u32) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).unwrap();
        let (statm, stat) = (read("statm"), read("stat"));
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        // The name, in brackets, may hold anything.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Self {
            memory: pages * rustix::param::page_size() as u64,
            processor: Duration::from_millis(
                ticks * 1000 / rustix::param::clock_ticks_per_second(),
            ),
            descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))
                .unwrap()
                .count(),
        }
    }
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// Runs a command to its end, beside the test's own tasks.
pub(crate) async fn run(mut command: Command) -> Said {
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output())
        .await
        .unwrap()
        .expect("the binary starts");
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The binary under test, in an environment that the tester's own settings don't reach.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command
        .env_remove("SERIN_ADMIN")
        .env_remove("SERIN_TOKEN_FILE")
        .env_remove("RUST_LOG");
    command
}

fn follow(stream: impl Read + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            log.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}

//! What a bad shadow costs those who are answered by somebody else: nothing that can be told from noise.
//!
//! `cargo bench --bench shadow` sends a steady stream of requests through a proxy that copies every one of them
//! to a shadow that is well, dead, slow, endless or flooding, and without a shadow before and after, in one run.
//! For each it prints the originals' latency, counted from the moment that each was due, and the most memory
//! that the proxy's process held. Proxy and shadow are processes of their own, so that neither their memory nor
//! their runtime is anybody else's. It asserts nothing: numbers on a busy machine are for people to read.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot go on should stop where it stands"
)]

mod load;
mod servers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serin_proxy::{Clock, DataPlane};
use serin_stats::metrics::Page;

/// Without a shadow at both ends: their difference is the noise.
const SCENARIOS: [&str; 7] = [
    "none", "well", "dead", "slow", "endless", "flooding", "none",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["proxy", baseline, shadow] => proxy(baseline, shadow),
        ["shadow", kind] => servers::shadow(kind),
        _ => compare(),
    }
}

fn compare() {
    println!(
        "{} requests/s of {} KiB over {} connections, {} s each, every one copied; one worker",
        load::RATE,
        load::BODY / 1024,
        load::CONNECTIONS,
        load::SECONDS
    );
    println!("shadow     requests  failed     p50      p99    p99.9   peak RSS   copies");
    for kind in SCENARIOS {
        let baseline = servers::baseline();
        let shadow = (kind != "none").then(|| Process::start(&["shadow", kind]));
        let to = shadow.as_ref().map_or("-", |shadow| &shadow.said);
        let proxy = Process::start(&["proxy", &baseline.to_string(), to]);
        let result = load::run(proxy.said.parse().unwrap());
        let memory = proxy.peak_kib() as f64 / 1024.0;
        println!(
            "{kind:<9} {:>9} {:>7} {:>5.2}ms {:>6.2}ms {:>6.2}ms {memory:>6.1}MiB   {}",
            result.requests,
            result.failed,
            result.quantile(0.5),
            result.quantile(0.99),
            result.quantile(0.999),
            proxy.finish()
        );
    }
}

/// A process of this program, and its first line.
struct Process {
    child: Child,
    said: String,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        child.stdout = Some(output.into_inner());
        Self {
            child,
            said: said.trim().to_owned(),
        }
    }

    /// The most memory it ever held, as the system counts it.
    fn peak_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// Ends it; what it says last.
    fn finish(mut self) -> String {
        drop(self.child.stdin.take());
        let mut last = String::new();
        let mut output = self.child.stdout.take().unwrap();
        output.read_to_string(&mut last).unwrap();
        last.trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A proxy with one worker, until its input ends; then says what became of the copies.
fn proxy(baseline: &str, shadow: &str) {
    let shadow = match shadow {
        "-" => String::new(),
        shadow => format!(
            "\n      shadow: {{endpoints: [\"http://{shadow}\"]}}\n    mirror: {{percent: 100%}}"
        ),
    };
    let text = format!(
        "listen: 127.0.0.1:0
workers: 1
routes:
  - name: main
    backends:
      baseline: {{endpoints: [\"http://{baseline}\"]}}{shadow}
"
    );
    let config = serin_config::parse(&text, "bench.yaml").unwrap_or_else(|e| panic!("{e}"));
    let config = Arc::new(config);
    let plane = DataPlane::start(&config, Arc::default(), Clock::start()).unwrap();
    plane.install(&config, &Default::default());
    let address: SocketAddr = *plane.addresses().first().unwrap();
    println!("{address}");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let mut page = Page::default();
    plane.metrics(&mut page);
    let page = page.to_text();
    let results = page.lines().filter_map(|line| {
        let (labels, count) = line.strip_prefix("serin_shadow_total{")?.split_once("} ")?;
        let result = labels.split("result=").nth(1)?.trim_matches('"');
        (count != "0").then(|| format!("{result} {count}"))
    });
    println!("{}", results.collect::<Vec<_>>().join(", "));
}

"""The workloads: each drives one proxy for some seconds and returns its figures."""

import json
import os
import re
import resource
import subprocess
import time

from .processes import TICK, Process, core_times, free_port, pin, say
from .proxies import HERE, Proxy, cargo, need

WORKLOADS = ["sat", "lat", "h2c", "tls", "sse", "big", "mem"]
FAILURES = (RuntimeError, subprocess.TimeoutExpired, AttributeError, OSError)
DIFFERENCES = ("p50_us", "p99_us", "p999_us", "ttfb_p50_us", "ttfb_p99_us", "event_p50_us", "event_p99_us")


class Bench:
    """Tools, backends and certificates, and the measurements that need them."""

    def __init__(self, options):
        self.options = options
        self.folder = os.path.join(options.work, f"run-{os.getpid()}")
        os.makedirs(self.folder, exist_ok=True)
        self.backends = []

    def prepare(self):
        options = self.options
        self.wrk = need("wrk", "wrk", options.install)
        self.h2load = need("h2load", "nghttp2-client", options.install)
        self.load = cargo("tools", "bench-load", options.work)
        backend = cargo("tools", "bench-backend", options.work)
        if not (self.wrk and self.load and backend):
            raise RuntimeError("wrk and the tools project are needed")
        self.cert, self.key, self.pem = (os.path.join(self.folder, f) for f in ("cert.pem", "key.pem", "both.pem"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "30", "-subj", "/CN=bench.local", "-addext", "subjectAltName=DNS:bench.local,IP:127.0.0.1",
             "-keyout", self.key, "-out", self.cert],
            check=True, stderr=subprocess.DEVNULL)
        with open(self.pem, "w") as both:
            both.write(open(self.cert).read() + open(self.key).read())
        self.body = os.path.join(self.folder, "body.json")
        with open(self.body, "w") as f:
            numbers = ",".join(f"0.{i * 7919 % 1000000:06d}" for i in range(110))
            f.write('{"model":"m","instances":[' + numbers + "]}")
        self.ports = (free_port(), free_port())
        for name, port in zip(("baseline", "canary"), self.ports):
            command = [backend, "--listen", f"127.0.0.1:{port}", "--name", name]
            self.backends.append(Process(command, options.load_core, os.path.join(self.folder, "backend-" + name)))
        time.sleep(0.3)

    def close(self):
        for backend in self.backends:
            backend.stop()

    # --- driving ---

    def pinned(self, command, timeout):
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                             preexec_fn=pin(self.options.load_core))
        if run.returncode:
            raise RuntimeError(f"{os.path.basename(command[0])}: {(run.stderr or run.stdout).strip()[-300:]}")
        return run.stdout

    def load_cpu(self):
        """CPU seconds so far of the backends, and of the load generators that have ended."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime + sum(sum(b.cpu()) for b in self.backends)

    def measured(self, proxy, run):
        """(what `run` returned, CPU seconds of the proxy, CPU columns)."""
        options = self.options
        cpu = lambda: proxy.process.cpu() if proxy else (0, 0)
        cpu0, load0, began = cpu(), self.load_cpu(), time.monotonic()
        proxy0, core0 = core_times(options.proxy_core), core_times(options.load_core)
        value = run()
        wall = time.monotonic() - began
        proxy1, core1 = core_times(options.proxy_core), core_times(options.load_core)
        cpu1, load1 = cpu(), self.load_cpu()
        if proxy and not proxy.process.alive():
            raise RuntimeError(f"{proxy.name} died; see {proxy.process.log}")
        user, system = cpu1[0] - cpu0[0], cpu1[1] - cpu0[1]
        used = user + system
        busy = 100 * (proxy1[0] - proxy0[0]) / max(1, proxy1[1] - proxy0[1])
        load_busy = 100 * (core1[0] - core0[0]) / max(1, core1[1] - core0[1])
        return value, used, {
            "cpu_pct": 100 * used / wall,
            "user_pct": 100 * user / used if used else 0,
            "load_busy_pct": load_busy,
            "foreign_pct": max(0, busy - 100 * used / wall, load_busy - 100 * (load1 - load0) / wall),
        }

    def run_wrk(self, url, seconds=None):
        seconds = seconds or self.options.secs
        out = self.pinned([self.wrk, "-t1", f"-c{self.options.conns}", f"-d{seconds}s", "--latency", "-s",
                           os.path.join(HERE, "wrk", "post.lua"), url], seconds + 30)
        count, took = re.search(r"(\d+) requests in ([\d.]+)(?=s)", out).groups()
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
        return {
            "count": int(count),
            "rps": int(count) / float(took),
            "p99_us": float(p99.group(1)) * {"us": 1, "ms": 1e3, "s": 1e6}[p99.group(2)] if p99 else 0,
            "failed": (int(bad.group(1)) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0),
        }

    def run_load(self, mode, port, **options):
        command = [self.load, mode, "--addr", f"127.0.0.1:{port}", "--secs", str(self.options.secs)]
        for name, value in options.items():
            command += ["--" + name, str(value)]
        return json.loads(self.pinned(command, self.options.secs + 30))

    # --- workloads: the figures of one measurement; without a proxy the same, direct to the backend ---

    def sat(self, proxy, scheme="http"):
        port = self.ports[0] if proxy is None else proxy.tls_port if scheme == "https" else proxy.port
        ran, cpu, figures = self.measured(proxy, lambda: self.run_wrk(f"{scheme}://127.0.0.1:{port}/v1/predict"))
        figures.update(rps=ran["rps"], p99_us=ran["p99_us"], failed=ran["failed"])
        if proxy:
            figures["req_per_cpu_s"] = ran["count"] / max(cpu, 1 / TICK)
        return figures

    def tls(self, proxy):
        return self.sat(proxy, "https") if proxy and proxy.has_tls else None

    def lat(self, proxy):
        port = proxy.port if proxy else self.ports[0]
        options = self.options
        ran, cpu, figures = self.measured(
            proxy, lambda: self.run_load("rate", port, rps=options.rps, conns=options.conns))
        figures.update(p50_us=ran["p50_us"], p99_us=ran["p99_us"], p999_us=ran["p999_us"],
                       failed=ran["non_200"] + ran["errors"], canary_pct=100 * ran["canary_share"])
        if proxy:
            # The generator's first half second is driven, but not counted.
            driven = ran["ok"] * (options.secs + 0.5) / options.secs
            figures["cpu_us_per_req"] = cpu * 1e6 / max(1, driven)
        return figures

    def h2c(self, proxy):
        if proxy is None or proxy.has_h2c is False or not self.h2load:
            return None
        url = f"http://127.0.0.1:{proxy.h2c_port}/v1/predict"
        base = [self.h2load, "-t1", "-d", self.body, "-H", "x-user-id: user-001", "-H", "content-type: application/json"]
        if proxy.has_h2c is None:
            try:
                out = self.pinned([*base, "-c1", "-m1", "-n1", url], 10)
                proxy.has_h2c = "1 succeeded" in out and "1 2xx" in out
            except (RuntimeError, subprocess.TimeoutExpired):
                proxy.has_h2c = False
            if not proxy.has_h2c:
                return None
        seconds = self.options.secs
        out, cpu, figures = self.measured(
            proxy, lambda: self.pinned([*base, "-c16", "-m8", f"-D{seconds}", url], seconds + 30))
        done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
        good = re.search(r"status codes: (\d+) 2xx", out)
        count = int(good.group(1)) if good else 0
        figures.update(rps=count / seconds, req_per_cpu_s=count / max(cpu, 1 / TICK),
                       failed=int(done.group(3)) + int(done.group(4)) if done else 0)
        return figures

    def sse(self, proxy):
        port = proxy.port if proxy else self.ports[0]
        ran, cpu, figures = self.measured(proxy, lambda: self.run_load("sse", port, conns=50))
        figures.update(streams=ran["ok"], failed=ran["non_200"] + ran["errors"])
        figures.update({k: ran[k] for k in ("ttfb_p50_us", "ttfb_p99_us", "event_p50_us", "event_p99_us")})
        if proxy:
            driven = ran["events"] * (self.options.secs + 0.5) / self.options.secs
            figures["cpu_us_per_event"] = cpu * 1e6 / max(1, driven)
        return figures

    def big(self, proxy):
        port = proxy.port if proxy else self.ports[0]
        ran, cpu, figures = self.measured(proxy, lambda: self.run_load("closed", port, conns=8, body=1 << 20))
        megabytes, seconds = ran["ok"] * (1 << 20) / 1e6, self.options.secs
        figures.update(mb_s=megabytes / seconds, failed=ran["non_200"] + ran["errors"])
        if proxy:
            figures["mb_per_cpu_s"] = megabytes * (seconds + 0.5) / seconds / max(cpu, 1 / TICK)
        return figures

    def mem(self, proxy):
        if proxy is None:
            return None
        fresh = Proxy(proxy.name, proxy.command, proxy.config)
        fresh.start(self)
        try:
            time.sleep(1)
            idle = fresh.process.memory()
            self.run_wrk(f"http://127.0.0.1:{fresh.port}/v1/predict", 3)
            time.sleep(0.5)
            loaded = fresh.process.memory()
            hold = Process([self.load, "idle", "--addr", f"127.0.0.1:{fresh.port}", "--conns", "1000"],
                           self.options.load_core, os.path.join(self.folder, "idle.log"),
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                ready = hold.process.stdout.readline().strip() == b"ready"
                time.sleep(0.5)
                held = fresh.process.memory()
            finally:
                hold.process.stdin.close()
                hold.stop()
            return {
                "idle_rss_mb": idle[0] / 1e6,
                "loaded_rss_mb": loaded[0] / 1e6,
                "conns_rss_mb": held[0] / 1e6,
                "conns_pss_mb": held[1] / 1e6,
                "kb_per_conn": (held[1] - loaded[1]) / 1e3 / 1000,
                "failed": 0 if ready else 1,
            }
        finally:
            fresh.stop()

    # --- rounds ---

    def rounds(self, proxies, lock):
        """Every workload visits every proxy once in each round, in an order that rotates."""
        results = {}
        for number in range(self.options.rounds):
            turn = number % len(proxies)
            order = proxies[turn:] + proxies[:turn]
            for workload in self.options.workloads:
                direct = None
                for proxy in ([None] if workload != "mem" else []) + order:
                    with lock:
                        figures = self.undisturbed(workload, proxy)
                    if figures is None:
                        continue
                    if proxy is None:
                        direct = figures
                    elif direct:
                        for name in DIFFERENCES:
                            if name in figures and name in direct:
                                figures["added_" + name] = figures[name] - direct[name]
                    name = proxy.name if proxy else "direct"
                    results.setdefault(workload, {}).setdefault(name, []).append(figures)
                    say(f"  round {number + 1} {workload:4} {name}")
        return results

    def undisturbed(self, workload, proxy):
        """One measurement, repeated while others take too much of either core; the best of them."""
        options, best = self.options, None
        for _ in range(options.tries):
            try:
                figures = getattr(self, workload)(proxy)
            except FAILURES as error:
                say(f"  {workload} {proxy.name if proxy else 'direct'}: {error}")
                if proxy and workload != "mem" and not proxy.process.alive():
                    proxy.start(self)
                return best
            if figures is None:
                return None
            if best is None or figures.get("foreign_pct", 0) < best["foreign_pct"]:
                best = figures
            if best.get("foreign_pct", 0) <= options.max_foreign:
                break
        return best

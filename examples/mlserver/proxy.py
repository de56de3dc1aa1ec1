"""The `serin` binary: its configuration, its process, its verbs and its status."""

import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

import processes

ROLLOUT = "digits"
#: For a start, in seconds.
PATIENCE = 30.0

#: Times are scaled from minutes to seconds, and margins are wider than the defaults: to prove within half a minute that
#: nothing is worse, the evidence of some hundred requests has to be enough.
CONFIG = """\
listen: 127.0.0.1:{listen}
admin: 127.0.0.1:{admin}
state: {state}
routes:
  - name: digits
    match: {{path_prefix: /v2/models/digits}}
    routing_key: {{header: x-user-id}}
    backends:
      baseline:
        release: {{model: digits, version: "1"}}
        endpoints: ["{baseline}"]
      canary:
        release: {{model: digits, version: "2"}}
        endpoints: ["{canary}"]
    rollout:
      steps:
{steps}
      guardrails:
        - error_rate: {{max_increase: 2pp}}
        - latency_p95: {{max_increase: 100ms}}
      analysis: {{interval: 1s, warmup: 1s}}
"""

Status = dict[str, Any]


class Refused(Exception):
    """`serin check` does not accept the configuration; the text is what it said."""


class Serin:
    """One proxy in its own folder, on its own ports."""

    def __init__(self, binary: Path, folder: Path, baseline: str, canary: str, steps: Sequence[str]) -> None:
        listen, admin = processes.free_ports(2)
        self.binary = binary
        self.url = f"http://127.0.0.1:{listen}"
        self.admin = f"http://127.0.0.1:{admin}"
        self.folder = folder
        self.config = folder / "serin.yaml"
        self.process: subprocess.Popen[bytes] | None = None
        self.config.write_text(
            CONFIG.format(
                listen=listen,
                admin=admin,
                state=json.dumps(str(folder / "state")),
                baseline=baseline,
                canary=canary,
                steps="\n".join(f"        - {{{step}}}" for step in steps),
            )
        )

    def check(self) -> None:
        """Raises `Refused` unless `serin check` accepts the configuration."""
        checked = subprocess.run(
            [self.binary, "check", "-c", self.config], capture_output=True, text=True, timeout=30, check=False
        )
        if checked.returncode != 0:
            raise Refused((checked.stdout + checked.stderr).strip())

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Starts the proxy and waits until it is ready."""
        log = self.folder / "serin.log"
        self.process = processes.start([self.binary, "run", "-c", self.config], log, os.environ)
        async with asyncio.timeout(PATIENCE):
            while not await self._is_ready(http):
                if self.process.poll() is not None:
                    raise RuntimeError(f"serin ended before it was ready: see {log}")
                await asyncio.sleep(0.05)

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.admin}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def status(self, http: aiohttp.ClientSession) -> Status:
        async with http.get(f"{self.admin}/api/v1/rollouts/{ROLLOUT}") as answer:
            answer.raise_for_status()
            return await answer.json()

    async def tell(self, verb: str, reason: str) -> None:
        """What an operator types."""
        command = [self.binary, verb, ROLLOUT, "--admin", self.admin, "--reason", reason]
        told = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=30, check=False
        )
        if told.returncode != 0:
            raise RuntimeError(f"serin {verb}: exit {told.returncode}: {told.stderr.strip()}")

    async def stop(self) -> int:
        """SIGTERM, as any supervisor sends it; the exit code (0 for one that never ran)."""
        return 0 if self.process is None else await processes.stop(self.process)

"""One MLServer process with one digits model."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp

import processes

MODEL = "digits"
#: For a start, in seconds: two or three on an idle machine.
PATIENCE = 90.0
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Release:
    """What is served: a trained model under a version, by a runtime."""

    version: str
    trained: str
    #: Milliseconds that an answer takes; None: as fast as scikit-learn's own runtime.
    lasts_ms: int | None = None

    def model_settings(self) -> dict[str, object]:
        parameters: dict[str, object] = {"uri": "./model.joblib", "version": self.version}
        if self.lasts_ms is None:
            return {"name": MODEL, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
        parameters["extra"] = {"lasts_ms": self.lasts_ms}
        return {"name": MODEL, "implementation": "slow_runtime.SlowSKLearnModel", "parameters": parameters}


class ModelServer:
    """A server in its own folder, on its own ports; it may be killed and started again there."""

    def __init__(self, folder: Path, release: Release, trained: Path) -> None:
        self.folder = folder
        self.http_port, self.grpc_port, self.metrics_port = processes.free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None
        for name in ("environments", "metrics"):
            (folder / name).mkdir(parents=True)
        shutil.copy(trained / f"{release.trained}.joblib", folder / "model.joblib")
        settings = {
            "host": "127.0.0.1",
            "http_port": self.http_port,
            "grpc_port": self.grpc_port,
            "metrics_port": self.metrics_port,
            "environments_dir": str(folder / "environments"),
            "metrics_dir": str(folder / "metrics"),
            # One process: inference in worker processes would outnumber this machine's cores.
            "parallel_workers": 0,
            "debug": False,
        }
        (folder / "settings.json").write_text(json.dumps(settings, indent=1))
        (folder / "model-settings.json").write_text(json.dumps(release.model_settings(), indent=1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Starts the server and waits until its model is ready."""
        mlserver = Path(sys.executable).with_name("mlserver")
        # One thread for linear algebra: the pictures are small and the cores few.
        env = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        log = self.folder / "server.log"
        self.process = processes.start([mlserver, "start", self.folder], log, env)
        async with asyncio.timeout(PATIENCE):
            while not await self._is_ready(http):
                if self.process.poll() is not None:
                    raise RuntimeError(f"MLServer ended before it was ready: see {log}")
                await asyncio.sleep(0.1)

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.url}/v2/models/{MODEL}/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def kill(self) -> None:
        """kill -9: no goodbye to anybody."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    async def answered(self, http: aiohttp.ClientSession) -> int:
        """Inferences that succeeded, as the server itself counts them."""
        async with http.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text = await answer.text()
        counts = re.findall(r"^model_infer_request_success_total\{.*\} ([0-9.e+]+)$", text, re.MULTILINE)
        return int(sum(map(float, counts)))

    async def stop(self) -> None:
        if self.process is not None:
            await processes.stop(self.process)

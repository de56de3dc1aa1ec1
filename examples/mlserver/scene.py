"""What a scenario is played with: two model servers, the proxy in front of them, and clients.

A scenario says what it waits for by name and with a deadline; whoever is late, or whatever breaks what was promised,
ends it with `Unexpected`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from load import Load, Seen
from model_server import ModelServer, Release
from proxy import Serin, Status

#: Between two looks at a status, in seconds.
PAUSE = 0.1


class Unexpected(Exception):
    """Something else happened than the scenario expects."""


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unexpected(otherwise)


@dataclass(frozen=True)
class Theatre:
    """What all scenarios share."""

    serin: Path
    folder: Path
    trained: Path


class Scene:
    """Everything under way, and what was seen."""

    def __init__(self, http: aiohttp.ClientSession, proxy: Serin, servers: Sequence[ModelServer], load: Load) -> None:
        self.http = http
        self.proxy = proxy
        self.baseline, self.canary = servers
        self.load = load

    @property
    def seen(self) -> Seen:
        return self.load.seen

    async def status(self) -> Status:
        self.load.check_running()
        return await self.proxy.status(self.http)

    async def until(self, what: str, holds: Callable[[Status], bool], within: float) -> Status:
        """The first status for which this holds."""
        late = time.monotonic() + within
        while True:
            status = await self.status()
            if holds(status):
                return status
            if time.monotonic() > late:
                raise Unexpected(f"not {what} within {within:.0f} s: {_summary(status)}")
            await asyncio.sleep(PAUSE)

    async def throughout(self, what: str, holds: Callable[[Status], bool], seconds: float) -> Status:
        """The last status of a time during which this held."""
        end = time.monotonic() + seconds
        while True:
            status = await self.status()
            expect(holds(status), f"not {what}: {_summary(status)}")
            if time.monotonic() > end:
                return status
            await asyncio.sleep(PAUSE)


def _summary(status: Status) -> str:
    step = status["step"] or {}
    return f"{status['phase']} at step {step.get('index')}, {status['reason']}"


@contextlib.asynccontextmanager
async def scene(
    theatre: Theatre, name: str, baseline: Release, canary: Release, steps: Sequence[str], malformed: bool = False
) -> AsyncIterator[Scene]:
    """Starts servers, proxy and load, in this order, and ends them whatever happens."""
    folder = theatre.folder / name
    folder.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        servers = []
        for arm, release in (("baseline", baseline), ("canary", canary)):
            servers.append(ModelServer(folder / arm, release, theatre.trained))
            stack.push_async_callback(servers[-1].stop)
        await asyncio.gather(*(server.start(http) for server in servers))
        proxy = Serin(theatre.serin, folder, servers[0].url, servers[1].url, steps)
        proxy.check()
        stack.push_async_callback(proxy.stop)
        await proxy.start(http)
        load = Load(proxy.url, theatre.trained / "test.json", seed=11, malformed=malformed)
        stack.push_async_callback(load.stop)
        load.start()
        yield Scene(http, proxy, servers, load)
        # What is under way is answered before the proxy goes, and the proxy goes in peace.
        await load.stop()
        code = await proxy.stop()
        expect(code == 0, f"serin ended with exit code {code}: see {folder / 'serin.log'}")

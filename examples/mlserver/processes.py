"""Child processes that never outlive us, and ports for them."""

import asyncio
import ctypes
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Below the range from which the system takes ports for outgoing connections, so that nobody takes one of these while
#: its server is being restarted.
PORTS = range(20_000, 30_000)
#: How long a process may take to end when it is asked to.
PATIENCE = 10.0

_GIVEN: set[int] = set()
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, each given away once."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if port in _GIVEN:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        _GIVEN.add(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def _end_with_parent() -> None:
    """Between fork and exec: even if we are killed with -9, the kernel ends the child."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a process whose output goes to the end of a file. Not in our terminal's group: Ctrl-C is for us."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


async def stop(process: subprocess.Popen[bytes]) -> int:
    """Asks a process to end, and makes it end when it does not; its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()

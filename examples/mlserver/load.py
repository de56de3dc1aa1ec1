"""Clients: 300 heavy-tailed users who replay the digits' test set over the V2 inference protocol.

An open loop: requests leave when they are due (a Poisson stream), not when an earlier one was answered, so a slow
release does not hide by slowing its clients down. Connections are kept alive. Who asks what is seeded; when answers
come is up to the machine. Every answer is looked into: a prediction is one digit, by the release that the arm's header
names.
"""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

USERS = 300
#: Visits of a user: P(K) ∝ K^-1.5 on 1..MOST_VISITS; here the weight with which he comes next.
MOST_VISITS = 50
#: Requests per second.
RATE = 150.0
#: Requests under way; what is due beyond that is not sent, and counted as shed.
MOST_UNDER_WAY = 128
#: Before a client gives up, in seconds.
PATIENCE = 10.0
#: Of the clients' malformed requests, when there are any: a third of the users sends them, three times in ten.
MALFORMED_USERS, MALFORMED_RATE = 1 / 3, 0.3

#: The release's version by the arm that Serin says has answered.
VERSIONS = {"baseline": "1", "canary": "2"}
#: An answer without the header came from no arm.
NOBODY = "nobody"


@dataclass
class Seen:
    """What clients saw."""

    #: Well-formed requests that ended, by arm.
    requests: Counter[str] = field(default_factory=Counter)
    #: Of these, what was no good answer: by arm and what it was instead.
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Predictions that were the right digit, by arm.
    right: Counter[str] = field(default_factory=Counter)
    #: Malformed requests that ended, by arm and status.
    malformed: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: Users who had been with the canary and came back to baseline.
    moved_back: int = 0
    #: When the canary answered for the first time.
    canary_since: float | None = None
    shed: int = 0

    def failed(self, arm: str | None = None) -> int:
        """Failures of well-formed requests, of one arm or of all."""
        return sum(count for (of, _), count in self.failures.items() if arm in (None, of))

    def succeeded(self, arm: str) -> int:
        return self.requests[arm] - self.failed(arm)

    def accuracy(self, arm: str) -> float:
        return self.right[arm] / max(1, self.succeeded(arm))


@dataclass(frozen=True)
class Visit:
    """One request to come."""

    user: int
    image: int
    malformed: bool


class Crowd:
    """Who comes next, and with what."""

    def __init__(self, seed: int, images: int, malformed: bool) -> None:
        self.random = random.Random(seed)
        visits = range(1, MOST_VISITS + 1)
        weights = [count**-1.5 for count in visits]
        self.weights = self.random.choices(visits, weights, k=USERS)
        misled = self.random.sample(range(USERS), round(USERS * MALFORMED_USERS))
        self.misled = frozenset(misled) if malformed else frozenset()
        self.images = images

    def visit(self) -> Visit:
        user = self.random.choices(range(USERS), self.weights)[0]
        malformed = self.random.random() < MALFORMED_RATE and user in self.misled
        return Visit(user, self.random.randrange(self.images), malformed)


class Load:
    """Clients at a steady rate, from `start` to `stop`."""

    def __init__(self, url: str, test_set: Path, seed: int, malformed: bool = False) -> None:
        test = json.loads(test_set.read_text())
        self.images, self.labels = test["images"], test["labels"]
        self.crowd = Crowd(seed, len(self.images), malformed)
        self.url = f"{url}/v2/models/digits/infer"
        self.seen = Seen()
        self._pace = random.Random(seed + 1)
        self._canary_users: dict[int, float] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """No more requests; those under way are waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, *self._under_way, return_exceptions=True)

    def check_running(self) -> None:
        """Raises what ended the load, if anything did."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _send(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            try:
                due = time.monotonic()
                while True:
                    due += self._pace.expovariate(RATE)
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    visit = self.crowd.visit()
                    if len(self._under_way) >= MOST_UNDER_WAY:
                        self.seen.shed += 1
                        continue
                    task = asyncio.create_task(self._ask(http, visit))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
            finally:
                # The session must not close under the requests' feet.
                await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _ask(self, http: aiohttp.ClientSession, visit: Visit) -> None:
        image = self.images[visit.image]
        # A client that lost most of the picture on the way still says that it is whole.
        data = image[:10] if visit.malformed else image
        body = {"inputs": [{"name": "image", "shape": [1, 64], "datatype": "FP32", "data": data}]}
        began = time.monotonic()
        arm, status, answer = NOBODY, 0, b""
        try:
            headers = {"x-user-id": f"user-{visit.user:03}"}
            async with http.post(self.url, json=body, headers=headers) as response:
                arm, status = response.headers.get("x-serin-arm", NOBODY), response.status
                answer = await response.read()
            what = f"HTTP {status}" if status != 200 else self._flaw(arm, answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            what = type(error).__name__
        self._follow(visit.user, arm, began)
        if visit.malformed:
            self.seen.malformed[arm, status] += 1
            return
        self.seen.requests[arm] += 1
        if what is None:
            self.seen.right[arm] += _digit(answer) == self.labels[visit.image]
        else:
            self.seen.failures[arm, what] += 1

    def _flaw(self, arm: str, answer: bytes) -> str | None:
        """What is wrong with an answer that says it is good."""
        try:
            version = json.loads(answer)["model_version"]
            digit = _digit(answer)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return f"no prediction: {error!r}"
        if not (isinstance(digit, int) and 0 <= digit <= 9):
            return f"no digit: {digit!r}"
        if VERSIONS.get(arm) != version:
            return f"version {version} in the name of {arm}"
        return None

    def _follow(self, user: int, arm: str, began: float) -> None:
        """Whether a user who was with the canary asked again later and was sent to baseline."""
        now = time.monotonic()
        if arm == "canary":
            self.seen.canary_since = self.seen.canary_since or now
            self._canary_users.setdefault(user, now)
        elif arm == "baseline" and began > self._canary_users.get(user, began):
            self.seen.moved_back += 1
            del self._canary_users[user]


def _digit(answer: bytes) -> object:
    """The one value of the one output."""
    (output,) = json.loads(answer)["outputs"]
    (digit,) = output["data"]
    return digit

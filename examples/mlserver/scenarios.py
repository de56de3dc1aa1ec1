"""The scenarios: what is played, and what has to come of it.

Each returns one sentence on what happened, and raises `Unexpected` when it is not what it should be. Clients are the
judges wherever they can be: what they were answered, and by whom.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from load import Seen
from model_server import Release
from proxy import Status
from scene import Scene, Theatre, expect, scene

STEPS = (
    "weight: 25%, min_duration: 3s, min_samples: 700",
    "weight: 50%, min_duration: 3s",
    "weight: 100%, min_duration: 1s",
)
SHADOW = "shadow: 100%, min_samples: 300"

V1 = Release("1", "v1")
GOOD = Release("2", "v2")
BROKEN = Release("2", "v2-half")
#: Like models of another size: both behind the same runtime, one three times as long as the other.
UNHURRIED = Release("1", "v1", lasts_ms=150)
SLOW = Release("2", "v2", lasts_ms=450)

#: For a ramp to end, in seconds: about 30 on an idle machine.
RAMP = 180.0
#: For a canary that fails or is slow to be taken back.
SECONDS_FAILING, SECONDS_SLOW = 10.0, 60.0
#: Users who may see a failing canary before it is gone.
MOST_FAILURES = 60


@dataclass(frozen=True)
class Played:
    """How a scenario ended."""

    happened: str
    seen: Seen


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    play: Callable[[Theatre, str], Awaitable[Played]]


async def good(theatre: Theatre, name: str) -> Played:
    async with scene(theatre, name, V1, GOOD, STEPS) as on:
        took = await _ramps(on)
        await _serves_everybody(on)
        expect(on.seen.failed() == 0, f"clients saw {_failures(on.seen)}")
        expect(on.seen.accuracy("canary") > 0.95, f"v2 was right {on.seen.accuracy('canary'):.0%} of the time")
        return Played(f"100 % after {took:.0f} s; right digits {on.seen.accuracy('canary'):.1%}", on.seen)


async def broken(theatre: Theatre, name: str) -> Played:
    async with scene(theatre, name, V1, BROKEN, STEPS) as on:
        status, took = await _is_taken_back(on, SECONDS_FAILING)
        await _stays_away(on)
        expect(on.seen.succeeded("canary") == 0, "the broken canary gave a good answer")
        expect(0 < on.seen.failed("canary") <= MOST_FAILURES, f"clients saw {_failures(on.seen)}")
        expect(on.seen.failed() == on.seen.failed("canary"), f"clients saw {_failures(on.seen)}")
        expect(on.seen.moved_back > 0, "no user came back to baseline")
        return Played(f"{_breach(status)} {took:.1f} s after its first answer", on.seen)


async def slow(theatre: Theatre, name: str) -> Played:
    async with scene(theatre, name, UNHURRIED, SLOW, STEPS) as on:
        status, took = await _is_taken_back(on, SECONDS_SLOW)
        metric = status["breach"]["metric"]
        expect(metric == "latency_p95", f"rolled back on {metric}: {status['reason']}")
        await _stays_away(on)
        expect(on.seen.failed() == 0, f"clients saw {_failures(on.seen)}")
        p95 = {arm: status["arms"][arm]["latency_ms"]["p95"] for arm in ("baseline", "canary")}
        figures = f"P95 {p95['canary']:.0f} against {p95['baseline']:.0f} ms"
        return Played(f"{_breach(status)} {took:.0f} s after its first answer; {figures}", on.seen)


async def malformed(theatre: Theatre, name: str) -> Played:
    async with scene(theatre, name, V1, GOOD, STEPS, malformed=True) as on:
        await on.until("malformed requests on both arms", lambda _: _malformed(on.seen, "canary") >= 100, RAMP)
        await on.throughout("left alone", _is_left_alone, 15.0)
        expect(on.seen.failed() == 0, f"well-formed requests: {_failures(on.seen)}")
        statuses = {status for _, status in on.seen.malformed}
        expect(statuses == {500}, f"MLServer answered malformed tensors with {sorted(statuses)}")
        counts = " and ".join(f"{_malformed(on.seen, arm)} on {arm}" for arm in ("baseline", "canary"))
        return Played(f"no rollback; malformed, each a 500: {counts}", on.seen)


async def shadow(theatre: Theatre, name: str) -> Played:
    async with scene(theatre, name, V1, GOOD, (SHADOW, *STEPS)) as on:
        copying = await on.until("copying", lambda _: on.seen.requests["baseline"] >= 100, RAMP)
        expect(copying["step"]["index"] == 0, "the shadow step was left after 100 requests")
        expect(on.seen.requests["canary"] == 0, "a client was answered by the shadow")
        await on.until("past the shadow step", lambda status: status["step"]["index"] > 0, RAMP)
        copies = await on.canary.answered(on.http)
        expect(copies >= 250, f"MLServer answered only {copies} copies")
        took = await _ramps(on)
        await _serves_everybody(on)
        expect(on.seen.failed() == 0, f"clients saw {_failures(on.seen)}")
        return Played(f"{copies} copies answered, unseen by clients; then 100 % after {took:.0f} s", on.seen)


async def canary_killed(theatre: Theatre, name: str) -> Played:
    async with scene(theatre, name, V1, GOOD, STEPS) as on:
        await on.until("half way", lambda status: status["step"]["index"] == 1, RAMP)
        on.canary.kill()
        killed = time.monotonic()
        await on.until("rolled back", lambda status: status["phase"] == "RolledBack", SECONDS_FAILING)
        took = time.monotonic() - killed
        await on.canary.start(on.http)
        await _stays_away(on)
        failures = on.seen.failed()
        expect(failures == on.seen.failed("canary") <= MOST_FAILURES, f"clients saw {_failures(on.seen)}")
        await on.proxy.tell("retry", "the canary's server is back")
        again = await _ramps(on)
        await _serves_everybody(on)
        expect(on.seen.failed() == failures, f"after the retry clients saw {_failures(on.seen)}")
        return Played(f"rolled back in {took:.1f} s, also when it was back; retried: 100 % after {again:.0f} s", on.seen)


async def baseline_killed(theatre: Theatre, name: str) -> Played:
    async with scene(theatre, name, V1, GOOD, STEPS) as on:
        await on.until("half way", lambda status: status["step"]["index"] == 1, RAMP)
        on.baseline.kill()
        killed = time.monotonic()
        back = asyncio.create_task(on.baseline.start(on.http))
        await on.until("restarted", lambda status: _is_left_alone(status) and back.done(), 90.0)
        await back
        away = time.monotonic() - killed
        took = await _ramps(on)
        await _serves_everybody(on)
        expect(on.seen.failed("canary") == 0, f"clients saw {_failures(on.seen)}")
        return Played(f"baseline away for {away:.1f} s, canary unharmed; 100 % after {took:.0f} s", on.seen)


ALL = (
    Scenario("good", "(a) a good v2", good),
    Scenario("broken", "(b) v2 expects other features", broken),
    Scenario("slow", "(c) v2 takes three times as long", slow),
    Scenario("malformed", "(d) malformed tensors on both arms", malformed),
    Scenario("shadow", "(e) v2 as shadow first", shadow),
    Scenario("canary-killed", "(f) canary: kill -9, restart", canary_killed),
    Scenario("baseline-killed", "(f) baseline: kill -9, restart", baseline_killed),
)


async def _ramps(on: Scene) -> float:
    """The ramp ends at 100 %; how many seconds it took, from now."""
    began = time.monotonic()
    gone = ("RolledBack", "Aborted")
    status = await on.until("at 100 %", lambda status: status["phase"] in ("Healthy", *gone), RAMP)
    expect(status["phase"] == "Healthy", f"{status['phase']}: {status['reason']}")
    return time.monotonic() - began


async def _serves_everybody(on: Scene) -> None:
    """The canary answers, and baseline does not any more."""
    await _settles(on, "baseline")
    before = on.seen.requests["canary"]
    await on.until("answered by the canary", lambda _: on.seen.requests["canary"] >= before + 50, 30.0)


async def _is_taken_back(on: Scene, within: float) -> tuple[Status, float]:
    """The canary answers somebody, and is gone soon after; how many seconds after."""
    await on.until("answered by the canary", lambda _: on.seen.canary_since is not None, 30.0)
    status = await on.until("rolled back", lambda status: status["phase"] == "RolledBack", within)
    assert on.seen.canary_since is not None
    return status, time.monotonic() - on.seen.canary_since


async def _stays_away(on: Scene) -> None:
    """The canary is asked no more, and baseline answers."""
    await _settles(on, "canary")
    requests, failed = on.seen.requests.copy(), on.seen.failed()
    await on.throughout("rolled back", lambda status: status["phase"] == "RolledBack", 2.0)
    await on.until("answered by baseline", lambda _: on.seen.requests["baseline"] >= requests["baseline"] + 50, 30.0)
    expect(on.seen.requests["canary"] == requests["canary"], "the canary was asked after its rollback")
    expect(on.seen.failed() == failed, f"after the rollback clients saw {_failures(on.seen)}")


async def _settles(on: Scene, arm: str) -> None:
    """What was under way to an arm has ended: nothing new from it in a second."""
    count, since = -1, time.monotonic()

    def quiet(_: Status) -> bool:
        nonlocal count, since
        now = on.seen.requests[arm] + _malformed(on.seen, arm)
        if now != count:
            count, since = now, time.monotonic()
        return time.monotonic() - since > 1.0

    await on.until(f"{arm} is asked no more", quiet, 15.0)


def _is_left_alone(status: Status) -> bool:
    return status["phase"] in ("Progressing", "Healthy") and status["breach"] is None


def _malformed(seen: Seen, arm: str) -> int:
    return sum(count for (of, _), count in seen.malformed.items() if of == arm)


def _breach(status: Status) -> str:
    breach = status["breach"]
    rule = breach["metric"] if breach["rule"] == "guardrail" else breach["rule"]
    return f"rolled back ({rule})"


def _failures(seen: Seen) -> str:
    each = (f"{count} × {what} from {arm}" for (arm, what), count in sorted(seen.failures.items()))
    return ", ".join(each) or "no failures"

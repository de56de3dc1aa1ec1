"""Plays the scenarios, one after the other or a few at once, and prints a table; exit code 0 only when each went as expected."""

import argparse
import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import scenarios
from proxy import Refused
from scenarios import Played, Scenario
from scene import Theatre, Unexpected
from train import train


@dataclass(frozen=True)
class Row:
    scenario: Scenario
    seconds: float
    #: How it ended, or what went wrong. Not having been played is wrong, too.
    outcome: Played | str

    @property
    def good(self) -> bool:
        return isinstance(self.outcome, Played)

    @property
    def result(self) -> str:
        return "ok" if self.good else "FAILED"


async def _play(theatre: Theatre, scenario: Scenario) -> Row:
    began = time.monotonic()
    outcome: Played | str
    try:
        outcome = await scenario.play(theatre, scenario.name)
    except Refused as refused:
        said = "; ".join(str(refused).splitlines())
        outcome = f"NOT PLAYED, serin check refused its configuration: {said}"
    except Unexpected as unexpected:
        outcome = f"{unexpected}"
    except (RuntimeError, TimeoutError, OSError) as error:
        outcome = f"{type(error).__name__}: {error}"
    row = Row(scenario, time.monotonic() - began, outcome)
    print(f"{scenario.title:<36} {row.seconds:4.0f} s  {row.result}", flush=True)
    return row


def _table(rows: Sequence[Row]) -> str:
    lines = [("scenario", "result", "seconds", "requests", "failed", "what happened")]
    for row in rows:
        counts, happened = ("", ""), row.outcome
        if isinstance(row.outcome, Played):
            seen = row.outcome.seen
            counts, happened = (str(seen.requests.total()), str(seen.failed())), row.outcome.happened
        lines.append((row.scenario.title, row.result, f"{row.seconds:.0f}", *counts, happened))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    right = {2, 3, 4}
    text = []
    for line in lines:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=False))
        ]
        text.append("  ".join([*cells, line[5]]))
    return "\n".join(text)


async def _main(arguments: argparse.Namespace) -> bool:
    wanted = [one for one in scenarios.ALL if not arguments.scenarios or one.name in arguments.scenarios]
    shutil.rmtree(arguments.folder, ignore_errors=True)
    theatre = Theatre(arguments.serin.resolve(), arguments.folder.resolve(), arguments.folder.resolve() / "trained")
    await asyncio.to_thread(train, theatre.trained)
    turns = asyncio.Semaphore(arguments.at_once)

    async def take_turn(scenario: Scenario) -> Row:
        async with turns:
            return await _play(theatre, scenario)

    rows = await asyncio.gather(*(take_turn(scenario) for scenario in wanted))
    good = all(row.good for row in rows)
    print(f"\n{_table(rows)}\n")
    if not good:
        print(f"Configurations, logs and journals: {theatre.folder}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [scenario.name for scenario in scenarios.ALL]
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--serin", type=Path, required=True, help="the binary")
    parser.add_argument("--folder", type=Path, required=True, help="made anew: configurations, logs, journals")
    parser.add_argument("--at-once", type=int, default=1, choices=range(1, 8), help="how many (default: 1)", metavar="N")
    arguments = parser.parse_args()
    for name in arguments.scenarios:
        if name not in names:
            parser.error(f"no scenario {name}: {', '.join(names)}")
    with contextlib.suppress(KeyboardInterrupt):
        return 0 if asyncio.run(_main(arguments)) else 1
    return 130


if __name__ == "__main__":
    sys.exit(main())

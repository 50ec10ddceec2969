"""Does the simulation find what it is for: mistakes planted in the engine, and histories until one
shows them.

`python -m tests.simulation.planted [NAME ...]` prints for each fault how many histories it took,
and what was wrong with the first that showed it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

from tests.simulation import (
    loop,
    planted_checkpoints,
    planted_corrections,
    planted_restores,
    planted_stages,
    planted_tables,
)
from tests.simulation.plan import Plan
from tests.simulation.planted_tools import FAULTS, Deed, Fault
from tests.simulation.running import Tally, divergences, quiet

#: Each of them registers its faults.
FILES = (
    planted_checkpoints,
    planted_restores,
    planted_tables,
    planted_corrections,
    planted_stages,
)
#: Histories within which each fault must show.
LIMIT = 1_000
#: Turns of the loop after which a history with a fault has hung; without one it takes some 6,000.
MOST_TURNS = 60_000
#: What the tally calls a worker that gives up; what a divergence says where workers only stop.
_ENDED = "ended by itself"
STOPS = ("hung:", _ENDED)
#: So many more workers that end by themselves than without the fault are its doing. (One may be a
#: zombie's, which the judge excuses.)
MORE_ENDS = 2


@dataclass(frozen=True, slots=True)
class Caught:
    """A fault that a history has shown.

    Attributes:
        seed: of the history; those of all seeds before it did not show the fault.
        divergence: what was wrong.
        acted: how often the fault acted in this history.
    """

    seed: int
    divergence: str
    acted: int


def is_right(seed: int) -> bool:
    """Whether the history of a seed is right without a planted fault."""
    return not _without(seed)[0]


@cache
def _without(seed: int) -> tuple[tuple[str, ...], int]:
    """What is wrong without a fault, and how many workers end by themselves."""
    tally = Tally()
    with quiet():
        found = divergences(Plan(seed), tally)
    return tuple(found), tally.counts[_ENDED]


def attempt(planted: Fault, seed: int) -> Caught | None:
    """A history with the fault; None where it does not show."""
    deed, tally = Deed(), Tally()
    with quiet(), patch.object(loop, "MOST_TURNS", MOST_TURNS), planted.plant(deed):
        found = divergences(Plan(seed), tally)
    if planted.stops:
        before = _without(seed)[1]
        if tally.counts[_ENDED] >= before + MORE_ENDS:
            found.append(f"{tally.counts[_ENDED]} workers {_ENDED}, {before} without the fault")
    else:
        found = [each for each in found if not any(text in each for text in STOPS)]
    # What a reader of the outputs sees comes first, before what only a look into a store shows.
    found.sort(key=lambda each: "the store of" in each)
    return Caught(seed, found[0], deed.count) if found else None


def search(planted: Fault, limit: int = LIMIT) -> Caught | None:
    """The first history that shows the fault, None where none of `limit` does."""
    for seed in range(limit):
        caught = attempt(planted, seed)
        if caught is not None:
            return caught
    return None


def main(names: list[str], limit: int = LIMIT) -> int:
    """Print the table of all faults, or of those named; how many were not caught."""
    missed = 0
    for name in names or FAULTS:
        began = time.process_time()
        caught = search(FAULTS[name], limit)
        seconds = time.process_time() - began
        missed += caught is None
        if caught is None:
            print(f"{name:45} not in {limit} histories, {seconds:.1f} s", flush=True)
        else:
            print(
                f"{name:45} {caught.seed + 1:4} histories {seconds:5.1f} s, acted {caught.acted:3} "
                f"times: {caught.divergence[:120]}",
                flush=True,
            )
    return missed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))

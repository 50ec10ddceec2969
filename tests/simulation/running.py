"""Histories by the hundred: in chunks over processes, with what was wrong and what had happened.

A process runs many histories one after the other: starting one costs as much as twenty histories.
The cyclic collector is kept out of the way (a history makes tens of thousands of tasks and futures)
and runs between two histories.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.simulation.history import History
from tests.simulation.judge import faults
from tests.simulation.loop import HungError
from tests.simulation.plan import Plan
from tests.simulation.shrink import Shrinker

#: Histories that a process takes at once, and between two runs of the collector.
CHUNK, COLLECT = 20, 10


@dataclass(slots=True)
class Tally:
    """What histories have come to: divergences by seed, events by kind, CPU seconds."""

    histories: int = 0
    divergences: dict[int, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    published: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)

    def add(self, other: Tally) -> None:
        """Those of another run."""
        self.histories += other.histories
        self.divergences.update(other.divergences)
        self.counts += other.counts
        self.published += other.published
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)

    def report(self, seconds: float) -> str:
        """Histories, divergences, seconds, then events by kind."""
        each = 1000 * self.seconds / max(1, self.histories)
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        slowest, seed = self.slowest
        return (
            f"{self.histories} histories, {len(self.divergences)} divergences, "
            f"{self.published} records published, {seconds:.1f} s ({each:.0f} ms of CPU a history; "
            f"the slowest took {slowest:.2f} s, seed {seed})\n{kinds}"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without what workers say of faults that were made on purpose."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)


def divergences(plan: Plan, tally: Tally | None = None) -> list[str]:
    """Run a history; what is wrong with it, empty where all is right."""
    try:
        outcome = History(plan).run()
    except HungError as error:
        return [f"hung: {str(error).splitlines()[0]}"]
    if tally is not None:
        tally.counts += outcome.counts
        tally.published += sum(map(len, outcome.outputs.values()))
    return faults(outcome)


def run_chunk(seeds: range) -> Tally:
    """The histories of some seeds, in this process."""
    tally = Tally()
    gc.disable()
    try:
        with quiet():
            for number, seed in enumerate(seeds, 1):
                began = time.process_time()
                found = divergences(Plan(seed), tally)
                took = time.process_time() - began
                tally.slowest = max(tally.slowest, (took, seed))
                tally.seconds += took
                tally.histories += 1
                if found:
                    tally.divergences[seed] = found
                if number % COLLECT == 0:
                    gc.collect()
    finally:
        gc.enable()
    return tally


def run_all(
    first: int, count: int, processes: int, told: Callable[[Tally], None] | None = None
) -> Tally:
    """`count` histories from seed `first` on, over some processes; `told` hears of each chunk."""
    chunks = [
        range(begin, min(begin + CHUNK, first + count))
        for begin in range(first, first + count, CHUNK)
    ]
    tally = Tally()
    with ExitStack() as stack:
        parts: Iterable[Tally] = map(run_chunk, chunks)
        if processes > 1:
            spawning = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
            parts = stack.enter_context(spawning).map(run_chunk, chunks)
        for part in parts:
            tally.add(part)
            if told is not None:
                told(part)
    return tally


def shortest(seed: int) -> str:
    """A report on a seed that fails: the shortest history, and how to see it."""
    shrinker = Shrinker(lambda plan: bool(divergences(plan)))
    with quiet():
        plan = shrinker.shrink(Plan(seed))
        history = History(plan)
        try:
            outcome = history.run()
            found, events = faults(outcome), outcome.events
        except HungError as error:
            found, events = [str(error).splitlines()[0]], history.world.events
    lines = [f"seed {seed}, the shortest history of {shrinker.tries} tried:", *found, *events]
    return "\n".join([*lines, f"replay: {plan.command()}"])

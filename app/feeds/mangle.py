"""The same records in another sending order, by a seed: disorder and lateness on purpose.

Only the order changes: every record keeps its event time and its sequence. Each record is sent
at its event time plus a delay, in that order (equal ones in their own). Results depend on the
seed and the records' order, never on how they come in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.feeds.columns import TickColumns, concatenate

#: Delays of the late, as parts of the correction horizon: 2 to 10 minutes of one of 15 minutes
#: (a revision), or 20 to 30 minutes of it (beyond it).
WITHIN = (2 / 15, 10 / 15)
BEYOND = (20 / 15, 30 / 15)


@dataclass(frozen=True, slots=True)
class Delays:
    """How records are delayed, in ns of event time.

    Attributes:
        disorder: every record is delayed by a uniform 0 to this.
        late: share of the records (0 to 1) that come late instead: half of them `WITHIN` the
            horizon, half `BEYOND` it. Records near a gap or the end of the data have no later
            ones to overtake them, so a few of them are not late for all that.
        horizon: the correction horizon that lateness is measured by.
        seed: of all random choices.
    """

    disorder: int = 0
    late: float = 0.0
    horizon: int = 900_000_000_000
    seed: int = 0

    def __bool__(self) -> bool:
        return self.disorder > 0 or self.late > 0


def delayed(chunks: Iterable[TickColumns], delays: Delays) -> Iterator[TickColumns]:
    """The records of `chunks` (in event-time order) in the order they are sent.

    Holds back the records whose turn has not come: as many as the longest delay covers.
    """
    delayer = Delayer(delays)
    for chunk in chunks:
        ready = delayer.push(chunk, int(chunk.event_time[-1]))
        if ready is not None:
            yield ready
    rest = delayer.rest()
    if rest is not None:
        yield rest


class Delayer:
    """Holds records back until their turn; the records must come in event-time order."""

    def __init__(self, delays: Delays) -> None:
        self._draw = _Draw(delays)
        self._held: TickColumns | None = None
        self._turns = np.zeros(0, dtype=np.int64)

    def push(self, chunk: TickColumns, reached: int) -> TickColumns | None:
        """Add records; those whose turn has come now that event time has `reached` so far (ns)."""
        turns = np.concatenate([self._turns, chunk.event_time + self._draw.delays(len(chunk))])
        whole = chunk if self._held is None else concatenate([self._held, chunk])
        order = np.argsort(turns, kind="stable")
        turns = turns[order]
        ready = int(np.searchsorted(turns, reached, side="right"))
        self._held, self._turns = whole.take(order[ready:]), turns[ready:]
        return whole.take(order[:ready]) if ready else None

    def rest(self) -> TickColumns | None:
        """What is still held back, in its order."""
        held, self._held = self._held, None
        return held if held is not None and len(held) else None


class _Draw:
    """Delays in ns, one a record; a stream of numbers of its own for every question."""

    def __init__(self, delays: Delays) -> None:
        self._delays = delays
        seeds = np.random.SeedSequence(delays.seed).spawn(4)
        self._disorder, self._late, self._beyond, self._amount = (
            np.random.default_rng(seed) for seed in seeds
        )

    def delays(self, count: int) -> npt.NDArray[np.int64]:
        chosen = self._delays
        delay = (self._disorder.random(count) * (chosen.disorder + 1)).astype(np.int64)
        if chosen.late > 0:
            late = self._late.random(count) < chosen.late
            beyond = self._beyond.random(count) < 0.5
            low = np.where(beyond, BEYOND[0], WITHIN[0]) * chosen.horizon
            high = np.where(beyond, BEYOND[1], WITHIN[1]) * chosen.horizon
            amount = low + self._amount.random(count) * (high - low)
            delay = np.where(late, amount.astype(np.int64), delay)
        return delay

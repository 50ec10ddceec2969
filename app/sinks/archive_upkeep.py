"""The archive's upkeep in a worker: on a schedule, off the event loop, at a fifth of a processor.

Who owns partition 0 of a topic compacts the topic's files; retention, garbage, `raw` and what is of
no topic any more are done by who owns partition 0 of the first topic. So each has one worker, the
consumer group says which, and where two believe it for a moment the manifests decide.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.archive.manifest import ArchiveError
from app.archive.upkeep import Duties, Piece, Step, upkeep
from app.sinks.driver import Place
from app.sinks.settings import ArchiveSettings
from models.predicting.registry_store import Store

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
#: Seconds from the start to the first round, at most: a worker has better to do at first.
FIRST_SECONDS: Final = 300.0
#: Seconds between two looks at every folder, for files that nobody names.
COLLECT_SECONDS: Final = 86_400.0
#: Rest after a piece, as a multiple of what it took.
REST: Final = 4.0
STEPS: Final[tuple[Step, ...]] = ("compact", "retain", "clean")
TROUBLES: Final = ("conflict", "failed")
_SECOND: Final = 1e9


@dataclass(slots=True)
class UpkeepStatus:
    """What has been done since the start of the process.

    Attributes:
        rounds: by result, `done` or `failed`.
        files, rows: by step; see `Piece`.
        troubles: pieces that came to nothing, by step and outcome.
        seconds: of work, rests not counted.
        done: monotonic seconds of the end of the last round that has not failed.
    """

    rounds: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    troubles: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: float = 0.0
    done: float | None = None

    def take(self, piece: Piece) -> None:
        """Count a piece."""
        if piece.outcome != "done":
            self.troubles[piece.step, piece.outcome] += 1
        self.files[piece.step] += piece.files
        self.rows[piece.step] += piece.rows


class Upkeep(Collector):
    """Rounds of upkeep, one piece at a time, and their metrics (docs/metrics.md).

    Args:
        open_store: called in the thread, for each round.
        topics: that the deployment has.
        owned: the partitions that are ours now.
        now: the present in ns since the epoch; `monotonic`: a clock in seconds.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        open_store: Callable[[], Store],
        topics: Container[str],
        first: str,
        owned: Callable[[], Container[Place]],
        *,
        now: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.status = UpkeepStatus()
        self._settings, self._open_store = settings, open_store
        self._every = settings.upkeep_every / _SECOND
        self._now, self._monotonic, self._pause = now, monotonic, pause
        self._duties = Duties(
            compacts=lambda topic: Place(topic if topic in topics else first, 0) in owned(),
            rest=lambda: Place(first, 0) in owned(),
        )
        self._due: float | None = None
        self._collected: float | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, where it has not begun and is wanted; the schedule goes on over a stop."""
        if self._every and self._task is None:
            self._task = asyncio.create_task(self._run(), name="archive upkeep")

    async def stop(self) -> None:
        """End at once; a piece on its way comes to its own end in its thread."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        if self._due is None:
            self._due = self._monotonic() + min(self._every, FIRST_SECONDS)
        while True:
            await self._pause(max(0.0, self._due - self._monotonic()))
            self._due = self._monotonic() + self._every
            await self.round()

    async def round(self) -> None:
        """Do all that is ours and due; what goes wrong is said, counted, and left to the next."""
        try:
            await self._round()
        except (ArchiveError, ImportError, OSError, ValueError) as error:
            self.status.rounds["failed"] += 1
            logger.warning("archive: the upkeep ends, to begin anew: %s", error)
        except Exception:
            # Also clients of object stores have errors of their own; the sink goes on.
            self.status.rounds["failed"] += 1
            logger.exception("archive: the upkeep ends, to begin anew")
        else:
            self.status.rounds["done"] += 1
            self.status.done = self._monotonic()

    async def _round(self) -> None:
        began = self._monotonic()
        collects = self._collected is None or began - self._collected >= COLLECT_SECONDS
        pieces = upkeep(
            await self._in_thread(self._open_store),
            self._now,
            self._duties,
            rows=self._settings.rows,
            retention=self._settings.retention,
            collects=collects,
        )
        while (piece := await self._in_thread(partial(_next, pieces))) is not None:
            took = self._monotonic() - began
            self.status.seconds += took
            self.status.take(piece)
            if piece.step != "clean" and piece.files:
                logger.info("archive: %s: %d files, %d rows", piece.step, piece.files, piece.rows)
            await self._pause(REST * took)
            began = self._monotonic()
        if collects and self._duties.rest():
            self._collected = began

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="archive-upkeep")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # --- metrics ---------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Return all families, filled."""
        status = self.status
        prefix = "candlewick_archive_upkeep"
        rounds = CounterMetricFamily(f"{prefix}_rounds", "Rounds, by result", labels=["result"])
        for result in ("done", "failed"):
            rounds.add_metric([result], status.rounds[result])
        yield rounds
        for name, text, counts in (
            ("files", "Files replaced, dropped or removed, by step", status.files),
            ("rows", "Rows put together or dropped, by step", status.rows),
        ):
            family = CounterMetricFamily(f"{prefix}_{name}", text, labels=["step"])
            for step in STEPS:
                family.add_metric([step], counts[step])
            yield family
        troubles = CounterMetricFamily(
            f"{prefix}_troubles", "Pieces that came to nothing", labels=["step", "outcome"]
        )
        for step in STEPS:
            for outcome in TROUBLES:
                troubles.add_metric([step, outcome], status.troubles[step, outcome])
        yield troubles
        yield CounterMetricFamily(f"{prefix}_seconds", "Time of work", value=status.seconds)
        age = GaugeMetricFamily(f"{prefix}_age_seconds", "Since a round ended that did not fail")
        if status.done is not None:
            age.add_metric([], max(0.0, self._monotonic() - status.done))
        yield age


def _next(pieces: Iterator[Piece]) -> Piece | None:
    return next(pieces, None)

"""A runner of one partition without Kafka: what it applies and publishes is nothing but counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord, Taken
from app.observe.metrics import Metrics
from app.settings import Settings
from app.streaming.protocols import Progress, Stage, State
from app.streaming.runner import PartitionRunner, RunnerContext

if TYPE_CHECKING:
    from app.observe.spans import Tracing

TICKS, BARS, CHANGELOG = "ticks", "d.bars", "d.bars.changelog"
PARTITION = 3


class Where(NamedTuple):
    """What a producer says of a batch that it has sent."""

    topic: str
    partition: int
    offset: int


class PlainState:
    """A state that makes one output of each batch."""

    def __init__(self) -> None:
        self.next: int | None = None
        self.recall = None
        self.pending_outputs = self.pending_bytes = 0
        self.progress = Progress(None, None, {}, {}, 0)
        self.failure: Exception | None = None
        self._at = 0

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch, or fail."""
        if self.failure is not None:
            raise self.failure
        self._at = batch.next
        self.pending_outputs += 1

    def take(self, topic_id: str) -> Taken:
        """What there is since the last time."""
        outputs = [OutputRecord(b"key", b'{"revision":0,}', [])] * self.pending_outputs
        self.pending_outputs = 0
        return Taken(self._at, {"bars": outputs}, [(b"row", b"value")])

    def stored(self) -> None:
        """Nothing is remembered."""


class PlainProducer:
    """Gives offsets; before it does so a test may run something."""

    def __init__(self) -> None:
        self.sent: list[tuple[asyncio.Future[Any], int]] = []
        self.sent_bytes = 0
        self.failure: Exception | None = None
        self.ends = {BARS: 100, CHANGELOG: 7}
        self.meanwhile: Any = None

    async def publish(
        self,
        partition: int,
        records: dict[str, Sequence[Any]],
        changelog: str,
        source: object,
        position: int,
        group: str,
        acknowledged: Callable[[], None],
    ) -> int:
        """Note where each topic's records would lie, in batches of two at most."""
        self.sent = []
        if self.meanwhile is not None:
            self.meanwhile()
        if self.failure is not None:
            raise self.failure
        for topic, rows in records.items():
            for begin in range(0, len(rows), 2):
                future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                count = len(rows[begin : begin + 2])
                future.set_result(Where(topic, partition, self.ends[topic]))
                self.ends[topic] += count
                self.sent.append((future, count))
        acknowledged()
        return self.ends[CHANGELOG]


class PlainStore:
    """Keeps nothing."""

    def write(self, rows: object, following: int, topic_id: str) -> None:
        """Take a checkpoint."""


class PlainStage:
    """Names alone."""

    agent, source, changelog = "bars", TICKS, CHANGELOG
    outputs = {"bars": BARS}  # noqa: RUF012 - a stage's are so, too
    piece = None


def plain_runner(
    tracing: Tracing | None, metrics: Metrics | None = None
) -> tuple[PartitionRunner, PlainState, PlainProducer]:
    """Return a ready runner with its state and its producer."""
    context = RunnerContext(
        connection={},
        request_timeout=1_000,
        group="d.bars",
        checkpoint=Settings().checkpoint,
        metrics=metrics or Metrics(),
        producer_options=lambda agent, partition: cast("Any", None),
        folder=lambda agent, partition: Path(),
        failed=lambda runner, error: None,
        tracing=tracing,
    )
    runner = PartitionRunner(cast("Stage", PlainStage()), PARTITION, context)
    state, producer = PlainState(), PlainProducer()
    runner._state, runner._producer = cast("State", state), cast("Any", producer)
    runner._store, runner.ready = cast("Any", PlainStore()), True
    return runner, state, producer


def batch(first: int, following: int, topic: str = TICKS) -> RecordBatch:
    """Return a batch of records one behind the other."""
    offsets = np.arange(first, following, dtype=np.int64)
    times = np.zeros(len(offsets), dtype=np.int64)
    values = [b"{}"] * len(offsets)
    return RecordBatch(topic, PARTITION, first, following, values, offsets, times)

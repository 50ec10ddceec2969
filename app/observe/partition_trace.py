"""What one partition of one agent leaves in a trace: its batches, and the checkpoints over them.

The runner calls in (app/streaming/runner.py): `applied` with each batch; `frozen`, `sent`
and `stored` with each checkpoint; `dropped` where its state goes. A checkpoint and the batches that
it covers are traced together, or not at all; but where a batch was written by something traced in
this process, that batch begins it.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, SpanContext, SpanKind

from app.contracts.batch import RecordBatch
from app.contracts.outputs import Taken
from app.observe.span_places import LINKS, Attributes, moment_of, place_attributes

if TYPE_CHECKING:
    from app.observe.spans import Tracing


class PartitionTrace:
    """The spans of one agent's part of a partition: its batches, its checkpoints.

    A checkpoint and the batches that it covers are traced together, or not at all; but where a
    batch was written by something traced, that batch begins it.
    """

    def __init__(self, tracing: Tracing, agent: str, topic: str, partition: int) -> None:
        self._tracing, self._agent = tracing, agent
        self._topic, self._partition = topic, partition
        self._traced = tracing.chosen()
        #: Of the traced batches since the last checkpoint was frozen, and how many they were.
        self._batches: list[SpanContext] = []
        self._count = 0
        self._checkpoint: Span | None = None

    def applied(self, batch: RecordBatch, began: float) -> None:
        """A batch was applied; `began` is `time.perf_counter()` at its beginning.

        One without records, such as a marker of a transaction, is none.
        """
        tracing = self._tracing
        writers = tracing.writers(batch.topic, batch.partition, batch.base, batch.next)
        if writers:
            self._traced = True
        elif not self._traced or not len(batch):
            return
        start, now = moment_of(began)
        attributes = self._attributes("process", batch.base, batch.next)
        attributes["messaging.batch.message_count"] = len(batch)
        name = f"process {batch.topic}"
        span = tracing.begin(name, SpanKind.CONSUMER, attributes, start, links=writers)
        self._count += 1
        if len(self._batches) < LINKS:
            self._batches.append(span.get_span_context())
        tracing.end(span, at=now)

    def frozen(self, began: float) -> None:
        """A checkpoint has taken its content; what is applied from now on is the next one's."""
        traced, self._traced = self._traced, self._tracing.chosen()
        batches, self._batches = self._batches, []
        count, self._count = self._count, 0
        self._checkpoint = None
        if traced:
            self._checkpoint = self._tracing.begin(
                f"checkpoint {self._agent}",
                SpanKind.INTERNAL,
                {
                    "candlewick.agent": self._agent,
                    "candlewick.partition": self._partition,
                    "candlewick.batches": count,
                },
                moment_of(began)[0],
                links=batches,
            )

    def sent(self, changelog: str, sent: Iterable[tuple[Future[Any], int]], frozen: float) -> None:
        """The checkpoint's records are acknowledged; behind the commit, who reads on finds this.

        Where the commit fails, they are spans of a checkpoint that failed.

        Args:
            changelog: topic of the rows, which nobody reads on from.
            sent: a future of `RecordMetadata` of each batch that it wrote, and its records.
            frozen: `time.perf_counter()` before the transaction.
        """
        if self._checkpoint is not None:
            times = moment_of(frozen)
            for (topic, partition), offsets in _stretches(sent).items():
                if topic != changelog:
                    self._tracing.wrote(topic, partition, offsets, times, parent=self._checkpoint)

    def stored(self, taken: Taken, phases: Mapping[str, float]) -> None:
        """The checkpoint is in the store, too; `phases` are its parts by name, in seconds."""
        span, self._checkpoint = self._checkpoint, None
        if span is not None:
            span.set_attributes(
                {
                    "candlewick.position": taken.next,
                    "candlewick.rows": len(taken.rows),
                    "candlewick.outputs": sum(map(len, taken.outputs.values())),
                    **{f"candlewick.{name}.seconds": each for name, each in phases.items()},
                }
            )
            self._tracing.end(span)

    def dropped(self, error: BaseException | None = None) -> None:
        """The state is gone, with what no checkpoint has committed; `error` is why."""
        span, self._checkpoint = self._checkpoint, None
        batches, self._batches, self._count = self._batches, [], 0
        if error is None:
            return
        if span is None:
            attributes: Attributes = {
                "candlewick.agent": self._agent,
                "candlewick.partition": self._partition,
            }
            name = f"drop {self._agent}"
            span = self._tracing.begin(name, SpanKind.INTERNAL, attributes, links=batches)
        self._tracing.end(span, error=error)

    def _attributes(self, operation: str, first: int, following: int) -> Attributes:
        own = place_attributes(operation, self._topic, self._partition, first, following)
        return {**own, "candlewick.agent": self._agent}


def _stretches(
    sent: Iterable[tuple[Future[Any], int]],
) -> dict[tuple[str, int], tuple[int, int, int]]:
    """By topic and partition: first and following offset, and how many records."""
    found: dict[tuple[str, int], tuple[int, int, int]] = {}
    for future, count in sent:
        where = future.result()
        place, first = (where.topic, where.partition), where.offset
        begin, end, before = found.get(place, (first, first, 0))
        found[place] = (min(begin, first), max(end, first + count), before + count)
    return found

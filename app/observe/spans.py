"""What a feed's batch, a worker's batch and checkpoint, and a sink's flush leave in a trace.

Data that flows: who is traced calls in with what it has done, a span is made of it, a thread of
OpenTelemetry's exports it (`span_export.py`). Loaded only where traces are on (`tracing.py`).

- `send TOPIC` is a batch of one partition that a feed's producer has got acknowledged, or what a
  checkpoint has written to one partition of an output topic (then it is the checkpoint's child).
- `process TOPIC` is a batch that a runner has applied. It links to the `send` that wrote it.
- `checkpoint AGENT` links to the batches that it covers.
- `flush SINK` is what a sink has written outside. It links to the `send` of what it wrote.

Nothing is written into records for this. A look at headers makes reading 1.6 times as slow on the
hot path (0.155 to 0.253 us a record; slim.py reads none), and a committed record with the id of a
trace would differ from run to run. Instead each of these spans says topic, partition and offsets:
whoever searches finds the `send` of a `process` by them. Within one process the links are real: the
last `REMEMBERED` writes of each partition are known here.

Whether a checkpoint is traced is drawn when the one before it is frozen, by `tracing.ratio`; a
batch that was written by something traced in this process makes its own checkpoint traced, so that
a trace that begins goes on to the sink.

Invariants: a call never waits and holds no more than its bounds; a span is a copy of plain values,
never of a record; where the collector is away, the oldest spans are dropped.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    set_span_in_context,
)

from app import __version__
from app.observe.masking import mask_text
from app.observe.partition_trace import PartitionTrace
from app.observe.span_export import TraceGauges, WatchedExporter, open_exporter
from app.observe.span_places import LINKS, SECOND, Attributes, moment_of, place_attributes
from app.observe.tracing_settings import TracingSettings
from app.settings import Settings

#: Writes of a partition that a reader in this process may be linked to.
REMEMBERED = 64
#: Partitions that a flush names, one by one.
PLACES = 64
#: Spans of one request to the collector.
BATCH = 512
#: Seconds that the end of a process waits for the last spans to be taken.
CLOSE_SECONDS = 2.0
_MILLISECOND = 1_000_000
_LONGEST = 300


class Tracing:
    """The traces of one process; all methods are called in one event loop's thread.

    Args:
        service: which part of Candlewick this is, after `candlewick-`.
        exporter: where spans go instead of the collector of the settings.
        chance: numbers from 0 to 1, for the sampling.

    Raises:
        SettingsError: see `open_exporter`.
    """

    def __init__(
        self,
        settings: Settings,
        service: str,
        *,
        exporter: SpanExporter | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        chosen = settings.tracing
        self._ratio, self._chance = chosen.ratio, chance
        inner = open_exporter(chosen) if exporter is None else exporter
        self.exporter = WatchedExporter(inner, chosen.endpoint or "the exporter")
        #: Spans that were given to the queue.
        self.ended = 0
        self.gauges = TraceGauges(self)
        self._ending: threading.Thread | None = None
        resource = Resource.create(
            {
                "service.name": f"candlewick-{service}",
                "service.namespace": settings.deployment,
                "service.instance.id": settings.worker,
                "service.version": __version__,
            }
        )
        # The process ends its traces itself, within bounds; the environment has no say in what is
        # sampled: that is decided before there is a span.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False
        )
        self._processor = _processor(self.exporter, chosen)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("candlewick", __version__)
        self._written: dict[tuple[str, int], deque[tuple[int, int, SpanContext]]] = {}
        #: By sink, topic and partition: where it has let go last.
        self._let_go: dict[tuple[str, str, int], int] = {}

    def chosen(self) -> bool:
        """Draw whether something is traced."""
        return self._chance() < self._ratio

    def partition(self, agent: str, topic: str, partition: int) -> PartitionTrace:
        """What traces one partition of an agent."""
        return PartitionTrace(self, agent, topic, partition)

    # --- what is written and read ----------------------------------------------------------

    def writers(self, topic: str, partition: int, first: int, following: int) -> list[SpanContext]:
        """The traced writes of this process that a stretch of a partition was written by."""
        known = self._written.get((topic, partition))
        if not known:
            return []
        return [context for begin, end, context in known if begin < following and end > first]

    def wrote(
        self,
        topic: str,
        partition: int,
        offsets: tuple[int, int, int],
        times: tuple[int, int],
        parent: Span | None = None,
    ) -> None:
        """Note a write: its first and following offset and its records; begin and end in ns."""
        first, following, count = offsets
        span = self.begin(
            f"send {topic}",
            SpanKind.PRODUCER,
            place_attributes("send", topic, partition, first, following)
            | {"messaging.batch.message_count": count},
            start=times[0],
            parent=parent,
        )
        known = self._written.setdefault((topic, partition), deque(maxlen=REMEMBERED))
        known.append((first, following, span.get_span_context()))
        self.end(span, at=times[1])

    # --- edges -----------------------------------------------------------------------------

    def sent(
        self,
        topic: str,
        partition: int,
        first: int | None,
        count: int,
        began: float,
        error: BaseException | None = None,
    ) -> None:
        """A feed's batch was acknowledged, or given up: one of `tracing.ratio`, each failed one.

        Args:
            first: offset of its first record; None where it is not known.
            began: `time.perf_counter()` at its beginning.
        """
        if error is None and not self.chosen():
            return
        start, now = moment_of(began)
        if error is None and first is not None:
            self.wrote(topic, partition, (first, first + count, count), (start, now))
            return
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(partition),
            "messaging.batch.message_count": count,
        }
        span = self.begin(f"send {topic}", SpanKind.PRODUCER, attributes, start=start)
        self.end(span, at=now, error=error)

    def flushed(
        self,
        sink: str,
        seconds: float,
        positions: Mapping[tuple[str, int], int],
        *,
        rows: int = 0,
        culprits: int = 0,
        error: BaseException | None = None,
    ) -> None:
        """A sink has flushed, or failed to; call it after each flush.

        Args:
            seconds: that it took, until now.
            positions: by the broker's topic and the partition, the offset before which nothing is
                left to write (`Flushed.positions`, with whole names).
            rows, culprits: as `Flushed` has them.
        """
        stretches: list[tuple[str, int, int, int]] = []
        for (topic, partition), following in positions.items():
            first = self._let_go.get((sink, topic, partition), following)
            self._let_go[sink, topic, partition] = following
            # Behind it: the partition was elsewhere meanwhile, or is read again.
            stretches.append((topic, partition, min(first, following), following))
        writers = [each for stretch in stretches for each in self.writers(*stretch)]
        if error is None and not writers and not self.chosen():
            return
        now = time.time_ns()
        start = now - int(seconds * SECOND)
        attributes: Attributes = {
            "candlewick.sink": sink,
            "candlewick.rows": rows,
            "candlewick.culprits": culprits,
            "candlewick.partitions": len(stretches),
        }
        span = self.begin(f"flush {sink}", SpanKind.CLIENT, attributes, start, links=writers)
        for topic, partition, first, following in stretches[:PLACES]:
            span.add_event("written", place_attributes("", topic, partition, first, following), now)
        self.end(span, at=now, error=error)

    # --- spans -----------------------------------------------------------------------------

    def begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        start: int | None = None,
        links: Sequence[SpanContext] = (),
        parent: Span | None = None,
    ) -> Span:
        """Begin a span; one without a parent begins a trace.

        Args:
            start: ns since the epoch; None: now.
            links: at most `LINKS` of them are kept.
        """
        return self._tracer.start_span(
            name,
            context=Context() if parent is None else set_span_in_context(parent, Context()),
            kind=kind,
            attributes=attributes,
            links=[Link(context) for context in links[:LINKS]],
            start_time=start,
        )

    def end(self, span: Span, at: int | None = None, error: BaseException | None = None) -> None:
        """End a span, with what went wrong; it goes into the queue."""
        if error is not None:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR, mask_text(str(error))[:_LONGEST]))
        span.end(at)
        self.ended += 1

    def flush(self) -> None:
        """Export what waits; it blocks. For tests."""
        self._provider.force_flush()

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Export what waits, for so many seconds at most; what is left then is lost."""
        if self._ending is None:
            # OpenTelemetry's waits for an exporter for up to 30 s. As a daemon it keeps nobody.
            end = self._provider.shutdown
            self._ending = threading.Thread(target=end, name="traces", daemon=True)
            self._ending.start()
        await asyncio.to_thread(self._ending.join, seconds)


def _processor(exporter: SpanExporter, settings: TracingSettings) -> BatchSpanProcessor:
    return BatchSpanProcessor(
        exporter,
        max_queue_size=settings.queue,
        schedule_delay_millis=max(1, settings.delay // _MILLISECOND),
        max_export_batch_size=min(BATCH, settings.queue),
    )

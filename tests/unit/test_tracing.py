"""Traces of a worker's partition: what is in them, what they are linked to, what they never do."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.observe.partition_trace import PartitionTrace
from app.observe.span_places import LINKS
from app.observe.spans import REMEMBERED, Tracing
from app.observe.tracing import make_tracing, trace_flush
from app.settings import Settings, SettingsError
from app.sinks.driver import Culprit, Flushed, Place
from tests.unit.traced_runner import BARS, PARTITION, TICKS, batch, plain_runner

ENDPOINT = "http://127.0.0.1:4318"


class Traces:
    """A tracing into memory, with the share of a test's choosing."""

    def __init__(self, *draws: float, queue: int = 2048) -> None:
        self.memory = InMemorySpanExporter()
        #: What the sampling draws, one after the other; then 0, which is always traced.
        self.draws = list(draws)
        settings = Settings(tracing={"endpoint": ENDPOINT, "ratio": 0.5, "queue": queue})  # type: ignore[arg-type]
        self.tracing = Tracing(settings, "worker", exporter=self.memory, chance=self._draw)

    def _draw(self) -> float:
        return self.draws.pop(0) if self.draws else 0.0

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The spans that were exported, of a name."""
        self.tracing.flush()
        return [each for each in self.memory.get_finished_spans() if name in ("", each.name)]

    def one(self, name: str) -> ReadableSpan:
        """The only span of a name."""
        (span,) = self.spans(name)
        return span


@pytest.fixture
def traces() -> Iterator[Traces]:
    made = Traces()
    yield made
    made.tracing._provider.shutdown()


def identity(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def linked(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(each.context.trace_id, each.context.span_id) for each in span.links]


def said(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


# --- off -----------------------------------------------------------------------------------------


def test_without_a_collector_nothing_is_traced_and_nothing_of_it_is_loaded() -> None:
    assert make_tracing(Settings(), "worker") is None
    nobody = Settings(tracing={"endpoint": ENDPOINT, "ratio": 0.0})  # type: ignore[arg-type]
    assert make_tracing(nobody, "worker") is None
    runner, _, _ = plain_runner(None)
    assert runner._trace is None
    code = (
        "import sys, app.assembly, app.feeds.producer\n"
        "from app.observe.health import HealthState\n"
        "from app.observe.metrics import Metrics\n"
        "from app.settings import Settings\n"
        "from app.streaming.engine import Engine\n"
        "assert Engine(Settings(), [], HealthState(), Metrics()).tracing is None\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "app.observe.spans", None)
    settings = Settings(tracing={"endpoint": ENDPOINT})  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"TRACING__ENDPOINT.*pip install 'candlewick\[tracing"):
        make_tracing(settings, "worker")


# --- batches and checkpoints ---------------------------------------------------------------------


async def test_a_checkpoint_links_to_its_batches_and_tells_what_it_holds(traces: Traces) -> None:
    runner, _, _ = plain_runner(traces.tracing)
    for first in (0, 10, 20):
        assert runner.accept(batch(first, first + 10))
    assert await runner.checkpoint()
    batches = traces.spans(f"process {TICKS}")
    checkpoint = traces.one("checkpoint bars")
    assert linked(checkpoint) == [identity(each) for each in batches]
    assert len(batches) == 3
    attributes = said(checkpoint)
    assert attributes["candlewick.agent"] == "bars"
    assert attributes["candlewick.partition"] == PARTITION
    assert attributes["candlewick.position"] == 30
    assert attributes["candlewick.rows"] == 1
    assert attributes["candlewick.outputs"] == attributes["candlewick.batches"] == 3
    phases = [f"candlewick.{name}.seconds" for name in ("freeze", "transaction", "store")]
    assert sum(map(float, [attributes[name] for name in phases])) > 0  # type: ignore[arg-type]
    assert [said(each)["messaging.kafka.offset"] for each in batches] == [0, 10, 20]
    assert {said(each)["messaging.batch.message_count"] for each in batches} == {10}
    assert {each.kind for each in batches} == {SpanKind.CONSUMER}
    for span in (*batches, checkpoint):
        assert span.parent is None
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time


async def test_what_a_checkpoint_writes_is_its_child_with_topic_partition_and_offsets(
    traces: Traces,
) -> None:
    runner, _, _ = plain_runner(traces.tracing)
    for first in range(5):
        runner.accept(batch(first, first + 1))
    await runner.checkpoint()
    sent = traces.one(f"send {BARS}")
    assert sent.parent is not None
    assert identity(traces.one("checkpoint bars")) == (sent.parent.trace_id, sent.parent.span_id)
    assert sent.kind is SpanKind.PRODUCER
    assert said(sent) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "send",
        "messaging.destination.name": BARS,
        "messaging.destination.partition.id": str(PARTITION),
        "messaging.kafka.offset": 100,
        "candlewick.offset.next": 105,
        "messaging.batch.message_count": 5,
    }
    # The changelog is nobody's input.
    assert not [each for each in traces.spans() if "changelog" in each.name]


async def test_the_next_stage_links_to_what_wrote_its_batch_and_to_nothing_else(
    traces: Traces,
) -> None:
    runner, _, _ = plain_runner(traces.tracing)
    for _ in range(2):
        runner.accept(batch(runner.position, runner.position + 10))
        await runner.checkpoint()
    first, second = traces.spans(f"send {BARS}")
    behind = PartitionTrace(traces.tracing, "indicators", BARS, PARTITION)
    for begin, end in ((100, 102), (101, 102), (90, 100), (102, 103)):
        behind.applied(batch(begin, end, BARS), 0.0)
    links = [linked(each) for each in traces.spans(f"process {BARS}")]
    assert links == [[identity(first), identity(second)], [identity(second)], [], []]


async def test_what_is_applied_while_a_checkpoint_is_under_way_is_the_next_ones(
    traces: Traces,
) -> None:
    runner, _, producer = plain_runner(traces.tracing)
    runner.accept(batch(0, 10))
    producer.meanwhile = lambda: runner.accept(batch(10, 20))
    await runner.checkpoint()
    producer.meanwhile = None
    await runner.checkpoint()
    one, two = traces.spans(f"process {TICKS}")
    assert [linked(each) for each in traces.spans("checkpoint bars")] == [
        [identity(one)],
        [identity(two)],
    ]


async def test_a_checkpoint_is_traced_with_all_of_its_batches_or_not_at_all() -> None:
    # Of the first, the second and the third checkpoint; below a half is traced.
    traces = Traces(0.9, 0.4, 0.6)
    runner, _, _ = plain_runner(traces.tracing)
    for _ in range(3):
        for _ in range(2):
            runner.accept(batch(runner.position, runner.position + 10))
        await runner.checkpoint()
    offsets = [said(each)["messaging.kafka.offset"] for each in traces.spans(f"process {TICKS}")]
    assert offsets == [20, 30]
    assert said(traces.one("checkpoint bars"))["candlewick.position"] == 40
    assert len(traces.spans(f"send {BARS}")) == 1


async def test_a_trace_that_has_begun_goes_on_although_the_next_one_was_not_drawn() -> None:
    traces = Traces(0.1, *[0.9] * 9)
    runner, _, _ = plain_runner(traces.tracing)
    runner.accept(batch(0, 10))
    await runner.checkpoint()
    behind = PartitionTrace(traces.tracing, "indicators", BARS, PARTITION)
    behind.applied(batch(50, 60, BARS), 0.0)
    behind.applied(batch(100, 101, BARS), 0.0)
    behind.frozen(0.0)
    behind.applied(batch(101, 102, BARS), 0.0)
    (read,) = traces.spans(f"process {BARS}")
    assert linked(read) == [identity(traces.one(f"send {BARS}"))]


async def test_a_checkpoint_that_fails_ends_with_its_reason_and_without_secrets(
    traces: Traces,
) -> None:
    runner, _, producer = plain_runner(traces.tracing)
    runner.accept(batch(0, 10))
    producer.failure = OSError("no answer from kafka://me:sesame@host")
    assert not await runner.checkpoint()
    span = traces.one("checkpoint bars")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "no answer from kafka://********@host"
    assert said(span)["error.type"] == "OSError"
    assert len(linked(span)) == 1


async def test_a_batch_that_fails_tells_what_went_with_it(traces: Traces) -> None:
    runner, state, _ = plain_runner(traces.tracing)
    runner.accept(batch(0, 10))
    state.failure = RuntimeError("no such symbol")
    assert not runner.accept(batch(10, 20))
    span = traces.one("drop bars")
    assert linked(span) == [identity(traces.one(f"process {TICKS}"))]
    assert said(span)["error.type"] == "RuntimeError"


def test_after_a_restore_nothing_of_before_is_linked(traces: Traces) -> None:
    trace = PartitionTrace(traces.tracing, "bars", TICKS, PARTITION)
    trace.applied(batch(0, 10), 0.0)
    trace.dropped()
    trace.frozen(0.0)
    trace.dropped(OSError("gone"))
    assert linked(traces.one("checkpoint bars")) == []


# --- sinks and feeds -----------------------------------------------------------------------------


async def test_a_flush_links_to_what_wrote_its_records_and_names_its_stretches(
    traces: Traces,
) -> None:
    runner, _, _ = plain_runner(traces.tracing)
    for _ in range(2):
        runner.accept(batch(runner.position, runner.position + 10))
        await runner.checkpoint()
    first, second = map(identity, traces.spans(f"send {BARS}"))
    place, tracing = (BARS, PARTITION), traces.tracing
    tracing.flushed("influx", 0.0, {place: 100}, rows=1)
    tracing.flushed("influx", 0.0, {place: 101}, rows=5, culprits=1)
    tracing.flushed("influx", 0.0, {place: 102, (BARS, 0): 40}, rows=2)
    # It was another writer's meanwhile, and is read again.
    tracing.flushed("influx", 0.0, {place: 101})
    # Another sink has a place of its own.
    tracing.flushed("archive", 0.0, {place: 102})
    flushes = traces.spans("flush influx")
    assert [linked(each) for each in flushes] == [[], [first], [second], []]
    assert said(flushes[1])["candlewick.rows"] == 5
    assert said(flushes[1])["candlewick.culprits"] == 1
    (event,) = flushes[1].events
    stretch = {"messaging.kafka.offset": 100, "candlewick.offset.next": 101}
    assert stretch.items() <= dict(event.attributes or {}).items()
    assert len(flushes[2].events) == 2
    assert linked(traces.one("flush archive")) == []


def test_a_flush_that_fails_says_why(traces: Traces) -> None:
    error = TimeoutError("no answer")
    traces.tracing.flushed("influx", 0.0, {}, error=error)
    span = traces.one("flush influx")
    assert span.status.description == "no answer"
    assert span.kind is SpanKind.CLIENT


async def test_the_loop_of_a_sink_needs_one_call_whether_it_is_traced_or_not(
    traces: Traces,
) -> None:
    trace_flush(None, "influx", 0.0, {}, None, OSError("full"))
    runner, _, _ = plain_runner(traces.tracing)
    runner.accept(batch(0, 10))
    await runner.checkpoint()
    names, place = {"bars": BARS}, Place("bars", PARTITION)
    culprit = Culprit(place, 100, "a point of no type", b"{}")
    for position in (100, 101):
        done = Flushed({place: position}, rows=7, culprits=[culprit])
        trace_flush(traces.tracing, "influx", 0.0, names, done)
    trace_flush(traces.tracing, "influx", 0.0, names, None, OSError("full"))
    _, taken, failed = traces.spans("flush influx")
    assert linked(taken) == [identity(traces.one(f"send {BARS}"))]
    assert said(taken)["candlewick.rows"] == 7
    assert said(taken)["candlewick.culprits"] == 1
    assert failed.status.description == "full"


def test_a_feeds_batch_is_drawn_by_itself_and_one_that_fails_is_always_told() -> None:
    traces = Traces(0.9, 0.1, 0.9)
    sent = traces.tracing.sent
    sent(TICKS, 0, 100, 50, 0.0)
    sent(TICKS, 0, 150, 50, 0.0)
    sent(TICKS, 0, None, 50, 0.0, OSError("refused"))
    good, bad = traces.spans(f"send {TICKS}")
    assert said(good)["messaging.kafka.offset"] == 150
    assert said(good)["candlewick.offset.next"] == 200
    assert bad.status.description == "refused"
    assert "messaging.kafka.offset" not in said(bad)


# --- bounds --------------------------------------------------------------------------------------


async def test_links_and_memory_are_bounded(traces: Traces) -> None:
    runner, _, _ = plain_runner(traces.tracing)
    for first in range(LINKS + 20):
        runner.accept(batch(first, first + 1))
    await runner.checkpoint()
    span = traces.one("checkpoint bars")
    assert len(span.links) == LINKS
    assert said(span)["candlewick.batches"] == LINKS + 20
    for first in range(0, 3 * REMEMBERED):
        traces.tracing.wrote(BARS, 0, (first, first + 1, 1), (0, 1))
    known = traces.tracing.writers(BARS, 0, 0, 3 * REMEMBERED)
    assert len(known) == REMEMBERED
    assert traces.tracing.writers(BARS, 0, 0, 2 * REMEMBERED) == []


class Hanging(SpanExporter):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait for the test."""
        self.entered.set()
        self.gate.wait()
        self.names += [each.name for each in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


async def test_an_exporter_that_hangs_holds_nothing_back_and_loses_the_oldest() -> None:
    hanging, queue = Hanging(), 32
    settings = Settings(tracing={"endpoint": ENDPOINT, "ratio": 1.0, "queue": queue})  # type: ignore[arg-type]
    tracing = Tracing(settings, "worker", exporter=hanging)
    runner, _, _ = plain_runner(tracing)
    try:
        for _ in range(queue):
            tracing.flushed("first", 0.0, {})
        # From here on the exporting thread is held; what goes on is the test itself.
        assert hanging.entered.wait(30)
        for _ in range(20 * queue):
            tracing.flushed("lost", 0.0, {})
        for _ in range(10):
            assert runner.accept(batch(runner.position, runner.position + 5))
            assert await runner.checkpoint()
        await tracing.close(0.01)
    finally:
        hanging.gate.set()
    await tracing.close(60)
    assert hanging.names.count("flush first") == queue
    assert hanging.names.count("checkpoint bars") == 10
    assert len(hanging.names) <= 2 * queue
    assert tracing.ended == 21 * queue + 30

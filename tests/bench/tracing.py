"""`python -m tests.bench.tracing`: what a batch pays for traces that are off, not drawn, and on.

A runner without Kafka applies batches of one record that it does not look at, so that all that is
timed is the way of a batch: its checks, its metrics, its trace. Nanoseconds of this thread's
processor time, of the quickest of some rounds: what else runs on the machine must not count.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.observe.spans import Tracing
from app.settings import Settings
from tests.unit.traced_runner import batch, plain_runner

BATCHES, ROUNDS, TESTS = 2_000, 5, 500_000


class Nowhere(SpanExporter):
    """Takes everything and keeps nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Forget them."""
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


def quickest(measure: Callable[[], float], rounds: int) -> float:
    """Return the least of some rounds."""
    gc.collect()
    return min(measure() for _ in range(rounds))


def of_a_test(count: int = TESTS) -> float:
    """Return the ns of one test of an attribute, as the runner makes it."""
    runner, _, _ = plain_runner(None)

    def tested() -> float:
        began = time.thread_time_ns()
        for _ in range(count):
            if runner._trace is not None:
                raise AssertionError
        return (time.thread_time_ns() - began) / count

    def empty() -> float:
        began = time.thread_time_ns()
        for _ in range(count):
            pass
        return (time.thread_time_ns() - began) / count

    # In turns, so that both meet the same machine.
    rounds = [(tested(), empty()) for _ in range(5 * ROUNDS)]
    return min(each for each, _ in rounds) - min(each for _, each in rounds)


def of_a_batch(draw: float | None, count: int = BATCHES) -> float:
    """Return the ns of a batch; `draw` is what the sampling draws, None: traces are off."""
    tracing = None
    if draw is not None:
        settings = Settings(tracing={"endpoint": "http://127.0.0.1:1", "ratio": 0.5})  # type: ignore[arg-type]
        tracing = Tracing(settings, "worker", exporter=Nowhere(), chance=lambda: draw)
    runner, state, _ = plain_runner(tracing)

    def accepted() -> float:
        batches = [batch(number, number + 1) for number in range(count)]
        runner.position = 0
        state.pending_outputs = 0
        began = time.thread_time_ns()
        for each in batches:
            runner.accept(each)
        taken = (time.thread_time_ns() - began) / count
        runner._uncommitted = type(runner._uncommitted)()
        return taken

    found = quickest(accepted, ROUNDS)
    if tracing is not None:
        tracing._provider.shutdown()
    return found


def main() -> None:
    """Print a line each."""
    argparse.ArgumentParser(prog="python -m tests.bench.tracing", description=__doc__).parse_args()
    print(f"Python {platform.python_version()}, quickest of {ROUNDS} rounds")
    print(f"traces off: one test of an attribute a batch, {of_a_test():.1f} ns")
    for name, draw in (("off", None), ("on, not drawn", 1.0), ("on, traced", 0.0)):
        print(f"a batch of one record, traces {name}: {of_a_batch(draw):,.0f} ns")


if __name__ == "__main__":
    main()

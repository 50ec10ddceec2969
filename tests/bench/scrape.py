"""`python -m tests.bench.scrape`: what `/metrics` of a worker with 10,000 symbols costs.

A worker with the agents bars and indicators, on an embedded broker of its own, takes trades of that
many symbols; then its page is asked for, again and again: at rest, and while it takes more, which
another process sends; then `/healthz`, too. Bytes, milliseconds from the request to the last byte,
and the worker's processor time for one at rest, which other processes on the machine do not change
much. Goals: 1 MB, 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles

import psutil
from prometheus_client.parser import text_string_to_metric_families

from app.broker import BrokerConfig, EmbeddedBroker
from app.feeds.partitioning import partition_of
from app.settings import Settings
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, SECOND, START, Value, prepared, send, trade

SYMBOLS, SCRAPES = 10_000, 50
GOAL_BYTES, GOAL_SECONDS = 1_000_000, 0.1
PREFIX = "SCRAPED"
#: For one answer: the machine may be busy with something else.
ANSWER_SECONDS = 60.0
#: Records that are sent at once while it works.
PIECE = 10_000
#: Between two requests while it works: so that they do not see its beginning alone.
PAUSE_SECONDS = 0.05


def symbols_of(count: int) -> list[str]:
    """Return that many symbols."""
    return [f"{PREFIX}{number}" for number in range(count)]


def trades_of(
    symbols: list[str], partitions: int, rounds: int, begin: int = START
) -> dict[int, list[Value]]:
    """Return trades by partition: one of each symbol a second, for so many seconds."""
    found: dict[int, list[Value]] = {number: [HISTORICAL] for number in range(partitions)}
    places = [(symbol, partition_of(symbol, partitions)) for symbol in symbols]
    for number in range(rounds):
        for symbol, place in places:
            found[place].append(trade(symbol, begin + number * SECOND, 100.0 + number))
    return found


async def settled(worker: WorkerProcess, bars: int, seconds: float = 120.0) -> str:
    """Return the page once so many bars are committed, and no agent has anything left to do."""
    text = ""

    async def there() -> bool:
        nonlocal text
        text = (await worker.get("/metrics", ANSWER_SECONDS))[1]
        left = _sum(text, "candlewick_lag_records", "candlewick_checkpoint_age_seconds")
        return _sum(text, "candlewick_bars_total") >= bars and not left

    await until(there, lambda: worker.tail, seconds)
    return text


def _sum(text: str, *names: str) -> float:
    return sum(value for name in names for _, value in _samples(text, name))


def _samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value


@dataclass(frozen=True)
class Scrapes:
    """What so many requests cost."""

    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        """One line for people."""
        cuts = quantiles(self.seconds, n=20)
        size, p50, p95 = max(self.sizes), 1e3 * cuts[9], 1e3 * cuts[18]
        met = size < GOAL_BYTES and p95 < 1e3 * GOAL_SECONDS
        return (
            f"{name}: {size:,} bytes; P50 {p50:.1f} ms, P95 {p95:.1f} ms, "
            f"slowest {1e3 * max(self.seconds):.1f} ms ({'met' if met else 'MISSED'})"
        )


async def scrape(worker: WorkerProcess, count: int) -> Scrapes:
    """Ask for the page that many times, one after the other."""
    found = Scrapes()
    for _ in range(count):
        await ask(worker, "/metrics", found)
    return found


async def ask(worker: WorkerProcess, path: str, found: Scrapes) -> None:
    """Ask for a page once."""
    began = time.perf_counter()
    status, text = await worker.get(path, ANSWER_SECONDS)
    found.seconds.append(time.perf_counter() - began)
    found.sizes.append(len(text.encode()))
    assert status == 200


def _processor_seconds(worker: WorkerProcess) -> float:
    times = psutil.Process(worker.pid).cpu_times()
    return float(times.user + times.system)


async def measure(
    settings: Settings, symbols: int, scrapes: int
) -> tuple[Scrapes, Scrapes, Scrapes, float]:
    """Return the requests at rest, those while it works, probes then, a scrape's processor time."""
    names, partitions = symbols_of(symbols), settings.topics.partitions
    async with WorkerProcess(await prepared(settings)) as worker:
        await worker.wait_ready()
        first = trades_of(names, partitions, 3)
        for values in first.values():
            values.append(FLUSH)
        await send(settings, first)
        # Three of a second, one of a minute.
        text = await settled(worker, 4 * symbols)
        assert PREFIX not in text
        before = _processor_seconds(worker)
        rest = await scrape(worker, scrapes)
        processor = (_processor_seconds(worker) - before) / scrapes
        busy, probes = Scrapes(), Scrapes()
        with ProcessPoolExecutor(1, get_context("spawn")) as another:
            loop = asyncio.get_running_loop()
            sending = loop.run_in_executor(another, send_load, settings, symbols)
            taken = await _applied(worker)

            async def works() -> bool:
                return await _applied(worker) > taken

            await until(works, lambda: worker.tail)
            while not sending.done() or len(busy.seconds) < scrapes:
                await ask(worker, "/metrics", busy)
                await ask(worker, "/healthz", probes)
                await asyncio.sleep(PAUSE_SECONDS)
            await sending
        # What it has not taken yet is of no interest: leaving ends it.
    return rest, busy, probes, processor


async def _applied(worker: WorkerProcess) -> float:
    return _sum((await worker.get("/metrics", ANSWER_SECONDS))[1], "candlewick_records_total")


def send_load(settings: Settings, symbols: int) -> None:
    """Send a minute of each symbol, in pieces, so that it takes as long as the scrapes do."""

    async def slowly(values: dict[int, list[Value]]) -> None:
        for number, partition in values.items():
            for begin in range(0, len(partition), PIECE):
                await send(settings, {number: partition[begin : begin + PIECE]})

    names, partitions = symbols_of(symbols), settings.topics.partitions
    asyncio.run(slowly(trades_of(names, partitions, 60, START + 60 * SECOND)))


def main() -> None:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scrape", description=__doc__)
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    parser.add_argument("--scrapes", type=int, default=SCRAPES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="candlewick-scrape-") as folder:
        broker = EmbeddedBroker(BrokerConfig(Path(folder) / "kafka"))
        try:
            broker.start()
            broker.wait_ready()
            settings = scraped_settings(broker, "scrape", Path(folder))
            found = asyncio.run(measure(settings, chosen.symbols, chosen.scrapes))
        finally:
            broker.stop()
    rest, busy, probes, processor = found
    print(rest.line(f"/metrics of {chosen.symbols:,} symbols, at rest"))
    print(busy.line(f"/metrics of {chosen.symbols:,} symbols, under load"))
    print(probes.line("/healthz under load"))
    print(f"processor time of the worker for one at rest: {1e3 * processor:.1f} ms")
    if chosen.json is not None:
        figures = {
            "rest": rest.seconds,
            "busy": busy.seconds,
            "probes": probes.seconds,
            "processor": processor,
            "bytes": max(busy.sizes),
        }
        chosen.json.write_text(json.dumps(figures))


def scraped_settings(broker: EmbeddedBroker, unique: str, folder: Path) -> Settings:
    """Settings of the worker that is asked: two stages, four partitions."""
    chosen = worker_settings(
        broker,
        unique,
        folder,
        topics={"partitions": 4},
        bars={"intervals": "1s,1m"},
        # Nothing is killed here, and the machine may be busy.
        broker={"transaction_timeout": "30s", "session_timeout": "10s"},
    )
    return chosen.model_copy(update={"agents": ("bars", "indicators")})


if __name__ == "__main__":
    main()

"""`python -m tests.bench.influx`: from a topic of bars into InfluxDB, points a second.

An embedded broker with bars as the engine writes them, a real InfluxDB (`make influxd`), and
between the two what a worker runs: the sink's loop with its consumer group, the encoding and the
driver, in this process. Before and after it, in the same run, what InfluxDB takes of line protocol
that is made already: the same lines of other bars, in requests of the same size, as many at once as
the driver has. That is its own limit on this machine, and the topic's way is told as a share of it.
Every way has a bucket of its own. InfluxDB runs with the options that `docs/influxdb.md` advises;
--plain leaves them out. Number and sums of the points are compared with the records at the end; a
difference is exit code 1. Where InfluxDB is not built, one line says how to.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from pydantic import SecretStr

from app.admin import ensure_topics
from app.broker import BrokerConfig, EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, encoder
from app.feeds.partitioning import partition_of
from app.feeds.producer import TickSender
from app.influx.setup import set_up
from app.settings import PREFIX, Settings
from app.sinks.consumer import SinkLoop
from app.sinks.influx import InfluxDriver
from app.sinks.influx_http import InfluxHttp
from app.sinks.letters import DeadLetters
from app.sinks.line_batches import LineBatcher
from app.sinks.points import PointEncoder
from app.sinks.settings import InfluxSettings
from app.streaming import slim
from app.streaming.tuning import tune_process
from app.topics import output_topic
from tests.bench.report import surroundings
from tests.influx_server import (
    ADVISED_ENVIRONMENT,
    ADVISED_OPTIONS,
    BUILD,
    InfluxServer,
    find_influxd,
)
from tests.unit.line_protocol import parse

GOAL = 300_000
START = 1_700_000_000_000_000_000
MINUTE = 60_000_000_000


@dataclass(frozen=True)
class Rate:
    """Points, seconds, and seconds of processor time of us and of InfluxDB."""

    points: int
    seconds: float
    ours: float
    theirs: float

    def text(self, name: str) -> str:
        return (
            f"{name:<34}{self.points / self.seconds:>10,.0f} points/s{self.points:>12,} points"
            f"{self.ours / self.points * 1e6:>8.2f} us of ours,"
            f"{self.theirs / self.points * 1e6:>6.2f} us of InfluxDB's a point"
        )


class Clocks:
    """Wall clock and processor time of two processes, since it was made."""

    def __init__(self, server: InfluxServer) -> None:
        self._process = psutil.Process(server.pid)
        self._began = self._now()

    def _now(self) -> tuple[float, float, float]:
        theirs = self._process.cpu_times()
        return time.perf_counter(), time.process_time(), theirs.user + theirs.system

    def rate(self, points: int) -> Rate:
        seconds, ours, theirs = (b - a for a, b in zip(self._began, self._now(), strict=True))
        return Rate(points, seconds, ours, theirs)


def market(symbols: Sequence[str], count: int, seed: int) -> list[bytes]:
    """Bars of a minute each, the symbols in turn, as the engine writes them."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        low = round(rng.uniform(20, 500), 2)
        rest = [round(low + rng.uniform(0, 1), 2) for _ in range(3)]
        made.append(
            encoder.encode(
                BarRecord(
                    symbols[number % len(symbols)], "1m", START + number // len(symbols) * MINUTE,
                    rest[0], rest[1], low, rest[2], float(rng.randrange(1, 100_000)),
                    rng.uniform(low, low + 1), rng.randrange(1, 5_000), 0, True, False, ("feed",),
                )
            )
        )  # fmt: skip
    return made


def later(values: Sequence[bytes], minutes: int) -> list[bytes]:
    """The same bars, so many minutes later: making them is no part of what is measured."""
    moved = []
    for value in values:
        head, _, rest = value.partition(b'"start":')
        digits, comma, tail = rest.partition(b",")
        moved.append(head + b'"start":%d' % (int(digits) + minutes * MINUTE) + comma + tail)
    return moved


def symbols_of(settings: Settings, symbols: int) -> list[list[str]]:
    """The names of so many symbols, by their partitions."""
    partitions = settings.topics.partitions
    names: list[list[str]] = [[] for _ in range(partitions)]
    for number in range(symbols):
        names[partition_of(f"SYM{number}", partitions)].append(f"SYM{number}")
    return names


async def fill(settings: Settings, records: int, symbols: int) -> tuple[int, int]:
    """Write bars to the topic; how many, and the sum of their trades."""
    await ensure_topics(settings)
    names = symbols_of(settings, symbols)
    minutes = 600
    blocks = [market(own, minutes * len(own), seed) for seed, own in enumerate(names) if own]
    trades = sum(json.loads(value)["trades"] for block in blocks for value in block)
    written = total = 0
    async with TickSender(settings, topic=output_topic(settings, "bars")) as sender:
        round_ = 0
        while written < records:
            for partition, block in enumerate(blocks):
                values = later(block, round_ * minutes)
                await sender.send(partition, [(None, value) for value in values])
                written += len(values)
            total += trades
            round_ += 1
        await sender.flush()
    return written, total


async def ready_made(server: InfluxServer, settings: Settings, bodies: list[bytes]) -> Rate:
    """Write what is line protocol already, by as many requests at once as the driver has."""
    http = InfluxHttp(settings.influx, settings.sinks.timeout)
    await http.open()
    waiting = iter(bodies)

    async def work() -> None:
        for body in waiting:
            if await http.write(settings.influx.bucket, body) is not None:
                raise RuntimeError("InfluxDB refuses a body")

    clocks = Clocks(server)
    await asyncio.gather(*(work() for _ in range(settings.influx.requests)))
    rate = clocks.rate(sum(body.count(b"\n") for body in bodies))
    await http.close()
    return rate


async def from_topic(
    server: InfluxServer, settings: Settings, records: int, seconds: float
) -> tuple[Rate, int, float]:
    """Run the sink until all is written; its rate over the seconds, all points, the longest pause.

    The pause is of this event loop, in seconds.
    """
    driver = InfluxDriver(settings)
    loop = SinkLoop(settings, driver, DeadLetters(settings))
    task = asyncio.create_task(loop.run())
    longest = 0.0
    clocks: Clocks | None = None
    rate: Rate | None = None
    first, began = 0, 0.0
    while loop.status.rows < records:
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        if clocks is None and loop.status.rows:
            # Joining the group is no part of it.
            clocks, first, began = Clocks(server), loop.status.rows, now
        if clocks is not None and rate is None:
            longest = max(longest, now - before - 0.005)
            if now - began >= seconds:
                rate = clocks.rate(loop.status.rows - first)
        if task.done():
            await task
            raise RuntimeError("the sink has ended")
    if rate is None and clocks is not None:
        rate = clocks.rate(loop.status.rows - first)
    assert rate is not None
    loop.stop()
    await task
    return rate, loop.status.rows, longest


def total(server: InfluxServer, bucket: str, token: str, how: str) -> float:
    """The number or the sum of the trades of all points."""
    rows = server.query(
        "candlewick",
        token,
        f'from(bucket: "{bucket}") |> range(start: 0, stop: 2100-01-01T00:00:00Z)'
        ' |> filter(fn: (r) => r._measurement == "bars" and r._field == "trades")'
        f" |> {how}() |> group() |> sum()",
    )
    return float(rows[0]["_value"]) if rows else 0.0


def bodies_of(settings: Settings, count: int, symbols: int) -> list[bytes]:
    """Requests of line protocol like the driver's: of one partition's symbols each, in turn."""
    made: list[list[bytes]] = []
    for number, names in enumerate(symbols_of(settings, symbols)):
        if not names:
            continue
        values = market(names, count * len(names) // symbols, 99 + number)
        offsets = np.arange(len(values), dtype=np.int64)
        batch = RecordBatch("bars", 0, 0, len(values), values, offsets, offsets + START)
        encoded = PointEncoder("bars", left_out=settings.influx.leave_out).take(batch)
        batcher = LineBatcher(0, settings.influx.batch)
        batcher.put(encoded.lines, encoded.offsets, encoded.next)
        made.append([each.body() for each in batcher.full()])
    return [body for turn in itertools.zip_longest(*made) for body in turn if body is not None]


def cut(body: bytes, count: int) -> bytes:
    """The same points with their first so many fields; the lines have no escapes."""
    lines = []
    for line in body.splitlines():
        series, fields, moment = line.split(b" ")
        lines.append(b"%s %s %s\n" % (series, b",".join(fields.split(b",")[:count]), moment))
    return b"".join(lines)


def fields_of(body: bytes) -> float:
    """The mean number of fields that the points of a request have."""
    found = [len(parse(line).fields) for line in body.decode().splitlines()]
    return sum(found) / len(found)


async def measure(chosen: argparse.Namespace, folder: Path, server: InfluxServer, url: str) -> int:
    """Measure all ways and print them; the exit code."""
    operator: str | None = None
    tokens: dict[str, str] = {}

    def settings(name: str) -> Settings:
        nonlocal operator
        plain = Settings(
            broker={"url": url},  # type: ignore[arg-type]
            topics={"partitions": chosen.partitions},  # type: ignore[arg-type]
            topic_prefix="bench.",
            agents=("bars",),
            data_dir=folder / "data",
            # Bars of another year: nothing of them is too old.
            influx={
                **{"url": server.url, "bucket": name, "bar_retention": "0s"},
                **{"batch": chosen.batch, "requests": chosen.requests},
                "leave_out": chosen.leave_out,
            },  # type: ignore[arg-type]
            sinks={"ticks": False, "max_held_bytes": 64 * 1024 * 1024},  # type: ignore[arg-type]
        )
        set_up(plain, operator, tokens.__setitem__)
        operator = tokens["operator"]
        influx = plain.influx.model_copy(update={"token": SecretStr(tokens["writer"])})
        return plain.model_copy(update={"influx": influx})

    rates = {}
    sink = settings("topic")
    bodies = bodies_of(sink, chosen.ready, chosen.symbols)
    topic_reader = tokens["reader"]
    began = time.monotonic()
    records, trades = await fill(sink, chosen.records, chosen.symbols)
    print(f"{records:,} bars in the topic ({time.monotonic() - began:.0f} s)", flush=True)
    tune_process()
    slim.install()
    rates["ready-made lines, before"] = await ready_made(server, settings("ready1"), bodies)
    rate, points, longest = await from_topic(server, sink, records, chosen.seconds)
    rates["from the topic"] = rate
    rates["ready-made lines, after"] = await ready_made(server, settings("ready2"), bodies)
    limits = [each for each in rates.values() if each is not rate]
    for count in chosen.ready_fields:
        cut_bodies = [cut(body, count) for body in bodies]
        name, bucket = f"ready-made lines of {count} fields", f"fields{count}"
        rates[name] = await ready_made(server, settings(bucket), cut_bodies)
    for name, each in rates.items():
        print(each.text(name))
    print(f"longest pause of the sink's event loop: {longest * 1e3:.0f} ms")
    found = [total(server, "topic", topic_reader, how) for how in ("count", "sum")]
    right = found == [records, trades] and points == records
    print(f"points in InfluxDB: {found[0]:,.0f} of {records:,}, all right: {right}")
    limit = statistics.mean(each.points / each.seconds for each in limits)
    reached = rate.points / rate.seconds
    print(
        f"{fields_of(bodies[0]):.1f} fields a point, requests of {chosen.batch:,} lines, "
        f"{chosen.requests} at once; InfluxDB with {server.told}"
    )
    print(
        f"its limit {limit:,.0f} points/s of ready-made lines; from the topic {reached:,.0f} "
        f"points/s, {reached / limit:.0%} of it"
    )
    print(f"goal {GOAL:,} points/s: {'met' if reached >= GOAL else 'NOT met'}")
    for name, text in surroundings("python -m tests.bench.influx").items():
        print(f"{name}: {text}")
    return 0 if right else 1


def main() -> int:
    """Run in a temporary folder; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.influx", description=__doc__)
    parser.add_argument("--records", type=int, default=6_000_000, help="bars in the topic, about")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the topic's way, at most")
    parser.add_argument("--ready", type=int, default=1_000_000, help="lines that are made already")
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=4)
    plain = InfluxSettings()
    parser.add_argument("--batch", type=int, default=plain.batch, help="lines a request")
    parser.add_argument("--requests", type=int, default=plain.requests, help="at once")
    parser.add_argument("--leave-out", default="", help="fields, such as bars.sources")
    parser.add_argument(
        "--ready-fields", type=lambda text: [int(each) for each in text.split(",")], default=[],
        metavar="N,...", help="in the end, ready-made lines of so many fields, too",
    )  # fmt: skip
    parser.add_argument("--plain", action="store_true", help="InfluxDB without advised options")
    chosen = parser.parse_args()
    program = find_influxd()
    if program is None:
        print(f"no InfluxDB here, nothing measured: build it with `{BUILD}`")
        return 0
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="candlewick-bench-") as place:
        folder = Path(place)
        os.environ["CANDLEWICK_CONFIG"] = str(folder / "empty.toml")
        (folder / "empty.toml").touch()
        broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
        try:
            broker.start()
            broker.wait_ready()
            advised = () if chosen.plain else (ADVISED_OPTIONS, ADVISED_ENVIRONMENT)
            with InfluxServer(program, folder / "influx", *advised) as server:
                return asyncio.run(measure(chosen, folder, server, broker.url))
        finally:
            broker.stop()


if __name__ == "__main__":
    sys.exit(main())

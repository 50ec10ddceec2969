"""`python -m tests.bench.predicting`: from ticks to predictions in one worker, while they come.

A worker with the agents bars, indicators and predictions, an embedded broker, ticks at a steady
rate whose event time is the wall clock, spread evenly over the symbols. A past of some seconds more
than the features' warm-up is sent at once before. Measured with a champion alone and then with a
challenger beside it, both as `forecasters.py` makes them:

- in the agent, for each fetch: from the values being there to the outputs pending, and of that the
  part from the moment the agent was handed it. Goal: P95 under 50 ms at 10,000 ticks/s;
- from a bar's close to its readable prediction: from the send of the first trade that lies the
  grace behind the bar's end, which closes it, to the moment a `read_committed` reader of this
  process has the prediction, for each prediction. Three checkpoints lie between (bars, indicators,
  predictions): the append times (the broker's) of the three records say how long each took;
- processor time of the worker.

Every bar of the measured seconds must have its one prediction, or there are no figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import psutil
from aiokafka import TopicPartition

from app.admin import ensure_topics
from app.broker import BrokerConfig, EmbeddedBroker
from app.cli.common import run_async
from app.contracts.predictions import prediction_decoder
from app.feeds.producer import TickSender
from app.run.reader import plain_consumer
from app.setting_groups import AgentName
from app.settings import PREFIX, Settings
from app.topics import output_topic
from models.predicting.features_returns import Returns
from models.predicting.registry import Registry
from tables.indicators.registry import DEFAULT_INDICATORS
from tables.partitioning import partition_of
from tests.bench.forecasters import HORIZON, MODEL, TOLD, promote, publish
from tests.bench.pauses import TRACE_FOLDER
from tests.broker.worker import WorkerProcess, until
from tests.chaos.deployment import read_topic

SECOND = 1_000_000_000
INTERVAL = "1s"
#: Whole seconds; the default.
GRACE = 1
#: Seconds between two parts of the load.
TICK = 0.005
#: Seconds of the past, more than the features need; the second after it is half empty.
PAST = Returns.plan().warm_up + HORIZON + 5
#: Seconds of load before it is measured.
SETTLE = 5
#: Seconds to wait for anything, at most.
LIMIT = 60.0
#: Milliseconds, P95.
GOAL = 50.0
STAGES: Final[tuple[AgentName, ...]] = ("bars", "indicators", "predictions")
SHARES = (50, 95, 99)


class Place(msgspec.Struct):
    """What bars and indicators both say."""

    symbol: str = ""
    interval: str = ""
    start: int = 0
    revision: int = 0


decode_place = msgspec.json.Decoder(Place).decode


class Load:
    """Ticks of the present at a steady rate, each symbol's in turn, until stopped."""

    def __init__(self, settings: Settings, symbols: int, rate: int) -> None:
        self._settings, self._rate = settings, rate
        self.partitions = settings.topics.partitions
        names = [f"SYM{number:05d}" for number in range(symbols)]
        self.homes = {each: partition_of(each.encode(), self.partitions) for each in names}
        self._heads = [(f'{{"symbol":"{name}","price":', home) for name, home in self.homes.items()]
        self._cents = [10_000] * symbols
        self._steps = np.random.default_rng(1).integers(-2, 3, 65_536).tolist()
        self._number = 0
        #: When (s since the epoch) the first trade of each second was sent, by partition.
        self.reached: dict[tuple[int, int], float] = {}
        #: The longest time (s) between two parts: a pause of the load is none of the worker.
        self.longest_pause = 0.0
        self.sent = 0

    def _value(self, event_time: int) -> tuple[int, bytes]:
        number = self._number
        self._number = number + 1
        place = number % len(self._heads)
        head, home = self._heads[place]
        cents = max(100, self._cents[place] + self._steps[number % len(self._steps)])
        self._cents[place] = cents
        text = f'{head}{cents / 100!r},"size":100,"event_time":{event_time},"sequence":{number}}}'
        return home, text.encode()

    async def past(self, sender: TickSender, end: int) -> None:
        """A trade of each symbol in each of the seconds before `end`."""
        for second in range(end - PAST, end):
            parts: list[list[bytes]] = [[] for _ in range(self.partitions)]
            for _ in self._heads:
                home, value = self._value(second * SECOND + SECOND // 2)
                parts[home].append(value)
            for partition, values in enumerate(parts):
                await sender.send(partition, [(None, value) for value in values])
        await sender.flush()

    async def run(self) -> None:
        """The past, and then the present, until cancelled."""
        async with TickSender(self._settings) as sender:
            await self.past(sender, int(time.time()))
            begin = last = time.time()
            count = 0
            while True:
                await asyncio.sleep(TICK)
                now = time.time()
                self.longest_pause = max(self.longest_pause, now - last)
                last = now
                due = int((now - begin) * self._rate)
                parts: list[list[bytes]] = [[] for _ in range(self.partitions)]
                for each in range(count, due):
                    event_time = int(begin * SECOND) + each * SECOND // self._rate
                    home, value = self._value(event_time)
                    parts[home].append(value)
                    self.reached.setdefault((home, event_time // SECOND), now)
                count = due
                for partition, values in enumerate(parts):
                    await sender.send(partition, [(None, value) for value in values])
                await sender.push()
                self.sent = count


@dataclass
class Reader:
    """Predictions as a `read_committed` reader has them: when (s since the epoch) each came."""

    settings: Settings
    #: By symbol and start: when it came, and whether a challenger is in it; revisions are counted.
    found: dict[tuple[str, int], tuple[float, bool]] = field(default_factory=dict)
    twice: int = 0
    revised: int = 0

    async def run(self) -> None:
        """Read until cancelled."""
        topic = output_topic(self.settings, "predictions")
        numbers = range(self.settings.topics.partitions)
        async with plain_consumer(self.settings) as consumer:
            consumer.assign([TopicPartition(topic, number) for number in numbers])
            while True:
                fetched = await consumer.getmany(timeout_ms=1_000)
                now = time.time()
                for records in fetched.values():
                    for each in records:
                        self._take(each.value, now)

    def _take(self, value: bytes, now: float) -> None:
        record = prediction_decoder.decode(value)
        if record.revision or record.prediction is None:
            self.revised += 1
            return
        key = (record.symbol, record.start // SECOND)
        self.twice += key in self.found
        self.found[key] = (now, bool(record.others))

    def whole(self, symbols: Sequence[str], second: int, *, challenged: bool) -> bool:
        """Whether all symbols have a prediction of a second, by so many versions."""
        found = [self.found.get((each, second)) for each in symbols]
        return all(each is not None and each[1] == challenged for each in found)


@dataclass
class Span:
    """Seconds that were measured: the first, and the one behind the last."""

    first: int
    end: int
    challenged: bool
    processor: float


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the longest."""
    found = {f"p{share}": float(np.percentile(milliseconds, share)) for share in SHARES}
    return found | {"max": max(milliseconds), "count": len(milliseconds)}


class Run:
    """One worker, its load, its reader."""

    def __init__(self, settings: Settings, folder: Path, symbols: int, rate: int) -> None:
        self.settings, self.folder = settings, folder
        self.load, self.reader = Load(settings, symbols, rate), Reader(settings)
        self.names = list(self.load.homes)
        self.spans: list[Span] = []
        self._registry = Registry.at(str(settings.models.registry))

    async def measure(self, seconds: int) -> dict[str, dict[str, Any]]:
        """Run the worker under load, first without and then with a challenger; all figures."""
        first, second = (publish(self._registry, seed, INTERVAL) for seed in (1, 2))
        promote(self._registry, first.version)
        await ensure_topics(self.settings)
        application = "tests.bench.predicting_worker"
        async with WorkerProcess(self.settings, application=application) as worker:
            await worker.wait_ready()
            # The version must be named in the log before the bars that it predicts from.
            await self._named(worker)
            tasks = [asyncio.create_task(each.run()) for each in (self.reader, self.load)]
            try:
                await self._span(worker, seconds, challenged=False)
                promote(self._registry, second.version, "challenger")
                await self._span(worker, seconds, challenged=True)
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            for error in ended:
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    raise error
            await worker.stop()
        appended = await self._appended()
        return {
            "with a challenger" if span.challenged else "champion": self._figures(span, appended)
            for span in self.spans
        }

    async def _named(self, worker: WorkerProcess) -> None:
        topic = output_topic(self.settings, "indicators")

        async def named() -> bool:
            found = await read_topic(self.settings, topic)
            return all(b'"alias"' in b"".join(e.value or b"" for e in r) for r in found.values())

        await until(named, lambda: f"no champion is named: {worker.tail}", LIMIT)

    async def _span(self, worker: WorkerProcess, seconds: int, *, challenged: bool) -> None:
        """Wait until every symbol is predicted, let it settle, and measure."""

        async def flowing() -> bool:
            second = int(time.time()) - 2 * GRACE - 2
            return self.reader.whole(self.names, second, challenged=challenged)

        await until(flowing, lambda: f"not all symbols are predicted: {worker.tail}", LIMIT)
        await asyncio.sleep(SETTLE)
        await asyncio.sleep(1 - time.time() % 1)
        process = psutil.Process(worker.pid)
        first, before = int(time.time()), sum(process.cpu_times()[:2])
        await asyncio.sleep(first + seconds - time.time())
        used = sum(process.cpu_times()[:2]) - before
        self.spans.append(Span(first, first + seconds, challenged, used / seconds))
        # What the last of them says comes later.
        last = first + seconds - 1

        async def over() -> bool:
            return self.reader.whole(self.names, last, challenged=challenged)

        await until(over, lambda: f"not all of second {last} is predicted: {worker.tail}", LIMIT)

    async def _appended(self) -> dict[str, dict[tuple[str, int], float]]:
        """When (s since the epoch) the record of a symbol and second was appended, by stage."""
        wanted = {each for span in self.spans for each in range(span.first, span.end)}
        found: dict[str, dict[tuple[str, int], float]] = {}
        for stage in STAGES:
            held = found[stage] = {}
            read = await read_topic(self.settings, output_topic(self.settings, stage))
            for records in read.values():
                for each in records:
                    place = decode_place(each.value or b"{}")
                    if place.interval == INTERVAL and not place.revision:
                        key = (place.symbol, place.start // SECOND)
                        if key[1] in wanted:
                            held[key] = each.timestamp / 1_000
        return found

    def _figures(
        self, span: Span, appended: dict[str, dict[tuple[str, int], float]]
    ) -> dict[str, Any]:
        keys = [(name, each) for each in range(span.first, span.end) for name in self.names]
        lacking = [key for key in keys if key not in self.reader.found]
        if lacking or self.reader.twice:
            raise RuntimeError(
                f"{len(lacking)} of {len(keys)} bars have no prediction, {self.reader.twice} have "
                f"more than one; the first: {lacking[:1]}"
            )
        closed: list[float] = []
        steps: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "readable")}
        for key in keys:
            name, second = key
            begin = before = self.load.reached[self.load.homes[name], second + 1 + GRACE]
            for stage in STAGES:
                at = appended[stage][key]
                steps[stage].append((at - before) * 1e3)
                before = at
            came = self.reader.found[key][0]
            steps["readable"].append((came - before) * 1e3)
            closed.append((came - begin) * 1e3)
        lines = (self.folder / f"{self.settings.worker}.jsonl").read_text().splitlines()
        fetches = [each for each in map(json.loads, lines) if span.first <= each["at"] < span.end]
        return {
            "agent, fetch to outputs pending": percentiles(
                [(each["waited"] + each["taken"]) * 1e3 for each in fetches]
            ),
            "of it, once handed to the agent": percentiles([e["taken"] * 1e3 for e in fetches]),
            "of that, on the processor": percentiles([e["processor"] * 1e3 for e in fetches]),
            "records of a fetch": percentiles([float(each["records"]) for each in fetches]),
            "close to readable prediction": percentiles(closed),
            "median by stage": {name: float(np.median(each)) for name, each in steps.items()},
            "worker, share of a core": span.processor,
        }


def settings_of(broker: EmbeddedBroker, folder: Path, partitions: int) -> Settings:
    """The default bars and indicators, and what the features read beside them."""
    return Settings(
        agents=STAGES,
        broker={"url": broker.url},  # type: ignore[arg-type]
        topics={"partitions": partitions},  # type: ignore[arg-type]
        indicators={"by_interval": {INTERVAL: f"{DEFAULT_INDICATORS},CLOSE,VOLUME"}},  # type: ignore[arg-type]
        predictions={"models": f"{MODEL}@{INTERVAL}"},  # type: ignore[arg-type]
        models={"registry": str(folder / "models"), "poll": "1s"},  # type: ignore[arg-type]
        data_dir=folder / "data",
        web={"port": 0},  # type: ignore[arg-type]
    )


async def measure(
    folder: Path, symbols: int, rate: int, partitions: int, seconds: int
) -> dict[str, Any]:
    """All figures, by what they are of."""
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        broker.start()
        broker.wait_ready()
        run = Run(settings_of(broker, folder, partitions), folder, symbols, rate)
        began = time.monotonic()
        figures: dict[str, Any] = {**await run.measure(seconds)}
        figures["load"] = {
            "ticks": run.load.sent,
            "longest pause, ms": run.load.longest_pause * 1e3,
            "minutes in all": (time.monotonic() - began) / 60,
            "load average": os.getloadavg()[0],
        }
        return figures
    finally:
        broker.stop()


def told(figures: dict[str, Any]) -> list[str]:
    """The figures as lines."""
    lines = []
    load = figures["load"]
    for phase, found in figures.items():
        if phase == "load":
            continue
        lines.append(f"{phase}, ms (worker: {found['worker, share of a core']:.0%} of a core)")
        for name, each in found.items():
            if not isinstance(each, dict) or "p95" not in each:
                continue
            text = "  ".join(f"{key} {each[key]:7.1f}" for key in ("p50", "p95", "p99", "max"))
            verdict = ""
            if "agent" in name:
                verdict = f"  goal p95 {GOAL:g}: {'met' if each['p95'] < GOAL else 'NOT met'}"
            lines.append(f"  {name:<34}{text}  of {each['count']:,}{verdict}")
        ways = ", ".join(f"{key} {each:.0f}" for key, each in found["median by stage"].items())
        lines.append(f"  of it by median, each to its append: {ways}")
    lines.append(
        f"{load['ticks']:,} ticks, longest pause of the load {load['longest pause, ms']:.0f} ms, "
        f"load average {load['load average']:.1f}"
    )
    return lines


def main() -> None:
    """Measure in a temporary folder, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.predicting", description=__doc__)
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--rate", type=int, default=10_000, help="ticks a second of all symbols")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=40, help="of each of the two measurements")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    if chosen.rate < 2 * chosen.symbols:
        parser.error(f"--rate {chosen.rate}: each symbol needs a trade in every second")
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="candlewick-predicting-") as name:
        folder = Path(name)
        empty = folder / "empty.toml"
        empty.touch()
        os.environ["CANDLEWICK_CONFIG"] = str(empty)
        # The engine is measured, not what writes beside it.
        os.environ["CANDLEWICK_SINKS__DRIVERS"] = "none"
        os.environ[TRACE_FOLDER] = name
        options = (chosen.symbols, chosen.rate, chosen.partitions, chosen.seconds)
        figures = run_async(partial(measure, folder, *options))
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, xgboost-cpu "
        f"{version('xgboost-cpu')}: {chosen.symbols:,} symbols, {chosen.rate:,} ticks/s, "
        f"{chosen.partitions} partitions, bars of {INTERVAL} predicted, {TOLD}"
    )
    print("\n".join(told(figures)))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()

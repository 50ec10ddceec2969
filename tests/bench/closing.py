"""`python -m tests.bench.closing`: one second's bars of 10,000 symbols, to their indicators.

A worker with the agents bars and indicators, an embedded broker, one trade a symbol and second.
First a backlog, in turn with the bars agent alone and with both, each time by a new deployment: the
difference of two neighbours is the processor time that indicators add to a closed bar, Kafka and
state included; printed are the median of the pairs and how far they lie apart. The pages' views of
the bars are waited for: they go on reading while a worker runs, so that one that runs longer comes
further with the same views; `--no-views` leaves them out of both. Then single seconds: the trade
that closes a second is sent to each partition, and the time is taken until a `read_committed`
reader has the indicators of all symbols.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import time
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from statistics import median

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.admin import ensure_topics
from app.broker import BrokerConfig, EmbeddedBroker
from app.cli.common import run_async
from app.feeds.producer import TickSender
from app.run.reader import plain_consumer
from app.setting_groups import AgentName
from app.settings import Settings
from app.topics import output_topic
from tables.partitioning import partition_of
from tests.bench.apart import apart, say
from tests.bench.log import FLUSH, HISTORICAL
from tests.bench.ticks import BEGIN
from tests.broker.test_engine_quotes import wait_drained
from tests.broker.worker import WorkerProcess, until

SECOND = 1_000_000_000
PARTITIONS = 2
#: Seconds for a round, at most.
SECONDS = 60.0
#: Seconds between those that are timed: a closing trade opens a window of its own.
STRIDE = 4

decode = msgspec.json.Decoder(dict).decode


def trade(symbol: str, time_ns: int, number: int) -> bytes:
    """A trade in the middle of a second; its price moves a little."""
    price = 100 + (number * 7919 + len(symbol)) % 997 / 100
    return (
        f'{{"symbol":"{symbol}","price":{price!r},"size":100,"event_time":{time_ns},'
        f'"trade_id":"{number}"}}'
    ).encode()


class Market:
    """Symbols by partition, and their trades a second."""

    def __init__(self, symbols: int) -> None:
        self.names: list[list[str]] = [[] for _ in range(PARTITIONS)]
        for number in range(symbols):
            name = f"SYM{number:05d}"
            self.names[partition_of(name.encode(), PARTITIONS)].append(name)

    def second(self, number: int, partition: int) -> list[bytes]:
        """One trade of each symbol."""
        moment = BEGIN + number * SECOND + SECOND // 2
        return [trade(name, moment, number) for name in self.names[partition]]

    def closing(self, number: int, partition: int) -> bytes:
        """The trade whose time closes a second (grace 1 s)."""
        return trade(self.names[partition][0], BEGIN + (number + 2) * SECOND, number)


def settings_of(
    broker: EmbeddedBroker, folder: Path, agents: tuple[AgentName, ...], *, views: bool
) -> Settings:
    """Bars of a second, the default indicators; the deployment has the folder's name."""
    return Settings(
        deployment=folder.name,
        agents=agents,
        broker={"url": broker.url},  # type: ignore[arg-type]
        topics={"partitions": PARTITIONS},  # type: ignore[arg-type]
        bars={"intervals": "1s"},  # type: ignore[arg-type]
        data_dir=folder,
        views={"enabled": views},  # type: ignore[arg-type]
        web={"port": 0},  # type: ignore[arg-type]
    )


async def send(settings: Settings, values: Sequence[Sequence[bytes]]) -> None:
    """Append values to each partition of `ticks`."""
    async with TickSender(settings) as sender:
        for partition, each in enumerate(values):
            await sender.send(partition, [(None, value) for value in each])
        await sender.flush()


async def backlog(settings: Settings) -> float:
    """Processor seconds of a worker that drains what is there, views included, and is stopped."""
    await ensure_topics(settings)
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await wait_drained(settings, worker)
        if settings.views.enabled:
            await until(partial(views_at_end, worker), lambda: worker.tail)
        used = psutil.Process(worker.pid).cpu_times()
        await worker.stop()
    return used.user + used.system


async def views_at_end(worker: WorkerProcess) -> bool:
    """Whether the views of the bars have read all of their topic."""
    status, text = await worker.get("/api/v1/partitions")
    if status != HTTPStatus.OK:
        return False
    listed = [each for each in decode(text)["partitions"] if each["agent"] == "bars"]
    return [each["view_behind"] for each in listed] == [0] * PARTITIONS


async def seconds(settings: Settings, market: Market, first: int, rounds: int) -> list[float]:
    """Milliseconds of each round, from sending the closing trades to reading the last record."""
    found = []
    topic, count = output_topic(settings, "indicators"), sum(map(len, market.names))
    parts = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    numbers = range(PARTITIONS)
    async with WorkerProcess(settings) as worker, plain_consumer(settings) as reader:
        await worker.wait_ready()
        reader.assign(parts)
        for number in range(first, first + rounds * STRIDE, STRIDE):
            await send(settings, [market.second(number, each) for each in numbers])
            await wait_drained(settings, worker)
            await reader.seek_to_end(*parts)
            async with asyncio.timeout(SECONDS):
                begin = time.monotonic()
                await send(settings, [[market.closing(number, each)] for each in numbers])
                await last_read(reader, BEGIN + number * SECOND, count)
                found.append((time.monotonic() - begin) * 1_000)
        await worker.stop()
    return found


async def last_read(reader: AIOKafkaConsumer, start: int, count: int) -> None:
    """Read on until the committed records of so many bars of a start have come."""
    while count:
        for records in (await reader.getmany(timeout_ms=1_000)).values():
            count -= sum(decode(each.value)["start"] == start for each in records)


async def measure(
    folder: Path, symbols: int, history: int, pairs: int, rounds: int, *, views: bool
) -> dict[str, float]:
    """All figures, by what they are of."""
    market = Market(symbols)
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        broker.start()
        broker.wait_ready()
        every = [
            settings_of(broker, folder / f"both-{number}", ("bars", "indicators"), views=views)
            for number in range(pairs)
        ]
        both = every[-1]
        await ensure_topics(both)
        await send(both, [[HISTORICAL]] * PARTITIONS)
        for number in range(history):
            await send(both, [market.second(number, each) for each in range(PARTITIONS)])
        # Behind the flush nothing but a trade closes a second: no clock record.
        await send(both, [[FLUSH, HISTORICAL]] * PARTITIONS)
        bars = symbols * history
        alone, added = [], []
        for number, settings in enumerate(every):
            without = settings_of(broker, folder / f"alone-{number}", ("bars",), views=views)
            alone.append(await backlog(without) / bars * 1e6)
            added.append(await backlog(settings) / bars * 1e6 - alone[-1])
            say(f"pair {number + 1} of {pairs}: {alone[-1]:.1f} us a bar, and {added[-1]:.1f}")
        how = f"{pairs} pairs" if views else f"{pairs} pairs without views"
        name = f"indicators add, us a closed bar, all in, {how}"
        figures = {
            "bars alone, us of processor time a trade and bar, median": median(alone),
            f"{name}: median": median(added),
            f"{name}: least": min(added),
            f"{name}: most": max(added),
        }
        taken = await seconds(both, market, history + STRIDE, rounds)
        name = f"{symbols:,} symbols' second to their indicators, ms"
        # The first comes after a start: the entry of each symbol is read from the store.
        figures[f"{name}, first after a start"] = taken[0]
        figures[f"{name}, then median"] = median(taken[1:])
        figures[f"{name}, then worst"] = max(taken[1:])
        return figures
    finally:
        broker.stop()


def main() -> None:
    """Measure in a temporary folder, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.closing", description=__doc__)
    parser.add_argument("--symbols", type=int, default=10_000)
    # Behind the 34th bar a symbol has been stored as a whole twice, as it goes on to be.
    parser.add_argument("--history", type=int, default=34, help="seconds of the backlog")
    parser.add_argument("--pairs", type=int, default=5, help="bars alone, then with indicators")
    parser.add_argument("--rounds", type=int, default=6, help="single seconds, 2 or more")
    parser.add_argument("--no-views", action="store_true", help="without the pages' views")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    with apart("closing") as folder:
        sizes = (chosen.symbols, chosen.history, chosen.pairs, chosen.rounds)
        figures = run_async(partial(measure, folder, *sizes, views=not chosen.no_views))
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}")
    for text, figure in figures.items():
        print(f"{figure:10.1f}  {text}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()

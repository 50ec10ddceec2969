"""`python -m tests.bench.rebalances`: for how long no bar comes when workers come, go and die.

An embedded broker, a steady load of trades stamped with the present, bars of 100 ms (so that every
partition emits all the time), two workers, each started through `traced_worker.py`. Then, in turn,
a third joins and the oldest leaves (SIGTERM), each a rebalance of its own. After those, workers are
killed (SIGKILL) and started again; there the broker's session time-out is the floor.

What is measured: the longest time between the append times, given by the broker, of two bars in a
partition's committed output, apart for partitions that kept their worker and for those that changed
it. A bar is readable a few milliseconds after it is appended, with the transaction's end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import FrameType

from app.admin import ensure_topics
from app.broker import BrokerConfig, EmbeddedBroker
from app.feeds.producer import TickSender
from app.settings import PREFIX, Settings
from app.topics import bars_topic
from tests.bench.pauses import TRACE_FOLDER, Happening, Owners, pauses, read_steps
from tests.bench.pauses_report import as_json, as_text
from tests.broker.worker import WorkerProcess, until
from tests.chaos.deployment import read_topic, symbol_of

#: Seconds between two parts of the load.
TICK = 0.02
#: Seconds of undisturbed load after each rebalance, and at the beginning.
QUIET = 3.0
#: Of workers: one after the other is started again, on what its former self left.
NAMES = ("one", "two", "three")
#: A run of the defaults takes some four minutes; after this one ends itself.
LIMIT_SECONDS = 1_800


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rebalances", description=__doc__)
    parser.add_argument("--rebalances", type=int, default=20, help="by joining and leaving in turn")
    parser.add_argument("--kills", type=int, default=4, help="by SIGKILL, after those")
    parser.add_argument("--rate", type=int, default=20_000, help="trades a second")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--symbols", type=int, default=4, help="of a partition")
    parser.add_argument("--heartbeat", help="of the workers (default: the setting's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there, and leave it")
    return parser.parse_args()


class Load:
    """Trades of the present, sent at a steady rate until stopped."""

    def __init__(self, settings: Settings, rate: int, symbols: int) -> None:
        partitions = settings.topics.partitions
        self._settings = settings
        self._rate = rate / partitions
        self._heads = [
            [f'{{"symbol":"{symbol_of(each, partitions, number)}"' for number in range(symbols)]
            for each in range(partitions)
        ]
        self.sent = 0
        #: The longest time (s) between two parts: a pause of the load is none of the workers.
        self.longest_pause = 0.0

    async def run(self) -> None:
        """Send until cancelled."""
        async with TickSender(self._settings) as sender:
            began = last = time.monotonic()
            count = 0
            while True:
                await asyncio.sleep(TICK)
                now = time.monotonic()
                self.longest_pause = max(self.longest_pause, now - last)
                last = now
                due = int((now - began) * self._rate)
                stamp = time.time_ns()
                for partition, heads in enumerate(self._heads):
                    values = [
                        b'%s,"price":%d.5,"size":1,"event_time":%d,"sequence":%d}'
                        % (heads[n % len(heads)].encode(), 100 + n % 37, stamp, n)
                        for n in range(count, due)
                    ]
                    await sender.send(partition, [(None, value) for value in values])
                    self.sent += len(values)
                count = due
                await sender.push()


class Run:
    """The workers, and what happened to them."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._workers = {
            name: WorkerProcess(settings, name, application="tests.bench.traced_worker")
            for name in NAMES
        }
        self._running: list[str] = []
        self.happenings: list[Happening] = []
        self.quiet: tuple[float, float] = (0.0, 0.0)

    async def begin(self) -> None:
        """Two workers, and some undisturbed time."""
        for name in NAMES[:2]:
            await self._start(name)
        await self._settle()
        # The first windows, and what is compiled or read once.
        await asyncio.sleep(QUIET)
        began = time.time()
        await asyncio.sleep(QUIET * 2)
        self.quiet = (began, time.time())

    async def change(self, kind: str) -> None:
        """Let a worker join, or the oldest leave or die; wait until all is ready again."""
        before = await self._settle()
        began = time.time()
        if kind == "join":
            name = next(name for name in NAMES if name not in self._running)
            await self._start(name)
        else:
            name = self._running.pop(0)
            worker = self._workers[name]
            code = await (worker.stop() if kind == "leave" else worker.kill9())
            if code:
                raise RuntimeError(f"exit code {code}: {worker.tail}")
        after = await self._settle()
        self.happenings.append(Happening(kind, name, began, time.time(), before, after))
        await asyncio.sleep(QUIET)

    async def _start(self, name: str) -> None:
        worker = self._workers[name]
        if not worker.starts:
            self._stack.push_async_callback(worker.end)
        await worker.start()
        self._running.append(name)

    async def _settle(self) -> Owners:
        """Wait until each partition is ready with one worker, and none is without."""
        owners: dict[int, str] = {}

        async def settled() -> bool:
            owners.clear()
            count = 0
            for name in self._running:
                found = await self._workers[name].partitions()
                if not found:
                    return False
                count += len(found)
                owners.update(dict.fromkeys(found, name))
            return len(owners) == count == self._settings.topics.partitions

        said = lambda: "\n".join(self._workers[name].tail for name in self._running)  # noqa: E731
        await until(settled, said)
        return dict(owners)


async def measure(chosen: argparse.Namespace, settings: Settings, folder: Path) -> str:
    """Load, changes, then the reading; the report."""
    await ensure_topics(settings)
    load = Load(settings, chosen.rate, chosen.symbols)
    async with AsyncExitStack() as stack:
        sending = asyncio.create_task(load.run())
        run = Run(settings, stack)
        try:
            await run.begin()
            kinds = ["join" if number % 2 == 0 else "leave" for number in range(chosen.rebalances)]
            kills = [kind for _ in range(chosen.kills) for kind in ("kill", "join")]
            if kills and kinds and kinds[-1] == "leave":
                kinds.append("join")
            for number, kind in enumerate([*kinds, *kills]):
                await run.change(kind)
                last = run.happenings[-1]
                moved = ", ".join(map(str, sorted(last.moved)))
                print(f"{number + 1}: {kind} {last.worker}; moved: {moved or 'none'}", flush=True)
                if sending.done():
                    sending.result()
        finally:
            ended = time.time()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    records = await read_topic(settings, bars_topic(settings, "bars"))
    times = {
        partition: [each.timestamp / 1000 for each in found] for partition, found in records.items()
    }
    spans = [*(each.began for each in run.happenings), ended]
    found = [
        pauses(times, begin, end, each.after)
        for each, begin, end in zip(run.happenings, spans, spans[1:], strict=False)
    ]
    quiet = pauses(times, *run.quiet, times)
    result = as_json(
        run.happenings, found, quiet, read_steps(folder / "traces"), load.longest_pause,
        f"{chosen.rate:,} trades a second over {chosen.partitions} partitions, "
        f"{chosen.symbols} symbols each, {load.sent:,} in all",
        settings,
    )  # fmt: skip
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return as_text(result)


def run_in(chosen: argparse.Namespace, folder: Path) -> None:
    """Start a broker, measure, print; the broker is stopped whatever happens."""
    (folder / "traces").mkdir(parents=True, exist_ok=True)
    os.environ[TRACE_FOLDER] = str(folder / "traces")
    empty = folder / "empty.toml"
    empty.touch()
    os.environ["CANDLEWICK_CONFIG"] = str(empty)
    # The engine is measured, not what writes beside it.
    os.environ["CANDLEWICK_SINKS__DRIVERS"] = "none"
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        broker.start()
        broker.wait_ready()
        heartbeat = {"heartbeat_interval": chosen.heartbeat} if chosen.heartbeat else {}
        settings = Settings(
            broker={"url": broker.url, **heartbeat},  # type: ignore[arg-type]
            topics={"partitions": chosen.partitions},  # type: ignore[arg-type]
            bars={"intervals": ("100ms", "1s", "10s")},  # type: ignore[arg-type]
            deployment="rebalances",
            data_dir=folder / "data",
            agents=("bars",),
        )
        print(asyncio.run(measure(chosen, settings, folder)))
    finally:
        broker.stop()


def _stop(number: int, _frame: FrameType | None) -> None:
    """Leave all blocks, which ends every process of ours."""
    raise SystemExit(f"stopped by {signal.Signals(number).name}")


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(LIMIT_SECONDS)
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    if chosen.keep:
        run_in(chosen, chosen.keep.resolve())
        return 0
    with tempfile.TemporaryDirectory(prefix="candlewick-rebalances-") as name:
        run_in(chosen, Path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One run: a broker, a worker with its sinks, load, faults of the stores, the comparison."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.admin import ensure_topics
from app.broker import BrokerConfig, BrokerError, EmbeddedBroker
from app.run.errors import RunError
from app.settings import Settings
from app.sinks.progress import wait_until_written
from app.topics import bars_topic, output_topic, ticks_topic
from tests.broker.worker import NotInTimeError, WorkerProcess, until
from tests.chaos.deployment import FLUSH, ends, send, wait_committed
from tests.chaos.faults import BROKER_SECONDS
from tests.chaos.fleet import SmallDisk
from tests.chaos.run import PARTITIONS, _undrained
from tests.chaos.sinks_culprits import Culprits
from tests.chaos.sinks_faults import FAULTS, Fault, Scene
from tests.chaos.sinks_gate import Gate
from tests.chaos.sinks_judge import Stores, judge
from tests.chaos.sinks_latency import Arrivals, Stretch
from tests.chaos.sinks_report import FaultRecord, Report
from tests.chaos.sinks_stores import InfluxStore
from tests.influx.real import Account
from tests.influx_server import BUILD, InfluxServer, find_influxd
from tests.postgres_server import INSTALL, find_binaries, postgres_server
from tests.simulating import simulating

SINKS = ("influx", "postgres", "archive")
SYMBOLS, RATE = 100, 2_000
#: What the market does besides: records out of order, some minutes late, some twice.
MARKET = ("--disorder", "200ms", "--late", "0.1%", "--duplicates", "0.5%")
DISK_MEGABYTES = 256
CALM_SECONDS = 20.0
#: Share of a fault after which the worker is killed: until then latency is measured.
KILLED_AT = 0.7
#: Seconds for a sink to say that it has met a fault, and for what is waited for otherwise.
NOTICE_SECONDS, WAIT_SECONDS = 40.0, 120.0
SETTLE_SECONDS = 5.0
#: Between the stretch of which latency is told and a kill.
READ_SECONDS = 1.0
_BUCKET = "market"


class MissingServerError(RuntimeError):
    """What a chosen sink needs is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Options:
    """What a run is.

    Attributes:
        faults: names; empty: all of the sinks'.
        minutes: faults are gone through again until these are over; each comes once at least.
        scale: of the seconds of faults and calm stretches.
        killed: names of the faults during which the worker is killed; None: all.
        prefix: of the topics.
    """

    seed: int = 1
    sinks: tuple[str, ...] = SINKS
    faults: tuple[str, ...] = ()
    minutes: float = 0.0
    scale: float = 1.0
    rate: int = RATE
    killed: tuple[str, ...] | None = None
    folder: Path | None = None
    prefix: str = "sinks."

    @property
    def chosen(self) -> list[Fault]:
        """The faults, in the order of `FAULTS`."""
        names = self.faults or tuple(FAULTS)
        return [each for each in FAULTS.values() if each.name in names and each.sink in self.sinks]

    @property
    def command(self) -> str:
        """What runs it again."""
        text = f"python -m tests.chaos.sinks --seed {self.seed} --sinks {','.join(self.sinks)}"
        text += f" --minutes {self.minutes:g}" if self.minutes else ""
        text += f" --scale {self.scale:g}" if self.scale != 1 else ""
        text += f" --rate {self.rate}" if self.rate != RATE else ""
        text += "" if self.killed is None else f" --killed {','.join(self.killed) or 'none'}"
        return f"{text} --faults {','.join(self.faults)}" if self.faults else text


def schedule(options: Options, faults: list[Fault]) -> Iterator[Fault]:
    """Faults without end: each once, in an order drawn by the seed; then again."""
    dice = random.Random(f"{options.seed} sinks")
    while True:
        yield from dice.sample(faults, len(faults))


async def run(options: Options, broker: EmbeddedBroker | None = None) -> Report:
    """A whole run; it ends by itself, and leaves nothing running or mounted.

    Args:
        broker: a running one; none: one of its own.

    Raises:
        MissingServerError: see there; nothing was started.
    """
    _must_be_installed(options.sinks)
    report = Report(options.seed, options.command)
    async with AsyncExitStack() as stack:
        folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-sinks-"))
        folder.mkdir(parents=True, exist_ok=True)
        if options.folder is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if broker is None:
            broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
            stack.push_async_callback(asyncio.to_thread, broker.stop)
            await asyncio.to_thread(broker.start)
            await asyncio.to_thread(broker.wait_ready, BROKER_SECONDS)
        await _Run(options, report, broker, folder).go(stack)
    return report


def _must_be_installed(sinks: tuple[str, ...]) -> None:
    if "influx" in sinks and find_influxd() is None:
        raise MissingServerError(f"no InfluxDB here: build it with `{BUILD}`")
    if "postgres" in sinks and find_binaries() is None:
        raise MissingServerError(f"no PostgreSQL here: install it with `{INSTALL}`")


class _Run:
    def __init__(
        self, options: Options, report: Report, broker: EmbeddedBroker, folder: Path
    ) -> None:
        self._options, self._report = options, report
        self._broker, self._folder = broker, folder
        self._stretches: list[Stretch] = []
        self._began = 0.0

    async def go(self, stack: AsyncExitStack) -> None:
        """Start all, go through the faults, compare."""
        options, report = self._options, self._report
        scene, stores, groups = await self._start_stores(stack)
        settings = _settings(options, self._broker.url, self._folder, groups)
        if scene.postgres is not None:
            from app.sinks.postgres_admin import migrate

            await asyncio.to_thread(migrate, settings)
        await ensure_topics(settings)
        topics = [bars_topic(settings, "bars"), output_topic(settings, "indicators")]
        arrivals = stack.enter_context(Arrivals(self._broker.url, topics, PARTITIONS))
        worker = await stack.enter_async_context(WorkerProcess(settings))
        try:
            await worker.wait_ready(WAIT_SECONDS)
            async with _market(options, settings, self._folder):
                self._began = time.time()
                _say(f"{options.rate:,} ticks/s into {', '.join(options.sinks)}")
                await until(
                    lambda: _true(arrivals.everywhere()),
                    lambda: f"no bars; {worker.tail}",
                    WAIT_SECONDS,
                )
                await asyncio.sleep(SETTLE_SECONDS * min(1.0, options.scale))
                await self._calm("calm, before")
                await self._disturb(settings, scene, worker)
                await self._calm("calm, after")
            report.seconds = time.time() - self._began
            before = await self._drain(settings, worker)
            _say(f"all is written, {report.drained:.1f} s after the load")
            code = await worker.stop()
            if code:
                report.findings.append(f"the worker has ended with {code}: {worker.tail}")
        except (RunError, BrokerError, TimeoutError, AssertionError) as error:
            report.findings.append(f"{error}\n{worker.tail}")
            _say(str(error))
            return
        report.worker_starts = worker.starts
        arrivals.stop()
        if scene.gate is not None:
            counted = ("requests", "passed", "answered", "cuts", "spoiled", "impatient")
            report.gate = {name: getattr(scene.gate, name) for name in counted}
        _say("the log and the stores are read and compared")
        gate = Culprits() if scene.gate is None else scene.gate.culprits
        culprits = {"influx": gate, "postgres": scene.culprits}
        ended = threading.Event()
        stack.callback(ended.set)
        await asyncio.to_thread(
            judge, report, settings, stores, culprits, arrivals, self._stretches, before, ended
        )

    async def _start_stores(
        self, stack: AsyncExitStack
    ) -> tuple[Scene, Stores, dict[str, dict[str, Any]]]:
        """Start what the sinks write to; settings of each, by group."""
        sinks, scene = self._options.sinks, Scene(None, None, None, None, Culprits())
        stores, groups = Stores(), dict[str, dict[str, Any]]()
        if "influx" in sinks:
            program = find_influxd()
            assert program is not None
            scene.influx = InfluxServer(program, self._folder / "influx")
            stack.push_async_callback(asyncio.to_thread, scene.influx.kill9)
            await asyncio.to_thread(scene.influx.start)
            account = await asyncio.to_thread(Account.make, scene.influx, None, _BUCKET)
            scene.gate = await stack.enter_async_context(Gate(scene.influx.url, self._options.seed))
            stores.influx = InfluxStore(scene.influx, account.tokens, _BUCKET)
            token = account.tokens["writer"]
            groups["influx"] = {"url": scene.gate.url, "bucket": _BUCKET, "token": token}
        if "postgres" in sinks:
            scene.postgres = stores.postgres = stack.enter_context(postgres_server())
            groups["postgres"] = {"url": scene.postgres.url()}
        if "archive" in sinks:
            disk = SmallDisk(self._folder / "disk", DISK_MEGABYTES)
            stack.callback(disk.unmount)
            disk.mount()
            if disk.mounted:
                scene.disk = disk
            else:
                self._report.omitted["archive-full"] = disk.why
            stores.archive = True
            groups["archive"] = {"location": str(disk.folder / "archive"), "age": "2s"}
        return scene, stores, groups

    async def _calm(self, name: str) -> None:
        """A stretch without a fault."""
        began = time.time()
        await asyncio.sleep(CALM_SECONDS * self._options.scale)
        self._stretches.append(Stretch(name, began, time.time()))

    async def _disturb(self, settings: Settings, scene: Scene, worker: WorkerProcess) -> None:
        """Faults until each has come and the minutes are over."""
        options = self._options
        faults = [each for each in options.chosen if each.name not in self._report.omitted]
        began = time.time()
        for number, fault in enumerate(schedule(options, faults), start=1):
            enough = time.time() - began > options.minutes * 60
            if number > len(faults) and enough:
                return
            await self._go_through(number, fault, settings, scene, worker)

    async def _go_through(
        self, number: int, fault: Fault, settings: Settings, scene: Scene, worker: WorkerProcess
    ) -> None:
        seconds = fault.seconds * self._options.scale
        killed = self._options.killed is None or fault.name in self._options.killed
        said = len(worker.log)
        began = time.time()
        async with fault.harm(scene, seconds):
            harmed = time.time()
            await asyncio.sleep(seconds * KILLED_AT)
            measured = time.time()
            try:
                await until(
                    lambda: _true(re.search(fault.said, worker.log[said:]) is not None),
                    lambda: f"{fault.name}: the sink has not said {fault.said!r}",
                    NOTICE_SECONDS,
                )
            except NotInTimeError as error:
                self._report.findings.append(f"{error}; {worker.tail}")
            if killed:
                # What was caused in the stretch can be read before.
                await asyncio.sleep(READ_SECONDS)
                await worker.kill9()
                if scene.gate is not None:
                    scene.gate.forget()
                await worker.start()
                await worker.wait_ready(WAIT_SECONDS)
            await asyncio.sleep(max(0.0, harmed + seconds - time.time()))
        ended = time.time()
        await wait_until_written(settings, _say)
        caught_up = time.time() - ended
        # And the engine is where the log ends, not at work on what a kill has left.
        target = sum((await ends(settings, ticks_topic(settings))).values())
        await wait_committed(settings, lambda done: done >= target, worker)
        self._stretches.append(Stretch(f"{number} {fault.name}", harmed, measured))
        self._report.faults.append(
            FaultRecord(
                number,
                fault.name,
                round(began - self._began, 1),
                round(measured - harmed, 1),
                round(ended - began, 1),
                killed,
                round(caught_up, 1),
            )
        )
        _say(str(self._report.faults[-1]))

    async def _drain(self, settings: Settings, worker: WorkerProcess) -> int:
        """Close all windows and wait until everything is written; the ns up to which it is."""
        began = time.monotonic()
        await send(settings, {number: [FLUSH] for number in range(PARTITIONS)})
        state = ""

        async def drained() -> bool:
            nonlocal state
            state = await asyncio.to_thread(_undrained, settings)
            return not state

        await until(drained, lambda: f"not drained: {state}", WAIT_SECONDS)
        before = time.time_ns()
        await wait_until_written(settings, _say)
        self._report.drained = time.monotonic() - began
        return before


async def _true(value: bool) -> bool:
    return value


def _settings(
    options: Options, url: str, folder: Path, groups: dict[str, dict[str, Any]]
) -> Settings:
    chosen: dict[str, Any] = {
        "deployment": "d",
        "topic_prefix": options.prefix,
        "data_dir": folder / "data",
        "broker": {
            "url": url,
            "session_timeout": "3s",
            "heartbeat_interval": "300ms",
            "transaction_timeout": "10s",
        },
        "agents": ("bars", "indicators"),
        "bars": {"intervals": "1s,10s,1m"},
        "indicators": {"default": "SMA(3),EMA(3)"},
        # Short waits, so that a fault meets several attempts; Retry-After is longer than they are.
        "sinks": {
            "drivers": options.sinks,
            "timeout": "3s",
            "first_backoff": "200ms",
            "max_backoff": "2s",
            "rest": "2s",
        },
        "topics": {"partitions": PARTITIONS},
        "web": {"port": 0},
        **groups,
    }
    return Settings(**chosen)


@asynccontextmanager
async def _market(options: Options, settings: Settings, folder: Path) -> AsyncIterator[None]:
    """Run a market until this is left."""
    arguments = ("--symbols", str(SYMBOLS), "--rate", str(options.rate), *MARKET)
    async with simulating(settings, folder, (*arguments, "--seed", str(options.seed))) as process:
        yield
        if process.returncode is not None:
            text = (folder / "market.log").read_text(encoding="utf-8")
            raise RunError(f"the market has ended: {text[-2_000:]}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

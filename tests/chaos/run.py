"""One chaos run: a broker, workers, load, a seeded schedule of faults, the check at the end."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from app.admin import ensure_topics
from app.broker import BrokerConfig, BrokerError, EmbeddedBroker, Listener
from app.broker.configuration import free_port
from app.identity import group_id
from app.settings import Settings
from app.topics import WINDOWED, bars_topic, output_topic, output_topics, source_topic
from tests.broker.worker import NotInTimeError, until
from tests.chaos.checker import check
from tests.chaos.faults import BROKER_SECONDS, FAULTS, Scene
from tests.chaos.fleet import Fleet, Member, SmallDisk
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy
from tests.chaos.report import FaultRecord, Report
from tests.chaos.watch import BarWatch, NotRecoveredError
from tests.oracle.reference import Settings as OracleSettings

PARTITIONS = 4
SESSION_SECONDS = 3.0
FAULTS_A_MINUTE = 4
LEAST_KINDS = 8
#: Records a second, of trades and of quotes each.
RATE = 300
#: Small, so that oversized records cost little.
MAX_MESSAGE_BYTES = 128 * 1024
#: Seconds without a bar after which a partition counts as not coming back.
RECOVERY_SECONDS = 90.0
DRAIN_SECONDS = 120.0
START_SECONDS = 90.0
#: Of the oracle at most, and of what is in the way when the faults end.
CHECK_SECONDS = 900.0
#: Seconds a fault at most, on average, where a busy machine needs more than the minutes.
SLOW_FAULT_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """What a run is; `kinds` are all unless told, `faults` the least number, by the minutes."""

    seed: int = 1
    minutes: float = 10.0
    workers: int = 3
    kinds: tuple[str, ...] = tuple(FAULTS)
    folder: Path | None = None
    rate: int = RATE
    faults: int | None = None

    @property
    def least_faults(self) -> int:
        """Faults that the run must hold."""
        return int(self.minutes * FAULTS_A_MINUTE) if self.faults is None else self.faults

    @property
    def longest(self) -> float:
        """Seconds of faults at most."""
        return max(self.minutes * 120, self.least_faults * SLOW_FAULT_SECONDS)

    @property
    def command(self) -> str:
        """What runs it again."""
        text = f"python -m tests.chaos --seed {self.seed} --minutes {self.minutes:g}"
        text += f" --workers {self.workers} --rate {self.rate}"
        return text if self.kinds == tuple(FAULTS) else f"{text} --kinds {','.join(self.kinds)}"


def schedule(options: Options, kinds: tuple[str, ...]) -> Iterator[str]:
    """Kinds of faults without end: each once, in an order drawn by the seed; then again."""
    dice = random.Random(f"{options.seed} schedule")
    while True:
        yield from dice.sample(kinds, len(kinds))


async def run(options: Options) -> Report:
    """A whole run; it ends by itself, and leaves nothing running or mounted."""
    report = Report(
        seed=options.seed,
        minutes=options.minutes,
        workers=options.workers,
        command=options.command,
        least_faults=options.least_faults,
        least_kinds=min(LEAST_KINDS, len(options.kinds)),
        kinds=options.kinds,
    )
    limit = options.longest + START_SECONDS + DRAIN_SECONDS + CHECK_SECONDS
    async with asyncio.timeout(limit), AsyncExitStack() as stack:
        folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
        if options.folder is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        await _run(options, report, folder, stack)
    return report


async def _run(options: Options, report: Report, folder: Path, stack: AsyncExitStack) -> None:
    proxy = Proxy(options.seed)
    await proxy.start()
    stack.push_async_callback(proxy.stop)
    proxy.target_port = free_port()
    behind = Listener("PROXIED", "PLAINTEXT", proxy.target_port, advertised_port=proxy.port)
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka", listeners=[behind]))
    stack.push_async_callback(asyncio.to_thread, broker.stop)
    await asyncio.to_thread(broker.start)
    await asyncio.to_thread(broker.wait_ready, BROKER_SECONDS)
    settings = _settings(broker.url, folder)
    await ensure_topics(settings)

    disk = SmallDisk(folder / f"worker-{min(2, options.workers)}")
    stack.callback(disk.unmount)
    kinds = options.kinds
    if "disk_full" in kinds:
        disk.mount()
        if not disk.mounted:
            kinds = tuple(kind for kind in kinds if kind != "disk_full")
            report.omitted["disk_full"] = disk.why

    fleet = Fleet(settings, folder, broker.url, f"kafka://127.0.0.1:{proxy.port}")
    stack.push_async_callback(fleet.end)
    load = Load(
        broker.url,
        {
            "trades": source_topic(settings, "bars"),
            "quotes": source_topic(settings, "quotes"),
        },
        PARTITIONS,
        rate=options.rate,
        seed=options.seed,
        large=MAX_MESSAGE_BYTES * 5 // 8,
    )
    stack.push_async_callback(asyncio.to_thread, load.abandon)
    topics = [bars_topic(settings, agent) for agent in WINDOWED]
    watch = await stack.enter_async_context(BarWatch(broker.url, topics, PARTITIONS))
    for _ in range(options.workers):
        fleet.add().release()
    dice = random.Random(f"{options.seed} details")
    scene = Scene(SESSION_SECONDS, options.workers, broker, fleet, proxy, watch, load, disk, dice)
    _say(f"{options.workers} workers start in {folder}")
    await fleet.wait_ready(START_SECONDS)
    load.start()
    began = time.time()
    await _undisturbed(report, watch)
    await _disturb(options, report, scene, kinds, began)
    fleet.during = "the drain"
    await asyncio.to_thread(load.stop)
    report.seconds = time.time() - began
    report.sent = load.sent
    await _drain(report, settings, fleet)
    for member in fleet.members:
        await _stop(member, report)
    report.exits, report.starts = fleet.exits, len(fleet.exits)
    _say("the oracle reads the log")
    ended = threading.Event()
    stack.callback(ended.set)
    report.verdict = await asyncio.to_thread(
        check,
        broker.url,
        settings.topic_prefix,
        settings.deployment,
        PARTITIONS,
        _oracle(settings),
        ended,
    )


def _settings(url: str, folder: Path) -> Settings:
    chosen: dict[str, Any] = {
        "deployment": "d",
        "topic_prefix": "chaos.",
        "data_dir": folder / "nobody",
        "broker": {
            "url": url,
            "session_timeout": f"{SESSION_SECONDS:g}s",
            "heartbeat_interval": "300ms",
            "transaction_timeout": "3s",
        },
        "agents": ("bars", "indicators", "quotes"),
        "bars": {"intervals": "1s,10s,1m"},
        "indicators": {"default": "SMA(3),EMA(3)"},
        # The engine is judged, not what writes beside it.
        "sinks": {"drivers": ("none",)},
        "topics": {"partitions": PARTITIONS, "max_message_bytes": MAX_MESSAGE_BYTES},
        "web": {"port": 0},
    }
    return Settings(**chosen)


def _oracle(settings: Settings) -> OracleSettings:
    bars = settings.bars
    return OracleSettings(
        intervals=bars.intervals,
        policy=bars.policy,
        grace=bars.grace,
        correction_horizon=bars.correction_horizon,
        recall_horizon=bars.recall_horizon,
        max_message_bytes=settings.topics.max_message_bytes,
    )


async def _undisturbed(report: Report, watch: BarWatch) -> None:
    """Some bars of each partition without a fault, for the usual gap."""
    firsts = await watch.wait_firsts(0.0, START_SECONDS)
    begin = max(firsts.values()) / 1000
    await watch.wait_firsts(begin + 3.0, START_SECONDS)
    report.usual_gap = watch.longest_gap(begin, begin + 3.0)


async def _disturb(
    options: Options, report: Report, scene: Scene, kinds: tuple[str, ...], began: float
) -> None:
    """Faults, until the minutes are over and there were enough, or it takes too long."""
    for number, kind in enumerate(schedule(options, kinds), start=1):
        elapsed = time.time() - began
        enough = (
            elapsed > options.minutes * 60
            and len(report.faults) >= report.least_faults
            and len(report.by_kind) >= report.least_kinds
        )
        if enough or elapsed > options.longest:
            return
        scene.fleet.during = kind
        try:
            if scene.dice.random() < 0.5:
                # Half of the faults meet workers that are still starting.
                await scene.fleet.wait_ready(RECOVERY_SECONDS)
            at = time.time() - began
            effect = await FAULTS[kind](scene)
            await scene.watch.wait_firsts(effect.ended, RECOVERY_SECONDS)
        except (NotRecoveredError, NotInTimeError, TimeoutError, BrokerError) as error:
            tails = [f"{each.name}: {each.worker.log[-1500:]}" for each in scene.fleet.members]
            report.findings.append(f"fault {number}, {kind}: {error}\n" + "\n".join(tails))
            _say(f"{number} {kind}: {error}")
            return
        first = max(scene.watch.firsts(effect.began).values()) / 1000
        after = max(scene.watch.firsts(effect.ended).values()) / 1000
        report.faults.append(
            FaultRecord(
                number,
                kind,
                round(at, 1),
                effect.detail,
                round(effect.ended - effect.began, 2),
                round(first - effect.began, 2),
                round(after - effect.ended, 2),
                scene.watch.longest_gap(effect.began, after),
            )
        )
        _say(str(report.faults[-1]))


async def _drain(report: Report, settings: Settings, fleet: Fleet) -> None:
    """Wait until all of the log is committed and every transaction is decided."""
    began = time.monotonic()
    state = ""

    async def drained() -> bool:
        nonlocal state
        state = await asyncio.to_thread(_undrained, settings)
        return not state

    try:
        await fleet.wait_ready(DRAIN_SECONDS)
        await until(drained, lambda: f"not drained: {state}", DRAIN_SECONDS)
    except (NotInTimeError, TimeoutError) as error:
        tails = [f"{each.name}: {each.worker.log[-1500:]}" for each in fleet.members]
        report.findings.append(f"{error}\n" + "\n".join(tails))
    report.drained = time.monotonic() - began


def _undrained(settings: Settings) -> str:
    """What is not committed or not decided yet, as text; empty where all is."""
    sources = [source_topic(settings, agent) for agent in settings.agents]
    outputs = [
        name for agent in settings.agents for name in output_topics(settings, agent).values()
    ]
    outputs += [output_topic(settings, f"{agent}.changelog") for agent in settings.agents]
    wanted = [TopicPartition(topic, number) for topic in sources for number in range(PARTITIONS)]
    common = {
        "bootstrap.servers": str(settings.broker.url).removeprefix("kafka://"),
        "group.id": group_id(settings),
        "enable.auto.commit": False,
        "log_level": 0,
    }
    everything = Consumer(common | {"isolation.level": "read_uncommitted"})
    stable = Consumer(common | {"isolation.level": "read_committed"})
    try:
        for each in everything.committed(wanted, timeout=10):
            _, end = everything.get_watermark_offsets(each, timeout=10)
            if max(0, each.offset) != end:
                return f"{each.topic} {each.partition}: committed {each.offset} of {end}"
        for topic in outputs:
            for number in range(PARTITIONS):
                place = TopicPartition(topic, number)
                end = everything.get_watermark_offsets(place, timeout=10)[1]
                if stable.get_watermark_offsets(place, timeout=10)[1] != end:
                    return f"{topic} {number}: an open transaction before {end}"
    finally:
        everything.close()
        stable.close()
    return ""


async def _stop(member: Member, report: Report) -> None:
    """Stop a worker in order; that it does is part of the promise."""
    try:
        await member.hold(gently=True)
    except TimeoutError as error:
        report.findings.append(str(error))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

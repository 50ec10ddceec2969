"""`python -m tests.bench.scaling --workers 1,2,4`: the same backlog with more and more workers.

One topic is filled first: seeded trades, some late, some bad records. Then for each number of
workers a fresh deployment reads it. Its workers start behind a gate (`gated_worker.py`); when every
partition is owned and ready, the gate opens and the clock starts. It ends when the group has
committed the end of every partition. What each deployment has committed (bars, late, dead: key,
value, headers, in order) must be the same, partition by partition, and the bars those of
`expected.py`. Exit code 1: they are not, or the partitions are not spread evenly.

Broker and workers share this machine's cores, so the speed-up is printed against their number: it
cannot be above it, and the broker takes its part.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from app.admin import ensure_topics
from app.broker import BrokerConfig, EmbeddedBroker
from app.broker.process import find_process, read_record
from app.cli.common import run_async
from app.exits import RefusalError
from app.feeds.producer import TickSender
from app.identity import group_id
from app.run.errors import RunError
from app.run.reader import bounds, partitions_of, read_range
from app.run.services import first_of, in_thread, running_workers
from app.run.supervisor import Supervisor
from app.settings import PREFIX, Settings
from app.topics import output_topic
from tables.partitioning import partition_of
from tests.bench.expected import differences, expected_bars
from tests.bench.gated_worker import GATE
from tests.bench.log import FLUSH, HISTORICAL, GroupWatch, committed_values
from tests.bench.ticks import BEGIN, Ticks, chunks, make_ticks

OUTPUTS = ("bars", "bars.late", "bars.dead")
#: Event time before the first trade: beyond the correction horizon.
LATE = BEGIN - 3_600 * 1_000_000_000
POLL_SECONDS = 0.02
#: Seconds for the workers to share out the partitions, and for the backlog.
READY_SECONDS, DRAIN_SECONDS = 90.0, 600.0
#: Differences that are printed.
SHOWN = 5


class ScalingError(RuntimeError):
    """The workers do not come to their end, or have committed something else."""


@dataclass(frozen=True)
class Round:
    """One deployment's run over the backlog.

    Attributes:
        seconds: from the gate's opening to the last commit.
        started: from the first process to the last commit.
        partitions, records, cpu: of each worker; CPU seconds while the gate was open.
        broker_cpu, others_cpu: CPU seconds of the broker, and of all else on the machine.
        digests: of what was committed, by output and partition.
        committed: records by output.
    """

    workers: int
    seconds: float
    started: float
    partitions: list[int]
    records: list[int]
    cpu: list[float]
    broker_cpu: float
    others_cpu: float
    digests: dict[str, dict[int, str]]
    committed: dict[str, int]


@dataclass(frozen=True)
class Bench:
    """The backlog and where everything is."""

    url: str
    folder: Path
    prefix: str
    partitions: int

    def settings(self, deployment: str = "scale") -> Settings:
        """Settings of a deployment that reads the backlog."""
        return Settings(
            broker={"url": self.url},  # type: ignore[arg-type]
            topics={"partitions": self.partitions},  # type: ignore[arg-type]
            topic_prefix=f"{self.prefix}.",
            deployment=deployment,
            agents=("bars",),
            data_dir=self.folder / "data",
        )

    async def fill(self, ticks: Ticks) -> int:
        """Write the trades, and a late one and a bad record a partition and chunk; their number."""
        settings = self.settings()
        await ensure_topics(settings)
        homes = [
            next(s for s in ticks.symbols if partition_of(s.encode(), self.partitions) == number)
            for number in range(self.partitions)
        ]
        async with TickSender(settings) as sender:
            for number in range(self.partitions):
                await sender.send(number, [(None, HISTORICAL)])
            for turn, routed in enumerate(chunks(ticks, self.partitions)):
                for number, values in enumerate(routed):
                    late = (
                        f'{{"symbol":"{homes[number]}","price":1.0,"size":1,'
                        f'"event_time":{LATE + turn}}}'
                    )
                    broken = f'{{"symbol":"{homes[number]}","turn":{turn}'
                    more = [late.encode(), broken.encode()]
                    await sender.send(number, [(None, value) for value in [*values, *more]])
            for number in range(self.partitions):
                await sender.send(number, [(None, FLUSH)])
            await sender.flush()
            return sum(sender.acknowledged)

    async def measure(self, workers: int) -> Round:
        """One round.

        Raises:
            ScalingError: the workers are not ready, or not drained, in time.
        """
        settings = self.settings(f"scale-{workers}")
        gate = self.folder / f"gate-{workers}"
        os.environ[GATE] = str(gate)
        supervisor = Supervisor(settings, workers, command=_gated)
        watch = await asyncio.to_thread(GroupWatch, settings, group_id(settings))
        try:
            began = time.monotonic()
            async with running_workers(supervisor) as watched, aiohttp.ClientSession() as session:
                work = asyncio.create_task(
                    self._drain(supervisor, session, watch, gate, began), name="drain"
                )
                measured = await first_of(work, watched)
        finally:
            await asyncio.to_thread(watch.close)
        digests, committed = await _outputs(settings)
        return Round(workers, *measured, digests=digests, committed=committed)

    async def _drain(
        self,
        supervisor: Supervisor,
        session: aiohttp.ClientSession,
        watch: GroupWatch,
        gate: Path,
        began: float,
    ) -> tuple[float, float, list[int], list[int], list[float], float, float]:
        addresses = supervisor.web_addresses
        owned: list[int] = []

        async def ready() -> bool:
            nonlocal owned
            owned = [await _ready(session, each) for each in addresses]
            return sum(owned) == self.partitions and min(owned) > 0

        async def drained() -> bool:
            return await asyncio.to_thread(watch.at_end)

        await _until(ready, READY_SECONDS, lambda: f"partitions on all workers: {owned}")
        processes = [psutil.Process(pid) for pid in supervisor.pids]
        machine = _machine()
        record = read_record(self.folder / "kafka")
        broker = None if record is None else find_process(record)
        assert broker is not None
        before, broker_before = list(map(_cpu, processes)), _cpu(broker)
        opened = time.monotonic()
        await asyncio.to_thread(gate.touch)
        await _until(drained, DRAIN_SECONDS, lambda: "commit at the end of the log")
        ended = time.monotonic()
        cpu = [_cpu(each) - was for each, was in zip(processes, before, strict=True)]
        broker_cpu = _cpu(broker) - broker_before
        others = max(0.0, _machine() - machine - sum(cpu) - broker_cpu)
        records = [await _records(session, each) for each in addresses]
        if supervisor.restarts:
            raise ScalingError(f"{supervisor.restarts} workers died")
        return ended - opened, ended - began, owned, records, cpu, broker_cpu, others


def _gated(settings: Settings) -> list[str]:
    port = str(settings.web.port)
    return [sys.executable, "-m", "tests.bench.gated_worker", "--web-port", port]


async def _until(
    met: Callable[[], Awaitable[bool]], seconds: float, what: Callable[[], str]
) -> None:
    """Ask until it is so.

    Raises:
        ScalingError: it takes longer.
    """
    deadline = time.monotonic() + seconds
    while not await met():
        if time.monotonic() > deadline:
            raise ScalingError(f"no {what()} within {seconds:g} s")
        await asyncio.sleep(POLL_SECONDS)


async def _ready(session: aiohttp.ClientSession, address: str) -> int:
    """How many partitions a worker has, 0 while it is not ready."""
    try:
        async with session.get(f"{address}/readyz") as answer:
            listed = (await answer.json(content_type=None))["partitions"]
            return len(listed) if answer.status == 200 else 0
    except (aiohttp.ClientError, TimeoutError):
        return 0


async def _records(session: aiohttp.ClientSession, address: str) -> int:
    """How many records a worker has applied."""
    async with session.get(f"{address}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
        samples = (sample for family in families for sample in family.samples)
        return int(sum(one.value for one in samples if one.name == "candlewick_records_total"))


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _machine() -> float:
    """CPU seconds that all cores have worked so far."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


async def _outputs(settings: Settings) -> tuple[dict[str, dict[int, str]], dict[str, int]]:
    """Digests of all that a deployment has committed, by output and partition, and the counts."""
    digests: dict[str, dict[int, str]] = {}
    committed: dict[str, int] = {}
    for name in OUTPUTS:
        places = await partitions_of(settings, [output_topic(settings, name)])
        hashes = {place: sha256() for place in places}
        committed[name] = 0
        async for place, records in read_range(settings, await bounds(settings, places)):
            committed[name] += len(records)
            for each in records:
                hashes[place].update(repr((each.key, each.value, each.headers)).encode())
        digests[name] = {place.partition: each.hexdigest() for place, each in hashes.items()}
    return digests, committed


def faults(rounds: Sequence[Round]) -> Iterator[str]:
    """Yield a line for each way in which a round differs from the first, or is spread unevenly."""
    for each in rounds:
        for name, first in rounds[0].digests.items():
            for partition, digest in first.items():
                if each.digests[name][partition] != digest:
                    yield (
                        f"{each.workers} workers: {name} {partition} is not that of "
                        f"{rounds[0].workers}"
                    )
        if max(each.partitions) - min(each.partitions) > 1:
            yield f"{each.workers} workers: partitions spread {each.partitions}"


def lines(rounds: Sequence[Round], records: int, cores: int) -> Iterator[str]:
    """Yield the report."""
    yield (
        f"{'workers':>7}{'records/s':>12}{'speed-up':>10}{'of cores':>10}{'seconds':>9}"
        f"{'with start':>12}{'a CPU s':>10}{'broker s':>10}{'others s':>10}"
        "  partitions and records by worker"
    )
    first = rounds[0].seconds * rounds[0].workers
    for each in rounds:
        speed_up = first / each.seconds
        shares = ", ".join(
            f"{owned} ({count:,})"
            for owned, count in zip(each.partitions, each.records, strict=True)
        )
        yield (
            f"{each.workers:>7}{records / each.seconds:>12,.0f}{speed_up:>10.2f}"
            f"{speed_up / cores:>10.0%}{each.seconds:>9.2f}{each.started:>12.2f}"
            f"{records / sum(each.cpu):>10,.0f}{each.broker_cpu:>10.2f}{each.others_cpu:>10.2f}"
            f"  {shares}"
        )
    yield (
        f"{cores} cores, which broker and workers share with all others on this machine; a CPU s: "
        "records a second of the workers' CPU time, which others hardly change"
    )
    for each in rounds:
        busy = (sum(each.cpu) + each.broker_cpu) / each.seconds
        bound = sum(each.records) / max(max(each.records), 1)
        yield (
            f"  --workers {each.workers}: {busy:.2f} cores busy with broker and workers, "
            f"{each.others_cpu / each.seconds:.2f} with others; by the greatest worker's share of "
            f"the records the speed-up cannot be above {bound:.2f} on however many cores"
        )


def wrong_bars(bench: Bench, ticks: Ticks, workers: int) -> list[str]:
    """Lines that tell in what a round's bars are not those of the trades."""
    settings = bench.settings(f"scale-{workers}")
    values = committed_values(settings, output_topic(settings, "bars"))
    return list(differences(expected_bars(ticks), values))


async def run(chosen: argparse.Namespace, folder: Path) -> int:
    """Fill, measure, compare, report; the exit code."""
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        await in_thread(broker.start)
        await in_thread(broker.wait_ready)
        prefix = f"scaling-{secrets.token_hex(4)}"
        bench = Bench(broker.url, folder, prefix, chosen.partitions)
        ticks = make_ticks(chosen.trades, chosen.symbols, 0)
        records = await bench.fill(ticks)
        say(
            f"backlog: {records:,} records, {chosen.trades:,} trades of {chosen.symbols} symbols, "
            f"over {chosen.partitions} partitions"
        )
        rounds = []
        for workers in chosen.workers:
            rounds.append(await bench.measure(workers))
            say(f"--workers {workers}: {records / rounds[-1].seconds:,.0f} records/s")
        found = list(faults(rounds))
        found += await asyncio.to_thread(wrong_bars, bench, ticks, chosen.workers[0])
    finally:
        await in_thread(broker.stop)
    say("\n".join(lines(rounds, records, len(os.sched_getaffinity(0)))))
    counts = ", ".join(f"{count:,} {name}" for name, count in rounds[0].committed.items())
    same = "the bars are those of the trades, and each output is the same for all of them"
    say(f"committed by each: {counts}; {'differences:' if found else same}")
    for line in found[:SHOWN]:
        say(line)
    return 1 if found else 0


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("--workers", default="1,2,4", help="numbers of them (default: %(default)s)")
    parser.add_argument("--trades", type=int, default=4_000_000)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=8)
    chosen = parser.parse_args()
    chosen.workers = [int(each) for each in chosen.workers.split(",")]
    if not 1 <= min(chosen.workers) <= max(chosen.workers) <= chosen.partitions:
        parser.error("--workers: expected numbers from 1 to that of the partitions")
    return chosen


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    # Topics that were just made: the first send may come too early, and is repeated.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="candlewick-scaling-") as folder:
        empty = Path(folder) / "empty.toml"
        empty.touch()
        os.environ["CANDLEWICK_CONFIG"] = str(empty)
        # The engine is measured, not what writes beside it.
        os.environ["CANDLEWICK_SINKS__DRIVERS"] = "none"
        try:
            return run_async(lambda: run(chosen, Path(folder)))
        except (ScalingError, RunError, RefusalError) as error:
            print(f"scaling failed: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print("scaling stopped", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

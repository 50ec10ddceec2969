"""`python -m tests.bench.soak --minutes 60 --rate auto`: hours at half of the machine, all flat?

An embedded broker in a temporary folder, workers as `candlewick run` starts them (both agents), and
`candlewick simulate`: trades and quotes with bursts, disorder, late, duplicate and bad records. The
market closes for `BREAK_SECONDS` in each `SESSION_SECONDS` (its process is stopped where it is, and
goes on), so windows are closed by clock records too. Every few seconds a sample is taken
(`soak_samples.py`), and at the end the samples are judged (`soak_verdicts.py`). Exit code 1:
memory, handles (`fds`, without RocksDB's tables) or threads have grown, a warning repeats, a worker
has died, or it was stopped.

With `--rate auto` a minute of calibration finds the rate at which workers, broker and market
together keep `--share` of the cores busy.

The disk stays bounded: topics keep `RETENTION`, in segments of `SEGMENT_BYTES` or a minute, looked
at each half minute; changelogs are compacted as soon. What is kept for the horizon of corrections
fills in the warm-up, which is as long as that takes (`warm_up_seconds`); `--horizon` is `HORIZON`
and not the default, so that most of the run is left to be judged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import aiohttp
import psutil

from app.admin import ensure_topics
from app.broker import BrokerConfig, EmbeddedBroker
from app.broker.process import find_process, read_record
from app.cli.common import run_async
from app.durations import format_duration, parse_duration
from app.exits import RefusalError
from app.identity import deployment_name
from app.run.errors import RunError
from app.run.services import first_of, in_thread, running_workers
from app.run.supervisor import Supervisor
from app.settings import PREFIX, Settings
from tests.bench.soak_samples import Complaints, Sampler, applied_records, used_cpu
from tests.bench.soak_verdicts import (
    REPEATS,
    WINDOWS,
    Verdict,
    after,
    complaints_verdicts,
    count_verdict,
    handles_verdict,
    memory_verdict,
    told,
    warm_up_seconds,
)
from tests.simulating import simulating

RETENTION, HORIZON = "5m", "4m"
SEGMENT_BYTES = 32 * 1024 * 1024
BROKER = {
    "log.segment.bytes": str(SEGMENT_BYTES),
    "log.roll.ms": "60000",
    "log.retention.check.interval.ms": "30000",
    "log.segment.delete.delay.ms": "5000",
    "log.cleaner.min.cleanable.ratio": "0.2",
    "log.cleaner.backoff.ms": "5000",
    "offsets.topic.segment.bytes": str(SEGMENT_BYTES),
    "transaction.state.log.segment.bytes": str(SEGMENT_BYTES),
}
SYMBOLS, QUOTES_PER_TRADE = 200, 1.0
FAULTS = ("--disorder", "500ms", "--late", "0.5%", "--duplicates", "1%", "--corrupt", "0.1%")
BURSTS = ("--burst-factor", "1.5", "--burst-every", "60s", "--burst-length", "5s")
SESSION_SECONDS, BREAK_SECONDS = 300.0, 20.0
#: Seconds between samples. No part of the 20 s in which a worker gives memory back, nor of the
#: minute of a burst: with 10 s, half of the samples fell on those moments for 25 minutes, and then,
#: as the two drifted apart, none: 21 MB more in the median, of 360, and nothing had grown.
EVERY = 7.0
#: Calibration: the first rate, and how often and how long a rate is tried.
FIRST_RATE, TRIES, TRY_SECONDS, SETTLE_SECONDS = 5_000.0, 3, 15.0, 5.0
#: A rate is kept up with where this share of it is applied.
KEPT_UP = 0.9
READY_SECONDS = 90.0
#: Fewer records in so many seconds are clock records.
QUIET_RECORDS, QUIET_SECONDS = 100, 2.0


class SoakError(RuntimeError):
    """The soak cannot go on: a process has ended."""


def say(text: str) -> None:
    """Print at once, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@asynccontextmanager
async def running_market(
    settings: Settings, folder: Path, rate: float, seconds: float, seed: int
) -> AsyncIterator[psutil.Process]:
    """Run `candlewick simulate`, which ends by itself after `seconds`, also without us."""
    arguments = (
        *("--symbols", str(SYMBOLS), "--rate", f"{rate:g}", "--seed", str(seed)),
        *("--quotes-per-trade", f"{QUOTES_PER_TRADE:g}", "--duration", f"{seconds:.0f}s"),
        *(*FAULTS, *BURSTS),
    )
    async with simulating(settings, folder, arguments) as process:
        yield psutil.Process(process.pid)


async def calibrate(
    settings: Settings,
    folder: Path,
    share: float,
    processes: Sequence[psutil.Process],
    applied: Callable[[], Awaitable[float]],
) -> float:
    """Find the rate of events at which all processes together use a share of the cores.

    Args:
        processes: broker and workers; the market is measured besides.
        applied: how many records the workers have applied so far.

    Raises:
        SoakError: the market has ended, or nothing of it is applied.
    """
    cores = len(os.sched_getaffinity(0))
    rate = FIRST_RATE
    for number in range(TRIES):
        limit = READY_SECONDS + TRY_SECONDS + SETTLE_SECONDS + 60
        await _quiet(applied)
        async with running_market(settings, folder, rate, limit, number) as market:
            first, deadline = await applied(), time.monotonic() + READY_SECONDS
            while await applied() < first + rate:
                if time.monotonic() > deadline:
                    raise SoakError(f"nothing of the market is applied, see {folder}/market.log")
                await asyncio.sleep(0.2)
            await asyncio.sleep(SETTLE_SECONDS)
            everything = [*processes, market]
            before, count, began = sum(map(used_cpu, everything)), await applied(), time.monotonic()
            await asyncio.sleep(TRY_SECONDS)
            seconds = time.monotonic() - began
            busy = (sum(map(used_cpu, everything)) - before) / seconds / cores
            reached = (await applied() - count) / seconds
        say(
            f"calibration: {rate:,.0f} events/s, {reached:,.0f} records/s applied, "
            f"{busy:.0%} of {cores} cores busy"
        )
        if reached < KEPT_UP * rate:
            # Others use the cores too, or it is too much: that is the capacity there is.
            rate = reached * share
        else:
            rate *= min(5.0, max(0.2, share / max(busy, 0.001)))
    return rate


async def _quiet(applied: Callable[[], Awaitable[float]]) -> None:
    """Wait until nothing more comes of the market before, but for clock records.

    Raises:
        SoakError: it does not end.
    """
    deadline = time.monotonic() + READY_SECONDS
    last = -float(QUIET_RECORDS)
    while (now := await applied()) - last >= QUIET_RECORDS:
        if time.monotonic() > deadline:
            raise SoakError("the workers do not come to the end of what a market has sent")
        last = now
        await asyncio.sleep(QUIET_SECONDS)


class Soak:
    """One soak: its options, its samples, what it says at the end."""

    def __init__(self, chosen: argparse.Namespace, folder: Path) -> None:
        self.chosen, self.folder = chosen, folder
        self.samples: list[dict[str, float]] = []
        self.complaints: Complaints | None = None
        self.rate = 0.0
        self.whole = False
        self.warm_up = warm_up_seconds(self.settings("kafka://none").bars)

    @property
    def is_long_enough(self) -> bool:
        """Whether at least as much is left to be judged as the warm-up takes."""
        seconds: float = self.chosen.minutes * 60
        return seconds >= self.warm_up * 2

    def settings(self, url: str) -> Settings:
        """Defaults, but for what keeps disk and warm-up short."""
        return Settings(
            broker={"url": url},  # type: ignore[arg-type]
            topics={"retention": RETENTION},  # type: ignore[arg-type]
            bars={"correction_horizon": self.chosen.horizon},  # type: ignore[arg-type]
            views={"bars_per_interval": 100},  # type: ignore[arg-type]
            topic_prefix="soak.",
            deployment="soak",
            data_dir=self.folder / "data",
        )

    async def run(self) -> None:
        """Start everything, soak, stop everything.

        Raises:
            SoakError: a process has ended that should not.
        """
        broker = EmbeddedBroker(BrokerConfig(self.folder / "kafka", extra=BROKER))
        try:
            await in_thread(broker.start)
            await in_thread(broker.wait_ready)
            settings = self.settings(broker.url)
            await ensure_topics(settings)
            supervisor = Supervisor(settings, self.chosen.workers, say)
            async with running_workers(supervisor) as watch:
                self.complaints = Complaints(
                    settings.data_dir / "logs" / f"{deployment_name(settings)}.worker-{each}.log"
                    for each in range(self.chosen.workers)
                )
                work = asyncio.create_task(self._work(settings, supervisor), name="soak")
                await first_of(work, watch)
        finally:
            if self.complaints is not None:
                self.complaints.look()
            await in_thread(broker.stop)

    async def _work(self, settings: Settings, supervisor: Supervisor) -> None:
        record = read_record(self.folder / "kafka")
        broker = None if record is None else find_process(record)
        if broker is None:
            raise SoakError("the broker has ended")
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await _ready(session, supervisor)
            processes = [broker, *map(psutil.Process, supervisor.pids)]
            self.rate = self.chosen.rate or await calibrate(
                settings,
                self.folder,
                self.chosen.share,
                processes,
                lambda: applied_records(session, supervisor.web_addresses),
            )
            seconds = self.chosen.minutes * 60
            say(
                f"{self.rate:,.0f} events/s for {self.chosen.minutes:g} minutes; topics keep "
                f"{RETENTION}, in segments of at most a minute"
            )
            async with running_market(
                settings, self.folder, self.rate, seconds + 300, TRIES
            ) as market:
                folders = {"broker": self.folder / "kafka", "state": settings.data_dir / "state"}
                sampler = Sampler(supervisor, broker, market, folders)
                await self._sample(session, sampler, market, seconds)
        self.whole = True

    async def _sample(
        self,
        session: aiohttp.ClientSession,
        sampler: Sampler,
        market: psutil.Process,
        seconds: float,
    ) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            if market.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                raise SoakError(f"the market has ended, see {self.folder / 'market.log'}")
            # Its close at the end of each session.
            closed = passed % SESSION_SECONDS >= SESSION_SECONDS - BREAK_SECONDS
            market.suspend() if closed else market.resume()
            try:
                sample = await sampler.take(session, passed)
            except (psutil.Error, aiohttp.ClientError, TimeoutError) as error:
                # A worker that is started again, or too busy to answer; its restart is counted.
                say(f"no sample: {error!r}")
            else:
                self._keep(sample)
            if self.complaints is not None:
                over = passed >= self.warm_up and self.complaints.warm_up is (
                    self.complaints.counts
                )
                await asyncio.to_thread(self.complaints.warmed_up if over else self.complaints.look)
            following = (passed // self.chosen.every + 1) * self.chosen.every
            await asyncio.sleep(max(0.0, following - (time.monotonic() - began)))

    def _keep(self, sample: dict[str, float]) -> None:
        """Keep a sample, in the file of samples too; tell one a minute."""
        self.samples.append(sample)
        if self.chosen.samples is not None:
            with self.chosen.samples.open("a", encoding="utf-8") as file:
                print(json.dumps(sample), file=file)
        if len(self.samples) % max(1, round(60 / self.chosen.every)) == 1:
            say(
                f"{sample['seconds'] / 60:5.1f} min: {sample['records']:,.0f} records, lag "
                f"{sample['lag']:,.0f}, p99 {sample['p99_seconds']:g} s, rss "
                f"{sample['rss'] / 1e6:,.1f} MB, uss {sample['uss'] / 1e6:,.1f} MB, "
                f"{sample['fds']:.0f} handles, broker {sample['broker_disk'] / 1e6:,.0f} MB of disk"
            )

    def verdicts(self) -> list[Verdict]:
        """What there is to say."""
        samples = after(self.samples, self.warm_up)
        assert self.complaints is not None
        restarts = int(samples[-1]["restarts"])
        return [
            *(memory_verdict(samples, name) for name in ("rss", "anonymous")),
            # They rise when another process that has the same libraries open ends.
            *(memory_verdict(samples, name, judged=False) for name in ("pss", "uss")),
            *(handles_verdict(samples, name) for name in ("fds", "threads")),
            count_verdict("restarts", restarts),
            count_verdict("checkpoint_failures", int(samples[-1]["checkpoint_failures"])),
            *complaints_verdicts(
                self.complaints.counts, self.complaints.warm_up, self.chosen.repeats
            ),
            memory_verdict(samples, "broker_rss", judged=False),
            *(
                memory_verdict(samples, name, judged=False)
                for name in sorted(samples[-1])
                if (name.startswith("store_") and name.endswith("_bytes")) or name.endswith("disk")
            ),
            told(samples, "tables"),
            told(samples, "store_keys"),
            told(samples, "rows"),
            told(samples, "broker_fds"),
            told(samples, "gc_uncollectable"),
            told(samples, "lag"),
            told(samples, "p99_seconds", " s"),
        ]

    def report(self) -> int:
        """Print the summary; the exit code."""
        if len(after(self.samples, self.warm_up)) < WINDOWS:
            print(f"too few samples after {self.warm_up / 60:.0f} minutes of warm-up")
            return 1
        cores = len(os.sched_getaffinity(0))
        first, last = self.samples[0], self.samples[-1]
        span = last["seconds"] - first["seconds"]
        records = last["records"] - first["records"]
        shares = ", ".join(
            f"{name} {(last[f'{name}_cpu'] - first[f'{name}_cpu']) / span / cores:.0%}"
            for name in ("workers", "broker", "market")
        )
        gap = max((b["seconds"] - a["seconds"] for a, b in pairwise(self.samples)), default=0.0)
        print(
            f"\n{span / 60:.1f} minutes, {len(self.samples)} samples (at most {gap:.0f} s apart), "
            f"{records:,.0f} records, {records / span:,.0f} a second at {self.rate:,.0f} events/s; "
            f"of {cores} cores: {shares}\n"
            f"warm-up: {self.warm_up / 60:.1f} minutes, in which what is kept for the horizon "
            f"of corrections ({format_duration(self.chosen.horizon)}) fills; after it the first of "
            f"{WINDOWS} windows of {(span - self.warm_up) / 60 / WINDOWS:.1f} minutes -> the last "
            "one, medians; slope after it; warnings in it + after it"
        )
        verdicts = self.verdicts()
        for each in verdicts:
            mark = {None: "", True: "flat", False: "NOT FLAT"}[each.flat]
            print(f"{mark:<9}{each.name:<28}{each.text}")
        good = all(each.flat is not False for each in verdicts)
        print("all is flat" if good and self.whole else "stopped early" if good else "not flat")
        return 0 if good and self.whole else 1


async def _ready(session: aiohttp.ClientSession, supervisor: Supervisor) -> None:
    """Wait until all workers are ready.

    Raises:
        SoakError: they are not, in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    for address in supervisor.web_addresses:
        while not await _is_ready(session, address):
            if time.monotonic() > deadline:
                raise SoakError(f"the workers are not ready within {READY_SECONDS:g} s")
            await asyncio.sleep(0.1)


async def _is_ready(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"{address}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _rate(text: str) -> float | None:
    """Read `auto`, which is None, or a number above 0."""
    if text == "auto":
        return None
    rate = float(text)
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError("expected auto, or events a second")
    return rate


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=_rate, default=None, metavar="auto|EVENTS", help="a second")
    parser.add_argument("--share", type=float, default=0.5, help="of the cores, for --rate auto")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--every", type=float, default=EVERY, help="seconds between two samples (%(default)g)"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=REPEATS,
        help="a warning that comes more often after the warm-up repeats",
    )
    parser.add_argument(
        "--horizon", type=parse_duration, default=HORIZON, help="of corrections, such as 15m"
    )
    parser.add_argument("--samples", type=Path, help="JSON lines, appended there")
    return parser.parse_args()


def main() -> int:
    """Soak in a temporary folder; the exit code."""
    chosen = parse()
    # Topics that were just made: the first send may come too early, and is repeated.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="candlewick-soak-") as folder:
        empty = Path(folder) / "empty.toml"
        empty.touch()
        os.environ["CANDLEWICK_CONFIG"] = str(empty)
        # The engine is measured, not what writes beside it.
        os.environ["CANDLEWICK_SINKS__DRIVERS"] = "none"
        soak = Soak(chosen, Path(folder))
        if not soak.is_long_enough:
            least = math.ceil(soak.warm_up / 60 * 2)
            print(f"soak failed: it takes at least {least} minutes", file=sys.stderr)
            return 1
        try:
            run_async(soak.run)
        except (SoakError, RunError, RefusalError) as error:
            print(f"soak failed: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print("soak stopped", file=sys.stderr)
        return soak.report()


if __name__ == "__main__":
    sys.exit(main())

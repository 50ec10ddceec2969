"""`python -m tests.chaos.killing --replay FILE`: workers killed every 5 s; the export is the same.

It starts `candlewick run --replay FILE --rate 10000 --workers 4 --until-drained --export ...` as a
user would, ends one of its workers with SIGKILL every few seconds, by the process id that the
command says, until all is drained. Then the same replay runs undisturbed, at full speed and with
one worker, and the two Parquet files are compared value by value. Exit code 1: they differ, too few
kills, the command failed, or a process was left behind.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from app.broker import BrokerConfig, EmbeddedBroker
from tests.command import STOP_SECONDS, finish, start

STARTED = re.compile(r"^(worker-\d+) started: process (\d+)$")
#: Differences that are printed.
SHOWN = 10
#: Seconds between two questions to the workers which partitions they have.
ASK_SECONDS = 0.25
#: Seconds after which a run is stopped: it does not come to its end.
LIMIT_SECONDS = 900.0


@dataclass
class Said:
    """What the command says, read by a thread of its own as it comes."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    #: Process id of each worker's newest process.
    workers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._read, name="said", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if match := STARTED.match(self.lines[-1]):
                self.workers = self.workers | {match[1]: int(match[2])}

    def finish(self) -> None:
        """Wait for the rest of it."""
        self._thread.join(STOP_SECONDS)


@dataclass
class Kills:
    """Which worker is next, and how the workers stood at each kill.

    Args:
        count: workers that the command has.
        random: chooses; None: one after the other.
    """

    said: Said
    count: int
    random: Random | None
    done: list[str] = field(default_factory=list)
    #: Seconds from a kill until all partitions were ready again, other kills in between or not.
    recovered: list[float] = field(default_factory=list)
    #: Partitions of the workers, at each look, once all of them were ready.
    spread: Counter[tuple[int, ...]] = field(default_factory=Counter)
    _killed: float | None = None

    def look(self, partitions: int) -> None:
        """See which partitions the workers have."""
        owned = [owned_partitions(each) for each in self.said.workers.values()]
        if sum(owned) != partitions:
            return
        self.spread[tuple(sorted(owned, reverse=True))] += 1
        if self._killed is not None:
            self.recovered.append(time.monotonic() - self._killed)
            self._killed = None

    def kill(self) -> bool:
        """Kill the next worker; False while its process is not there."""
        order = sorted(self.said.workers)
        if len(order) < self.count:
            return False
        turn = len(self.done)
        name = order[turn % len(order)] if self.random is None else self.random.choice(order)
        try:
            process = psutil.Process(self.said.workers[name])
            if process.ppid() != self.said.process.pid:
                return False
            process.kill()
        except psutil.NoSuchProcess:
            return False
        self.done.append(name)
        self._killed = time.monotonic() if self._killed is None else self._killed
        print(f"  kill {len(self.done)}: {name}, process {process.pid}", flush=True)
        return True


def owned_partitions(process_id: int) -> int:
    """How many partitions a worker says that it has ready; 0 where it does not answer."""
    try:
        port = psutil.Process(process_id).environ()["CANDLEWICK_WEB__PORT"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            listed = json.loads(answer.read())["partitions"]
    except (psutil.Error, KeyError, OSError, urllib.error.URLError, ValueError):
        # It was just killed, is starting, or restores: 503.
        return 0
    return sum(each["phase"] == "ready" for each in listed)


def disturbed(
    chosen: argparse.Namespace, folder: Path, export: Path, settings: Mapping[str, str]
) -> Kills:
    """Run the command and kill its workers until it ends.

    Raises:
        RuntimeError: it failed.
    """
    arguments = run_arguments(chosen, export, "--rate", f"{chosen.rate:g}")
    print(f"candlewick {' '.join(arguments)}", flush=True)
    process = start(folder, arguments, settings)
    said = Said(process)
    random = None if chosen.seed is None else Random(chosen.seed)
    kills = Kills(said, chosen.workers, random)
    began = last = time.monotonic()
    try:
        while process.poll() is None:
            now = time.monotonic()
            if now - began > LIMIT_SECONDS:
                raise RuntimeError(f"not drained within {LIMIT_SECONDS:g} s: {said.lines[-5:]}")
            if now - last >= chosen.every and kills.kill():
                last = max(last + chosen.every, now - chosen.every)
            kills.look(chosen.partitions)
            time.sleep(ASK_SECONDS)
    finally:
        end(process)
    said.finish()
    assert process.stdout is not None
    print(indented(process.stdout.read()))
    if process.returncode:
        raise RuntimeError(f"it ended with {process.returncode}: {said.lines[-5:]}")
    return kills


def end(process: subprocess.Popen[str]) -> None:
    """Make sure that the command has ended, in order if it can."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_arguments(chosen: argparse.Namespace, export: Path, *more: str) -> list[str]:
    """The arguments of `candlewick` for a run to an export."""
    paths = [str(path.resolve()) for path in chosen.replay]
    return [
        *("run", "--replay", *paths, *more),
        *(() if "--rate" not in more else ("--workers", str(chosen.workers))),
        *("--until-drained", "--export", str(export)),
    ]


def undisturbed(
    chosen: argparse.Namespace, folder: Path, export: Path, settings: Mapping[str, str]
) -> None:
    """The same replay with one worker, as fast as it goes.

    Raises:
        RuntimeError: it failed.
    """
    ended = finish(start(folder, run_arguments(chosen, export), settings), LIMIT_SECONDS)
    print(indented(ended.output))
    if ended.code:
        raise RuntimeError(f"the undisturbed run ended with {ended.code}: {ended.last_words}")


def differences(expected: pa.Table, found: pa.Table) -> Iterator[str]:
    """Yield a line for each difference of two exports: schema, rows, then each value."""
    if expected.schema != found.schema:
        yield f"the columns are {found.schema.names}, expected {expected.schema.names}"
        return
    if expected.num_rows != found.num_rows:
        yield f"{found.num_rows:,} rows, expected {expected.num_rows:,}"
    names = expected.schema.names
    columns = ([*table.to_pydict().values()] for table in (expected, found))
    rows = (zip(*each, strict=True) for each in columns)
    for number, (wanted, got) in enumerate(itertools.zip_longest(*rows)):
        if wanted is None or got is None:
            what = "not expected" if wanted is None else "missing"
            yield f"row {number}: {what}: {got or wanted}"
        elif wanted != got:
            for name, left, right in zip(names, wanted, got, strict=True):
                if left != right:
                    yield f"row {number} {wanted[:3]}: {name} is {right!r}, expected {left!r}"


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that stand in a folder or name it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in [*words, process.info["cwd"] or ""]):
            found.append(" ".join(words)[:200])
    return found


def indented(text: str) -> str:
    """A command's output within ours."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def run(chosen: argparse.Namespace, folder: Path) -> int:
    """Both runs on one broker, then the comparison; the exit code."""
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    # The commands run there; what they leave behind names it. The broker is not in it.
    place = folder / "runs"
    place.mkdir()
    exports = place / "disturbed.parquet", place / "undisturbed.parquet"
    try:
        broker.start()
        broker.wait_ready()
        settings = {
            "CANDLEWICK_BROKER__URL": broker.url,
            "CANDLEWICK_SINKS__DRIVERS": "none",
            "CANDLEWICK_TOPICS__PARTITIONS": str(chosen.partitions),
        }
        kills = disturbed(chosen, place, exports[0], settings)
        undisturbed(chosen, place, exports[1], settings)
    finally:
        broker.stop()
    found, expected = (pq.read_table(path) for path in exports)
    faults = list(differences(expected, found))
    left = left_behind(place)
    by_worker = ", ".join(f"{name} {count}" for name, count in sorted(Counter(kills.done).items()))
    print(f"kills          {len(kills.done)} ({by_worker})")
    print(
        f"rows           {found.num_rows:,} of {expected.num_rows:,}, {found.num_columns} columns"
    )
    for spread, count in kills.spread.most_common():
        print(f"partitions     {' + '.join(map(str, spread))} by worker, seen {count} times")
    if kills.recovered:
        print(
            f"recovered      {len(kills.recovered)} times, all partitions ready after "
            f"{statistics.median(kills.recovered):.1f} s in the median, "
            f"{max(kills.recovered):.1f} s at worst"
        )
    same_bytes = exports[0].read_bytes() == exports[1].read_bytes()
    print(f"the files      {'the same bytes' if same_bytes else 'not the same bytes'}")
    for line in left:
        print(f"left behind    {line}")
    enough = len(kills.done) >= chosen.at_least
    if not enough:
        print(f"too few kills: {len(kills.done)}, expected at least {chosen.at_least}")
    for line in faults[:SHOWN]:
        print(line)
    print(f"{len(faults)} differences" if faults else "identical")
    return 0 if enough and not faults and not left else 1


def _stop(number: int, _frame: FrameType | None) -> None:
    """Leave all blocks, which ends every process of ours."""
    raise SystemExit(f"killing stopped by {signal.Signals(number).name}")


def main() -> int:
    """Run in a temporary folder; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.killing", description=__doc__)
    parser.add_argument("--replay", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--rate", type=float, default=10_000, help="records a second")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    parser.add_argument("--at-least", type=int, default=8, help="kills; fewer are a failure")
    parser.add_argument("--seed", type=int, help="of a random choice; none: one after the other")
    chosen = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="candlewick-killing-") as name:
        try:
            return run(chosen, Path(name))
        except RuntimeError as error:
            print(f"killing failed: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())

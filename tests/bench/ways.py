"""One round of each way: from its first record to its last, in a process of its own.

What "first" and "last" are:

- bare clients: the first call that returns records, to the one that returns the last;
- ours: the engine's first batch (with several workers the first of any), to the group's committed
  offsets at the end of the log in all partitions, as another process sees them (asked for every
  50 ms): the last checkpoint is in it.

The rounds of other libraries: `peers/rounds.py`.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from app.durations import format_duration
from app.identity import group_id
from app.settings import Settings
from app.topics import output_topic, ticks_topic
from tests.bench.child import Child, running
from tests.bench.expected import Bar, Key, differences
from tests.bench.log import GroupWatch, committed_values, servers
from tests.bench.marks import peak_memory

#: Differences that are printed.
SHOWN = 10
#: Lines of our worker's log that are printed.
COMPLAINTS = ("[warning", "[error", "[critical", "Traceback")
#: In those that several workers make when they share out the partitions.
REBALANCE = "rebalanc"
STOP_SECONDS = 60.0


class WrongBarsError(RuntimeError):
    """What was committed is not what the input says."""


@dataclass(frozen=True)
class Round:
    """One measurement; `memory` is the peak in bytes, `cpu` seconds of the process.

    Of several processes both are the sums.
    """

    records: int
    seconds: float
    cpu: float
    memory: int

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds


def bare(
    settings: Settings, folder: Path, records: int, client: str = "bare_client", slim: bool = False
) -> Round:
    """Read the input with a client alone: a module of this package.

    Args:
        slim: aiokafka's with our unpacking of record batches.
    """
    told = {
        "servers": servers(settings),
        "topic": ticks_topic(settings),
        "partitions": settings.topics.partitions,
        "records": records,
        # As app/streaming/transport.py sets them.
        "fetch_max_bytes": settings.broker.fetch_max_bytes,
        "fetch_max_wait_ms": settings.broker.fetch_max_wait // 1_000_000,
        "check_crcs": settings.broker.check_crcs,
        "slim": slim,
    }
    with running(f"tests.bench.{client}", folder, told) as child:
        return between_marks(child, records)


def between_marks(child: Child, records: int) -> Round:
    """What a child has marked itself; `records` are those between the marks."""
    first, last = child.mark("first"), child.mark("last")
    return Round(
        records, last["time"] - first["time"], last["cpu"] - first["cpu"], int(last["memory"])
    )


def ours(
    settings: Settings,
    folder: Path,
    records: int,
    expected: Mapping[Key, Bar],
    *,
    prefix: Sequence[str] = (),
    profile: Path | None = None,
    workers: int = 1,
) -> Round:
    """Build bars with our workers, in a new deployment; then check every bar.

    Raises:
        WrongBarsError: a committed bar is wrong, double, missing; or a trade was late or dead.
    """
    gate = folder / "gate"
    told = {
        "profile": None if profile is None else str(profile),
        "gate": str(gate) if workers > 1 else None,
    }
    ports = [_free_port() for _ in range(workers)]
    watch = GroupWatch(settings, group_id(settings))
    try:
        with ExitStack() as stack:
            children = [
                stack.enter_context(
                    _worker(settings, folder / f"worker-{port}", port, told, prefix)
                )
                for port in ports
            ]
            _wait_for_partitions(settings, children, ports)
            gate.touch()
            firsts = [child.mark("first") for child in children]
            children[0].wait_until(watch.at_end, "commit at the end of the log")
            ended = time.monotonic()
            processes = [psutil.Process(child.process.pid) for child in children]
            if prefix:
                processes = [process.children()[0] for process in processes]
            used = [process.cpu_times() for process in processes]
            measured = Round(
                records,
                ended - min(first["time"] for first in firsts),
                sum(
                    each.user + each.system - first["cpu"]
                    for each, first in zip(used, firsts, strict=True)
                ),
                sum(peak_memory(process.pid) for process in processes),
            )
            if prefix:
                # The profiler writes its file when what it watches has ended.
                for child, process in zip(children, processes, strict=True):
                    process.terminate()
                    child.process.wait(STOP_SECONDS)
            for child in children:
                _tell_complaints(child)
    finally:
        watch.close()
    check(settings, expected)
    return measured


def stage_costs(
    settings: Settings, folder: Path, records: int, expected: Mapping[Key, Bar]
) -> dict[str, float]:
    """A round of ours with clocks in it: microseconds of processor time a record, by stage.

    Raises:
        WrongBarsError: as `ours`.
    """
    noted = folder / "stages.json"
    port = _free_port()
    watch = GroupWatch(settings, group_id(settings))
    try:
        with _worker(settings, folder / "worker", port, {"stages": str(noted)}, ()) as child:
            child.wait_until(watch.at_end, "commit at the end of the log")
            child.process.terminate()
            child.process.wait(STOP_SECONDS)
            _tell_complaints(child)
    finally:
        watch.close()
    check(settings, expected)
    seconds: dict[str, float] = json.loads(noted.read_text(encoding="utf-8"))
    return {stage: spent / records * 1e6 for stage, spent in seconds.items()}


def _worker(
    settings: Settings, folder: Path, port: int, told: dict[str, Any], prefix: Sequence[str]
) -> AbstractContextManager[Child]:
    environment = {
        "CANDLEWICK_BROKER__URL": str(settings.broker.url),
        "CANDLEWICK_TOPIC_PREFIX": settings.topic_prefix,
        "CANDLEWICK_TOPICS__PARTITIONS": str(settings.topics.partitions),
        "CANDLEWICK_DEPLOYMENT": settings.deployment,
        "CANDLEWICK_AGENTS": ",".join(settings.agents),
        "CANDLEWICK_BARS__INTERVALS": ",".join(map(format_duration, settings.bars.intervals)),
        "CANDLEWICK_BROKER__FETCH_MAX_BYTES": str(settings.broker.fetch_max_bytes),
        "CANDLEWICK_DATA_DIR": str(folder / "data"),
        "CANDLEWICK_WEB__PORT": str(port),
    }
    return running("tests.bench.our_worker", folder, told, environment=environment, prefix=prefix)


def _wait_for_partitions(
    settings: Settings, children: Sequence[Child], ports: Sequence[int]
) -> None:
    """Wait until the workers have all partitions, each some, and are ready."""

    def shared_out() -> bool:
        owned = [_partitions_of(port) for port in ports]
        return sum(owned) == settings.topics.partitions and min(owned) > 0

    children[0].wait_until(shared_out, "readiness")


def _tell_complaints(child: Child) -> None:
    for line in child.log.splitlines():
        if REBALANCE in line:
            continue
        if any(word in line for word in COMPLAINTS):
            print(f"our worker said: {line}", flush=True)


def check(settings: Settings, expected: Mapping[Key, Bar]) -> None:
    """Compare what a deployment has committed with the oracle's bars.

    Raises:
        WrongBarsError: they differ.
    """
    faults = list(differences(expected, committed_values(settings, output_topic(settings, "bars"))))
    for name in ("bars.late", "bars.dead"):
        topic = output_topic(settings, name)
        faults += [f"{topic}: {value!r}" for value in committed_values(settings, topic)]
    tell(faults)


def tell(faults: Sequence[str]) -> None:
    """Raise the first of them.

    Raises:
        WrongBarsError: there are any.
    """
    if faults:
        raise WrongBarsError("\n".join([f"{len(faults)} wrong bars, first:", *faults[:SHOWN]]))


def _partitions_of(port: int) -> int:
    """How many partitions a worker has, 0 while it is not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return len(json.load(answer)["partitions"]) if answer.status == 200 else 0
    except (urllib.error.URLError, OSError):
        return 0


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

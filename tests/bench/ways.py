"""One round of each way: from its first record to its last, in a process of its own.

What "first" and "last" are:

- bare: the first `getmany` that returns records, to the one that returns the last;
- faust: the agent's first event, to its last one's table write (not its commit);
- ours: the engine's first batch, to the group's committed offsets at the end of the log in all
  partitions, as another process sees them (asked for every 50 ms): the last checkpoint is in it.
"""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.identity import group_id
from app.settings import Settings
from app.topics import output_topic, ticks_topic
from tests.bench.child import Child, running
from tests.bench.expected import Bar, Key, differences
from tests.bench.log import GroupWatch, committed_values, make_topics, servers
from tests.bench.marks import peak_memory

#: Differences that are printed.
SHOWN = 10
#: Lines of our worker's log that are printed.
COMPLAINTS = ("[warning", "[error", "[critical", "Traceback")


class WrongBarsError(RuntimeError):
    """What was committed is not what the input says."""


@dataclass(frozen=True)
class Round:
    """One measurement; `memory` is the peak in bytes, `cpu` seconds of the process."""

    records: int
    seconds: float
    cpu: float
    memory: int

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds


def bare(settings: Settings, folder: Path, records: int) -> Round:
    """Read the input with aiokafka alone."""
    told = {
        "servers": servers(settings),
        "topic": ticks_topic(settings),
        "partitions": settings.topics.partitions,
        "records": records,
        # As app/streaming/transport.py sets them.
        "fetch_max_bytes": settings.broker.fetch_max_bytes,
        "fetch_max_wait_ms": settings.broker.fetch_max_wait // 1_000_000,
        "check_crcs": settings.broker.check_crcs,
    }
    with running("tests.bench.bare_client", folder, told) as child:
        return _between_marks(child, records)


def idiomatic_faust(settings: Settings, folder: Path, records: int, number: int) -> Round:
    """Build bars with an ordinary Faust application."""
    app, partitions = f"bench-faust-{number}", settings.topics.partitions
    output = f"{app}-output"
    make_topics(
        settings,
        {output: partitions, f"{app}-bars-changelog": partitions, f"{app}-__assignor-__leader": 1},
    )
    told = {
        "app": app,
        "servers": servers(settings),
        "folder": str(folder / "faust"),
        "topic": ticks_topic(settings),
        "output": output,
        "partitions": partitions,
        "records": records,
    }
    arguments = ["worker", "-l", "warn", "--without-web"]
    with running("tests.bench.faust_app", folder, told, arguments=arguments) as child:
        return _between_marks(child, records)


def _between_marks(child: Child, records: int) -> Round:
    first, last = child.mark("first"), child.mark("last")
    return Round(
        records, last["time"] - first["time"], last["cpu"] - first["cpu"], int(last["memory"])
    )


def ours(
    settings: Settings,
    folder: Path,
    records: int,
    expected: dict[Key, Bar],
    *,
    prefix: Sequence[str] = (),
    profile: Path | None = None,
) -> Round:
    """Build bars with our worker, in a new deployment; then check every bar.

    Raises:
        WrongBarsError: a committed bar is wrong, double, missing; or a trade was late or dead.
    """
    port = _free_port()
    environment = {
        "CANDLEWICK_BROKER__URL": str(settings.broker.url),
        "CANDLEWICK_TOPIC_PREFIX": settings.topic_prefix,
        "CANDLEWICK_DEPLOYMENT": settings.deployment,
        "CANDLEWICK_AGENTS": ",".join(settings.agents),
        "CANDLEWICK_BROKER__FETCH_MAX_BYTES": str(settings.broker.fetch_max_bytes),
        "CANDLEWICK_DATA_DIR": str(folder / "data"),
        "CANDLEWICK_WEB__PORT": str(port),
    }
    told = {"profile": None if profile is None else str(profile)}
    watch = GroupWatch(settings, group_id(settings))
    try:
        with running(
            "tests.bench.our_worker", folder, told, environment=environment, prefix=prefix
        ) as child:
            child.wait_until(lambda: _is_ready(port), "readiness")
            first = child.mark("first")
            child.wait_until(watch.at_end, "commit at the end of the log")
            ended = time.monotonic()
            process = psutil.Process(child.process.pid)
            if prefix:
                process = process.children()[0]
            used = process.cpu_times()
            measured = Round(
                records,
                ended - first["time"],
                used.user + used.system - first["cpu"],
                peak_memory(process.pid),
            )
            if prefix:
                # The profiler writes its file when what it watches has ended.
                process.terminate()
                child.process.wait(60)
            for line in child.log.splitlines():
                if any(word in line for word in COMPLAINTS):
                    print(f"our worker said: {line}", flush=True)
    finally:
        watch.close()
    check(settings, expected)
    return measured


def check(settings: Settings, expected: dict[Key, Bar]) -> None:
    """Compare what a deployment has committed with the oracle's bars.

    Raises:
        WrongBarsError: they differ.
    """
    faults = list(differences(expected, committed_values(settings, output_topic(settings, "bars"))))
    for name in ("bars.late", "bars.dead"):
        topic = output_topic(settings, name)
        faults += [f"{topic}: {value!r}" for value in committed_values(settings, topic)]
    if faults:
        raise WrongBarsError("\n".join([f"{len(faults)} wrong bars, first:", *faults[:SHOWN]]))


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

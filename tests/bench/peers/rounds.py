"""A round of each peer, from the end of its warm-up to its last record; its bars are checked.

The last record counts when it is in the peer's state: its commit and its flush are not in the time,
which is to the peers' favour.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.broker.java import find_java
from app.settings import Settings
from app.topics import ticks_topic
from tests.bench.child import running
from tests.bench.expected import Bar, Key, peer_differences
from tests.bench.log import committed_values, make_topics, servers
from tests.bench.peers import place
from tests.bench.ways import STOP_SECONDS, Round, between_marks, tell

#: Share of the records that is not measured: first fetches, caches; and Java's compiler.
WARM_UP, JAVA_WARM_UP = 0.1, 0.5
#: Seconds between Bytewax's snapshots of its state, its own default.
SNAPSHOT_SECONDS = "10"


@dataclass(frozen=True)
class Start:
    """How a peer is started.

    Attributes:
        topics: that it needs beside the output, name to partitions.
        warm_up: share of its records.
        updates: it publishes every change of a bar.
        ends: it ends by itself at the end of the log.
    """

    module: str
    starting: Sequence[str]
    arguments: Sequence[str] = ()
    topics: Mapping[str, int] | None = None
    warm_up: float = WARM_UP
    updates: bool = False
    ends: bool = False


def measure(
    way: str,
    settings: Settings,
    folder: Path,
    records: int,
    number: int,
    expected: Mapping[Key, Bar],
) -> Round:
    """Have a peer read all of its input, and measure the steady part.

    Raises:
        WrongBarsError: it has published other bars than those of the trades.
    """
    app = f"{settings.topic_prefix}{way}-{number}"
    output = f"{app}-output"
    start = STARTS[way](app, settings.topics.partitions, folder)
    make_topics(settings, {output: settings.topics.partitions, **(start.topics or {})})
    skip = int(records * start.warm_up)
    told = {
        "app": app,
        "servers": servers(settings),
        "folder": str(folder / "state"),
        "topic": ticks_topic(settings),
        "output": output,
        "partitions": settings.topics.partitions,
        "records": records,
        "skip": skip,
    }
    with running(
        start.module, folder, told, arguments=start.arguments, starting=start.starting
    ) as child:
        measured = between_marks(child, records - skip)
        if start.ends:
            child.process.wait(STOP_SECONDS)
    values = committed_values(settings, output)
    tell([f"{way}: {line}" for line in peer_differences(expected, values, updates=start.updates)])
    return measured


def _faust(app: str, partitions: int, _folder: Path) -> Start:
    return Start(
        "tests.bench.faust_app",
        (sys.executable, "-m"),
        ("worker", "-l", "warn", "--without-web"),
        {f"{app}-bars-changelog": partitions, f"{app}-__assignor-__leader": 1},
    )


def _quix(_app: str, _partitions: int, _folder: Path) -> Start:
    return Start("tests.bench.peers.quix_app", (str(place.python()), "-m"))


def _bytewax(_app: str, _partitions: int, folder: Path) -> Start:
    recovery = folder.with_name(f"{folder.name}-recovery")
    recovery.mkdir(parents=True)
    python = str(place.python())
    subprocess.run([python, "-m", "bytewax.recovery", str(recovery), "1"], check=True)
    return Start(
        "tests.bench.peers.bytewax_flow:flow",
        (python, "-m", "bytewax.run"),
        ("-r", str(recovery), "-s", SNAPSHOT_SECONDS, "-b", "0"),
        ends=True,
    )


def _streams(_app: str, _partitions: int, _folder: Path) -> Start:
    java = str(find_java())
    start = (java, "-Xmx1g", "-cp", place.class_path())
    return Start("Bars", start, warm_up=JAVA_WARM_UP, updates=True)


STARTS = {"faust": _faust, "quix": _quix, "bytewax": _bytewax, "streams": _streams}

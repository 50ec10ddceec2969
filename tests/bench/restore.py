"""`python -m tests.bench.restore`: how fast views and state are restored, beside Faust's tables.

An embedded broker in a temporary folder, all input written before anything is timed, every
restore in a process of its own, the ways taking turns. Two of each: with an empty folder from
the topic, and once more with the folder that the first one left. Files are in the page
cache in both. What is timed of each: `restore_child.py` and `restore_faust.py`. Rows are counted
after each; a wrong number, or an error, is exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.broker import BrokerConfig, EmbeddedBroker
from app.settings import PREFIX, Settings
from app.topics import bars_topic
from tests.bench.apart import say, stop
from tests.bench.child import ChildError, running
from tests.bench.log import committed_values, make_topics, servers
from tests.bench.report import surroundings
from tests.bench.restore_input import Published, publish_bars, publish_state, publish_table

#: After this it ends itself.
LIMIT_SECONDS = 900
#: Rows a second that issue #5 asks for.
FROM_CHANGELOG, FROM_STORE = 250_000, 350_000
NAMES = {
    "view": "view of closed bars",
    "state": "state of the bars stage",
    "symbols": "state, open windows alone",
    "faust": "Faust's table",
}
SOURCES = {"topic": "topic", "store": "store"}


@dataclass(frozen=True)
class Step:
    """Seconds and CPU seconds of all threads between two marks."""

    seconds: float
    cpu: float


@dataclass
class Way:
    """What is restored: settings of its deployment, rows, the rounds of each source."""

    name: str
    settings: Settings
    published: Published
    rounds: dict[str, list[dict[str, Step]]] = field(
        default_factory=lambda: {source: [] for source in SOURCES}
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restore", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the view")
    parser.add_argument("--symbols", type=int, default=1_000, help="of the view")
    parser.add_argument("--state-rows", type=int, default=100_000)
    parser.add_argument("--state-symbols", type=int, default=2_000)
    parser.add_argument("--faust-rows", type=int, default=100_000, help="at most --rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(NAMES), help="some of %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",")
    if not set(chosen.only) <= set(NAMES):
        parser.error(f"--only {','.join(chosen.only)}; expected some of {','.join(NAMES)}")
    chosen.faust_rows = min(chosen.faust_rows, chosen.rows)
    chosen.json = None if chosen.json is None else chosen.json.resolve()
    return chosen


class Bench:
    """One run: the input, and the rounds."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, url: str) -> None:
        self.chosen = chosen
        self.folder = folder
        self._url = url
        self._prefix = f"restore-{secrets.token_hex(4)}"

    def _settings(self, name: str) -> Settings:
        """Defaults but for one partition, on our broker; windows enough for all rows."""
        return Settings(
            broker={"url": self._url},  # type: ignore[arg-type]
            topics={"partitions": 1},  # type: ignore[arg-type]
            topic_prefix=f"{self._prefix}-{name}.",
            deployment="bench",
            agents=("bars",),
            views={"bars_per_interval": self._keep},  # type: ignore[arg-type]
        )

    @property
    def _keep(self) -> int:
        return int(max(500, -(-self.chosen.rows // self.chosen.symbols)))

    def prepare(self) -> list[Way]:
        """Publish the input of the ways that are wanted."""
        chosen, ways = self.chosen, []
        view = self._settings("view")
        if {"view", "faust"} & set(chosen.only):
            bars = asyncio.run(publish_bars(view, chosen.symbols, chosen.rows))
        if "view" in chosen.only:
            ways.append(Way("view", view, bars))
        for name, symbols in (("state", chosen.state_symbols), ("symbols", chosen.state_rows)):
            if name in chosen.only:
                settings = self._settings(name)
                published = asyncio.run(publish_state(settings, symbols, chosen.state_rows))
                ways.append(Way(name, settings, published))
        if "faust" in chosen.only:
            few = list(committed_values(view, bars_topic(view, "bars")))[: chosen.faust_rows]
            make_topics(view, {self._faust_source: 1})
            asyncio.run(publish_table(view, f"{self._faust_app}-bars-changelog", few))
            ways.append(Way("faust", view, Published(len(few), 0, len(few))))
        return ways

    @property
    def _faust_app(self) -> str:
        return f"{self._prefix}-faust"

    @property
    def _faust_source(self) -> str:
        return f"{self._faust_app}-source"

    def measure(self, way: Way, number: int) -> None:
        """One round of a way: from its topic, then from the store that it left."""
        data = self.folder / f"{way.name}-{number}-data"
        for source in SOURCES:
            folder = self.folder / f"{way.name}-{number}-{source}"
            if way.name == "faust":
                marks = self._run_faust(way, folder, data)
            else:
                marks = self._run_ours(way, folder, data)
            way.rounds[source].append(_steps(marks))

    def _run_ours(self, way: Way, folder: Path, data: Path) -> dict[str, dict[str, float]]:
        settings = way.settings
        environment = {
            "CANDLEWICK_BROKER__URL": str(settings.broker.url),
            "CANDLEWICK_TOPIC_PREFIX": settings.topic_prefix,
            "CANDLEWICK_DEPLOYMENT": settings.deployment,
            "CANDLEWICK_AGENTS": "bars",
            "CANDLEWICK_TOPICS__PARTITIONS": "1",
            "CANDLEWICK_VIEWS__BARS_PER_INTERVAL": str(settings.views.bars_per_interval),
            "CANDLEWICK_DATA_DIR": str(data),
        }
        told = {"way": way.name, "rows": way.published.rows}
        with running("tests.bench.restore_child", folder, told, environment=environment) as child:
            names = ["begin", *(["caught"] if way.name != "view" else []), "restored", "read"]
            marks = {name: child.mark(name) for name in names}
            # Closed as a worker closes it: what is opened next is not the store of a killed one.
            child.mark("stopped")
        return marks

    def _run_faust(self, way: Way, folder: Path, data: Path) -> dict[str, dict[str, float]]:
        told = {
            "app": self._faust_app,
            "servers": servers(way.settings),
            "folder": str(data),
            "topic": self._faust_source,
            "table": "bars",
            "rows": way.published.rows,
        }
        arguments = ["worker", "-l", "warn", "--without-web"]
        with running("tests.bench.restore_faust", folder, told, arguments=arguments) as child:
            return {name: child.mark(name) for name in ("begin", "restored", "read")}


def _steps(marks: dict[str, dict[str, float]]) -> dict[str, Step]:
    def between(first: str, last: str) -> Step:
        return Step(
            marks[last]["time"] - marks[first]["time"], marks[last]["cpu"] - marks[first]["cpu"]
        )

    steps = {"restored": between("begin", "restored"), "read": between("restored", "read")}
    if "caught" in marks:
        steps["loaded"] = between("caught", "restored")
    return steps


def spent(way: Way, source: str, steps: dict[str, Step]) -> Step:
    """Until the rows can be used; of a store whose rows are read when asked, read as well."""
    whole, read = steps["restored"], steps["read"]
    if source == "store" and way.name in ("view", "faust"):
        return Step(whole.seconds + read.seconds, whole.cpu + read.cpu)
    return whole


def rate(way: Way, source: str, steps: dict[str, Step]) -> float:
    """Rows a second."""
    return way.published.rows / spent(way, source, steps).seconds


def cpu_rate(way: Way, source: str, steps: dict[str, Step]) -> float:
    """Rows a CPU second: what a busy machine disturbs less."""
    return way.published.rows / spent(way, source, steps).cpu


def as_json(ways: Sequence[Way], command: str) -> dict[str, Any]:
    """All figures and what they were measured on; the best round first."""
    measured: dict[str, Any] = {}
    for way in ways:
        entry: dict[str, Any] = {
            "rows": way.published.rows,
            "rows_in_memory": way.published.loaded,
            "records": way.published.records,
        }
        for source, rounds in way.rounds.items():
            ranked = sorted(rounds, key=lambda steps: -rate(way, source, steps))
            entry[source] = {
                "rows_per_second": [round(rate(way, source, steps)) for steps in ranked],
                "rows_per_cpu_second": round(max(cpu_rate(way, source, steps) for steps in rounds)),
                "seconds": {
                    name: {"wall": round(step.seconds, 3), "cpu": round(step.cpu, 3)}
                    for name, step in ranked[0].items()
                },
            }
        measured[way.name] = entry
    required = {"topic": FROM_CHANGELOG, "store": FROM_STORE}
    return {"ways": measured, "required": required, **surroundings(command)}


def as_text(report: dict[str, Any]) -> str:
    """The report as it is printed."""
    lines = [
        "",
        f"{'best round':<38}{'rows':>10}{'usable s':>10}{'CPU s':>8}{'all read s':>12}{'CPU s':>8}"
        f"{'rows/s':>12}{'rows/CPU s':>12}   all rounds, rows/s",
    ]
    for name, entry in report["ways"].items():
        for source, what in SOURCES.items():
            found = entry[source]
            usable, read = found["seconds"]["restored"], found["seconds"]["read"]
            best, *others = found["rows_per_second"]
            wanted = report["required"][source]
            verdict = "" if name == "faust" else f"; {wanted:,} {_verdict(best, wanted)}"
            lines.append(
                f"{f'{NAMES[name]}, from its {what}':<38}{entry['rows']:>10,}"
                f"{usable['wall']:>10.3f}{usable['cpu']:>8.2f}{read['wall']:>12.3f}"
                f"{read['cpu']:>8.2f}{best:>12,}{found['rows_per_cpu_second']:>12,}   "
                f"{', '.join(f'{each:,}' for each in (best, *others))}{verdict}"
            )
    lines.append("")
    for name, entry in report["ways"].items():
        lines.append(
            f"{NAMES[name]}: {entry['rows']:,} rows in {entry['records']:,} records"
            + (f", {entry['rows_in_memory']:,} held in memory" if entry["rows_in_memory"] else "")
        )
    lines += [
        "rows/s: from a topic until usable; from a store until usable (a state: open and loaded), "
        "for view and Faust, which read rows when asked, until every row was read",
        "",
        *(f"{name}: {report[name]}" for name in ("date", "machine", "load", "versions", "command")),
    ]
    return "\n".join(lines)


def _verdict(found: float, wanted: float) -> str:
    return "met" if found >= wanted else "NOT met"


def run(chosen: argparse.Namespace, folder: Path) -> None:
    """Start a broker, measure, report; the broker is stopped whatever happens."""
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        broker.start()
        broker.wait_ready()
        bench = Bench(chosen, folder, broker.url)
        ways = bench.prepare()
        for way in ways:
            say(f"input: {NAMES[way.name]}: {way.published}")
        for number in range(1, chosen.rounds + 1):
            for way in ways:
                bench.measure(way, number)
                latest = {source: rounds[-1] for source, rounds in way.rounds.items()}
                rates = ", ".join(
                    f"from its {SOURCES[source]} {rate(way, source, steps):,.0f} rows/s "
                    f"({cpu_rate(way, source, steps):,.0f} a CPU second)"
                    for source, steps in latest.items()
                )
                say(f"round {number}: {NAMES[way.name]}: {rates}")
        command = shlex.join(["python", "-m", "tests.bench.restore", *sys.argv[1:]])
        result = as_json(ways, command)
        say(as_text(result))
        if chosen.json:
            chosen.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    finally:
        broker.stop()


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_SECONDS)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="candlewick-restore-") as name:
        empty = Path(name) / "empty.toml"
        empty.touch()
        os.environ["CANDLEWICK_CONFIG"] = str(empty)
        # The engine is measured, not what writes beside it.
        os.environ["CANDLEWICK_SINKS__DRIVERS"] = "none"
        try:
            run(chosen, Path(name))
        except ChildError as error:
            print(f"restore bench failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

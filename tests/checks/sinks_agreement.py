"""Whether every store holds what the export says: `python -m tests.checks.sinks_agreement`.

    python -m tests.checks.sinks_agreement [--replay PATH ...] [--sinks influx,archive,...]

Starts the real servers, sets them up as a user does (`candlewick influx setup`, `candlewick
postgres migrate`), runs `candlewick run --until-drained --export` with the sinks on, and compares,
row by row, field by field, bit by bit: bars with the export, trades with the log, Redis with the
newest of both. Without --replay a simulated market is read. Prints a table of rows and of exact
sums (`math.fsum`); exit code 1 where anything differs, 2 where a sink that was named is not there.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from app.archive.checking import check
from app.archive.layout import archive_location
from app.broker import BrokerConfig, EmbeddedBroker
from app.settings import Settings, load_settings
from app.sinks.redis_store import namespace
from app.sinks.settings import SINKS
from models.predicting.registry_store import LocalStore
from tests import postgres_server, redis_server
from tests.checks.sinks_stored import (
    BARS,
    FIELDS,
    INTEGERS,
    NEWEST_BARS,
    NEWEST_TRADES,
    TRADES,
    InfluxStore,
    RedisStore,
    Rows,
    SqlStore,
    Store,
    ask_archive,
    exported,
    logged,
    newest_bars,
    newest_trades,
)
from tests.command import candlewick, run
from tests.influx_server import BUILD, InfluxServer, find_influxd

#: What each sink has to hold.
KINDS: Final = {
    "archive": (BARS, TRADES),
    "influx": (BARS, TRADES),
    "postgres": (BARS, TRADES),
    "redis": (NEWEST_BARS, NEWEST_TRADES),
}
#: Seconds for a run; of the small commands each has two minutes.
RUN_SECONDS: Final = 1_800.0
#: Differences that are told one by one, of a sink and kind.
EXAMPLES: Final = 5
SIMULATED: Final = ("--symbols", "4", "--rate", "200", "--duration", "2m", "--seed", "8")


def missing(sink: str) -> str | None:
    """Return what a sink lacks here, with the command that brings it; None for nothing."""
    programs: dict[str, tuple[Callable[[], object], str]] = {
        "influx": (find_influxd, BUILD),
        "postgres": (postgres_server.find_binaries, postgres_server.INSTALL),
        "redis": (lambda: shutil.which("redis-server"), redis_server.INSTALL),
    }
    packages = {"influx": "influxdb_client", "postgres": "psycopg", "redis": "redis"}
    if sink in programs:
        find, install = programs[sink]
        if find() is None:
            return f"no server: {install}"
        if importlib.util.find_spec(packages[sink]) is None:
            return f"no package {packages[sink]}: pip install 'candlewick[{sink}]'"
    return None


@dataclass
class Servers:
    """The stores of one run, set up.

    Attributes:
        environment: settings of every command.
    """

    folder: Path
    sinks: Sequence[str]
    environment: dict[str, str]
    influx: InfluxServer | None = None
    postgres: postgres_server.PostgresServer | None = None
    redis: redis_server.RedisServer | None = None

    def command(self, *arguments: str | Path) -> None:
        """Run one that has to succeed."""
        ended = candlewick(self.folder, *arguments, settings=self.environment)
        assert ended.code == 0, f"{arguments}: exit code {ended.code}: {ended.errors}"

    def set_up(self) -> None:
        """Do what `docs/influxdb.md`, `docs/postgres.md` and `docs/redis.md` say."""
        chosen = self.environment
        if self.influx is not None:
            chosen["CANDLEWICK_INFLUX__URL"] = self.influx.url
            self.command("influx", "setup", "--write-tokens", self._secrets)
            chosen["CANDLEWICK_INFLUX__TOKEN_FILE"] = str(self._secrets / "writer.token")
        if self.postgres is not None:
            chosen["CANDLEWICK_POSTGRES__URL"] = self.postgres.url()
            self.command("postgres", "migrate")
        if self.redis is not None:
            chosen["CANDLEWICK_REDIS__URL"] = self.redis.url
            # A long replay is longer than the 300 s that a value lives.
            chosen["CANDLEWICK_REDIS__TIME_TO_LIVE"] = "0s"

    def token(self, name: str) -> str:
        """Return InfluxDB's token of the writer, or of the reader."""
        return (self._secrets / f"{name}.token").read_text(encoding="utf-8").strip()

    @property
    def _secrets(self) -> Path:
        return self.folder / "secrets"

    def store(self, sink: str, settings: Settings) -> Store:
        """Return what reads a sink's store."""
        if sink == "influx":
            assert self.influx is not None
            return InfluxStore(
                self.influx.url,
                settings.influx.organization,
                settings.influx.bucket,
                self.token("reader"),
                settings.sinks.tick_resolution,
            )
        if sink == "postgres":
            assert self.postgres is not None
            return SqlStore(self.postgres.sql, f"{settings.postgres.table_schema}.")
        if sink == "redis":
            assert self.redis is not None
            return RedisStore(self.redis.url, namespace(settings))
        location = archive_location(settings)
        return SqlStore(lambda sql: ask_archive(location, sql))


@contextmanager
def servers(folder: Path, broker: str, sinks: Sequence[str]) -> Iterator[Servers]:
    """Start the servers of some sinks and set them up; they end with the block."""
    environment = {
        "CANDLEWICK_BROKER__URL": broker,
        "CANDLEWICK_DATA_DIR": str(folder / "data"),
        "CANDLEWICK_SINKS__DRIVERS": ",".join(sinks),
    }
    found = Servers(folder, sinks, environment)
    with ExitStack() as stack:
        if "influx" in sinks:
            program = find_influxd()
            assert program is not None
            found.influx = stack.enter_context(InfluxServer(program, folder / "influx"))
        if "postgres" in sinks:
            found.postgres = stack.enter_context(postgres_server.postgres_server())
        if "redis" in sinks:
            found.redis = stack.enter_context(redis_server.RedisServer(folder))
        found.set_up()
        yield found


@dataclass(frozen=True)
class Line:
    """One figure: the rows of a kind, or the sum of a field.

    Attributes:
        differences: by sink: rows that are missing, too many or doubled, or with another value.
    """

    what: str
    expected: str
    found: Mapping[str, str]
    differences: Mapping[str, int]


@dataclass
class Agreement:
    """What was compared.

    Attributes:
        examples: the first differences, one line each.
    """

    sinks: Sequence[str]
    lines: list[Line] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def differences(self, sink: str | None = None) -> int:
        """Return those of one sink, or of all."""
        return sum(
            count
            for line in self.lines
            for name, count in line.differences.items()
            if sink in (None, name)
        )

    def add(self, kind: str, truth: Rows, stored: Iterable[tuple[str, Rows]]) -> None:
        """Compare what sinks hold of a kind; one is held at a time."""
        names = FIELDS[kind]
        figures, counts = {}, {}
        for sink, rows in stored:
            figures[sink] = _figures(rows, names)
            counts[sink], examples = differences(truth, rows, names)
            self.examples += [f"{sink}, {kind}: {each}" for each in examples]
        expected = _figures(truth, names)
        for number, what in enumerate(("rows", *(f"sum of {each}" for each in names))):
            self.lines.append(
                Line(
                    f"{kind}: {what}",
                    expected[number],
                    {sink: each[number] for sink, each in figures.items()},
                    {sink: each[number] for sink, each in counts.items()},
                )
            )

    def add_faults(self, faults: Sequence[str]) -> None:
        """Take what `candlewick archive check` finds: files that lack, offsets that are doubled."""
        self.examples += [f"archive: {each}" for each in faults]
        told = {"archive": f"{len(faults):,}"}
        self.lines.append(Line("archive check: faults", "0", told, {"archive": len(faults)}))

    def report(self) -> str:
        """Return the table, and the first differences."""
        head = ["what", "export or log", *self.sinks, "differences"]
        rows = [
            [
                line.what,
                line.expected,
                *(line.found.get(sink, "-") for sink in self.sinks),
                f"{sum(line.differences.values()):,}",
            ]
            for line in self.lines
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        table = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in (head, *rows)
        ]
        return "\n".join([*table, *self.examples, f"differences: {self.differences():,}"])


def _figures(rows: Rows, names: Sequence[str]) -> list[str]:
    """Return the number of rows and the exact sum of each field."""
    found = [f"{rows.count:,}"]
    for number, name in enumerate(names):
        values = [each for row in rows.values.values() if (each := row[number]) is not None]
        found.append(f"{sum(values):,}" if name in INTEGERS else repr(math.fsum(values)))
    return found


def differences(
    truth: Rows, rows: Rows, names: Sequence[str], examples: int = EXAMPLES
) -> tuple[list[int], list[str]]:
    """Return how many rows differ, and how many values of each field; and the first of them."""
    absent = truth.values.keys() - rows.values.keys()
    added = rows.values.keys() - truth.values.keys()
    doubled = rows.count - len(rows.values)
    told = [f"{key} is missing" for key in _first(absent, examples)]
    told += [f"{key} is too much" for key in _first(added, examples)]
    told += [f"{doubled:,} rows are there twice"] if doubled else []
    counts = [len(absent) + len(added) + doubled, *(0 for _ in names)]
    for key, values in truth.values.items():
        held = rows.values.get(key, values)
        if held == values:
            continue
        for number, (one, other) in enumerate(zip(values, held, strict=True), 1):
            if one != other:
                counts[number] += 1
                if sum(counts[1:]) <= examples:
                    told.append(f"{key}: {names[number - 1]} is {other!r}, expected {one!r}")
    return counts, told


def _first(keys: Iterable[tuple[str | int, ...]], count: int) -> list[tuple[str | int, ...]]:
    return sorted(keys, key=str)[:count]


@dataclass(frozen=True)
class Ran:
    """A run that has ended, and its servers.

    Attributes:
        settings: of its deployment.
    """

    export: Path
    settings: Settings
    servers: Servers

    def compare(self) -> Agreement:
        """Compare each store with the export and the log."""
        bars, trades = exported(self.export), asyncio.run(logged(self.settings))
        truths = {
            BARS: bars,
            TRADES: trades,
            NEWEST_BARS: newest_bars(bars),
            NEWEST_TRADES: newest_trades(trades),
        }
        sinks = self.servers.sinks
        agreement = Agreement(sinks)
        for kind, truth in truths.items():
            names = [sink for sink in sinks if kind in KINDS[sink]]
            if names:
                agreement.add(kind, truth, ((sink, self._rows(sink, kind)) for sink in names))
        if "archive" in sinks:
            agreement.add_faults(check(LocalStore(self.archive)).faults)
        return agreement

    @property
    def archive(self) -> Path:
        """The folder of its archive."""
        return Path(archive_location(self.settings))

    def _rows(self, sink: str, kind: str) -> Rows:
        return self.servers.store(sink, self.settings).rows(kind)


@contextmanager
def running(
    folder: Path,
    broker: str,
    sinks: Sequence[str],
    *arguments: str | Path,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Ran]:
    """Run `candlewick run` with these arguments and all of the sinks; the servers stay.

    Args:
        folder: an empty one.
        broker: address of a running one.
        arguments: `--replay PATH...` or `--from-log PREFIX`.
    """
    with servers(folder, broker, sinks) as found:
        say(f"running, with {', '.join(sinks)}")
        began = time.monotonic()
        export = folder / "bars.parquet"
        summary = run(folder, export, *arguments, settings=found.environment, seconds=RUN_SECONDS)
        say(f"drained, exported and written after {time.monotonic() - began:.1f} s")
        prefix, deployment, _ = str(summary["group"]).rsplit(".", 2)
        settings = load_settings(
            deployment=deployment,
            topic_prefix=f"{prefix}.",
            data_dir=folder / "data",
            broker={"url": broker},
        )
        yield Ran(export, settings, found)


def simulate(folder: Path, broker: str, prefix: str, *options: str) -> None:
    """Have `candlewick simulate` send some minutes of a market of just now, as history."""
    begin = datetime.now(UTC) - timedelta(minutes=30)
    settings = {
        "CANDLEWICK_BROKER__URL": broker,
        "CANDLEWICK_DATA_DIR": str(folder / "data"),
        "CANDLEWICK_TOPIC_PREFIX": f"{prefix}.",
    }
    start = ("--start", begin.isoformat(timespec="seconds"), "--unpaced")
    ended = candlewick(folder, "simulate", *options, *start, settings=settings)
    assert ended.code == 0, f"exit code {ended.code}: {ended.errors}"


def main() -> None:
    """Run it, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.checks.sinks_agreement")
    parser.add_argument("--replay", type=Path, nargs="+", default=[], metavar="PATH")
    parser.add_argument("--sinks", help=f"of {', '.join(SINKS)}; those that can be started here")
    chosen = parser.parse_args()
    lacking = {sink: why for sink in SINKS if (why := missing(sink)) is not None}
    named = None if chosen.sinks is None else chosen.sinks.split(",")
    if named is not None and not set(named) <= set(SINKS):
        parser.error(f"--sinks: expected of {', '.join(SINKS)}")
    for sink in named or SINKS:
        if sink in lacking:
            print(f"without {sink}: {lacking[sink]}")
            if named is not None:
                raise SystemExit(2)
    sinks = [each for each in named or SINKS if each not in lacking]
    with tempfile.TemporaryDirectory(prefix="candlewick-sinks-") as name:
        folder = Path(name)
        broker = EmbeddedBroker(BrokerConfig(folder / "broker"))
        broker.start()
        try:
            broker.wait_ready()
            arguments: list[str | Path] = ["--replay", *(each.resolve() for each in chosen.replay)]
            if not chosen.replay:
                simulate(folder, broker.url, "simulated", *SIMULATED)
                arguments = ["--from-log", "simulated"]
            with running(folder, broker.url, sinks, *arguments, say=print) as ran:
                found = ran.compare()
        finally:
            broker.stop()
    print(found.report())
    raise SystemExit(1 if found.differences() else 0)


if __name__ == "__main__":
    main()

"""`python -m tests.bench.scale`: what more symbols and more partitions cost, and many changed rows.

An embedded broker and one worker a round, as in `python -m tests.bench` (`ways.py`: the same input,
and every bar is checked), with more and more symbols and then with more and more partitions:
processor and wall time a trade. Bars cost by their number, and with more symbols there are more of
them for as many trades: so trades come at two rates of event time, and bars a trade are told.

Then a partition's state alone, each measurement in a process of its own (`scale_state.py`): memory
of open windows, trade ids and closed windows, and the processor time of applying trades and of
freezing checkpoints. Last, whole checkpoints of many changed rows (`scale_checkpoints.py`). Growth
is told from line to line: where the cost is in proportion, or less, nothing is quadratic.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.broker import BrokerConfig, BrokerError, EmbeddedBroker
from app.settings import Settings
from tests.bench import scale_tables as tables
from tests.bench import ways
from tests.bench.apart import apart, say
from tests.bench.child import ROOT, ChildError
from tests.bench.expected import expected_bars
from tests.bench.log import write_ticks
from tests.bench.report import surroundings
from tests.bench.scale_checkpoints import Checkpoints, measure_checkpoints
from tests.bench.ticks import RATE, make_ticks
from tests.broker.worker import NotInTimeError

PARTS = ("symbols", "partitions", "memory", "state", "checkpoints")
#: The goal's rate: all symbols together a million trades a second.
FULL_RATE = 1_000_000
SYMBOLS, MANY_SYMBOLS = (8, 500, 10_000), (8, 500, 10_000, 40_000)
PARTITIONS = (1, 4, 16, 64)
#: Of the rounds over symbols; and how many symbols there are over partitions.
USUAL_PARTITIONS, USUAL_SYMBOLS = 4, 500
#: Of event time, over symbols.
SECONDS = 3.0
ROWS = (1_000, 10_000, 40_000)
OPEN_SYMBOLS = (1_000, 10_000, 40_000)
#: Symbols with trade ids, and with closed windows.
ID_SYMBOLS, CLOSED_SYMBOLS = 50, 200
STATE_SECONDS = 300.0


@dataclass(frozen=True)
class Case:
    """Rounds of a worker: what they read, and the least that they took."""

    symbols: int
    partitions: int
    rate: int
    bars: int
    records: int
    cpu_us: float
    wall_us: float
    memory: int


class Bench:
    """One broker, and what is measured on it."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, url: str) -> None:
        self._chosen = chosen
        self._folder = folder
        self._url = url
        self._name = f"scale-{secrets.token_hex(4)}"

    def _settings(self, name: str, partitions: int, deployment: str = "scale") -> Settings:
        return Settings(
            broker={"url": self._url},  # type: ignore[arg-type]
            topics={"partitions": partitions},  # type: ignore[arg-type]
            topic_prefix=f"{self._name}-{name}.",
            deployment=deployment,
            agents=("bars",),
            data_dir=self._folder / name / "data",
            web={"port": 0},  # type: ignore[arg-type]
        )

    def case(self, symbols: int, partitions: int, rate: int, seconds: float = 0.0) -> Case:
        """Some rounds over a new input.

        Args:
            seconds: of event time at least, so that first windows and the flush weigh little.

        Raises:
            WrongBarsError, ChildError: see `ways.ours`.
        """
        name = f"{symbols}-{partitions}-{rate}"
        records = max(self._chosen.records, int(seconds * rate))
        ticks = make_ticks(records, symbols, 0, rate=rate)
        written = write_ticks(self._settings(name, partitions), ticks, control=True)
        expected = expected_bars(ticks)
        rounds = [
            ways.ours(
                self._settings(name, partitions, f"scale-{number}"),
                self._folder / f"{name}-{number}",
                written,
                expected,
            )
            for number in range(self._chosen.rounds)
        ]
        return Case(
            symbols, partitions, rate, len(expected), written,
            min(each.cpu for each in rounds) / written * 1e6,
            min(each.seconds for each in rounds) / written * 1e6,
            max(each.memory for each in rounds),
        )  # fmt: skip

    def checkpoints(self, rows: int) -> Checkpoints:
        """Whole checkpoints with so many changed rows."""
        settings = self._settings(f"rows-{rows}", 1)
        return asyncio.run(measure_checkpoints(settings, rows, self._chosen.checkpoints))


def state(mode: str, symbols: int, rate: int = RATE) -> dict[str, Any]:
    """Measure a state in a process of its own.

    Raises:
        ChildError: it failed.
    """
    command = [sys.executable, "-m", "tests.bench.scale_state", mode, str(symbols)]
    ended = subprocess.run(
        [*command, "--rate", str(rate)],
        cwd=ROOT, capture_output=True, text=True, timeout=STATE_SECONDS, check=False,
    )  # fmt: skip
    if ended.returncode:
        raise ChildError(f"{shlex.join(command)} ended with {ended.returncode}: {ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def run(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the chosen parts, print each when it is there; all figures."""
    found: dict[str, Any] = {}

    def tell(name: str, figures: Sequence[Any], lines: Sequence[str]) -> None:
        found[name] = list(figures)
        say("\n".join(["", *lines]))

    if "memory" in chosen.only:
        opened = [state("open", each) for each in OPEN_SYMBOLS]
        tell("open", opened, tables.opened(opened))
        identified = state("ids", ID_SYMBOLS)
        tell("ids", [identified], tables.identified(identified))
        closed = state("closed", CLOSED_SYMBOLS)
        tell("closed", [closed], tables.closed(closed))
    if "state" in chosen.only:
        applied = [state("apply", each, rate) for rate in chosen.rates for each in MANY_SYMBOLS]
        tell("apply", applied, tables.applied(applied))
        taken = [state("take", each) for each in ROWS]
        tell("take", taken, tables.taken(taken))
    if not {"symbols", "partitions", "checkpoints"} & set(chosen.only):
        return found
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        broker.start()
        broker.wait_ready()
        bench = Bench(chosen, folder, broker.url)
        if "symbols" in chosen.only:
            for rate in chosen.rates:
                cases = [bench.case(n, USUAL_PARTITIONS, rate, SECONDS) for n in SYMBOLS]
                plain = [asdict(each) for each in cases]
                tell(f"symbols at {rate}", plain, tables.cases(plain, "symbols"))
        if "partitions" in chosen.only:
            cases = [bench.case(USUAL_SYMBOLS, each, FULL_RATE) for each in PARTITIONS]
            plain = [asdict(each) for each in cases]
            tell("partitions", plain, tables.cases(plain, "partitions"))
        if "checkpoints" in chosen.only:
            measured = [bench.checkpoints(each) for each in ROWS]
            plain = [asdict(each) for each in measured]
            tell("checkpoints", plain, tables.checkpoints(plain))
    finally:
        broker.stop()
    return found


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="trades of a round")
    parser.add_argument("--rounds", type=int, default=2, help="the least of them is told")
    parser.add_argument(
        "--rates", default=f"{RATE},{FULL_RATE}",
        help="trades a second of event time, over symbols (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--checkpoints", type=int, default=5, help="of each number of rows")
    parser.add_argument("--only", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    chosen.rates = [int(each) for each in chosen.rates.split(",")]
    chosen.only = chosen.only.split(",")
    if not set(chosen.only) <= set(PARTS):
        parser.error(f"--only {','.join(chosen.only)}; expected some of {','.join(PARTS)}")
    if chosen.json is not None:
        chosen.json = chosen.json.resolve()
    return chosen


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    with apart("scale") as folder:
        try:
            found = run(chosen, folder)
        except (ways.WrongBarsError, BrokerError, ChildError, NotInTimeError) as error:
            print(f"bench failed: {error}", file=sys.stderr)
            return 1
    about = surroundings(shlex.join(["python", "-m", "tests.bench.scale", *sys.argv[1:]]))
    say("")
    for name, text in about.items():
        say(f"{name}: {text}")
    if chosen.json:
        document = json.dumps({**found, **about}, indent=2)
        chosen.json.write_text(document + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

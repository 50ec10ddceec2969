"""The "Shows" of the engine, as commands and with all recorded ticks; for people, not CI.

    python -m tests.shows [--only N ...] [--ticks FOLDER ...] [--seconds 900] [--folder FOLDER]

    1  the vendor's bars: percentages, and every difference
    2  same bytes: 1, 4, 16 partitions, 1, 2 workers, batches of 1, 100, 10,000, fetches 1 KB, 8 MB
    3  same bytes but for revisions with --disorder 900ms --seed 1
    4  same bytes of a log with --late 1% that a second deployment reads
    5  5 % corruption: equal exports, outcomes that add up, peak memory
    6  the vendor's quote bars of EURUSD and IBM, and minute bars of gold futures: percentages
    7  quotes: same bytes with 1, 4 partitions, 1, 2 workers, fetches of 1 KB, 8 MB

Each figure is printed as it comes. Exit code 1 where something differs, 2 where something else took
too long. Of each way to produce one log is sent; the ways to read it follow with `--from-log`.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.command import EQUITY, ROOT, candlewick, run, without_revisions
from tests.oracle import vendor_quotes
from tests.oracle.vendor import compare_export

REAL_DATA = ROOT.parent / "shared" / "data"
ALGOSEEK = ("--policy", "algoseek", "--intervals", "1s,1m")
QUOTES = ("--kind", "quotes", "--intervals", "1s,1m")
PARTITIONS, WORKERS, BATCHES, FETCHES = (1, 4, 16), (1, 2), (1, 100, 10_000), (1024, 8 << 20)
MOST_MEMORY = 1.10
MEMORY_RUNS = 3


@dataclass
class Shows:
    """The runs of one invocation: all state in one folder, on a broker of their own."""

    folder: Path
    ticks: list[Path]
    seconds: float
    settings: dict[str, str]
    failed: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    def check(self, what: str, *, holds: bool) -> None:
        """Print whether something holds, and remember if not."""
        print(f"    {'yes' if holds else 'NO '}  {what}", flush=True)
        if not holds:
            self.failed.append(what)

    def run(
        self, name: str, *arguments: str | Path, choices: Sequence[str] = ALGOSEEK
    ) -> dict[str, Any] | None:
        """One run and its figures; None, and said, where it took too long."""
        export = self.folder / f"{name}.parquet"
        began = time.monotonic()
        try:
            summary = run(
                self.folder,
                export,
                *choices,
                *arguments,
                settings=self.settings,
                seconds=self.seconds,
            )
        except subprocess.TimeoutExpired:
            print(f"  {name}: NOT within {self.seconds:g} s", flush=True)
            self.late.append(name)
            return None
        counts = {outcome: n for outcome, n in summary["outcomes"]["counts"].items() if n}
        print(
            f"  {name}: {sum(counts.values()):,} records in {summary['batches']:,} fetches, "
            f"{summary['seconds']:.1f} s of {time.monotonic() - began:.1f}, "
            f"{(summary['peak_memory'] or 0) / 1e6:.0f} MB, {summary['bars']:,} bars, {counts}",
            flush=True,
        )
        return summary | {"export": export}

    def replay(self, name: str, *arguments: str | Path) -> dict[str, Any] | None:
        """`run` with all ticks."""
        return self.run(name, "--replay", *self.ticks, *arguments)

    def same(self, name: str, one: Path, other: Path) -> None:
        """Compare two exports byte by byte."""
        self.check(f"{name}: byte-identical", holds=one.read_bytes() == other.read_bytes())


def vendor(shows: Shows) -> None:
    """The vendor's second and minute bars."""
    if (summary := shows.replay("vendor")) is None:
        return
    comparisons = compare_export(summary["export"], REAL_DATA / "equity")
    for comparison in comparisons:
        shows.check(str(comparison), holds=comparison.passes)
        for difference in comparison.differences:
            print(f"         {difference}")


def same_bytes(shows: Shows) -> None:
    """All partitions, workers, batches and fetches."""
    if (reference := shows.replay("reference")) is None:
        return
    # Batches of one record take longest and come last.
    for batch, partitions in itertools.product(reversed(BATCHES), PARTITIONS):
        log: str | None = None
        for workers, fetch in itertools.product(WORKERS, FETCHES):
            name = f"{partitions}-partitions-{workers}-workers-batches-{batch}-fetches-{fetch}"
            read = ("--workers", str(workers), "--fetch-max-bytes", str(fetch))
            if log is None:
                sent = ("--partitions", str(partitions), "--batch-records", str(batch))
                summary = shows.replay(name, *sent, *read)
            else:
                summary = shows.run(name, "--from-log", log, *read)
            if summary is None:
                if log is None:
                    break
                continue
            log = log or str(summary["prefix"])
            shows.same(name, summary["export"], reference["export"])


def disorder(shows: Shows) -> None:
    """Disorder within the grace."""
    reference = shows.replay("in-order")
    summary = shows.replay("disorder", "--disorder", "900ms", "--seed", "1")
    if reference is not None and summary is not None:
        equal = without_revisions(summary["export"]) == without_revisions(reference["export"])
        shows.check("disorder: the same bytes but for revisions", holds=equal)


def late(shows: Shows) -> None:
    """One log with late records, read twice."""
    first = shows.replay("late", "--late", "1%")
    if first is None:
        return
    counts = first["outcomes"]["counts"]
    shows.check(
        "late: some revise, some are late", holds=min(counts["late"], counts["revised"]) > 0
    )
    for name, more in (("again", ()), ("again-1KB", ("--fetch-max-bytes", "1024"))):
        second = shows.run(f"late-{name}", "--from-log", str(first["prefix"]), *more)
        if second is not None:
            shows.same(f"late-{name}", second["export"], first["export"])


def corruption(shows: Shows) -> None:
    """5 % bad records."""
    peaks: dict[str, list[int]] = {"0%": [], "5%": []}
    last: dict[str, dict[str, Any]] = {}
    for number, share in itertools.product(range(MEMORY_RUNS), peaks):
        summary = shows.replay(f"corrupt-{share[0]}-{number}", "--corrupt", share, "--seed", "1")
        if summary is not None:
            peaks[share].append(summary["peak_memory"])
            last[share] = summary
    if len(last) < len(peaks):
        return
    clean, corrupt = last["0%"], last["5%"]
    counts, sent = corrupt["outcomes"]["counts"], corrupt["replayed"]
    shows.same("corruption", corrupt["export"], clean["export"])
    shows.check("records read are those sent", holds=sum(counts.values()) == sent["sent"])
    shows.check("dead are the corrupt ones", holds=counts["dead"] == sent["corrupt"])
    alike = counts | {"dead": 0} == clean["outcomes"]["counts"]
    shows.check("all other outcomes are the clean run's", holds=alike)
    ratio = min(peaks["5%"]) / min(peaks["0%"])
    texts = {share: f"{min(each) / 1e6:.1f} MB" for share, each in peaks.items()}
    shows.check(f"peak memory, the least of each: {texts}, {ratio:.3f}", holds=ratio <= MOST_MEMORY)


def other_markets(shows: Shows) -> None:
    """The vendor's quote bars, and futures."""
    for market, folder, choices, symbol in (
        ("forex", "forex/tick/eurusd", QUOTES, "EURUSD"),
        ("equity", "equity/tick/ibm", QUOTES, "IBM"),
        ("future", "future/tick/gc", ("--intervals", "1m"), "GC-201312"),
    ):
        summary = shows.run(market, "--replay", REAL_DATA / folder, choices=choices)
        if summary is None:
            continue
        for each in vendor_quotes.compare_export(summary["export"], REAL_DATA / market, [symbol]):
            shows.check(str(each), holds=each.passes)
            if (each.symbol, each.interval) in vendor_quotes.LIMITS:
                for line in each.differences():
                    print(f"         {line}")


def quotes(shows: Shows) -> None:
    """Quotes through all partitions, workers and fetches."""
    data = ("--replay", REAL_DATA / "forex/tick", REAL_DATA / "equity/tick")
    reference = shows.run("quotes", *data, choices=QUOTES)
    if reference is None:
        return
    for partitions in (1, 4):
        log: str | None = None
        for workers, fetch in itertools.product(WORKERS, FETCHES):
            name = f"quotes-{partitions}-partitions-{workers}-workers-fetches-{fetch}"
            read = ("--workers", str(workers), "--fetch-max-bytes", str(fetch))
            source = ("--from-log", log) if log else (*data, "--partitions", str(partitions))
            summary = shows.run(name, *source, *read, choices=QUOTES)
            if summary is None:
                break
            log = str(summary["prefix"])
            shows.same(name, summary["export"], reference["export"])


STEPS: list[Callable[[Shows], None]] = [
    vendor, same_bytes, disorder, late, corruption, other_markets, quotes,
]  # fmt: skip


@contextmanager
def broker(folder: Path) -> Iterator[dict[str, str]]:
    """A broker of one's own, as settings."""
    started = candlewick(folder, "broker", "start", "--folder", folder / "broker")
    assert started.code == 0, started.errors
    name, _, url = started.output.strip().partition("=")
    try:
        yield {name: url}
    finally:
        candlewick(folder, "broker", "stop", "--folder", folder / "broker")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.shows",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    numbers = range(1, len(STEPS) + 1)
    ticks = [REAL_DATA / EQUITY / symbol for symbol in ("spy", "ibm")]
    parser.add_argument("--only", type=int, nargs="+", choices=numbers, default=[*numbers])
    parser.add_argument("--ticks", type=Path, nargs="+", default=ticks, help="other trades")
    parser.add_argument("--seconds", type=float, default=900.0, help="for one run")
    parser.add_argument("--folder", type=Path, help="keeps logs and exports; else removed")
    chosen = parser.parse_args()
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="candlewick-shows-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with broker(folder) as settings:
            paths = [path.resolve() for path in chosen.ticks]
            shows = Shows(folder, paths, chosen.seconds, settings)
            for number in chosen.only:
                step = STEPS[number - 1]
                print(f"{number}  {step.__doc__}", flush=True)
                step(shows)
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder)
    for title, names in (("differs", shows.failed), ("took too long", shows.late)):
        for name in names:
            print(f"{title}: {name}")
    return 1 if shows.failed else 2 if shows.late else 0


if __name__ == "__main__":
    sys.exit(main())
